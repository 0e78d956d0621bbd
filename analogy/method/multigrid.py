"""Multigrid for the quadratic form of edge-preserving smoothing:

    sum_i m_i u_i^2  +  sum_(i, j) k_ij (u_i - u_j)^2     over pairs (i, j) of neighbours on a grid

The couplings k may differ by powers of ten from one pixel to the next. Three things follow. Interpolation to a finer grid
is weighted by them (Dendy 1982, "Black box multigrid"). The couplings of a coarse grid are those of the finer one as the
interpolation transforms them (Galerkin). And relaxation solves whole rows and columns, because a coarser grid does not see
a line one pixel wide that is strongly coupled along itself. All are operations on whole NumPy or CuPy arrays, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import Array

DEPTH = 9
"""Most grids. Each has four times the mass of the finer one, and at the ninth the mass outweighs couplings of 10,000."""
DAMPING = np.float32(0.8)
"""Damping of the relaxation by lines, which would else overshoot between lines that differ much."""

_TINY = np.float32(1e-12)


@dataclass
class _Grid:
    """One grid, with odd sides.

    `couplings`: see `_pairs`; the first two on the finest grid, all four below. `rows`, `columns`: factors for solving
    along lines. `residual`, `flux`: working space. `interpolation`: see `_coarsen`; None on the coarsest grid.
    """

    mass: Array
    couplings: list[Array]
    rows: list[Any]
    columns: list[Any]
    residual: Array
    flux: Array
    interpolation: Any = None


class Multigrid:
    """The matrix A of such a form (A u is half its gradient), and an approximate inverse of A.

    `mass` (H, W), positive, with odd H and W of 3 or more; `across` (H, W - 1) and `down` (H - 1, W): couplings to the
    neighbour at the right and below, zero or more. All float32; about 18 times the size of `mass` is kept. `pulse` is called
    between the steps in which the grids are made.
    """

    def __init__(self, xp: Any, mass: Array, across: Array, down: Array, pulse: Callable[[], None] = lambda: None):
        self.xp = xp
        self.grids: list[_Grid] = []
        couplings = [across, down]
        while True:
            diagonal = mass.copy()
            for k, first, second in _pairs(couplings, diagonal):
                first += k
                second += k
            pulse()
            rows = _factor(xp.ascontiguousarray(diagonal.T), xp.ascontiguousarray(couplings[0].T))
            pulse()
            columns = _factor(diagonal, couplings[1])
            pulse()
            grid = _Grid(mass, couplings, rows, columns, diagonal, xp.empty_like(diagonal))
            self.grids.append(grid)
            if max(mass.shape) <= 3 or len(self.grids) == DEPTH:
                return
            grid.interpolation, mass, couplings = _coarsen(xp, mass, couplings)

    def twin(self) -> Multigrid:
        """The same with working space of its own, for another thread."""
        other = Multigrid.__new__(Multigrid)
        other.xp, empty = self.xp, self.xp.empty_like
        other.grids = [replace(grid, residual=empty(grid.residual), flux=empty(grid.flux)) for grid in self.grids]
        return other

    def multiply(self, u: Array, out: Array, level: int = 0) -> Array:
        """out = A u, as differences of neighbours, which float32 keeps where the couplings are large."""
        grid = self.grids[level]
        self.xp.multiply(grid.mass, u, out=out)
        ends = _pairs(grid.couplings, out)
        for (k, first, second), (_, giver, taker) in zip(_pairs(grid.couplings, u), ends, strict=True):
            flux = grid.flux[: k.shape[0], : k.shape[1]]
            self.xp.subtract(first, second, out=flux)
            flux *= k
            giver += flux
            taker -= flux
        return out

    def cycle(self, f: Array, u: Array, level: int = 0, pulse: Callable[[], None] = lambda: None) -> None:
        """u = A^-1 f, approximately, by a symmetric operator (one V-cycle). What `u` held before does not matter.

        `pulse` is called between the steps on this grid, each of which takes some passes over it.
        """
        xp, grid = self.xp, self.grids[level]
        xp.multiply(_solve_rows(xp, grid.rows, f), DAMPING, out=u)
        pulse()
        self._relax_columns(f, u, level)
        pulse()
        if grid.interpolation is not None:
            below = self._below(self._residual(f, u, level), level)
            found = xp.empty_like(below)
            self.cycle(below, found, level + 1)
            pulse()
            _interpolate(grid.interpolation, found[_inside(f)], u)
        pulse()
        self._relax_columns(f, u, level)
        pulse()
        x = _solve_rows(xp, grid.rows, self._residual(f, u, level))
        x *= DAMPING
        u += x

    def estimate(self, f: Array, level: int = 0) -> Array:
        """A^-1 f, roughly: found on the coarser grid and interpolated (full multigrid). Costs a third of a cycle."""
        xp, grid = self.xp, self.grids[level]
        u = xp.zeros_like(f)
        if grid.interpolation is None:
            self.cycle(f, u, level)
            return u
        below = self._below(f, level)
        found = self.estimate(below, level + 1)
        correction = xp.empty_like(found)
        self.cycle(self._residual(below, found, level + 1).copy(), correction, level + 1)
        found += correction
        _interpolate(grid.interpolation, found[_inside(f)], u)
        return u

    def _below(self, f: Array, level: int) -> Array:
        """`f` on the next coarser grid, which may have a row or column more than there are points, coupled to nothing."""
        below = self.xp.zeros_like(self.grids[level + 1].mass)
        _restrict(self.grids[level].interpolation, f, below[_inside(f)])
        return below

    def _relax_columns(self, f: Array, u: Array, level: int) -> None:
        x = _solve_columns(self.xp, self.grids[level].columns, self._residual(f, u, level))
        x *= DAMPING
        u += x

    def _residual(self, f: Array, u: Array, level: int) -> Array:
        """f - A u, in the grid's working space."""
        residual = self.grids[level].residual
        return self.xp.subtract(f, self.multiply(u, residual, level), out=residual)


