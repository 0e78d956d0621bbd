"""Tests of kernels on arrays of more than 2^31 and 2^32 elements, whose memory is only reserved.

Each array is zero except in a small region. In this region, the result of a kernel must be the
result of the oracle for the region alone. If the output is
large, the simulator runs only one block of threads of a launch.
"""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import simulator
from simulator import standin

from analogy.backends import coarse_sides
from analogy.backends.cpu import CpuBackend

pytestmark = pytest.mark.skipif(bool(simulator.missing()), reason=simulator.missing() or "can be simulated")

SIZE = (1 << 16) + 16, 1 << 16
FAR = [((1 << 15) + 7, 30), (1 << 16, 9), ((1 << 16) + 5, (1 << 16) - 9)]
"""Positions in a picture of SIZE: just after 2^31 and 2^32 elements, and near its end."""
LONG_ROWS = (15, 1 << 19, 8193), (7, 20)
"""Size of a picture whose rows have more than 2^32 elements each, and a position in it."""
CASES = [*(((*SIZE, 1), far) for far in FAR), LONG_ROWS]
PATCH, MOST = 3, 1e9
MARGIN = 2
"""Width, in positions, of the border of the small region, where the tests compare nothing.

In this border the zeros around the region affect the result.
"""


@pytest.fixture
def backend(simulated, monkeypatch):
    """Return the simulated backend, whose new arrays take no memory."""
    monkeypatch.setattr(standin, "empty", standin.reserved)
    return simulated


