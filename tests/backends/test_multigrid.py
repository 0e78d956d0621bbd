"""Tests of the multigrid kernels on every backend, compared with matrices in float64.

A form is (3 or 5, H, W): the masses and the couplings of a grid (see `Backend` in
`analogy.backends.contract`).
"""

from __future__ import annotations

import numpy as np
import pytest
from simulator.counting import count_launches

from analogy.backends import coarse_sides
from analogy.backends.cpu import CpuBackend

SIZES = [(3, 3), (5, 9), (11, 7), (3, 17), (21, 35)]
AHEAD = (0, 1), (1, 0), (1, 1), (1, -1)
"""Offsets (rows, columns) from one end of a coupling to the other: right, down, falling, rising."""


def a_form(rng, size, planes):
    """Return a random form with masses from 0.5 to 2, and couplings from 0.01 to 100."""
    h, w = size
    form = np.float32(10) ** rng.uniform(-2, 2, (planes, h, w)).astype(np.float32)
    form[0] = rng.uniform(0.5, 2, size)
    form[[1, *range(3, planes)], :, -1] = 0
    form[2:, -1] = 0
    return form


def matrix(form):
    """Return the matrix A of a form, (H W, H W)."""
    _, h, w = form.shape
    index = np.arange(h * w).reshape(h, w)
    a = np.diag(form[0].ravel().astype(np.float64))
    for plane, (dy, dx) in zip(form[1:], AHEAD, strict=False):
        for y in range(h - dy):
            for x in range(w - abs(dx)):
                k = float(plane[y, x])
                one, other = index[y, x + (dx < 0)], index[y + dy, x + max(dx, 0)]
                a[one, one] += k
                a[other, other] += k
                a[one, other] -= k
                a[other, one] -= k
    return a


