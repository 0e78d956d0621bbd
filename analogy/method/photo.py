"""Photo refinement: the colours of A' with the edges and the details of A (Liao et al. 2017, for photo to photo).

    A'_refined = A + WLS(A') - WLS(A) = A + WLS(A' - A)

WLS(g) is the edge-preserving smoothing of Farbman et al. 2008 ("Edge-Preserving Decompositions for Multi-Scale Tone and
Detail Manipulation"): the u that minimises

    sum_i (u_i - g_i)^2  +  sum_(i, j) k_ij (u_i - u_j)^2,     k_ij = LAMBDA / (|l_i - l_j|^alpha + EPSILON)

over pairs (i, j) of neighbours, with alpha = 1. It is linear in g, so one smoothing, of the difference, is enough. The
guide l is the grey of A in 0..1, as in the authors' program, for which the constants are made; Farbman et al. take its
logarithm. The system is solved by conjugate gradients with one cycle of multigrid as the preconditioner, on
`backend.xp`, from an estimate on coarser grids, each channel in a thread of its own where the device is the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import log

import numpy as np

from ..backends import Array, Backend, Tick
from ..errors import ImageError
from .multigrid import Multigrid
from .progress import ignore, side_by_side, split

LAMBDA, EPSILON = 0.8, 1e-4
"""Strength of the smoothing, and what bounds its weights (constants of the authors' released program)."""
GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601; OpenCV's, which the authors' program uses)."""
TOLERANCE = 2e-5
"""The solution is accepted when a multigrid cycle changes no value (they are in -1..1) by this much, ..

The error may be 30 times as large if the guide has thin winding bands, as a smooth gradient in 8 bits does.
"""
_LEVELS = 0.25
"""... or by this much of a level, when a picture of 8 bits is refined."""
MOST_ITERATIONS = 100
"""Photographs take about 10 iterations. Fine black and white patterns may take all, and stay less exact."""

_log = logging.getLogger("analogy")


def refine(backend: Backend, a: Array, a_prime: Array, tick: Tick = ignore) -> np.ndarray:
    """`a_prime` with the edges and details of `a`: a + WLS(a_prime - a), rounded and clipped.

    `a`, `a_prime`: (H, W, 3) RGB, both uint8 or both uint16. `tick` is told after each step of an iteration. Returns the
    same shape and dtype, on the host. Needs about 110 bytes per pixel of working memory, and 35 more for each further
    thread. Raises `ImageError` for other arrays, and if the two differ in shape.
    """
    if a.shape != a_prime.shape or a.ndim != 3 or a.shape[2] != 3 or 0 in a.shape:
        raise ImageError(f"cannot refine a picture {a_prime.shape} by one {a.shape}; both must be the same (H, W, 3)")
    if a.dtype != a_prime.dtype or a.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"cannot refine {a_prime.dtype} by {a.dtype}; both must be uint8, or both uint16")
    xp = backend.xp
    a, a_prime = backend.asarray(a), backend.asarray(a_prime)
    white = np.float32(np.iinfo(a.dtype).max)
    of_grids, of_channels = split(tick, 1, 15)
    guide = xp.zeros(a.shape[:2], xp.float32)
    for c in range(3):
        guide += a[..., c].astype(xp.float32) * np.float32(GREY[c])
        of_grids(c / 6)
    guide /= white
    wls = WLS(backend, guide, pulse=partial(of_grids, 0.5))
    of_grids(1)
    refined = xp.empty_like(a)

    def refine_channel(c: int, tick: Tick) -> None:
        own = a[..., c].astype(xp.float32)
        change = a_prime[..., c].astype(xp.float32)
        change -= own
        change /= white
        change = wls(change, tick, max(TOLERANCE, _LEVELS / float(white)))
        change *= white
        change += own
        refined[..., c] = xp.rint(xp.clip(change, 0, white))

    side_by_side(getattr(backend, "threads", 1), [partial(refine_channel, c) for c in range(3)], of_channels)
    return backend.to_host(refined)


class WLS:
    """The smoothing by one `guide`, (H, W) float32 in 0..1, an array of the backend. It serves any number of channels."""

    def __init__(self, backend: Backend, guide: Array, pulse: Callable[[], None] = lambda: None):
        self.xp = xp = backend.xp
        self.size = height, width = guide.shape
        self.iterations = 0
        """Iterations of the last call."""
        # Multigrid wants odd sides: an even side gets one more row or column, coupled to nothing.
        rows, columns = max(height | 1, 3), max(width | 1, 3)
        across, down = xp.zeros((rows, columns - 1), xp.float32), xp.zeros((rows - 1, columns), xp.float32)
        across[:height, : width - 1] = self._couplings(guide[:, :-1], guide[:, 1:])
        down[: height - 1, :width] = self._couplings(guide[:-1], guide[1:])
        self._grids = Multigrid(xp, xp.ones((rows, columns), xp.float32), across, down, pulse)

    @staticmethod
    def _couplings(one: Array, other: Array) -> Array:
        return np.float32(LAMBDA) / (abs(one - other) + np.float32(EPSILON))

    def __call__(self, g: Array, tick: Tick = ignore, tolerance: float = TOLERANCE) -> Array:
        """WLS(g), a new array; g (H, W) float32 in -1..1. If the result is inexact, one line is logged.

        `tick` is told how near the solution is, by the logarithm of the correction, between the steps of an iteration.
        Calls from several threads are safe.
        """
        xp, grids = self.xp, self._grids.twin()
        inside = slice(self.size[0]), slice(self.size[1])
        r = xp.zeros_like(grids.grids[0].mass)
        r[inside] = g
        u, p = grids.estimate(r), xp.zeros_like(r)
        z, q = xp.empty_like(r), xp.empty_like(r)
        r -= grids.multiply(u, q)
        rho_before, first, share = np.inf, 0.0, 0.0
        for iteration in range(1, MOST_ITERATIONS + 1):
            self.iterations = iteration
            grids.cycle(r, z, pulse=partial(tick, share))
            correction, rho = float(abs(z).max()), float(xp.vdot(r, z))
            if correction == 0:
                break
            first = first or max(correction, 2 * tolerance)
            share = min(max(share, log(first / correction) / log(first / tolerance)), 1.0)
            p *= np.float32(rho / rho_before)
            p += z
            rho_before = rho
            grids.multiply(p, q)
            step = np.float32(rho / float(xp.vdot(p, q)))
            u += xp.multiply(p, step, out=z)
            q *= step
            r -= q
            if correction < tolerance:
                break
            tick(share)
        else:
            _log.info("photo refinement: stopped after %d iterations, up to %.1g off", iteration, correction)
        tick(1)
        return u[inside]
