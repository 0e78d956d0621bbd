"""Photo refinement: the colours of A' with the edges and the details of A (section 4.5 of Liao et al. 2017).

    A'_refined = A + WLS(A') - WLS(A) = A + WLS(A' - A)

WLS(g) is the edge-preserving smoothing of Farbman et al. 2008 ("Edge-Preserving Decompositions for Multi-Scale Tone and
Detail Manipulation"), the minimiser u of

    sum_i (u_i - g_i)^2  +  sum_(i, j) k_ij (u_i - u_j)^2,     k_ij = LAMBDA / (|l_i - l_j|^ALPHA + EPSILON)

over pairs of neighbours, with ALPHA = 1. It is linear in g: one smoothing, of the difference, is enough. The guide l is the
grey of A in 0..1, as in the authors' program, for which these constants are made; Farbman et al. take its logarithm.

The linear system has neighbours coupled by .8 to 8000. It is solved by conjugate gradients, preconditioned by one cycle of
multigrid whose interpolation follows the couplings (Dendy 1982, "Black box multigrid"), with relaxation by whole rows and
columns: a line one pixel wide, strong along itself, is not seen by a coarser grid. Photographs take 5 to 8 iterations.
Everything is array operations on `backend.xp`, in float32, one channel after the other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from .backends import Array, Backend
from .errors import ImageError

LAMBDA, EPSILON = 0.8, 1e-4
"""Strength of the smoothing, and the bound of its weights (constants of the authors' released program; ALPHA is 1)."""
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601, as in OpenCV's conversion, which the authors use)."""

TOLERANCE = 2e-4
"""The solution is taken when the next correction is nowhere larger (for values in 0..1)."""
MOST_ITERATIONS = 200
"""Far more than a photograph needs; drawings of one or two colours may come near."""

_DAMPING = np.float32(0.8)
_DEPTH = 9  # levels: each has four times the mass of the finer one, and at the ninth it outweighs the strongest coupling
_TINY = np.float32(1e-30)

_log = logging.getLogger("analogy")


def refine(backend: Backend, a: Array, a_prime: Array) -> np.ndarray:
    """`a_prime` with the edges and details of `a`: a + WLS(a_prime - a), rounded and clipped.

    `a`, `a_prime`: (H, W, 3), both uint8 or both uint16, RGB. Returns the same shape and dtype, on the host. Takes about
    100 bytes per pixel beside the pictures. Raises `ImageError` where the two do not fit together.
    """
    if a.shape != a_prime.shape or a.ndim != 3 or a.shape[2] != 3 or 0 in a.shape:
        raise ImageError(f"cannot refine a picture of shape {a_prime.shape} by one of {a.shape}; both must be (H, W, 3)")
    if a.dtype != a_prime.dtype or a.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"cannot refine {a_prime.dtype} by {a.dtype}; both must be uint8, or both uint16")
    xp = backend.xp
    a, a_prime = backend.asarray(a), backend.asarray(a_prime)
    white = np.float32(np.iinfo(a.dtype).max)
    solver = Smoother(backend, sum(np.float32(w) * a[..., c] for c, w in enumerate(GREY)) / white)
    refined = xp.empty_like(a)
    for c in range(3):
        own = a[..., c].astype(np.float32)
        change = solver(a_prime[..., c] / white - own / white)
        change *= white
        change += own
        refined[..., c] = xp.rint(xp.clip(change, 0, white, out=change), out=change)
    return backend.to_host(refined)


@dataclass
class _Grid:
    """One level: sum_i mass_i u_i^2 + sum over pairs k (u_i - u_j)^2, on a grid with odd sides.

    `couplings`: pairs in the directions of `_DIRECTIONS`, the first two on the finest grid, all four below. `rows`,
    `columns`: factors for solving along lines. `interpolation`: see `_coarsen`; None on the coarsest grid.
    """

    mass: Array
    couplings: list[Array]
    rows: list[Any]
    columns: list[Any]
    interpolation: Any
    coarse: tuple[int, int]
    residual: Array
    scratch: Array