def interpolation(form):
    """Return the interpolation P as a matrix, (H W, coarse positions), by its definition."""
    _, h, w = form.shape
    k = np.maximum(-matrix(form), 0).reshape(h, w, h, w)
    inner_h, inner_w = h // 2 + 1, w // 2 + 1
    p = np.zeros((h, w, inner_h, inner_w))
    for y in range(h):
        for x in range(w):
            if y % 2 == 0 and x % 2 == 0:
                p[y, x, y // 2, x // 2] = 1
            elif y % 2 == 0:
                left, right = k[y, x, :, x - 1].sum(), k[y, x, :, x + 1].sum()
                p[y, x, y // 2, x // 2 : x // 2 + 2] = np.array([left, right]) / (left + right)
            elif x % 2 == 0:
                above, below = k[y, x, y - 1].sum(), k[y, x, y + 1].sum()
                p[y, x, y // 2 : y // 2 + 2, x // 2] = np.array([above, below]) / (above + below)
    for y in range(1, h, 2):
        for x in range(1, w, 2):
            p[y, x] = np.tensordot(k[y, x], p, 2)
            p[y, x] /= p[y, x].sum()
    return p.reshape(h * w, -1)


def inside(form):
    """Return slices of rows and columns that cut off those added to make the coarse sides odd."""
    _, h, w = form.shape
    return slice(h // 2 + 1), slice(w // 2 + 1)


def channels(rng, size):
    return rng.standard_normal((3, *size), np.float32)


@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_the_coarser_form_is_the_finer_form_of_interpolated_values(backend, rng, size, planes):
    form = a_form(rng, size, planes)
    _, coarse = (backend.to_host(found) for found in backend.coarsen(backend.asarray(form)))
    assert coarse.shape == (5, *coarse_sides(*size))
    p, rows_columns = interpolation(form), inside(form)
    mass = form[0].ravel()
    expected = p.T @ (matrix(form) - np.diag(mass)) @ p + np.diag(p.T @ mass)
    mine = matrix(coarse)
    index = np.arange(coarse[0].size).reshape(coarse.shape[1:])
    here = index[rows_columns].ravel()
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert (abs(mine[np.ix_(here, here)] - expected) / scale).max() < 1e-5
    np.testing.assert_allclose(coarse[0][rows_columns].ravel(), p.T @ mass, rtol=1e-5)
    outside = np.setdiff1d(index, here)  # the positions that were added to make a side odd have no couplings
    np.testing.assert_array_equal(mine[outside], np.eye(len(mine))[outside])


def test_negative_couplings_of_a_coarser_grid_are_kept_and_count_as_zero_for_the_weights(backend, rng):
    form = a_form(rng, (9, 11), 5)
    form[3, ::2, ::2] *= -0.3
    form[3, -1] = form[3, :, -1] = 0
    weights, coarse = (backend.to_host(found) for found in backend.coarsen(backend.asarray(form)))
    assert weights.min() >= 0
    corners = weights[4:, :4, :5].sum(axis=0)
    np.testing.assert_allclose(corners, 1, rtol=1e-6)
    # With any weights, A times a vector of ones is the mass, since constants are interpolated
    # exactly.
    np.testing.assert_allclose(matrix(coarse).sum(axis=1), coarse[0].ravel(), atol=1e-3)


@pytest.mark.parametrize("planes", [3, 5])
def test_positions_without_couplings_take_the_mean_of_their_neighbours(backend, planes):
    form = np.zeros((planes, 5, 7), np.float32)
    form[0] = 1
    weights = backend.to_host(backend.coarsen(backend.asarray(form))[0])
    np.testing.assert_allclose(weights[:2, :3, :3], 1 / 2)
    np.testing.assert_allclose(weights[2:4, :2, :4], 1 / 2)
    np.testing.assert_allclose(weights[4:, :2, :3], 1 / 4)


@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_prolongation_is_the_interpolation_and_restriction_its_transpose(backend, rng, size, planes):
    form = a_form(rng, size, planes)
    p = interpolation(form)
    weights, coarse = backend.coarsen(backend.asarray(form))
    fine, below = channels(rng, size), channels(rng, coarse.shape[1:])
    found = backend.asarray(np.full_like(below, np.nan))
    backend.restriction(weights, backend.asarray(fine), found)
    found, rows_columns = backend.to_host(found), inside(form)
    expected = np.zeros_like(below)
    expected[:, *rows_columns] = (fine.reshape(3, -1) @ p).reshape(3, size[0] // 2 + 1, -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    up = backend.asarray(fine.copy())
    backend.prolongation(weights, backend.asarray(below), up)
    given = below[:, *rows_columns].reshape(3, -1)
    np.testing.assert_allclose(backend.to_host(up), fine + (given @ p.T).reshape(fine.shape), atol=1e-5)


@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_the_residual_is_f_minus_the_matrix_times_u(backend, rng, size, planes):
    form, f, u = a_form(rng, size, planes), channels(rng, size), channels(rng, size)
    product = (u.reshape(3, -1) @ matrix(form)).reshape(u.shape)
    for given, expected in ((f, f - product), (None, -product)):
        out = backend.asarray(np.full_like(u, np.nan))
        there = None if given is None else backend.asarray(given)
        backend.residual(backend.asarray(form), there, backend.asarray(u), out)
        np.testing.assert_allclose(backend.to_host(out), expected, rtol=1e-4, atol=1e-4)


def relaxed(form, f, u, after):
    """Solve even rows, odd rows, even columns and odd columns, in reversed order if `after`."""
    a = matrix(form)
    index = np.arange(form[0].size).reshape(form.shape[1:])
    turns = [index[::2], index[1::2], index.T[::2], index.T[1::2]]
    u = u.reshape(3, -1).astype(np.float64) if after else np.zeros((3, form[0].size))
    f = f.reshape(3, -1)
    for lines in reversed(turns) if after else turns:
        for line in lines:
            rest = np.setdiff1d(index, line)
            u[:, line] = np.linalg.solve(a[np.ix_(line, line)], (f[:, line] - u[:, rest] @ a[np.ix_(rest, line)]).T).T
    return u.reshape(3, *form.shape[1:])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_relaxation_solves_even_and_odd_rows_and_columns_in_turn(backend, rng, size, planes, after):
    form, f, u = a_form(rng, size, planes), channels(rng, size), channels(rng, size)
    there = backend.asarray(form)
    found = backend.asarray(u.copy() if after else np.full_like(u, np.nan))
    backend.relax(there, backend.factor(there), backend.asarray(f), found, after)
    np.testing.assert_allclose(backend.to_host(found), relaxed(form, f, u, after), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", [(129, 3), (3, 129), (3, 131), (1101, 3), (3, 1101)])
def test_more_lines_than_a_block_has_threads_are_solved_by_several(backend, rng, size, planes, after):
    form, f, u = a_form(rng, size, planes), channels(rng, size), channels(rng, size)
    there, found = backend.asarray(form), backend.asarray(u.copy())
    backend.relax(there, backend.factor(there), backend.asarray(f), found, after)
    cpu = CpuBackend(1)
    cpu.relax(form, cpu.factor(form), f, u, after)
    np.testing.assert_allclose(backend.to_host(found), u, rtol=1e-3, atol=1e-4)


def test_arrays_are_combined_in_place(backend, rng):
    x, y = channels(rng, (4, 6)), channels(rng, (4, 6))
    found = backend.asarray(y.copy())
    backend.combine(0.5, backend.asarray(x), -2.0, found)
    np.testing.assert_allclose(backend.to_host(found), 0.5 * x - 2 * y, rtol=1e-6)


def test_memory_behind_combined_arrays_does_not_change(backend, rng):
    x, y = rng.random((2, 4, 4, 6), np.float32)
    found = backend.asarray(y.copy())
    backend.combine(0.5, backend.asarray(x)[:3], -2.0, found[:3])
    np.testing.assert_array_equal(backend.to_host(found)[3], y[3])


class Grids:
    """Arrays of a grid and of the next coarser grid, on a backend."""

    def __init__(self, backend, rng, size, planes):
        self.backend = backend
        form = backend.asarray(a_form(rng, size, planes))
        self.form, self.lines = form, backend.factor(form)
        self.weights, self.coarse = backend.coarsen(form)
        self.coarse_lines = backend.factor(self.coarse)
        self.f, self.u, self.r = (backend.asarray(channels(rng, size)) for _ in range(3))
        self.below_f, self.below_u = (backend.asarray(channels(rng, self.coarse.shape[1:])) for _ in range(2))

    def cycle(self, steps):
        """Run the steps of a multigrid cycle, and a residual without a right-hand side."""
        steps.relax(self.form, self.lines, self.f, self.u, after=False)
        steps.residual(self.form, self.f, self.u, self.r)
        steps.restriction(self.weights, self.r, self.below_f)
        steps.relax(self.coarse, self.coarse_lines, self.below_f, self.below_u, after=False)
        steps.relax(self.coarse, self.coarse_lines, self.below_f, self.below_u, after=True)
        steps.prolongation(self.weights, self.below_u, self.u)
        steps.relax(self.form, self.lines, self.f, self.u, after=True)
        steps.residual(self.form, None, self.u, self.r)

    def results(self):
        return [self.backend.to_host(array) for array in (self.f, self.u, self.r, self.below_f, self.below_u)]


@pytest.mark.parametrize("planes", [3, 5])
@pytest.mark.parametrize("size", [(3, 3), (21, 35), (127, 5), (129, 5), (5, 255)])
def test_steps_that_run_together_give_the_bits_of_steps_one_by_one(backend, size, planes):
    alone, together = (Grids(backend, np.random.default_rng(3), size, planes) for _ in range(2))
    alone.cycle(backend)
    with backend.steps() as steps:
        together.cycle(steps)
    for one, other in zip(alone.results(), together.results(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("size", "launches"),
    [
        ((127, 35), {"small_steps": 1}),
        ((129, 35), {"relax": 8, "residual": 2, "restriction": 1, "small_steps": 1, "prolongation": 1}),
    ],
    ids=str,
)
def test_steps_on_small_grids_are_one_launch_on_a_gpu(simulated, rng, monkeypatch, size, launches):
    grids = Grids(simulated, rng, size, 3)
    counts = count_launches(monkeypatch)
    with simulated.steps() as steps:
        grids.cycle(steps)
    assert counts == launches


def test_steps_that_an_error_interrupts_are_not_done(simulated, rng):
    grids = Grids(simulated, rng, (5, 7), 3)
    before = grids.results()
    with pytest.raises(KeyError), simulated.steps() as steps:
        grids.cycle(steps)
        raise KeyError
    for one, other in zip(before, grids.results(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_work_between_the_steps_of_another_work_is_done_at_once(simulated):
    """Refine a second picture between two steps of the first, as a callback may do."""
    outer, inner, alone = (Grids(simulated, np.random.default_rng(3), (21, 35), 3) for _ in range(3))
    alone.cycle(simulated)
    with simulated.steps() as steps:
        outer.cycle(steps)
        inner.cycle(simulated)
        found = inner.results()
    for one, other, last in zip(alone.results(), found, outer.results(), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, last)


def test_large_grids_which_threads_share_give_the_same_as_one_thread(rng):
    form, f = a_form(rng, (201, 333), 5), channels(rng, (201, 333))
    results = []
    for threads in (1, 3):
        cpu = CpuBackend(threads)
        u, out = np.empty_like(f), np.empty_like(f)
        cpu.relax(form, cpu.factor(form), f, u, after=False)
        cpu.residual(form, f, u, out)
        weights, coarse = cpu.coarsen(form)
        below = np.empty((3, *coarse.shape[1:]), np.float32)
        cpu.restriction(weights, out, below)
        cpu.prolongation(weights, below, u)
        cpu.relax(form, cpu.factor(form), f, u, after=True)
        results.append((u, out, coarse, below))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
