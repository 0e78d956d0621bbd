"""Nearest-neighbour fields (NNF): their resampling, and their search by PatchMatch.

A field holds the match of each position of one picture in the other picture. It is (H, W, 2) int32:
[y, x] holds the row and the column of the match. The search checks shapes and dtypes before it
calls the kernels of the backend, which check nothing. The caller must ensure that every match lies
in the other picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import MOST_PATCH, ONE, Array, Backend, Pass, Passes, Size
from ..errors import ImageError
from ..progress import Tick, split
from ..settings import FIRST_JUMPS, LATER_JUMPS
from .holding import FIXED, hold


def max_product(channels: int) -> float:
    """Return an upper bound of the product of two joined feature vectors.

    Each feature vector consists of two unit vectors in fixed point. Rounding changes each of the
    channels / 2 numbers of a unit vector by at most 1/2, and so its length by at most
    sqrt(channels / 8).
    """
    return float(2 * (ONE + (channels / 8) ** 0.5) ** 2)


def identity(backend: Backend, size_a: Size, size_b: Size) -> Array:
    """Return the field that maps each position of A to the proportional position of B.

    Sizes are (rows, columns).
    """
    whole = backend.asarray(backend.xp.zeros((1, 1, 2), backend.xp.int32))
    return backend.resample(whole, size_a, size_b, size_a, size_b)


def upsample(backend: Backend, nnf: Array, size_a: Size, size_b: Size) -> Array:
    """Return a field upsampled to the next finer level.

    The maps of that level have the sizes `size_a` and `size_b`. Each position of the coarser level
    becomes 2 x 2 positions, whose matches are the 2 x 2 positions that its match becomes (section
    4.4).
    """
    return backend.resample(nnf, size_a, size_b, (2, 2), (2, 2))


def enlarge(backend: Backend, nnf: Array, size_b: Size, full_a: Size, full_b: Size, tick: Tick | None = None) -> Array:
    """Return a field enlarged to pictures of the sizes `full_a` and `full_b`.

    Before the enlargement, A has the size `nnf.shape[:2]`, and B has the size `size_b`.
    """
    scale_a = (full_a[0] / nnf.shape[0], full_a[1] / nnf.shape[1])
    scale_b = (full_b[0] / size_b[0], full_b[1] / size_b[1])
    return backend.resample(nnf, full_a, full_b, scale_a, scale_b, tick)


def search(backend: Backend, *arguments: Any, **options: Any) -> tuple[Array, Array]:
    """Improve a field by PatchMatch, with the arguments and the result of `passes`."""
    (found,) = backend.run_together([passes(backend, *arguments, **options)])
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
    only: Array | None = None,
    tick: Tick | None = None,
) -> Passes[tuple[Array, Array]]:
    """Improve a field by PatchMatch (Barnes et al. 2009), as passes for `Backend.run_together`.

    Each iteration is a propagation with several jumps, and then a random search.

    Departure from Barnes et al.: a pass reads only the field before the pass, so that the result
    does not depend on the order of positions, and a GPU can run it. Departures from the authors'
    program: far jumps occur in the first iteration only, because later they improve little; and one
    more propagation follows the last random search. With these two departures, the search reaches
    the same mean distance in two thirds of the time that it takes without them.

    Parameters
    ----------
    backend
        The backend that runs the passes.
    a, b
        (HA, WA, C) and (HB, WB, C) int16, joined features (see `Backend.join`).
    start
        (HA, WA, 2) int32, the field to improve.
    patch
        Side of a patch, odd, at most `MOST_PATCH`.
    search_radius
        First radius of the random search, in positions; None for the larger side of `b`.
    iterations
        Number of iterations.
    seed
        Seed of the random search.
    most
        Upper bound of the product of a vector of `a` and a vector of `b`, by which the kernels can
        reject a candidate before they have read its whole patch; None for the bound of joined
        features.
    first_jumps
        Jumps of the propagation in the first iteration, in positions.
    labels
        Labels that limit the matches (see `Backend.propagate`), or None.
    pins, reach
        Pinned matches, and the radius around them in which positions prefer their offsets (see
        `holding.hold`).
    frames
        Frames of `b` if it holds several pictures (see `Backend`), or None.
    only
        (HA, WA) bool, True where a match may change; None if all matches may change.
    tick
        Called after each pass, and by some backends also during a pass, with the share of the work
        that is done.

    Returns
    -------
    nnf, distance
        The field (HA, WA, 2) int32, and the patch distance of each match, (HA, WA) float32: minus
        the mean product over the patch, -2 for a perfect match; `holding.FIXED` outside `only`.

    Raises
    ------
    ImageError
        If an array has a wrong shape, dtype or memory order, or if `patch` is even or too large.
    """
    _check(a, b, start, patch)
    search_radius = search_radius or max(b.shape[:2])
    most = max_product(a.shape[2]) if most is None else most
    jumps = [first_jumps, *[LATER_JUMPS] * iterations]
    passes_left = iter(split(tick, *[1.0] * (1 + sum(map(len, jumps)) + iterations)))
    tick_pass = next(passes_left)
    maps = {"a": a, "b": b, "patch": patch, "frames": frames}
    nnf, distance = start, (yield Pass("distance", maps | {"nnf": start, "tick": tick_pass}))
    if labels:  # so that any allowed candidate replaces a forbidden match
        distance = backend.xp.where(forbidden(start, labels), np.float32(np.inf), distance)
    if only is not None:
        distance = backend.xp.where(only, distance, FIXED)
    if pins is not None:
        nnf, distance, held = hold(backend, a, b, start, distance, patch, pins, reach, labels, frames)
    tick_pass(1)
    maps |= {"labels": labels, "max_product": most}
    previous_fields: dict[int, Array] = {}
    """Jump -> the input field of the latest propagation with this jump.

    It lets the kernels skip candidates that have not changed since that pass.
    """
    for iteration, of_iteration in enumerate(jumps):
        for jump in of_iteration:
            read = {"nnf": nnf, "distance": distance, "tick": next(passes_left)}
            candidates = {"jump": jump, "previous_field": previous_fields.get(jump)}
            nnf, distance = yield Pass("propagate", maps | read | candidates)
            previous_fields[jump] = read["nnf"]
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
                f"{name} is {array.dtype} {array.shape}; it must be a C-contiguous {np.dtype(dtype)} array "
                "with three axes"
            )
    if a.shape[2] != b.shape[2]:
        raise ImageError(f"a has {a.shape[2]} channels and b has {b.shape[2]}; the numbers must be equal")
    if start.shape != (*a.shape[:2], 2):
        raise ImageError(f"start is {start.shape}; for a of {a.shape} it must be {(*a.shape[:2], 2)}")
    if patch % 2 == 0 or not 0 < patch <= MOST_PATCH:
        raise ImageError(f"patch is {patch}; it must be odd, and at most {MOST_PATCH}")


def forbidden(nnf: Array, labels: tuple[Array, Array]) -> Array:
    """Return a mask (H, W) that is True where the labels forbid the match of a field.

    A label forbids matches with any other label, but a negative label allows all matches (see
    `Backend.propagate`).
    """
    one, other = labels[0], labels[1][nnf[..., 0], nnf[..., 1]]
    return (one != other) & (one >= 0) & (other >= 0)
