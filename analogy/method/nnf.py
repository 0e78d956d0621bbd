"""Nearest-neighbour fields (NNF): for each position of one picture, its match in the other.

A field is (H, W, 2) int32: [y, x] holds the absolute (row, column) of the match. `search` checks
its arrays before it hands them to the backend's kernels, which never check. Only that every match
lies in the other picture is up to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import MOST_PATCH, ONE, Array, Backend, Pass, Passes, Size
from ..errors import ImageError
from ..progress import Tick, split
from ..settings import FIRST_JUMPS, LATER_JUMPS
from .holding import hold


def max_product(channels: int) -> float:
    """Return the largest product of two joined feature vectors: each is two unit vectors in fixed point, rounded.

    Rounding adds at most 1/2 to each of a vector's channels / 2 numbers, so at most sqrt(channels /
    8) to its length.
    """
    return float(2 * (ONE + (channels / 8) ** 0.5) ** 2)


def identity(backend: Backend, size_a: Size, size_b: Size) -> Array:
    """Return the field that scales picture A onto the whole of B. Sizes are (rows, columns)."""
    whole = backend.asarray(backend.xp.zeros((1, 1, 2), backend.xp.int32))
    return backend.resample(whole, size_a, size_b, size_a, size_b)


def upsample(backend: Backend, nnf: Array, size_a: Size, size_b: Size) -> Array:
    """Return the field of the next finer level (twice the resolution on both sides), for maps of the sizes given.

    Each position takes the match of its parent, and keeps its own place within the parent (section
    4.4).
    """
    return backend.resample(nnf, size_a, size_b, (2, 2), (2, 2))


def enlarge(backend: Backend, nnf: Array, size_b: Size, full_a: Size, full_b: Size, tick: Tick | None = None) -> Array:
    """Return a field, which lies between the sizes nnf.shape[:2] and `size_b`, between the sizes `full_a` and `full_b`."""
    scale_a = (full_a[0] / nnf.shape[0], full_a[1] / nnf.shape[1])
    scale_b = (full_b[0] / size_b[0], full_b[1] / size_b[1])
    return backend.resample(nnf, full_a, full_b, scale_a, scale_b, tick)


def search(backend: Backend, *arguments: Any, **options: Any) -> tuple[Array, Array]:
    """Improve a field by PatchMatch. Arguments and result: see `passes`."""
    (found,) = backend.together([passes(backend, *arguments, **options)])
    return found


def passes(
    backend: Backend,
    a: Array,
    b: Array,
    start: Array,
    *,
    patch: int,
    search_radius: int | None,
    iterations: int,
    seed: int,
    most: float | None = None,
    first_jumps: Sequence[int] = FIRST_JUMPS,
    labels: tuple[Array, Array] | None = None,
    pins: np.ndarray | None = None,
    reach: int = 0,
    frames: Array | None = None,
    tick: Tick | None = None,
) -> Passes[tuple[Array, Array]]:
    """Improve a field by PatchMatch (Barnes et al. 2009): in each iteration propagation with jumps, then random search.

    a, b           (HA, WA, C) and (HB, WB, C) int16, joined features (see `Backend.join`)
    start          (HA, WA, 2) int32, the field to improve
    patch          patch size, odd, at most `MOST_PATCH`
    search_radius  first radius of the random search; None for the whole of `b`
    seed           of the random search
    most           upper bound of the product of any two positions; None for that of joined features
    first_jumps    of the propagation in the first iteration
    labels         as in `Backend.propagate`
    pins, reach    matches that are fixed, and how far around them others go along (see `holding.hold`)
    frames         of `b`, where it holds several pictures (see `Backend`)
    tick           is called at least after each pass

    Returns the field, and the distance of the matched patches, (HA, WA) float32: minus the mean of
    the products over the patch, -2 for a perfect match.

    Departures from Barnes et al.: a pass reads only the field before it, as on a GPU, so that the
    result does not depend on the order in which positions are visited. From the authors' program:
    far jumps in the first iteration alone, since later they find hardly anything; and after the
    last random search what it found is propagated once more. So the same mean distance takes two
    thirds of the time.

    Raises `ImageError` for arrays of another shape, dtype or memory order, and for a patch size
    that is even or too large.
    """
    _check(a, b, start, patch)
    search_radius = search_radius or max(b.shape[:2])
    most = max_product(a.shape[2]) if most is None else most
    jumps = [first_jumps, *[LATER_JUMPS] * iterations]
    passes_left = iter(split(tick, *[1.0] * (1 + sum(map(len, jumps)) + iterations)))
    tick_pass = next(passes_left)
    maps = {"a": a, "b": b, "patch": patch, "frames": frames}
    nnf, distance = start, (yield Pass("distance", maps | {"nnf": start, "tick": tick_pass}))
    if labels:  # a forbidden match is worse than any other
        distance = backend.xp.where(forbidden(start, labels), np.float32(np.inf), distance)
    if pins is not None:
        nnf, distance, held = hold(backend, a, b, start, distance, patch, pins, reach, labels, frames)
    tick_pass(1)
    maps |= {"labels": labels, "max_product": most}
    field_before: dict[int, Array] = {}
    """Jump -> the field that the latest pass with this jump has read."""
    for iteration, of_iteration in enumerate(jumps):
        for jump in of_iteration:
            read = {"nnf": nnf, "distance": distance, "tick": next(passes_left)}
            candidates = {"jump": jump, "offered": field_before.get(jump)}
            nnf, distance = yield Pass("propagate", maps | read | candidates)
            field_before[jump] = read["nnf"]
            read["tick"](1)
        if iteration < iterations:
            read = {"nnf": nnf, "distance": distance, "tick": next(passes_left)}
            candidates = {"search_radius": search_radius, "seed": seed, "iteration": iteration}
            nnf, distance = yield Pass("random_search", maps | read | candidates)
            read["tick"](1)
    return nnf, distance if pins is None else held.restore(backend, nnf, distance)


def _check(a: Array, b: Array, start: Array, patch: int) -> None:
    for name, array, dtype in (("a", a, np.int16), ("b", b, np.int16), ("start", start, np.int32)):
        if array.ndim != 3 or array.dtype != dtype or not array.flags.c_contiguous:
            raise ImageError(
                f"{name} is {array.dtype} {array.shape}; it takes three axes of {np.dtype(dtype)}, contiguous"
            )
    if a.shape[2] != b.shape[2]:
        raise ImageError(f"a has {a.shape[2]} channels and b {b.shape[2]}; they must be equal")
    if start.shape != (*a.shape[:2], 2):
        raise ImageError(f"start is {start.shape}; for a of {a.shape} it must be {(*a.shape[:2], 2)}")
    if patch % 2 == 0 or not 0 < patch <= MOST_PATCH:
        raise ImageError(f"patch is {patch}; it must be odd, and at most {MOST_PATCH}")


def forbidden(nnf: Array, labels: tuple[Array, Array]) -> Array:
    """Return where a field joins positions whose labels do not let them match (see `Backend.propagate`), (H, W) bool."""
    one, other = labels[0], labels[1][nnf[..., 0], nnf[..., 1]]
    return (one != other) & (one >= 0) & (other >= 0)