class Smoother:
    """WLS for one guide, (H, W) float32 in 0..1, ready for any number of channels."""

    def __init__(self, backend: Backend, guide: Array):
        self.xp = xp = backend.xp
        self.size = height, width = guide.shape
        self.iterations = 0
        """Of the last solve."""
        # The sides are made odd by a row or column of points that are coupled to nothing.
        padded = max(height | 1, 3), max(width | 1, 3)
        couplings = [xp.zeros((padded[0], padded[1] - 1), xp.float32), xp.zeros((padded[0] - 1, padded[1]), xp.float32)]
        for k, steps in zip(couplings, (abs(guide[:, 1:] - guide[:, :-1]), abs(guide[1:] - guide[:-1])), strict=True):
            steps += np.float32(EPSILON)
            xp.divide(np.float32(LAMBDA), steps, out=k[: steps.shape[0], : steps.shape[1]])
        mass = xp.ones(padded, xp.float32)
        self.grids: list[_Grid] = []
        while True:
            diagonal = mass.copy()
            for k, first, second in _pairs(couplings, diagonal):
                first += k
                second += k
            rows, columns = _factor(*(xp.ascontiguousarray(v.T) for v in (diagonal, couplings[0]))), _factor(diagonal, couplings[1])
            coarse = mass.shape[0] // 2 + 1, mass.shape[1] // 2 + 1
            grid = _Grid(mass, couplings, rows, columns, None, coarse, diagonal, xp.empty_like(diagonal))
            self.grids.append(grid)
            if max(mass.shape) <= 3 or len(self.grids) == _DEPTH:
                return
            grid.interpolation, mass, couplings = _coarsen(xp, mass, couplings)

    def __call__(self, g: Array) -> Array:
        """WLS(g): g (H, W) float32, of values within -1..1; returns a new array."""
        xp, finest = self.xp, self.grids[0]
        r = xp.zeros(finest.mass.shape, xp.float32)
        r[: self.size[0], : self.size[1]] = g
        u, z, p, q = (xp.zeros_like(r) for _ in range(4))
        before = 0.0
        for iteration in range(1, MOST_ITERATIONS + 1):
            self._cycle(0, r, z)
            self.iterations, correction = iteration, float(abs(z).max())
            now = float(xp.vdot(r, z))
            if now <= 0:  # nothing is left
                break
            p *= np.float32(now / before if before else 0)
            p += z
            before = now
            self._apply(finest, p, q)
            step = np.float32(now / float(xp.vdot(p, q)))
            u += xp.multiply(p, step, out=z)
            r -= xp.multiply(q, step, out=q)
            if correction < TOLERANCE:
                break
        else:
            _log.info("the photo refinement stopped %.1e from its solution", correction)
        return u[: self.size[0], : self.size[1]]

    def _cycle(self, level: int, f: Array, u: Array) -> None:
        """One V-cycle: u = about A^-1 f, by a symmetric, positive operator. `u` need not be set before."""
        xp, grid = self.xp, self.grids[level]
        xp.multiply(_solve_rows(xp, grid.rows, f), _DAMPING, out=u)
        self._relax(grid, f, u, columns=True)
        if grid.interpolation is not None:
            # The coarser grid may have a row and a column more, coupled to nothing.
            below = xp.zeros_like(self.grids[level + 1].mass)
            found = xp.empty_like(below)
            inside = slice(grid.coarse[0]), slice(grid.coarse[1])
            _restrict(grid.interpolation, self._left(grid, f, u), below[inside])
            self._cycle(level + 1, below, found)
            _interpolate(grid.interpolation, found[inside], u)
        self._relax(grid, f, u, columns=True)
        self._relax(grid, f, u, columns=False)

    def _relax(self, grid: _Grid, f: Array, u: Array, columns: bool) -> None:
        r = self._left(grid, f, u)
        x = _solve_columns(self.xp, grid.columns, r) if columns else _solve_rows(self.xp, grid.rows, r)
        x *= _DAMPING
        u += x

    def _left(self, grid: _Grid, f: Array, u: Array) -> Array:
        """f - A u, in the grid's own array."""
        self._apply(grid, u, grid.residual)
        return self.xp.subtract(f, grid.residual, out=grid.residual)

    def _apply(self, grid: _Grid, u: Array, out: Array) -> None:
        """out = A u. As differences of neighbours, which float32 keeps where the couplings are large."""
        xp = self.xp
        xp.multiply(grid.mass, u, out=out)
        for (k, first, second), (_, one, other) in zip(_pairs(grid.couplings, u), _pairs(grid.couplings, out), strict=True):
            flow = grid.scratch[: k.shape[0], : k.shape[1]]
            xp.subtract(first, second, out=flow)
            flow *= k
            one += flow
            other -= flow


