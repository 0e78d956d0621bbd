"""Tests of the kernels of gradient-domain painting on every backend, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest


def sobel(pixels):
    padded = np.pad(pixels.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    smooth_rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    smooth_columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (smooth_rows[:, 2:] - smooth_rows[:, :-2]) / 8, (smooth_columns[2:] - smooth_columns[:-2]) / 8


def widest(values):
    h, w = values.shape
    padded = np.pad(values, 1, mode="edge")
    return np.max([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)


def forward(picture):
    right, down = np.zeros_like(picture), np.zeros_like(picture)
    right[:, :-1], down[:-1] = np.diff(picture, axis=1), np.diff(picture, axis=0)
    return right, down


@pytest.fixture
def painted(cpu, rng):
    """Return a field of several pieces, its source, and the picture made from it by voting."""
    size_a, size_b = (23, 29), (31, 27)
    y, x = np.mgrid[: size_a[0], : size_a[1]]
    piece = (y // 8) * 4 + x // 8
    offsets = rng.integers(-6, 7, (piece.max() + 1, 2))
    nnf = np.clip(np.stack([y, x], axis=2) + offsets[piece], 0, np.array(size_b) - 1).astype(np.int32)
    source = rng.random((*size_b, 3), np.float32)
    return nnf, source, cpu.vote(nnf, source, 3)


def test_steepness_is_the_largest_squared_sobel_gradient_within_a_position(backend, rng):
    pixels = rng.random((17, 22, 3), np.float32)
    expected = widest(sum((gradient**2).sum(axis=2) for gradient in sobel(pixels)))
    actual = backend.to_host(backend.steepness(backend.asarray(pixels)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_seams_are_the_voted_differences_less_those_of_the_voted_picture(backend, cpu, painted):
    nnf, source, picture = painted
    actual = backend.to_host(backend.seams(*map(backend.asarray, (nnf, source, picture)), 3))
    for axis, (inside, across) in enumerate(zip(forward(source), forward(picture), strict=True)):
        expected = cpu.vote(nnf, inside, 3) - across
        last = (slice(None), -1) if axis == 0 else (-1,)
        expected[last] = 0
        np.testing.assert_allclose(actual[..., 3 * axis : 3 * axis + 3], expected, atol=1e-6)
        np.testing.assert_allclose(actual[..., 6 + axis], (expected**2).sum(axis=2), atol=1e-5)


def test_a_plain_translation_has_no_seams_at_all(backend, rng):
    source = rng.random((20, 24, 3), np.float32)
    nnf = np.stack(np.mgrid[3:15, 5:20], axis=2).astype(np.int32)
    picture = backend.vote(backend.asarray(nnf), backend.asarray(source), 3)
    assert not backend.to_host(backend.seams(backend.asarray(nnf), backend.asarray(source), picture, 3)).any()


BORDERS = {"first row": np.s_[0], "last row": np.s_[-1], "first column": np.s_[:, 0], "last column": np.s_[:, -1]}


@pytest.mark.parametrize("border", BORDERS)
def test_a_piece_of_one_line_at_a_border_has_seams(backend, cpu, rng, border):
    y, x = np.mgrid[:9, :11]
    nnf = np.stack([y + 2, x + 3], axis=2).astype(np.int32)
    nnf[BORDERS[border]] += [3, 2]
    source = rng.random((16, 18, 3), np.float32)
    picture = cpu.vote(nnf, source, 3)
    actual = backend.to_host(backend.seams(*map(backend.asarray, (nnf, source, picture)), 3))
    for axis, (inside, across) in enumerate(zip(forward(source), forward(picture), strict=True)):
        expected = cpu.vote(nnf, inside, 3) - across
        expected[(slice(None), -1) if axis == 0 else (-1,)] = 0
        np.testing.assert_allclose(actual[..., 3 * axis : 3 * axis + 3], expected, atol=1e-6)


def between(values, size):
    """Return values at the positions of a larger map, interpolated linearly along both axes."""
    for axis in range(2):
        n = values.shape[axis]
        place = np.clip((np.arange(size[axis]) + 0.5) * n / size[axis] - 0.5, 0, n - 1)
        first = place.astype(int)
        rest = np.expand_dims(place - first, 1 - axis)
        values = np.take(values, first, axis) * (1 - rest) + np.take(values, np.minimum(first + 1, n - 1), axis) * rest
    return values


# `keep_edges` makes seams smaller. With a large threshold `jump`, only the steepness decides by how
# much. With a small threshold, almost only the size of the seams decides.
@pytest.mark.parametrize(
    ("labelled", "jump"), [("", 0.09), ("", 20), ("blocks", 0.09), *((border, 0.09) for border in BORDERS)]
)
def test_edges_are_kept_by_steepness_by_size_and_where_labels_meet(backend, rng, labelled, jump):
    h, w, edge = 18, 25, 0.04
    seams = (rng.random((h, w, 8)) * 0.5).astype(np.float32)
    seams[rng.random((h, w)) < 0.3, :] = 0
    steepness = rng.random((9, 11), np.float32) * np.float32(0.1)
    labels = rng.integers(0, 2, (3, 4)).repeat(6, axis=0).repeat(7, axis=1)[:h, :w].astype(np.int32)
    if labelled in BORDERS:
        labels[:] = 0
        labels[BORDERS[labelled]] = 1
    smooth = 1 / (1 + (between(steepness, (h, w)) / edge) ** 2)
    expected = seams.copy()
    for axis in range(2):
        share = np.minimum(smooth, 1 / (1 + (widest(seams[..., 6 + axis]) / jump) ** 2))
        if labelled:
            for y, x in np.ndindex(h, w):
                window = labels[max(y - 1, 0) : y + 2 + axis, max(x - 1, 0) : x + 3 - axis]
                share[y, x] *= (window == labels[y, x]).all()
        expected[..., 3 * axis : 3 * axis + 3] *= share[..., None]
    actual = backend.asarray(seams.copy())
    backend.keep_edges(backend.asarray(steepness), actual, edge, jump, backend.asarray(labels) if labelled else None)
    np.testing.assert_allclose(backend.to_host(actual), expected, atol=1e-6)


def test_divergence_is_the_sum_of_backward_differences(backend, rng):
    field = rng.random((11, 14, 8), np.float32)
    right, down = np.pad(field[..., :3], ((0, 0), (1, 0), (0, 0))), np.pad(field[..., 3:6], ((1, 0), (0, 0), (0, 0)))
    expected = np.diff(right, axis=1) + np.diff(down, axis=0)
    np.testing.assert_allclose(backend.to_host(backend.divergence(backend.asarray(field))), expected, atol=1e-6)


@pytest.mark.parametrize("height", [1, 2, 3, 40])
@pytest.mark.parametrize("width", [1, 7, 200])
def test_columns_are_solved_as_by_elimination_also_for_tiny_shifts(backend, rng, height, width):
    shifts = (10.0 ** rng.uniform(-5, 1, width)).astype(np.float32)
    f = rng.standard_normal((height, width), np.float32)
    second = 2 * np.eye(height) - np.eye(height, k=1) - np.eye(height, k=-1)
    second[0, 0] -= 1
    second[-1, -1] -= 1
    expected = np.stack([np.linalg.solve(second + np.eye(height) * float(s), f[:, x]) for x, s in enumerate(shifts)], 1)
    actual = backend.asarray(f.copy())
    backend.solve_columns(backend.asarray(shifts), actual)
    error = np.abs(backend.to_host(actual) - expected) / np.abs(expected).max(axis=0)
    assert error.max() < 2e-5


def test_a_small_correction_is_added_and_a_large_one_stops_before_black_and_white(backend, rng):
    picture, correction = rng.random((9, 12, 3), np.float32), rng.normal(0, 0.3, (9, 12, 3)).astype(np.float32)
    picture[0, 0], picture[0, 1], picture[0, 2] = 0, 1, 0
    columns = rng.permutation(12).astype(np.int32)
    correction[0, columns[2]] = 0
    actual = backend.to_host(backend.correct(*map(backend.asarray, (picture, correction, columns))))
    change = correction[:, columns].astype(float)
    room = np.minimum(np.where(change > 0, 1 - picture, picture), 2 * np.minimum(picture, 1 - picture))
    expected = picture + change * room / ((room**4 + change**4) ** 0.25 + 1e-30)
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert actual.min() >= 0
    assert actual.max() <= 1
    assert actual[0, :3].tolist() == [[0] * 3, [1] * 3, [0] * 3]  # black and white do not change
