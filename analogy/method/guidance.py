"""Guidance by label pictures: a position matches only positions that have the same label.

The label of a position is its colour in the label picture. Transparent positions have no label. A
position of the content that has no label, or a label that the sources lack, may match any position.
A position of a source that has no label is matched only by these positions of the content. A
position of a source that has a label that the content lacks may be matched by any position.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..backends import Array, Backend, Size
from ..errors import ImageError
from ..pictures.reading import read_with_checksum
from . import admission, nnf
from .sheets import Sheet

_log = logging.getLogger("analogy")

MOST_LABELS = 256
"""Maximum number of colours of an accepted label picture; transparent counts as one colour.

A picture with more colours is probably a photograph, or has smoothed edges.
"""
_MOST_CANDIDATES = 4096
"""Maximum number of positions from which the replacement of a forbidden match is chosen.

If more positions have the label, the replacement is chosen from every n-th of them. The search,
which begins afterwards, improves the match.
"""
_MOST_NAMED = 8
"""Maximum number of ignored labels of a mask that are logged in a line each.

If there are more, a single line gives their number and two of them.
"""
IGNORED = -1
"""Label of positions whose colour the other side (A, or all B' together) does not have."""
UNLABELLED = -2
"""Label of transparent positions."""
_OPAQUE = 128
"""Smallest alpha (0 to 255) of a position that has a label.

It is below 255 because brushes with soft edges leave half-transparent pixels around a region.
"""
_NO_LABEL = 1 << 24
"""Label of unlabelled positions of a source during a search; no position of a content has it."""
_FINE = _NO_LABEL + 1
"""Label of the first colour that needs 16 bits per channel; others get the next numbers."""


@dataclass(frozen=True)
class Labels:
    """Labels of a content and of its sources, at full size.

    Attributes
    ----------
    content, sources
        The label of each pixel, (H, W) int32: the colour 0xRRGGBB, `UNLABELLED`, `IGNORED`, or a
        number from `_FINE` on for a colour that needs 16 bits per channel.
    masks
        "mask_a" and "mask_b" -> name and SHA-256 of the label picture. With several B', "mask_b"
        maps to a list of these.
    fine
        The colours that need 16 bits per channel, 0xRRRRGGGGBBBB, in the order of their labels.
    """

    content: np.ndarray
    sources: tuple[np.ndarray, ...]
    masks: dict[str, Any] = field(default_factory=dict)
    fine: list[int] = field(default_factory=list)

    def to(self, index: int) -> Labels:
        """Return the labels of the content and of the one source with this index."""
        return replace(self, sources=(self.sources[index],))

    def reversed(self) -> Labels:
        """Return the labels with the content and the source exchanged; there must be one source."""
        (source,) = self.sources
        return replace(self, content=source, sources=(self.content,))

    def at(self, content: Size, sheet: Sheet) -> LabelMaps:
        """Return the labels for a search, of a content of size `content` and of sources on `sheet`.

        A negative label matches anything. A position of the content that has no label gets a
        negative label. So does a position of the content or of a source whose label is no longer
        found on the other side (in the sources, or in the content) at this size. A position of a
        source that has no label gets `_NO_LABEL`.
        """
        own = _resize_nearest(self.content, content)
        laid = [_resize_nearest(labels, size) for labels, size in zip(self.sources, sheet.sizes, strict=True)]
        other = sheet.lay(np, laid, fill=UNLABELLED)
        both = np.append(np.intersect1d(own, other), UNLABELLED)
        own, other = (np.where(np.isin(labels, both), labels, np.int32(IGNORED)) for labels in (own, other))
        return LabelMaps(own, np.where(other == UNLABELLED, np.int32(_NO_LABEL), other))

    def colour(self, label: int) -> str:
        """Return the colour of a label as "#rrggbb", or as "#rrrrggggbbbb" if it needs 16 bits."""
        return _colour(label, self.fine)

    @property
    def keep_apart(self) -> bool:
        """True if the pictures have two different labels, where "no label" counts as one.

        Ignored labels do not count. If it is False, the labels forbid no match.
        """
        found = np.unique(np.concatenate([self.content.ravel(), *(source.ravel() for source in self.sources)]))
        return bool((found >= 0).any() and (found != IGNORED).sum() > 1)


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Labels for a search (see `Backend.propagate`), on the host.

    Attributes
    ----------
    content, source
        Labels of the content (h, w) and of the sheet of its sources, int32.
    """

    content: np.ndarray
    source: np.ndarray

    def on(self, backend: Backend) -> tuple[Array, Array]:
        """Return the labels of the content and of the sheet as arrays of the backend."""
        return backend.asarray(self.content), backend.asarray(self.source)


def read_labels(mask_a: Any, masks_b: Sequence[Any] | None, size_a: Size, sizes_b: Mapping[str, Size]) -> Labels | None:
    """Read the label pictures of A and of each B'.

    Pixels that are more than half transparent have no label. A colour that only one side has (A, or
    the B') is ignored. Ignored colours, and masks that forbid no match, are logged. Colours with 16
    bits per channel are different labels if they differ in any bit.

    Parameters
    ----------
    mask_a
        Label picture of A, as `read_picture` accepts it, or None.
    masks_b
        Label picture of each B', or None. `Request` ensures that both `mask_a` and `masks_b` are
        given, or neither.
    size_a
        Full size (rows, columns) of A, and so of its mask.
    sizes_b
        Name of each B' -> its full size.

    Returns
    -------
    labels
        The labels; None without masks.

    Raises
    ------
    ImageError
        If a mask cannot be read, has another size than its picture, or has more than `MOST_LABELS`
        colours.
    """
    if mask_a is None or masks_b is None:
        return None
    fine: list[int] = []
    a, source_a = _codes(mask_a, "the mask of A", size_a, fine)
    read = [
        _codes(mask, f"the mask of {name}", size, fine)
        for mask, (name, size) in zip(masks_b, sizes_b.items(), strict=True)
    ]
    in_a, in_b = np.unique(a), np.unique(np.concatenate([np.unique(codes) for codes, _ in read]))
    both = np.append(np.intersect1d(in_a, in_b), UNLABELLED)
    _log_ignored(np.setdiff1d(in_a, both), "A", "B'" if len(read) == 1 else "any B'", fine)
    for (codes, _), name in zip(read, sizes_b, strict=True):
        _log_ignored(np.setdiff1d(codes, both), name, "A", fine)
    a, *b = (np.where(np.isin(codes, both), codes, np.int32(IGNORED)) for codes in (a, *(codes for codes, _ in read)))
    named = [source for _, source in read]
    labels = Labels(a, tuple(b), {"mask_a": source_a, "mask_b": named[0] if len(named) == 1 else named}, fine)
    if not labels.keep_apart:
        _log.warning(
            "the masks forbid no match, so the result is the same as without them; paint at least two regions, each in "
            "one colour that both the mask of A and a mask of B' have"
        )
    return labels


def _log_ignored(codes: np.ndarray, name: str, where: str, fine: list[int]) -> None:
    """Log the ignored labels of the mask of `name`, which do not occur in the mask of `where`."""
    if len(codes) > _MOST_NAMED:
        _log.info(
            "%d labels of %s, such as %s and %s, are not in the mask of %s, and are ignored; paint without smooth "
            "edges, and save as PNG", len(codes), name, _colour(codes[0], fine), _colour(codes[-1], fine), where,
        )  # fmt: skip
        return
    for code in codes:
        _log.info("the label %s of %s is not in the mask of %s, and is ignored", _colour(code, fine), name, where)


def constrain_to_labels(backend: Backend, field: Array, maps: LabelMaps, labels: tuple[Array, Array]) -> Array:
    """Return `field` with each forbidden match replaced by an allowed position near it.

    It is the nearest position of the same label, if at most `_MOST_CANDIDATES` positions have this
    label. `labels` are `maps` as arrays of the backend. `nnf.forbidden` says which matches they
    forbid.
    """
    wrong = backend.to_host(nnf.forbidden(field, labels))
    if not wrong.any():
        return field
    fixed = backend.to_host(field).copy()
    for label in np.unique(maps.content[wrong]):
        candidates = np.argwhere(maps.source == label)  # int64, since squares of int32 could overflow
        candidates = candidates[:: -(-len(candidates) // _MOST_CANDIDATES)]
        positions = np.argwhere(wrong & (maps.content == label))
        for part in np.array_split(positions, -(-len(positions) // 1024)):
            rows, columns = part.T
            offset = fixed[rows, columns][:, None] - candidates
            fixed[rows, columns] = candidates[(offset * offset).sum(axis=-1).argmin(axis=1)]
    return backend.asarray(fixed)


def _codes(mask: Any, name: str, size: Size, fine: list[int]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the labels (H, W) of a mask, and its name and checksum.

    The colours of the mask that need 16 bits per channel are appended to `fine`.
    """
    picture, checksum = read_with_checksum(mask, name=name, admit=admission.like(size, "its picture"), grounded=False)
    if picture.size != size:
        raise admission.differs(picture.size, name, size, "its picture")
    codes: np.ndarray
    if picture.rgb16 is None:
        codes = picture.rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    else:
        codes = picture.rgb16.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1], np.int64)
    if picture.alpha is not None:
        codes[picture.alpha < _OPAQUE] = UNLABELLED
    found = np.unique(codes)
    count = len(found)
    if count > MOST_LABELS:
        raise ImageError(
            f"{name} has {count} colours, and at most {MOST_LABELS} are allowed; paint regions in plain colours, "
            "without smooth edges, and save as PNG"
        )
    if picture.rgb16 is not None:
        labels = np.array([_label(int(colour), fine) for colour in found], np.int32)
        codes = labels[np.searchsorted(found, codes)]
    return codes, {"name": picture.name, "sha256": checksum}


def _label(colour: int, fine: list[int]) -> int:
    """Return the label of a colour 0xRRRRGGGGBBBB.

    A colour that 8 bits per channel can hold has the label 0xRRGGBB. Any other colour is added to
    `fine`, and its index there gives its label.
    """
    if colour == UNLABELLED:
        return UNLABELLED
    red, green, blue = ((colour >> shift) & 0xFFFF for shift in (32, 16, 0))
    if not (red % 257 or green % 257 or blue % 257):
        return red // 257 << 16 | green // 257 << 8 | blue // 257
    if colour not in fine:
        fine.append(colour)
    return _FINE + fine.index(colour)


def _colour(label: int, fine: list[int]) -> str:
    return f"#{label:06x}" if label < _FINE else f"#{fine[label - _FINE]:012x}"


def _resize_nearest(labels: np.ndarray, size: Size) -> np.ndarray:
    """Return labels at another size; each position gets the label that lies at its centre."""
    rows = (np.arange(size[0]) * 2 + 1) * labels.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * labels.shape[1] // (2 * size[1])
    return labels[rows[:, None], columns]