def _pairs(couplings: list[Array], a: Array) -> list[tuple[Array, Array, Array]]:
    """(couplings, first ends, second ends) of the pairs to the right, down, right down, left down, as views of `a`."""
    first = a[:, :-1], a[:-1], a[:-1, :-1], a[:-1, 1:]
    second = a[:, 1:], a[1:], a[1:, 1:], a[1:, :-1]
    return list(zip(couplings, first, second, strict=False))


def _factor(diagonal: Array, k: Array) -> list[Any]:
    """Cyclic reduction of one tridiagonal system per column: `diagonal` (n, m), minus `k` (n - 1, m) beside it.

    Each step eliminates the even rows; it keeps their inverse diagonal, and their couplings to the odd row after and
    before them, divided by the diagonal. At the end stands the inverse of what is left of a single row.
    """
    steps: list[Any] = []
    while len(diagonal) > 1:
        inverse = 1 / diagonal[::2]
        after = k[::2] * inverse[: len(diagonal) // 2]
        before = k[1::2] * inverse[1:]
        left = diagonal[1::2] - k[::2] * after
        left[: len(before)] -= k[1::2] * before
        k, diagonal = k[1::2][: len(left) - 1] * after[1:], left
        steps.append((inverse, after, before))
    return [*steps, 1 / diagonal]


def _solve_rows(xp: Any, steps: list[Any], r: Array) -> Array:
    return _solve_columns(xp, steps, xp.ascontiguousarray(r.T)).T


def _solve_columns(xp: Any, steps: list[Any], r: Array) -> Array:
    """The solutions of the systems that `_factor` prepared, for right-hand sides (n, m)."""
    evens = []
    for _, after, before in steps[:-1]:
        even, odd = r[::2], r[1::2]
        evens.append(even)
        r = after * even[: len(after)]
        r += odd
        r[: len(before)] += before * even[1:]
    x = r * steps[-1]
    for (inverse, after, before), even in zip(steps[-2::-1], evens[::-1], strict=True):
        whole = xp.empty_like(inverse, shape=(len(even) + len(x), x.shape[1]))
        here = whole[::2]
        xp.multiply(even, inverse, out=here)
        here[: len(x)] += after * x
        here[1:] += before * x[: len(before)]
        whole[1::2] = x
        x = whole
    return x


def _coarsen(xp: Any, mass: Array, couplings: list[Array]) -> tuple[Any, Array, list[Array]]:
    """The grid of every second point: (interpolation, mass, couplings).

    A point between two coarse ones takes their mean, weighted by its couplings to either side, summed over the three
    lines; a point amid four, the mean of its eight neighbours, weighted likewise. So constants stay constants, and each
    pair of the fine grid becomes k (q . c)^2 with the sum of q zero, for the four coarse values c around it, which is
    the sum of -k q_m q_n (c_m - c_n)^2: couplings again, some of them negative, which must be kept.
    """
    e, s = couplings[:2]
    west, east, north, south = e[::2, ::2].copy(), e[::2, 1::2].copy(), s[::2, ::2].copy(), s[1::2, ::2].copy()
    if len(couplings) == 4:
        # Diagonals of each fine cell, by the corner of the coarse cell it lies in. "in": through the coarse cell's centre.
        right, left = couplings[2:]
        in_nw, across_ne = right[::2, ::2], right[::2, 1::2]
        across_sw, in_se = right[1::2, ::2], right[1::2, 1::2]
        across_nw, in_ne = left[::2, ::2], left[::2, 1::2]
        in_sw, across_se = left[1::2, ::2], left[1::2, 1::2]
        west[:-1] += across_nw
        west[1:] += across_sw
        east[:-1] += across_ne
        east[1:] += across_se
        north[:, :-1] += across_nw
        north[:, 1:] += across_ne
        south[:, :-1] += across_sw
        south[:, 1:] += across_se
    west, east = _shares(xp, west, east)
    north, south = _shares(xp, north, south)
    to_n, to_s, to_w, to_e = s[::2, 1::2], s[1::2, 1::2], e[1::2, ::2], e[1::2, 1::2]
    n, s_, w, e_ = (west[:-1], east[:-1]), (west[1:], east[1:]), (north[:, :-1], south[:, :-1]), (north[:, 1:], south[:, 1:])
    corners = [to_n * n[0] + to_w * w[0], to_n * n[1] + to_e * e_[0], to_s * s_[0] + to_w * w[1], to_s * s_[1] + to_e * e_[1]]
    if len(couplings) == 4:
        for corner, k in zip(corners, (in_nw, in_ne, in_sw, in_se), strict=True):
            corner += k
    centre = _shares(xp, *corners)

    # Points of the coarse cell by their weights of its corners nw, ne, sw, se; None is zero, and _ONE one.
    points = {
        "nw": (1, None, None, None), "ne": (None, 1, None, None), "sw": (None, None, 1, None), "se": (None, None, None, 1),
        "n": (*n, None, None), "s": (None, None, *s_), "w": (w[0], None, w[1], None), "e": (None, e_[0], None, e_[1]),
        "centre": centre,
    }  # fmt: skip
    pairs = [(to_n, "n", "centre"), (to_s, "s", "centre"), (to_w, "w", "centre"), (to_e, "e", "centre")]
    if len(couplings) == 4:
        pairs += [(in_nw, "nw", "centre"), (in_ne, "ne", "centre"), (in_sw, "sw", "centre"), (in_se, "se", "centre")]
        pairs += [(across_nw, "n", "w"), (across_ne, "n", "e"), (across_sw, "w", "s"), (across_se, "e", "s")]
    rows, columns = mass.shape[0] // 2, mass.shape[1] // 2
    height, width = rows + 1 | 1, columns + 1 | 1
    sides = (height, width - 1), (height - 1, width), (height - 1, width - 1), (height - 1, width - 1)
    coarse = [xp.zeros(side, xp.float32) for side in sides]
    coarse[0][: rows + 1, :columns] = couplings[0][::2, ::2] * east * east + couplings[0][::2, 1::2] * west * west
    coarse[1][:rows, : columns + 1] = couplings[1][::2, ::2] * south * south + couplings[1][1::2, ::2] * north * north
    ends = {
        (0, 1): coarse[0][:rows, :columns], (2, 3): coarse[0][1 : rows + 1, :columns], (0, 2): coarse[1][:rows, :columns],
        (1, 3): coarse[1][:rows, 1 : columns + 1], (0, 3): coarse[2][:rows, :columns], (1, 2): coarse[3][:rows, :columns],
    }  # fmt: skip
    for k, first, second in pairs:
        q = [_minus(x, y) for x, y in zip(points[first], points[second], strict=True)]
        for (m, o), target in ends.items():
            if q[m] is not None and q[o] is not None:
                target -= k * q[m] * q[o]
    interpolation = west, east, north, south, centre
    coarse_mass = xp.ones((height, width), xp.float32)
    _restrict(interpolation, mass, coarse_mass[: rows + 1, : columns + 1])
    return interpolation, coarse_mass, coarse


def _minus(x: Any, y: Any) -> Any:
    if x is None:
        return None if y is None else -y
    return x if y is None else x - y


def _shares(xp: Any, *weights: Array) -> list[Array]:
    """The weights divided by their sum, negative ones as zero; all zero where there is none."""
    weights = tuple(xp.maximum(weight, 0) for weight in weights)
    total = xp.maximum(sum(weights), _TINY)
    return [weight / total for weight in weights]


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