def place(part, size, far):
    """Return a large array of zeros with the small array `part` in it, centred at `far`."""
    large = standin.reserved((*size, *part.shape[2:]), part.dtype)
    top, left = (at - n // 2 for at, n in zip(far, part.shape[:2], strict=True))
    large[top : top + part.shape[0], left : left + part.shape[1]] = standin.asarray(part)
    return large


def block_of(far, units):
    """Make the simulator run only the block of threads that covers the position `far`."""
    lanes = min(32, 1 << (units - 1).bit_length())
    rows = 1 << ((256 // lanes).bit_length() - 1) // 2
    return simulator.only_block(far[1] // (256 // lanes // rows), far[0] // rows)


def matches(rng, size_a, size_b):
    """Return a random field whose matches are at least MARGIN away from the border of B."""
    return rng.integers(MARGIN, np.array(size_b) - MARGIN, (*size_a, 2)).astype(np.int32)


def searches(backend, arguments, radius, labels):
    """Yield (nnf, distance) after each of three passes, which a backend or the oracle runs."""
    a, b, nnf, d = arguments
    yield nnf, backend.distance(a, b, nnf, PATCH)
    yield backend.propagate(a, b, nnf, d, PATCH, 1, MOST, labels)
    yield backend.random_search(a, b, nnf, d, PATCH, radius, 3, 1, MOST, labels)


@pytest.mark.parametrize(("shape", "far"), CASES)
def test_matches_far_into_b_are_compared_and_voted_from_there(backend, rng, shape, far):
    a = rng.integers(-9, 10, (3, 3, shape[2])).astype(np.int16)
    b = np.zeros((9, 9, shape[2]), np.int16)
    b[2:-2, 2:-2] = rng.integers(-9, 10, (5, 5, shape[2]))
    nnf = matches(rng, (3, 3), (9, 9))
    labels = np.zeros((3, 3), np.int32), np.zeros((9, 9), np.int32)
    corner = np.array(far, np.int32) - 4
    d = np.full((3, 3), 1e9, np.float32)
    there = [standin.asarray(a), place(b, shape[:2], far), standin.asarray(nnf + corner), standin.asarray(d)]
    # At a wrong index, the kernel would read a label that forbids the match.
    labels_there = standin.asarray(labels[0] + 1), place(labels[1] + 1, shape[:2], far)
    expected = searches(oracle, [a, b, nnf, d], 1, labels)
    for (field, distance), (same_field, same) in zip(searches(backend, there, 1, labels_there), expected, strict=True):
        np.testing.assert_array_equal(backend.to_host(field) - corner, same_field)
        np.testing.assert_array_equal(backend.to_host(distance), same)
    voted = backend.vote(there[2], place(b.astype(np.float32), shape[:2], far), PATCH)
    np.testing.assert_allclose(backend.to_host(voted), oracle.vote(nnf, b, PATCH), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "far"), CASES)
def test_positions_far_into_a_are_read_and_written_there(backend, rng, monkeypatch, shape, far):
    a = rng.integers(-9, 10, (5, 5, shape[2])).astype(np.int16)
    b = rng.integers(-9, 10, (9, 9, shape[2])).astype(np.int16)
    nnf, d = matches(rng, (5, 5), (9, 9)), np.full((5, 5), 1e9, np.float32)
    labels = rng.integers(1, 3, (5, 5)).astype(np.int32), rng.integers(1, 3, (9, 9)).astype(np.int32)
    there = [place(a, shape[:2], far), standin.asarray(b), place(nnf, shape[:2], far), place(d, shape[:2], far)]
    labels_there = place(labels[0], shape[:2], far), standin.asarray(labels[1])
    hash32 = oracle.hash32
    pixel = far[0] * shape[1] + far[1]
    monkeypatch.setattr(oracle, "hash32", lambda seed, iteration, p, step: hash32(seed, iteration, 0 * p + pixel, step))
    expected = searches(oracle, [a, b, nnf, d], 4, labels)
    with block_of(far, shape[2]):
        for (field, distance), (same_field, same) in zip(
            searches(backend, there, 4, labels_there), expected, strict=True
        ):
            np.testing.assert_array_equal(backend.to_host(field[far]), same_field[2, 2])
            assert float(distance[far]) == same[2, 2]
        second = backend.propagate(*there, PATCH, 1, MOST, None, None, there[2])
        assert float(second[1][far]) == d[2, 2]
        voted = backend.vote(there[2], standin.asarray(b.astype(np.float32)), PATCH)[far]
    np.testing.assert_allclose(backend.to_host(voted), oracle.vote(nnf, b, PATCH)[2, 2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "far"), CASES)
def test_features_far_into_a_picture_are_joined_there(backend, rng, shape, far):
    f, g = rng.standard_normal((2, 1, 1, shape[2]), np.float32)
    with block_of(far, shape[2]):
        joined = backend.join(place(f, shape[:2], far), place(g, shape[:2], far))[far]
    np.testing.assert_allclose(backend.to_host(joined), oracle.join(f, g)[0, 0], atol=1)


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("key", [False, True])
def test_pixels_far_into_a_picture_become_vectors_there(backend, rng, far, key):
    pixels = rng.random((1, 1, 3), np.float32)
    with block_of(far, 1):
        vectors = backend.pixel_vectors(place(pixels, SIZE, far), key)[far]
    np.testing.assert_array_equal(backend.to_host(vectors), oracle.pixel_vectors(pixels, key)[0, 0])


@pytest.mark.parametrize("far", FAR)
def test_a_field_is_resampled_far_into_a_picture_and_from_there(backend, far):
    match = np.array([[[5, 6]]], np.int32)
    with block_of(far, 1):
        larger = backend.resample(place(match, SIZE, far), SIZE, (9, 9), (1, 1), (1, 1))
    np.testing.assert_array_equal(backend.to_host(larger[far]), match[0, 0])


def planes(part, size, far):
    """Return a large array of several planes of zeros, with `part` in it, centred at `far`."""
    large = standin.reserved((len(part), *size), np.float32)
    top, left = (at - n // 2 for at, n in zip(far, part.shape[1:], strict=True))
    large[:, top : top + part.shape[1], left : left + part.shape[2]] = standin.asarray(part)
    return large


INSIDE = [((1 << 15) + 8, 40), ((1 << 16) + 8, 8), ((1 << 16) + 8, (1 << 16) - 24)]
"""Positions near those of FAR, but in the middle of a block of threads."""


@pytest.mark.parametrize("far", INSIDE)
def test_seams_are_found_and_removed_far_into_a_picture(backend, rng, far):
    cpu, centre = CpuBackend(1), (4, 4)
    nnf, source, picture = (
        matches(rng, (9, 9), (11, 12)),
        rng.random((11, 12, 3), np.float32),
        rng.random((9, 9, 3), np.float32),
    )
    labels = np.full((9, 9), 3, np.int32)
    there = {name: place(part, SIZE, far) for name, part in (("nnf", nnf), ("picture", picture), ("labels", labels))}

    def same(large, small):
        np.testing.assert_allclose(backend.to_host(large[far]), small[centre], rtol=1e-4, atol=1e-6)

    with block_of(far, 1):
        same(backend.steepness(there["picture"]), cpu.steepness(picture))
        seams = cpu.seams(nnf, source, picture, PATCH)
        same(backend.seams(there["nnf"], standin.asarray(source), there["picture"], PATCH), seams)
        large_seams = place(seams, SIZE, far)
        steep = rng.random((9, 9), np.float32) * np.float32(0.1)
        large_steep = place(steep, SIZE, far)
        backend.keep_edges(large_steep, large_seams, 0.05, 0.5, there["labels"])
        cpu.keep_edges(steep, seams, 0.05, 0.5)
        same(large_seams, seams)
        large_divergence, divergence = backend.divergence(place(seams, SIZE, far)), cpu.divergence(seams)
        same(large_divergence, divergence)
        columns = standin.asarray(np.arange(SIZE[1], dtype=np.int32))
        corrected = backend.correct(there["picture"], place(divergence, SIZE, far), columns)
        same(corrected, cpu.correct(picture, divergence, np.arange(9, dtype=np.int32)))


def test_columns_are_solved_far_into_a_picture(backend, rng):
    height, width = 4, (1 << 31) - 64  # the last row begins beyond 2^32 elements
    f, shifts = standin.reserved((height, width), np.float32), standin.reserved((width,), np.float32)
    part = rng.random((height, 32), np.float32)
    f[:, -32:], shifts[-32:] = standin.asarray(part), standin.asarray(np.full(32, 0.5, np.float32))
    with simulator.only_block(width // 32 - 1, 0):
        backend.solve_columns(shifts, f)
    CpuBackend(1).solve_columns(np.full(32, 0.5, np.float32), part)
    np.testing.assert_allclose(backend.to_host(f[:, -32:]), part, rtol=1e-5)


@pytest.mark.parametrize("far", INSIDE)
def test_multigrid_works_far_into_a_grid(backend, rng, far):
    cpu, size, centre = CpuBackend(1), (SIZE[0] + 1, SIZE[1] + 1), (8, 8)
    coarse, middle, coarse_size = (far[0] // 2, far[1] // 2), (4, 4), coarse_sides(*size)
    form = rng.random((5, 17, 17), np.float32)
    form[[1, 3, 4], :, -1], form[2:, -1] = 0, 0
    f, u, out = rng.random((3, 3, 17, 17), np.float32)
    weights, below = cpu.coarsen(form)
    values, found = rng.random((2, 3, *below.shape[1:]), np.float32)
    there = planes(form, size, far)

    def same(large, there, small, here):
        np.testing.assert_allclose(backend.to_host(large[:, *there]), small[:, *here], rtol=1e-5, atol=1e-6)

    with block_of(coarse, 1):
        large_weights, large_form = backend.coarsen(there)
    same(large_weights, coarse, weights, middle)
    same(large_form, coarse, below, middle)

    large_f, large_u, large_out = (planes(part, size, far) for part in (f, u, out))
    large_weights = planes(weights, coarse_size, coarse)
    large_values, large_found = (planes(part, coarse_size, coarse) for part in (values, found))
    cpu.residual(form, f, u, out)
    cpu.restriction(weights, f, found)
    cpu.prolongation(weights, values, u)
    cpu.combine(0.5, u, 2.0, f)
    for c in range(3):
        with block_of((c * size[0] + far[0], far[1]), 1):
            backend.residual(there, large_f, large_u, large_out)
        with block_of((c * coarse_size[0] + coarse[0], coarse[1]), 1):
            backend.restriction(large_weights, large_f, large_found)
        with block_of((c * size[0] + far[0], far[1]), 1):
            backend.prolongation(large_weights, large_values, large_u)
            backend.combine(0.5, large_u, 2.0, large_f)
    same(large_out, far, out, centre)
    same(large_found, coarse, found, middle)
    for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        same(large_u, (far[0] + y, far[1] + x), u, (8 + y, 8 + x))
    same(large_f, far, f, centre)
