"""Nearest-neighbour fields (NNF): for each position of one picture, its match in the other.

A field is (H, W, 2) int32: [y, x] holds the absolute (row, column) of the match. `search` checks its arrays before it
hands them to the backend's kernels, which never check. Only that every match lies in the other picture is up to the
caller.
"""

from __future__ import annotations

import numpy as np

from ..backends import Array, Backend, Size, Tick
from ..errors import ImageError
from ..settings import PROPAGATION_JUMPS
from .progress import split

MAX_PRODUCT = 2.0001
"""The largest product of two joined feature vectors: each is two unit vectors, and there is a little for rounding."""


def identity(backend: Backend, size_a: Size, size_b: Size) -> Array:
    """The field that scales picture A onto the whole of B. Sizes are (rows, columns)."""
    whole = backend.asarray(backend.xp.zeros((1, 1, 2), backend.xp.int32))
    return backend.resample(whole, size_a, size_b, size_a, size_b)


def upsample(backend: Backend, nnf: Array, size_a: Size, size_b: Size) -> Array:
    """The field of the next finer level (twice the resolution on both sides), for maps of the sizes given.

    Each position takes the match of its parent, and keeps its own place within the parent (section 4.4).
    """
    return backend.resample(nnf, size_a, size_b, (2, 2), (2, 2))


def enlarge(backend: Backend, nnf: Array, size_b: Size, full_a: Size, full_b: Size, tick: Tick | None = None) -> Array:
    """The field between pictures of sizes `full_a` and `full_b`, from one between the sizes nnf.shape[:2] and `size_b`."""
    scale_a = (full_a[0] / nnf.shape[0], full_a[1] / nnf.shape[1])
    scale_b = (full_b[0] / size_b[0], full_b[1] / size_b[1])
    return backend.resample(nnf, full_a, full_b, scale_a, scale_b, tick)


def search(
    backend: Backend,
    a: Array,
    b: Array,
    start: Array,
    *,
    patch: int,
    search_radius: int | None,
    iterations: int,
    seed: int,
    max_product: float = MAX_PRODUCT,
    labels: tuple[Array, Array] | None = None,
    tick: Tick | None = None,
) -> tuple[Array, Array]:
    """Improve a field by PatchMatch (Barnes et al. 2009): in each iteration propagation with jumps, then random search.

    a, b           (HA, WA, C) and (HB, WB, C) float32, joined features (see `Backend.join`)
    start          (HA, WA, 2) int32, the field to improve
    patch          patch size, odd
    search_radius  first radius of the random search; None for the whole of `b`
    seed           of the random search
    max_product    upper bound of the product of any two positions
    labels         as in `Backend.propagate`
    tick           is told the share of the search that is done, at least after each pass

    Returns the field, and the distance of the matched patches, (HA, WA) float32: minus the mean of the products over the
    patch, -2 for a perfect match. Departure from Barnes et al.: a pass reads only the field before it, as on a GPU, so that
    the result does not depend on the order in which positions are visited.

    Raises `ImageError` for arrays of another shape, dtype or memory order, and for an even patch size.
    """
    _check(a, b, start, patch)
    search_radius = search_radius or max(b.shape[:2])
    passes = iter(split(tick, *[1.0] * (1 + iterations * (len(PROPAGATION_JUMPS) + 1))))
    heard = next(passes)
    nnf, distance = start, backend.distance(a, b, start, patch, heard)
    if labels:  # a forbidden match is worse than any other
        distance = backend.xp.where(forbidden(start, labels), np.float32(np.inf), distance)
    heard(1)
    offered: dict[int, Array] = {}
    for iteration in range(iterations):
        for jump in PROPAGATION_JUMPS:
            before, earlier, heard = nnf, offered.get(jump), next(passes)
            nnf, distance = backend.propagate(a, b, nnf, distance, patch, jump, max_product, labels, earlier, heard)
            offered[jump] = before
            heard(1)
        heard = next(passes)
        nnf, distance = backend.random_search(
            a, b, nnf, distance, patch, search_radius, seed, iteration, max_product, labels, heard
        )
        heard(1)
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
    """(H, W) bool: where a field joins positions whose labels do not let them match (see `Backend.propagate`)."""
    one, other = labels[0], labels[1][nnf[..., 0], nnf[..., 1]]
    return (one != other) & (one >= 0) & (other >= 0)
