"""Photo refinement: the colours of A' with the edges and the details of A.

Liao et al. 2017 use it for transfers from photo to photo.

    A'_refined = A + WLS(A') - WLS(A) = A + WLS(A' - A)

WLS(g) is the edge-preserving smoothing of Farbman et al. 2008 ("Edge-Preserving Decompositions for
Multi-Scale Tone and Detail Manipulation"): the u that minimises

    sum_i (u_i - g_i)^2  +  sum_(i, j) k_ij (u_i - u_j)^2

    k_ij = LAMBDA / (|l_i - l_j|^alpha + EPSILON)

over pairs (i, j) of neighbours, with alpha = 1. WLS is linear in g, so it is enough to smooth the
difference A' - A. The guide l is the grey of A in 0..1, as in the authors' program; Farbman et al.
use the logarithm of the grey. The constants are those of the authors' program, and suit its guide.
The minimum is the solution of a linear system. Conjugate gradients solve the system for the three
channels together. They start from an estimate on coarser grids, and one cycle of multigrid is their
preconditioner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import log

import numpy as np

from ..backends import Array, Backend
from ..errors import ImageError
from ..progress import Tick, ignore, split
from .bands import in_bands
from .multigrid import Multigrid

LAMBDA = 0.8
"""Strength of the smoothing, as in the authors' program."""
EPSILON = 1e-4
"""Constant that limits the weights k_ij to LAMBDA / EPSILON, as in the authors' program."""
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601), as in OpenCV and the authors' program."""
TOLERANCE = 2e-5
"""Largest estimated error of an accepted solution, whose values lie in -1..1.

In four photographs no value had an error of more than twice this number. Where the guide has
winding bands one pixel wide, some values have far larger errors. Pictures with 8 bits per channel
have a larger limit, `_LEVELS`.
"""
_LEVELS = 0.25
"""Largest estimated error of an accepted solution for 8-bit pictures, in units of 1 / 255."""
MOST_ITERATIONS = 100
"""Maximum number of iterations of a solution.

Photographs with 8 bits per channel take 3 or 4 iterations, those with 16 bits take 7 or 8. Fine
black and white patterns may take the maximum, and their results are then less exact.
"""

_log = logging.getLogger("analogy")


def refine(backend: Backend, a: Array, a_prime: Array, tick: Tick = ignore) -> Array:
    """Return `a_prime` with the edges and details of `a`.

    The result is a + WLS(a_prime - a), rounded and clipped. The refinement takes about 140 bytes of
    memory per pixel (see `memory`).

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    a, a_prime
        (H, W, 3) RGB, both uint8 or both uint16.
    tick
        Called after each step of an iteration, with the share of the work that is done.

    Returns
    -------
    refined
        An array of the backend, with the shape and dtype of `a`.

    Raises
    ------
    ImageError
        If an array has a wrong shape or dtype, or if the two arrays differ in shape or dtype.
    """
    if a.shape != a_prime.shape or a.ndim != 3 or a.shape[2] != 3 or 0 in a.shape:
        raise ImageError(
            f"cannot refine a picture of shape {a_prime.shape} with a picture of shape {a.shape}; both must have the "
            "same shape (H, W, 3)"
        )
    if a.dtype != a_prime.dtype or a.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"cannot refine a picture of {a_prime.dtype} with a picture of {a.dtype}; both must be uint8, or both "
            "uint16"
        )
    xp = backend.xp
    a, a_prime = backend.asarray(a), backend.asarray(a_prime)
    height, width = a.shape[:2]
    white = np.float32(np.iinfo(a.dtype).max)
    of_guide, of_grids, of_change, of_solving, after = split(tick, 0.5, 4, 0.5, 10, 1)
    refined = xp.empty_like(a)

    def compare(rows: slice) -> None:
        for c in range(3):
            xp.subtract(a_prime[rows, :, c], a[rows, :, c], out=change[c, rows], dtype=xp.float32)
            change[c, rows] /= white

    def finish(rows: slice) -> None:
        for c in range(3):
            smooth = smoothed[c, rows] * white
            smooth += a[rows, :, c]
            refined[rows, :, c] = xp.rint(xp.clip(smooth, 0, white))

    wls = WLS(backend, _grey(backend, a, white, of_guide), between_steps=partial(of_grids, 0.5))
    of_grids(1)
    change = wls.g
    in_bands(backend, height, width, compare, of_change)
    smoothed = wls.solve(of_solving, max(TOLERANCE, _LEVELS / float(white)))
    in_bands(backend, height, width, finish, after)
    return refined


