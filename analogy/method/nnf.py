"""Nearest-neighbour fields: where in the other picture each position finds its match.

A field is (H, W, 2) int32: [y, x] holds the absolute (row, column) of the match. `search` checks its arrays before it hands
them to the backend's kernels, which never check: that every match lies in the other picture is up to the caller.
"""

from __future__ import annotations

import numpy as np

from ..backends import Array, Backend, Size
from ..errors import ImageError
from ..settings import JUMPS

PEAK = 2.0001
"""No product of two joined feature vectors is larger: two unit vectors each, and a little for rounding."""


def identity(backend: Backend, size_a: Size, size_b: Size) -> Array:
    """The field that maps picture A onto the whole of B by scaling alone; sizes are (rows, columns)."""
    whole = backend.asarray(backend.xp.zeros((1, 1, 2), backend.xp.int32))
    return backend.resample(whole, size_a, size_b, size_a, size_b)


def upsample(backend: Backend, nnf: Array, size_a: Size, size_b: Size) -> Array:
    """The field of the next finer level (twice the resolution on both sides), for maps of the sizes given.

    Each position takes its parent's match and keeps its own place within it.
    """
    return backend.resample(nnf, size_a, size_b, (2, 2), (2, 2))


def enlarge(backend: Backend, nnf: Array, size_b: Size, full_a: Size, full_b: Size) -> Array:
    """The field between the full-size pictures, from one between pictures scaled down to nnf.shape[:2] and `size_b`."""
    scale_a = (full_a[0] / nnf.shape[0], full_a[1] / nnf.shape[1])
    scale_b = (full_b[0] / size_b[0], full_b[1] / size_b[1])
    return backend.resample(nnf, full_a, full_b, scale_a, scale_b)


def search(
    backend: Backend,
    a: Array,
    b: Array,
    start: Array,
    *,
    patch: int,
    reach: int | None,
    iterations: int,
    seed: int,
    peak: float = PEAK,
    labels: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Improve a field by PatchMatch (Barnes et al. 2009): rounds of propagation with jumps, then random search.

    `a` (HA, WA, C) and `b` (HB, WB, C) float32 are joined features, `start` (HA, WA, 2) int32; `patch` is odd; `reach` is
    the first radius of the random search, None for everything; no product of two positions may exceed `peak`; `labels`
    as in `Backend.propagate`. Returns the field and its distance (HA, WA) float32:
    minus the mean over the patch of the products, -2 for a perfect match. Departure from Barnes et al.: a pass reads only
    the field before it (as on a GPU), so the result does not depend on the order in which positions are visited.
    Raises `ImageError` for arrays of other shapes, dtypes or memory orders, and for an even patch.
    """
    _check(a, b, start, patch)
    reach = reach or max(b.shape[:2])
    nnf, distance = start, backend.distance(a, b, start, patch)
    if labels:  # a forbidden match is worse than any other
        distance = backend.xp.where(forbidden(start, labels), np.float32(np.inf), distance)
    for iteration in range(iterations):
        for jump in JUMPS:
            nnf, distance = backend.propagate(a, b, nnf, distance, patch, jump, peak, labels)
        nnf, distance = backend.random_search(a, b, nnf, distance, patch, reach, seed, iteration, peak, labels)
    return nnf, distance


def _check(a: Array, b: Array, start: Array, patch: int) -> None:
    for name, array, dtype in (("a", a, np.float32), ("b", b, np.float32), ("start", start, np.int32)):
        if array.ndim != 3 or array.dtype != dtype or not array.flags.c_contiguous:
            raise ImageError(
                f"{name} is {array.dtype} {array.shape}; it takes three axes of {np.dtype(dtype)}, contiguous"
            )
    if a.shape[2] != b.shape[2]:
        raise ImageError(f"a has {a.shape[2]} channels and b {b.shape[2]}; they must be equal")
    if start.shape != (*a.shape[:2], 2):
        raise ImageError(f"start is {start.shape}; for a of {a.shape} it must be {(*a.shape[:2], 2)}")
    if patch % 2 == 0:
        raise ImageError(f"patch is {patch}; it must be odd")


def forbidden(nnf: Array, labels: tuple[Array, Array]) -> Array:
    """(H, W) bool: where a field joins positions whose labels (see `Backend.propagate`) must not match."""
    one, other = labels[0], labels[1][nnf[..., 0], nnf[..., 1]]
    return (one != other) & (one >= 0) & (other >= 0)
