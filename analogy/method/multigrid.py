"""Multigrid for the quadratic form of edge-preserving smoothing.

The form is a sum over the positions i, and over the pairs (i, j) of neighbours, of a grid:

    sum_i m_i u_i^2  +  sum_(i, j) k_ij (u_i - u_j)^2

The couplings k may differ by powers of ten from one pixel to the next. This has three consequences:

* The couplings are the weights of the interpolation to a finer grid (Dendy 1982, "Black box
  multigrid").
* The form of a coarser grid is the form of the finer grid, applied to interpolated values
  (Galerkin).
* Relaxation solves whole rows and columns, because a coarser grid cannot represent a line one pixel
  wide with strong couplings along it. It solves every second line together, and then the
  lines between them (zebra lines).

The kernels belong to the backend. They work on three channels at a time, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..backends import Array, Backend, Steps

DEPTH = 9
"""Maximum number of grids of a multigrid.

The masses m_i are about four times as large on each grid as on the next finer grid. On the ninth
grid they outweigh couplings of 10,000, so a tenth grid would change little.
"""


@dataclass
class _Grid:
    """Grid of a multigrid, with odd sides.

    `form`, `inverses` and `weights` are arrays that `Backend` describes; the coarsest grid has no
    weights. A cycle overwrites `u` and `residual`, and on all grids but the finest also `f`; these
    three arrays are (3, H, W).
    """

    form: Array
    inverses: Array
    weights: Array | None
    f: Array
    u: Array
    residual: Array


class Multigrid:
    """Matrix A of a quadratic form (A u is half the form's gradient), with an approximate inverse.

    About 22 numbers are stored for each position of the finest grid. Only one method may run at a
    time.

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    form
        (3, H, W) float32, see `Backend`.
    between_steps
        Function that is called between the steps that make the grids, to report progress.
    """

    f: Array
    """Right-hand side of `cycle`, (3, H, W), which the caller fills."""
    u: Array
    """Solution of `cycle`, (3, H, W)."""
    space: Array
    """Scratch array, (3, H, W), that the caller may use between two calls of `cycle`.

    A call of `cycle` may overwrite it.
    """

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
        """Write f - A u to `out`, all (3, H, W); if `f` is None, it counts as zero."""
        self.backend.residual(self._grids[0].form, f, u, out)

    def cycle(self, between_steps: Callable[[], None] = lambda: None) -> None:
        """Write an approximation of A^-1 f to `u`, by one V-cycle.

        The V-cycle is a symmetric operator, and does not depend on what `u` held before.
        `between_steps` is called between the steps on the finest grid.
        """
        with self.backend.steps() as steps:
            self._cycle(steps, 0, between_steps)

    def estimate(self, between_steps: Callable[[], None] = lambda: None) -> Array:
        """Return a rough estimate of A^-1 f from the coarser grids, interpolated (full multigrid).

        The estimate takes about a third of the time of a cycle.
        """
        return self._estimate(0, self.f, between_steps)

    def _cycle(self, steps: Steps, level: int, between_steps: Callable[[], None] = lambda: None) -> None:
        grid = self._grids[level]
        f, u = grid.f, grid.u
        steps.relax(grid.form, grid.inverses, f, u, after=False)
        between_steps()
        if grid.weights is not None:
            below = self._grids[level + 1]
            steps.residual(grid.form, f, u, grid.residual)
            steps.restriction(grid.weights, grid.residual, below.f)
            between_steps()
            self._cycle(steps, level + 1)
            between_steps()
            steps.prolongation(grid.weights, below.u, u)
        steps.relax(grid.form, grid.inverses, f, u, after=True)
        between_steps()

    def _estimate(self, level: int, f: Array, between_steps: Callable[[], None]) -> Array:
        xp, backend, grid = self.backend.xp, self.backend, self._grids[level]
        if grid.weights is None:
            grid.f[...] = f
            with backend.steps() as steps:
                self._cycle(steps, level)
            return grid.u.copy()
        below = self._grids[level + 1]
        wanted = xp.empty_like(below.f)
        backend.restriction(grid.weights, f, wanted)
        found = self._estimate(level + 1, wanted, between_steps)
        backend.residual(below.form, wanted, found, below.f)
        with backend.steps() as steps:
            self._cycle(steps, level + 1)
        between_steps()
        backend.combine(1.0, below.u, 1.0, found)
        u = xp.zeros_like(f)
        backend.prolongation(grid.weights, found, u)
        between_steps()
        return u