def _grey(backend: Backend, a: Array, white: np.float32, tick: Tick) -> Array:
    """Return the grey of a picture, (H, W) float32 in 0..1."""
    height, width = a.shape[:2]
    grey = backend.xp.zeros((height, width), backend.xp.float32)

    def add(rows: slice) -> None:
        for c in range(3):
            grey[rows] += a[rows, :, c] * (np.float32(GREY[c]) / white)

    in_bands(backend, height, width, add, tick)
    return grey


class WLS:
    """Edge-preserving smoothing with one guide, for any number of pictures.

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    guide
        (H, W) float32 in 0..1.
    between_steps
        Called between the steps that prepare the smoothing.
    """

    g: Array
    """Picture to smooth, (3, H, W) float32 in -1..1, which `solve` overwrites."""

    def __init__(self, backend: Backend, guide: Array, between_steps: Callable[[], None] = lambda: None):
        self._backend = backend
        self.size = height, width = guide.shape
        self.iterations = 0
        """Number of iterations in the latest call of `solve`."""
        # Multigrid needs odd sides: an even side gets one more row or column, coupled to nothing.
        form = backend.xp.zeros((3, max(height | 1, 3), max(width | 1, 3)), backend.xp.float32)

        def couple(rows: slice) -> None:
            form[0, rows] = 1
            form[1, rows, : width - 1] = self._couplings(guide[rows, :-1], guide[rows, 1:])
            above, below = guide[rows], guide[rows.start + 1 : rows.stop + 1]
            form[2, rows.start : rows.start + len(below), :width] = self._couplings(above[: len(below)], below)

        in_bands(backend, height, width, couple, lambda share: between_steps())
        form[0, height:] = 1
        self._grids = Multigrid(backend, form, between_steps)
        self._grids.f[...] = 0
        self.g = self._grids.f[:, :height, :width]

    @staticmethod
    def _couplings(one: Array, other: Array) -> Array:
        return np.float32(LAMBDA) / (abs(one - other) + np.float32(EPSILON))

    def solve(self, tick: Tick = ignore, tolerance: float = TOLERANCE) -> Array:
        """Return WLS(g) as a new array (3, H, W).

        If the estimated error still exceeds `tolerance` after `MOST_ITERATIONS`, a line is logged.
        `tick` is called between the steps of an iteration, with the share of the work that is done.
        The share is estimated from the logarithm of the error. Only one call may run at a time.
        """
        backend, xp, grids = self._backend, self._backend.xp, self._grids
        r, z, q = grids.f, grids.u, grids.space
        u, p = grids.estimate(partial(tick, 0.0)), xp.zeros_like(r)
        grids.residual(r, u, q)
        backend.combine(1.0, q, 0.0, r)
        rho_before, before, ratio_before, first, share = np.inf, 0.0, 0.0, 0.0, 0.0
        for iteration in range(1, MOST_ITERATIONS + 1):
            self.iterations = iteration
            grids.cycle(partial(tick, share))
            high, low, rho = xp.stack([z.max(), z.min(), xp.vdot(r, z)]).tolist()  # copied together
            correction = max(high, -low)
            if correction == 0:
                break
            backend.combine(1.0, z, rho / rho_before, p)
            rho_before = rho
            grids.residual(None, p, q)  # q = - A p, where A is the matrix of the system
            step = -rho / float(xp.vdot(p, q))
            backend.combine(step, p, 1.0, u)
            # The error is estimated as the sum of all later corrections, on the assumption that the
            # ratio of each correction to the previous one is the larger of the last two ratios.
            ratio = correction / before if before else 0.5
            slower, ratio_before, before = max(ratio, ratio_before), ratio, correction
            error = correction * slower / (1 - slower) if slower < 1 else np.inf
            if error < tolerance:
                break
            backend.combine(step, q, 1.0, r)
            first = first or max(error, 2 * tolerance)
            share = max(share, log(first / min(error, first)) / log(first / tolerance))
            tick(share)
        else:
            _log.info(
                "photo refinement: stopped after %d iterations; values (0 to 1) may be off by %.1g", iteration, error
            )
        tick(1)
        return u[:, : self.size[0], : self.size[1]]