def _inside(f: Array) -> tuple[slice, slice]:
    """Where the points of the next coarser grid are, in its arrays."""
    return slice(f.shape[0] // 2 + 1), slice(f.shape[1] // 2 + 1)


def _pairs(couplings: list[Array], a: Array) -> list[tuple[Array, Array, Array]]:
    """(couplings, first ends, second ends) of the pairs to the right, down, right down and left down: views of `a`."""
    first = a[:, :-1], a[:-1], a[:-1, :-1], a[:-1, 1:]
    second = a[:, 1:], a[1:], a[1:, 1:], a[1:, :-1]
    return list(zip(couplings, first, second, strict=False))


# Lines


def _factor(diagonal: Array, k: Array) -> list[Any]:
    """Cyclic reduction of a tridiagonal system in each column: `diagonal` (n, m), and minus `k` (n - 1, m) beside it.

    Each step eliminates the even rows. It keeps their inverse diagonal, and their couplings to the odd row after and
    before them, divided by the diagonal. At the end stands the inverse of what is left of a single row.
    """
    steps: list[Any] = []
    while len(diagonal) > 1:
        inverse = 1 / diagonal[::2]
        after = k[::2] * inverse[: len(diagonal) // 2]
        before = k[1::2] * inverse[1:]
        left = diagonal[1::2] - k[::2] * after
        left[: len(before)] -= k[1::2] * before
        diagonal, k = left, k[1::2][: len(left) - 1] * after[1:]
        steps.append((inverse, after, before))
    return [*steps, 1 / diagonal]


def _solve_columns(xp: Any, steps: list[Any], r: Array) -> Array:
    """The solutions of the systems that `_factor` prepared, for right-hand sides `r` (n, m)."""
    evens = []
    for _, after, before in steps[:-1]:
        even, odd = r[::2], r[1::2]
        evens.append(even)
        r = after * even[: len(after)]
        r += odd
        r[: len(before)] += before * even[1:]
    x = r * steps[-1]
    for (inverse, after, before), even in zip(steps[-2::-1], evens[::-1], strict=True):
        whole = xp.empty((len(even) + len(x), x.shape[1]), xp.float32)
        here = whole[::2]
        xp.multiply(even, inverse, out=here)
        here[: len(x)] += after * x
        here[1:] += before * x[: len(before)]
        whole[1::2] = x
        x = whole
    return x


def _solve_rows(xp: Any, steps: list[Any], r: Array) -> Array:
    return _solve_columns(xp, steps, xp.ascontiguousarray(r.T)).T


# From grid to grid


def _coarsen(xp: Any, mass: Array, couplings: list[Array]) -> tuple[Any, Array, list[Array]]:
    """The grid of every second point: (interpolation, mass, couplings).

    A point between two coarse ones takes their mean, weighted by its couplings to either side, summed over the three
    lines; a point amid four takes the mean of its neighbours, weighted likewise. So constants stay constants, and a
    pair of the fine grid becomes k (q . c)^2 with the values c at the four corners of the coarse cell around it, where
    q, the difference of the weights of its ends, has the sum zero. That is the sum over the pairs of corners of
    -k q_a q_b (c_a - c_b)^2: couplings again. Some are negative, and must be kept.
    """
    rows, columns = mass.shape[0] // 2, mass.shape[1] // 2  # coarse cells
    k_west, k_east = couplings[0][1::2, ::2], couplings[0][1::2, 1::2]  # of the cells' centres
    k_north, k_south = couplings[1][::2, 1::2], couplings[1][1::2, 1::2]
    # Towards the coarse points at the left and right of points between them, and above and below.
    west, east = couplings[0][::2, ::2].copy(), couplings[0][::2, 1::2].copy()
    north, south = couplings[1][::2, ::2].copy(), couplings[1][1::2, ::2].copy()
    # Diagonals in each quarter of a coarse cell: from its centre to the corner, and across.
    inner, across = [], []
    if len(couplings) == 4:
        falling, rising = couplings[2:]
        inner = [falling[::2, ::2], rising[::2, 1::2], rising[1::2, ::2], falling[1::2, 1::2]]  # nw, ne, sw, se
        across = [rising[::2, ::2], falling[::2, 1::2], falling[1::2, ::2], rising[1::2, 1::2]]
        for k, ((beside, i), (above, j)) in zip(across, _sides(west, east, north, south), strict=True):
            beside[i] += k
            above[j] += k
    west, east = _shares(xp, [west, east])
    north, south = _shares(xp, [north, south])
    corners = [
        k_above * beside[i] + k_beside * above[j]
        for k_above, k_beside, ((beside, i), (above, j)) in zip(
            (k_north, k_north, k_south, k_south),
            (k_west, k_east, k_west, k_east),
            _sides(west, east, north, south),
            strict=True,
        )
    ]
    centre = _shares(xp, [a + b for a, b in zip(corners, inner, strict=True)] if inner else corners)

    # Weights of the corners nw, ne, sw, se in each point of the coarse cell; None is zero.
    n, s = (west[:-1], east[:-1], None, None), (None, None, west[1:], east[1:])
    w, e = (north[:, :-1], None, south[:, :-1], None), (None, north[:, 1:], None, south[:, 1:])
    inside: list[Any] = [(k_north, n, centre), (k_south, s, centre), (k_west, w, centre), (k_east, e, centre)]
    if inner:
        units = (1, None, None, None), (None, 1, None, None), (None, None, 1, None), (None, None, None, 1)
        inside += [(k, unit, centre) for k, unit in zip(inner, units, strict=True)]
        inside += [(k, *ends) for k, ends in zip(across, ((n, w), (n, e), (w, s), (e, s)), strict=True)]
    height, width = rows + 1 | 1, columns + 1 | 1
    sides = (height, width - 1), (height - 1, width), (height - 1, width - 1), (height - 1, width - 1)
    coarse = [xp.zeros(side, xp.float32) for side in sides]
    # Pairs along the coarse lines, then those inside the cells.
    along, down = couplings[0][::2], couplings[1][:, ::2]
    coarse[0][: rows + 1, :columns] = along[:, ::2] * east * east + along[:, 1::2] * west * west
    coarse[1][:rows, : columns + 1] = down[::2] * south * south + down[1::2] * north * north
    between = {
        (0, 1): coarse[0][:rows, :columns],
        (2, 3): coarse[0][1 : rows + 1, :columns],
        (0, 2): coarse[1][:rows, :columns],
        (1, 3): coarse[1][:rows, 1 : columns + 1],
        (0, 3): coarse[2][:rows, :columns],
        (1, 2): coarse[3][:rows, :columns],
    }
    for k, first, second in inside:
        q = [_minus(x, y) for x, y in zip(first, second, strict=True)]
        for (a, b), target in between.items():
            if q[a] is not None and q[b] is not None:
                target -= k * q[a] * q[b]
    interpolation = west, east, north, south, centre
    coarse_mass = xp.ones((height, width), xp.float32)
    _restrict(interpolation, mass, coarse_mass[: rows + 1, : columns + 1])
    return interpolation, coarse_mass, coarse


def _sides(west: Array, east: Array, north: Array, south: Array) -> list[Any]:
    """For the corners nw, ne, sw, se of the coarse cells: what leads to them along the cell's horizontal and vertical
    side there, each as (array, index)."""
    top, bottom = np.s_[:-1], np.s_[1:]
    left, right = np.s_[:, :-1], np.s_[:, 1:]
    return [
        ((west, top), (north, left)),
        ((east, top), (north, right)),
        ((west, bottom), (south, left)),
        ((east, bottom), (south, right)),
    ]


def _shares(xp: Any, weights: list[Array]) -> list[Array]:
    """The weights divided by their sum, negative ones taken as zero; equal shares where there is nothing else.

    The sum must be one: with all shares zero, the coarse couplings would be wrong, and no longer those of a minimum.
    """
    weights = [xp.maximum(weight, _TINY) for weight in weights]
    total = sum(weights)
    return [weight / total for weight in weights]


def _minus(x: Any, y: Any) -> Any:
    if x is None or y is None:
        return x if y is None else -y
    return x - y


def _restrict(interpolation: Any, f: Array, out: Array) -> None:
    """out = P^T f: each value is shared out to the coarse points that it is interpolated from."""
    west, east, north, south, (nw, ne, sw, se) = interpolation
    out[...] = f[::2, ::2]
    between, below, centre = f[::2, 1::2], f[1::2, ::2], f[1::2, 1::2]
    out[:, :-1] += west * between
    out[:, 1:] += east * between
    out[:-1] += north * below
    out[1:] += south * below
    out[:-1, :-1] += nw * centre
    out[:-1, 1:] += ne * centre
    out[1:, :-1] += sw * centre
    out[1:, 1:] += se * centre


def _interpolate(interpolation: Any, c: Array, u: Array) -> None:
    """u += P c."""
    west, east, north, south, (nw, ne, sw, se) = interpolation
    u[::2, ::2] += c
    u[::2, 1::2] += west * c[:, :-1] + east * c[:, 1:]
    u[1::2, ::2] += north * c[:-1] + south * c[1:]
    u[1::2, 1::2] += nw * c[:-1, :-1] + ne * c[:-1, 1:] + sw * c[1:, :-1] + se * c[1:, 1:]
