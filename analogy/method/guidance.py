"""Guidance by label pictures: one colour is one region, and positions match only within the same region."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import Array, Backend, Size
from ..errors import ImageError
from ..pictures.reading import read_picture
from . import admission, nnf

_log = logging.getLogger("analogy")

MOST_LABELS = 256
"""A label picture with more colours is a photograph, or the edges of its regions are smoothed."""
_MOST_CANDIDATES = 4096
"""Positions of a region among which the nearest is sought, in place of all; the search improves on it."""


@dataclass(frozen=True)
class Labels:
    """Labels of A (HA, WA) and of B' (HB, WB), int32, at full size. A negative label matches anything."""

    a: np.ndarray
    b: np.ndarray

    def at(self, backend: Backend, size_a: Size, size_b: Size) -> tuple[Array, Array]:
        """The labels at the sizes of a level, as arrays of the backend. A label that vanished on one side becomes negative."""
        a, b = _resize_nearest(self.a, size_a), _resize_nearest(self.b, size_b)
        both = np.intersect1d(a, b)
        a, b = (np.where(np.isin(labels, both), labels, np.int32(-1)) for labels in (a, b))
        return backend.asarray(a), backend.asarray(b)


def read_labels(mask_a: Any, mask_b: Any, size_a: Size, size_b: Size) -> Labels | None:
    """Read two label pictures (anything that `read_picture` takes), which must have the sizes of A and B'.

    Returns None without masks. A colour that only one of them has is ignored, with one logged line.

    Raises `ImageError` if only one mask is given, if a size differs, or if a mask has more than `MOST_LABELS` colours.
    """
    if mask_a is None and mask_b is None:
        return None
    if mask_a is None or mask_b is None:
        given, lacking = ("A", "B'") if mask_b is None else ("B'", "A")
        raise ImageError(f"there is a mask for {given} and none for {lacking}; give both, or none")
    a, b = _codes(mask_a, "the mask of A", size_a), _codes(mask_b, "the mask of B'", size_b)
    for one, other, name, where in ((a, b, "A", "B'"), (b, a, "B'", "A")):
        for code in np.setdiff1d(one, other):
            _log.info("the label #%06x of %s is not in the mask of %s; it is ignored", code, name, where)
    both = np.intersect1d(a, b)
    a, b = (np.where(np.isin(codes, both), codes, np.int32(-1)) for codes in (a, b))
    return Labels(a, b)


def constrain_to_labels(backend: Backend, field: Array, labels: tuple[Array, Array]) -> Array:
    """`field`, with each match that the labels forbid replaced by an allowed one near it (see `nnf.forbidden`)."""
    wrong = backend.to_host(nnf.forbidden(field, labels))
    if not wrong.any():
        return field
    fixed = backend.to_host(field).copy()
    a, b = (backend.to_host(side) for side in labels)
    for label in np.unique(a[wrong]):
        candidates = np.argwhere(b == label).astype(np.int32)
        candidates = candidates[:: -(-len(candidates) // _MOST_CANDIDATES)]
        positions = np.argwhere(wrong & (a == label))
        for part in np.array_split(positions, -(-len(positions) // 1024)):
            rows, columns = part.T
            offset = fixed[rows, columns][:, None] - candidates
            fixed[rows, columns] = candidates[(offset * offset).sum(axis=-1).argmin(axis=1)]
    return backend.asarray(fixed)


def _codes(mask: Any, name: str, size: Size) -> np.ndarray:
    rgb = read_picture(mask, name=name, admit=admission.like(size, "its picture")).rgb
    if rgb.shape[:2] != size:
        raise admission.differs(rgb.shape[:2], name, size, "its picture")
    codes = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    count = len(np.unique(codes))
    if count > MOST_LABELS:
        raise ImageError(
            f"{name} has {count} colours; paint regions in plain colours, without smooth edges, and save as PNG"
        )
    return codes


def _resize_nearest(labels: np.ndarray, size: Size) -> np.ndarray:
    """Labels at another size: each position takes the label at its centre."""
    rows = (np.arange(size[0]) * 2 + 1) * labels.shape[0] // (2 * size[0])
    columns = (np.arange(size[1]) * 2 + 1) * labels.shape[1] // (2 * size[1])
    return labels[rows[:, None], columns]
