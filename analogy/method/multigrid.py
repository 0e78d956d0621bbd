"""Multigrid for the quadratic form of edge-preserving smoothing:

    sum_i m_i u_i^2  +  sum_(i, j) k_ij (u_i - u_j)^2     over pairs (i, j) of neighbours on a grid

The couplings k may differ by powers of ten from one pixel to the next. Three things follow.
Interpolation to a finer grid is weighted by them (Dendy 1982, "Black box multigrid"). The couplings
of a coarse grid are those of the finer one as the interpolation transforms them (Galerkin). And
relaxation solves whole rows and columns, because a coarser grid does not see a line one pixel wide
that is strongly coupled along itself: every second line at once, each half given the other (zebra
lines). The kernels are those of `backends`, three channels at a time, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..backends import Array, Backend

DEPTH = 9
"""Most grids of a multigrid. Each has four times the mass of the finer one, and at the ninth the
mass outweighs couplings of 10,000."""


@dataclass
class _Grid:
    """One grid, with odd sides. `weights` is None on the coarsest. `f`, `u`, `residual` (3, H, W) are working space."""

    form: Array
    inverses: Array
    weights: Array | None
    f: Array
    u: Array
    residual: Array


class Multigrid:
    """The matrix A of such a form (A u is half its gradient), and an approximate inverse of A.

    `form` (3, H, W): see `Backend`. About 22 numbers for each position are kept. `between_steps` is
    called between the steps in which the grids are made. Only one call may run at a time.
    """

    f: Array
    """The right-hand side of `cycle`, (3, H, W)."""
    u: Array
    """The solution that `cycle` finds, (3, H, W)."""
    space: Array
    """Working space, (3, H, W), which `cycle` overwrites."""

    def __init__(self, backend: Backend, form: Array, between_steps: Callable[[], None] = lambda: None):
        self.backend = backend
        self._grids: list[_Grid] = []
        while form is not None:
            inverses = backend.factor(form)
            between_steps()
            weights = coarser = None
            if max(form.shape[1:]) > 3 and len(self._grids) < DEPTH - 1:
                weights, coarser = backend.coarsen(form)
                between_steps()
            f, u, residual = (backend.xp.empty((3, *form.shape[1:]), backend.xp.float32) for _ in range(3))
            self._grids.append(_Grid(form, inverses, weights, f, u, residual))
            form = coarser
        finest = self._grids[0]
        self.f, self.u, self.space = finest.f, finest.u, finest.residual

    def residual(self, f: Array | None, u: Array, out: Array) -> None:
        """Compute out = f - A u, all (3, H, W); f = 0 for None."""
        self.backend.residual(self._grids[0].form, f, u, out)

    def cycle(self, between_steps: Callable[[], None] = lambda: None) -> None:
        """Compute u = A^-1 f, approximately, by a symmetric operator (one V-cycle). What `u` held before does not matter.

        `between_steps` is called between the steps on the finest grid, each of which takes some
        passes over it.
        """
        with self.backend.steps():
            self._cycle(0, between_steps)

    def estimate(self, between_steps: Callable[[], None] = lambda: None) -> Array:
        """Return A^-1 f, roughly: found on the coarser grid and interpolated (full multigrid). It costs a third of a cycle."""
        return self._estimate(0, self.f, between_steps)

    def _cycle(self, level: int, between_steps: Callable[[], None] = lambda: None) -> None:
        backend, grid = self.backend, self._grids[level]
        f, u = grid.f, grid.u
        backend.relax(grid.form, grid.inverses, f, u, after=False)
        between_steps()
        if grid.weights is not None:
            below = self._grids[level + 1]
            backend.residual(grid.form, f, u, grid.residual)
            backend.restriction(grid.weights, grid.residual, below.f)
            between_steps()
            self._cycle(level + 1)
            between_steps()
            backend.prolongation(grid.weights, below.u, u)
        backend.relax(grid.form, grid.inverses, f, u, after=True)
        between_steps()

    def _estimate(self, level: int, f: Array, between_steps: Callable[[], None]) -> Array:
        xp, backend, grid = self.backend.xp, self.backend, self._grids[level]
        if grid.weights is None:
            grid.f[...] = f
            with backend.steps():
                self._cycle(level)
            return grid.u.copy()
        below = self._grids[level + 1]
        wanted = xp.empty_like(below.f)
        backend.restriction(grid.weights, f, wanted)
        found = self._estimate(level + 1, wanted, between_steps)
        backend.residual(below.form, wanted, found, below.f)
        with backend.steps():
            self._cycle(level + 1)
        between_steps()
        backend.combine(1.0, below.u, 1.0, found)
        u = xp.zeros_like(f)
        backend.prolongation(grid.weights, found, u)
        between_steps()
        return u
