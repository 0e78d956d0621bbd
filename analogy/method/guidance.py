"""Guidance by label pictures: one colour is one region, and positions match only within the same region.

What is transparent in a label picture has no label: it matches anything, and no label matches it.
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
"""Most colours of a label picture; one with more is a photograph, or the edges of its regions are smoothed."""
_MOST_CANDIDATES = 4096
"""Most positions of a region among which the nearest is sought; the search improves on the match."""
_MOST_NAMED = 8
"""Most labels that are named one by one."""
IGNORED, UNLABELLED = -1, -2
"""Codes of places that have a label which the other mask lacks, and of places that are transparent."""
_OPAQUE = 128
"""Least alpha (0 to 255) of a place that has a label. Brushes with soft edges leave some transparency around a region."""
_NO_LABEL = 1 << 24
"""The code of `UNLABELLED` places of a source: a label that no place of a content has."""
_FINE = _NO_LABEL + 1
"""Code of the first colour that 8 bits per channel cannot hold; the next such colours have the next codes."""


@dataclass(frozen=True)
class Labels:
    """The labels of a content (HA, WA) and of each of its sources (HB, WB), int32, at full size.

    content, sources  0xRRGGBB of each place; `UNLABELLED` or `IGNORED`; or, for a colour that needs 16 bits per channel, a
                      greater number that stands for it in all
    masks             "mask_a" and "mask_b" -> the name and the SHA-256 of the label picture; of several, a list
    fine              0xRRRRGGGGBBBB of each colour that needs 16 bits, in the order of their numbers
    """

    content: np.ndarray
    sources: tuple[np.ndarray, ...]
    masks: dict[str, Any] = field(default_factory=dict)
    fine: list[int] = field(default_factory=list)

    def to(self, index: int) -> Labels:
        """Return the labels of the content and of one of the sources alone."""
        return replace(self, sources=(self.sources[index],))

    def reversed(self) -> Labels:
        """Return the same labels with content and source, of which there is one, in each other's place."""
        (source,) = self.sources
        return replace(self, content=source, sources=(self.content,))

    def at(self, content: Size, sheet: Sheet) -> LabelMaps:
        """Return the labels of a content of a size (rows, columns), and of its sources as they lie on a sheet.

        A place of the content without a label gets a negative one, which matches anything; so does
        a label that vanished on one side. A place of the source without a label gets a label that
        no other place has.
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
        """True where some two places may not match."""
        found = np.unique(np.concatenate([self.content.ravel(), *(source.ravel() for source in self.sources)]))
        return bool((found >= 0).any() and (found != IGNORED).sum() > 1)


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Labels as a search takes them (see `Backend.propagate`), on the host: of the content (h, w) and of the sheet, int32."""

    content: np.ndarray
    source: np.ndarray

    def on(self, backend: Backend) -> tuple[Array, Array]:
        """Return both as arrays of the backend."""
        return backend.asarray(self.content), backend.asarray(self.source)


def read_labels(mask_a: Any, masks_b: Sequence[Any] | None, size_a: Size, sizes_b: Mapping[str, Size]) -> Labels | None:
    """Read label pictures (anything that `read_picture` takes): of A, and one for each of the pictures B'.

    size_a, sizes_b  the sizes of A, and of B' by the names of the pictures; the masks must have these sizes, too

    Returns None without masks; `Request` refuses one without the other. What is more than half
    transparent has no label. A colour that only one mask has is ignored, with one logged line, or
    one for all of a mask where these are many. Masks that keep nothing apart are logged, too. Of a
    mask of 16 bits, colours that differ in any bit are different labels.

    Raises `ImageError` if a size differs, or if a mask has more than `MOST_LABELS` colours.
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
    _tell_ignored(np.setdiff1d(in_a, both), "A", "B'" if len(read) == 1 else "any B'", fine)
    for (codes, _), name in zip(read, sizes_b, strict=True):
        _tell_ignored(np.setdiff1d(codes, both), name, "A", fine)
    a, *b = (np.where(np.isin(codes, both), codes, np.int32(IGNORED)) for codes in (a, *(codes for codes, _ in read)))
    named = [source for _, source in read]
    labels = Labels(a, tuple(b), {"mask_a": source_a, "mask_b": named[0] if len(named) == 1 else named}, fine)
    if not labels.keep_apart:
        _log.warning(
            "the masks keep nothing apart, and the result is the one without them: paint at least two regions, each in one "
            "colour that the mask of A and a mask of B' have"
        )
    return labels


def _tell_ignored(codes: np.ndarray, name: str, where: str, fine: list[int]) -> None:
    """Log which labels of the mask called `name` are ignored, since the mask of `where` lacks them."""
    if len(codes) > _MOST_NAMED:
        _log.info(
            "%d labels of %s, such as %s and %s, are not in the mask of %s; they are ignored: paint without smooth "
            "edges, and save as PNG", len(codes), name, _colour(codes[0], fine), _colour(codes[-1], fine), where,
        )  # fmt: skip
        return
    for code in codes:
        _log.info("the label %s of %s is not in the mask of %s; it is ignored", _colour(code, fine), name, where)


def constrain_to_labels(backend: Backend, field: Array, maps: LabelMaps, labels: tuple[Array, Array]) -> Array:
    """Return `field` with each match that the labels forbid replaced by an allowed one near it (see `nnf.forbidden`).

    labels  `maps` as arrays of the backend
    """
    wrong = backend.to_host(nnf.forbidden(field, labels))
    if not wrong.any():
        return field
    fixed = backend.to_host(field).copy()
    for label in np.unique(maps.content[wrong]):
        candidates = np.argwhere(maps.source == label).astype(np.int32)
        candidates = candidates[:: -(-len(candidates) // _MOST_CANDIDATES)]
        positions = np.argwhere(wrong & (maps.content == label))
        for part in np.array_split(positions, -(-len(positions) // 1024)):
            rows, columns = part.T
            offset = fixed[rows, columns][:, None] - candidates
            fixed[rows, columns] = candidates[(offset * offset).sum(axis=-1).argmin(axis=1)]
    return backend.asarray(fixed)


def _codes(mask: Any, name: str, size: Size, fine: list[int]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the labels of a mask, and its name and checksum. Colours that need 16 bits are added to `fine`."""
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
            f"{name} has {count} colours; paint regions in plain colours, without smooth edges, and save as PNG"
        )
    if picture.rgb16 is not None:
        labels = np.array([_label(int(colour), fine) for colour in found], np.int32)
        codes = labels[np.searchsorted(found, codes)]
    return codes, {"name": picture.name, "sha256": checksum}


def _label(colour: int, fine: list[int]) -> int:
    """Return the label of a colour 0xRRRRGGGGBBBB: that of 8 bits where it is one, else one by its place in `fine`."""
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
    """Return labels at another size: each position takes the label at its centre."""
    rows = (np.arange(size[0]) * 2 + 1) * labels.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * labels.shape[1] // (2 * size[1])
    return labels[rows[:, None], columns]
