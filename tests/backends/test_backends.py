"""Tests of every kernel on every backend, compared with the simple NumPy code of `oracle`.

The search adds whole numbers, so its fields and distances must equal those of `oracle`, even where
two candidates have the same sum. Kernels that add floats may round in another way, so their results
may differ a little.
"""

from __future__ import annotations

import numpy as np
import oracle
import psutil
import pytest
from simulator import launch

from analogy.backends import ONE, Pass
from analogy.backends.cpu import CpuBackend
from analogy.backends.cuda import CudaBackend
from analogy.backends.kernels import hash32

# Each case is (rows, columns) of A, (rows, columns) of B, and the number of channels. The cases
# include maps of a single position, thin maps, odd sides and different sizes. Some have a multiple
# of four channels.
SHAPES = [
    ((1, 1), (1, 1), 1),
    ((1, 1), (3, 2), 4),
    ((2, 1), (1, 3), 3),
    ((1, 7), (5, 1), 2),
    ((5, 7), (7, 4), 5),
    ((9, 6), (4, 11), 8),
    ((6, 5), (5, 6), 33),
    ((4, 7), (6, 5), 36),
    ((3, 4), (4, 5), 132),
]
PATCHES = [1, 3, 5]


def whole_numbers(rng, size, channels):
    """Return joined features with few different values, so that many distances are equal."""
    return rng.integers(-2, 3, (*size, channels)).astype(np.int16)


def directions(rng, size, channels):
    """Return joined features like those of `join`: two unit vectors side by side."""
    return oracle.join(*rng.standard_normal((2, *size, channels // 2), np.float32))


def random_field(rng, size_a, size_b):
    return np.stack([rng.integers(0, n, size_a) for n in size_b], axis=2).astype(np.int32)


def on(backend, function, *args):
    """Call a method of a backend on arrays of the backend, and return its results as NumPy arrays.

    The test fails if the method has changed an argument.
    """
    there = [move(backend, arg) for arg in args]
    result = getattr(backend, function)(*there)
    for before, after in zip(args, there, strict=True):
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(backend.to_host(after), before, err_msg=f"{function} changed an argument")
    return tuple(map(backend.to_host, result)) if isinstance(result, tuple) else backend.to_host(result)


def move(backend, arg):
    if isinstance(arg, tuple):
        return tuple(move(backend, part) for part in arg)
    return backend.asarray(arg) if isinstance(arg, np.ndarray) else arg


def assert_same(actual, expected):
    assert isinstance(actual, np.ndarray)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.fixture(params=SHAPES, ids=lambda s: f"{s[0][0]}x{s[0][1]}-{s[1][0]}x{s[1][1]}-{s[2]}")
def case(request, rng):
    """Return (a, b, nnf): joined features with few different values, and a random field."""
    size_a, size_b, channels = request.param
    a, b = whole_numbers(rng, size_a, channels), whole_numbers(rng, size_b, channels)
    return a, b, random_field(rng, size_a, size_b)


def max_product_of(a, b):
    return float(np.abs(a).sum(axis=2, dtype=int).max() * np.abs(b).max())


UNIT_VECTORS = 2.02 * ONE**2
"""Upper bound of the scalar product of two positions in arrays that `directions` returns."""


def test_hash32_gives_its_fixed_numbers():
    # If these numbers changed, every result for a given seed would change.
    fixed = {(0, 0, 0, 1): 3749358279, (1, 2, 3, 4): 3732121260, (2**32 - 1, 9, 2**31, 0): 3732291237}
    assert {key: int(oracle.hash32(*key)) for key in fixed} == fixed
    keys = np.random.default_rng(1).integers(0, 2**32, (200, 4))
    assert [int(hash32(*map(int, key))) for key in keys] == [int(oracle.hash32(*key)) for key in keys]


@pytest.mark.parametrize("patch", PATCHES)
def test_distance_equals_the_oracle(backend, case, patch):
    a, b, nnf = case
    assert_same(on(backend, "distance", a, b, nnf, patch), oracle.distance(a, b, nnf, patch))


@pytest.mark.parametrize("channels", [24, 25, 80, 81, 160, 161])
@pytest.mark.parametrize("patch", [3, 5, 7])
def test_distance_is_exact_for_patches_of_the_sizes_that_are_unrolled_and_larger_ones(backend, rng, patch, channels):
    # The maps have one column, so at most `patch` positions of a patch lie in the map.
    a, b = whole_numbers(rng, (9, 1), channels), whole_numbers(rng, (12, 1), channels)
    nnf = random_field(rng, (9, 1), (12, 1))
    assert_same(on(backend, "distance", a, b, nnf, patch), oracle.distance(a, b, nnf, patch))


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("jump", [1, 2, 50])
def test_propagate_equals_the_oracle(backend, case, patch, jump):
    a, b, nnf = case
    d = oracle.distance(a, b, nnf, patch)
    expected = oracle.propagate(a, b, nnf, d, patch, jump, 0.0)
    actual = on(backend, "propagate", a, b, nnf, d, patch, jump, max_product_of(a, b))
    assert_same(actual[0], expected[0])
    assert_same(actual[1], expected[1])


def test_propagate_skips_candidates_that_the_previous_field_had(backend, rng):
    size_a, size_b, jump, patch = (9, 12), (10, 8), 2, 3
    a, b = whole_numbers(rng, size_a, 8), whole_numbers(rng, size_b, 8)
    nnf = random_field(rng, size_a, size_b)
    d, most = oracle.distance(a, b, nnf, patch), max_product_of(a, b)
    previous_field = nnf.copy()
    previous_field[4:, :, 0] += 1  # now `nnf` and the previous field differ in the lower rows
    passed = on(backend, "propagate", a, b, nnf, d, patch, jump, most, None, None, previous_field)
    expected = oracle.propagate(a, b, nnf, d, patch, jump, 0.0)
    assert_same(passed[0][: 4 - jump], nnf[: 4 - jump])
    assert (
        expected[0][: 4 - jump] != nnf[: 4 - jump]
    ).any()  # without the previous field, the pass finds better matches
    assert_same(passed[0][4 + jump :], expected[0][4 + jump :])


def test_a_second_pass_is_the_same_when_it_skips_candidates_of_the_first(backend, case):
    a, b, nnf = case
    most = max_product_of(a, b)
    first = oracle.propagate(a, b, nnf, oracle.distance(a, b, nnf, 3), 3, 1, 0.0)
    moved = oracle.random_search(a, b, *first, 3, 4, 1, 0, 0.0)
    expected = oracle.propagate(a, b, *moved, 3, 1, 0.0)
    actual = on(backend, "propagate", a, b, *moved, 3, 1, most, None, None, nnf)
    assert_same(actual[0], expected[0])
    assert_same(actual[1], expected[1])


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize(("radius", "seed", "iteration"), [(1, 0, 0), (6, 7, 2), (40, 2**40 + 3, 1)])
def test_random_search_equals_the_oracle(backend, case, patch, radius, seed, iteration):
    a, b, nnf = case
    d = oracle.distance(a, b, nnf, patch)
    expected = oracle.random_search(a, b, nnf, d, patch, radius, seed, iteration, 0.0)
    actual = on(backend, "random_search", a, b, nnf, d, patch, radius, seed, iteration, max_product_of(a, b))
    assert_same(actual[0], expected[0])
    assert_same(actual[1], expected[1])


def test_a_random_step_takes_all_bits_of_its_hash(backend, rng):
    # B is one row of 2^23 positions, and the radius is up to 2^22, so each bit of a hash matters.
    a, b = np.zeros((5, 8, 1), np.int16), np.zeros((1, 1 << 23, 1), np.int16)
    nnf = np.zeros((5, 8, 2), np.int32) + np.array([0, 1 << 22], np.int32)
    worst = np.full((5, 8), 1, np.float32)
    expected = oracle.random_search(a, b, nnf, worst, 1, 1 << 22, 6, 2, 0.0)
    actual = on(backend, "random_search", a, b, nnf, worst, 1, 1 << 22, 6, 2, 1.0)
    assert_same(actual[0], expected[0])
    assert len(np.unique(actual[0][..., 1] % 64)) > 16


@pytest.mark.parametrize("patch", PATCHES)
def test_vote_equals_the_oracle(backend, case, patch):
    _, b, nnf = case
    b = b.astype(np.float32)
    if b.shape[2] == 4:
        b = b[..., :3].copy()  # three channels, as in a picture
    np.testing.assert_allclose(on(backend, "vote", nnf, b, patch), oracle.vote(nnf, b, patch), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (5, 16), (7, 37)])
@pytest.mark.parametrize("channels", [6, 16, 37])
def test_channels_last_moves_the_channels_to_the_end(backend, rng, channels, size):
    maps = rng.random((1, channels, *size), np.float32)
    found = on(backend, "channels_last", maps)
    assert found.flags.c_contiguous
    assert_same(found, np.moveaxis(maps[0], 0, -1))


def test_join_equals_the_oracle(backend, case):
    a, _, _ = case
    f, g = a * np.float32(0.01), a[::-1, ::-1] * np.float32(0.001) + np.float32(0.01)
    f[0, 0] = g[-1, -1] = 0
    joined = on(backend, "join", f, g)
    assert joined.dtype == np.int16
    np.testing.assert_allclose(joined, oracle.join(f, g), atol=1)  # values near one half may be rounded up or down
    assert (joined == oracle.join(f, g)).mean() > 0.99
    assert not joined[0, 0, : f.shape[2]].any()
    assert not joined[-1, -1, f.shape[2] :].any()


@pytest.mark.parametrize(("size", "channels", "directions"), [((1, 1), 3, 1), ((7, 9), 16, 8), ((40, 33), 256, 128)])
def test_project_multiplies_the_channels_of_each_position_by_the_matrix(backend, rng, size, channels, directions):
    f, matrix = rng.standard_normal((*size, channels), np.float32), rng.random((channels, directions), np.float32)
    expected = f.astype(np.float64) @ matrix
    projected = on(backend, "project", f, matrix)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(projected, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "length"), [(1, 1), (2, 37), (18, 70_001)])
def test_products_and_mixture_of_large_arrays_equal_numpy(backend, rng, count, length):
    rows, weights = rng.standard_normal((count, length), np.float32), rng.standard_normal(count, np.float32)
    found = on(backend, "products", rows, rows[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows.astype(np.float64) @ rows[0], rtol=1e-5, atol=1e-6 * length)
    found = on(backend, "mixture", weights, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weights.astype(np.float64) @ rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (8, 4), (36, 8)], ids=str)
@pytest.mark.parametrize("alpha", [0.8, 0.0])
def test_blend_equals_the_oracle(backend, rng, channels, alpha):
    content, f, g = (
        rng.standard_normal((7, 9, width)).astype(np.float32) for width in (channels[0], channels[1], channels[1])
    )
    content[2:4] *= 5
    args = alpha, 300.0, 0.05
    blended = on(backend, "blend", content, f, g, *args)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, oracle.blend(content, f, g, *args), atol=2e-5)


def test_blend_of_content_whose_norms_are_all_equal_takes_its_smallest_weight(backend):
    content, f, g = (np.full((3, 4, 4), value, np.float32) for value in (2, 10, 20))
    smallest = 0.8 / (1 + np.exp(2.0 * 0.5))
    np.testing.assert_allclose(on(backend, "blend", content, f, g, 0.8, 2.0, 0.5), 20 - 10 * smallest, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 3, 5), (1, 64, 70, 100)], ids=str)
def test_one_value_that_is_not_finite_is_found_wherever_it_is(backend, rng, size, wrong):
    maps = [rng.standard_normal(shape).astype(np.float32) for shape in (size, (3, 2), size)]
    backend.require_finite([backend.asarray(array) for array in maps], ValueError("there is none"))
    for array in maps:
        for place in (0, array.size // 2, array.size - 1):
            before = array.flat[place]
            array.flat[place] = wrong
            with pytest.raises(ValueError, match="found"), backend.active():
                backend.require_finite([backend.asarray(array) for array in maps], ValueError("found"))
            array.flat[place] = before


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (4, 33)])
def test_pixel_vectors_equal_the_oracle(backend, rng, size, key):
    pixels = rng.random((*size, 3), np.float32)
    pixels[0, 0] = [0, 1, 0.5]
    assert_same(on(backend, "pixel_vectors", pixels, key), oracle.pixel_vectors(pixels, key))


@pytest.mark.parametrize("scale_a", [(2, 2), (1.5, 3.7), (1, 0.5)])
@pytest.mark.parametrize("scale_b", [(2, 2), (1.3, 2.9), (0.4, 1)])
def test_resample_equals_the_oracle(backend, rng, scale_a, scale_b):
    size_a, size_b = (7, 5), (4, 9)
    # The new size may be one row and one column larger or smaller than the scale times the old
    # size.
    for change in (-1, 0, 1):
        shape_a = tuple(max(1, round(n * s) + change) for n, s in zip(size_a, scale_a, strict=True))
        shape_b = tuple(max(1, round(n * s) + change) for n, s in zip(size_b, scale_b, strict=True))
        nnf = random_field(rng, size_a, size_b)
        expected = oracle.resample(nnf, shape_a, shape_b, scale_a, scale_b)
        assert_same(on(backend, "resample", nnf, shape_a, shape_b, scale_a, scale_b), expected)


@pytest.mark.parametrize("scale", [3.7, 1.3, 1.1])
def test_resample_divides_by_the_scale_exactly(backend, rng, scale):
    # At some positions, (y + .5) / scale is a whole number, or very near one. If the kernel
    # multiplied by 1 / scale instead, it would find another coarse position there. The field is
    # random, since a coherent field would give the same match from both coarse positions.
    nnf = random_field(rng, (30, 30), (30, 30))
    shape = (round(30 * scale), round(30 * scale))
    expected = oracle.resample(nnf, shape, shape, (scale, scale), (scale, scale))
    assert_same(on(backend, "resample", nnf, shape, shape, (scale, scale), (scale, scale)), expected)


@pytest.mark.parametrize("patch", [*PATCHES, 7])
@pytest.mark.parametrize("channels", [6, 16, 32, 64])
def test_search_on_unit_vectors_equals_the_oracle(backend, rng, patch, channels):
    a, b = directions(rng, (13, 11), channels), directions(rng, (12, 14), channels)
    nnf = random_field(rng, (13, 11), (12, 14))
    d = on(backend, "distance", a, b, nnf, patch)
    assert_same(d, oracle.distance(a, b, nnf, patch))
    for function, *args in (("propagate", 2), ("random_search", 14, 3, 1), ("propagate", 1)):
        expected = getattr(oracle, function)(a, b, nnf, d, patch, *args, 0.0)
        nnf, d = on(backend, function, a, b, nnf, d, patch, *args, UNIT_VECTORS)
        assert_same(nnf, expected[0])
        assert_same(d, expected[1])


@pytest.mark.parametrize("patch", [5, 7])
def test_the_largest_sums_do_not_overflow(backend, patch):
    # All positions have the same unit vectors, so every product is the largest possible.
    a = np.full((9, 9, 2), ONE, np.int16)
    nnf = np.stack(np.mgrid[:9, :9], axis=2).astype(np.int32)
    assert_same(on(backend, "distance", a, a, nnf, patch), np.full((9, 9), -2, np.float32))


def test_a_tie_keeps_the_current_match(backend, rng):
    # All positions of B have the same features, so no candidate is strictly better.
    a, b = np.full((6, 7, 12), ONE, np.int16), np.ones((8, 5, 12), np.int16)
    nnf = random_field(rng, (6, 7), (8, 5))
    d = on(backend, "distance", a, b, nnf, 3)
    assert_same(d, np.full((6, 7), -12 / ONE, np.float32))
    for function, args in (("propagate", (1,)), ("random_search", (8, 0, 0))):
        actual = on(backend, function, a, b, nnf, d, 3, *args, 12.0 * ONE)
        assert_same(actual[0], nnf)
        assert_same(actual[1], d)


def test_candidates_that_are_better_by_little_are_not_rejected_by_rounding(backend, rng):
    # Sums near 2^30 differ by a few units, which float32 cannot represent. A bound that was rounded
    # to the wrong side would reject candidates that are better.
    a = np.full((11, 9, 2), ONE, np.int16)
    b = (ONE + rng.integers(-1, 2, (11, 9, 2))).astype(np.int16)
    nnf = random_field(rng, (11, 9), (11, 9))
    d = oracle.distance(a, b, nnf, 5)
    for function, args in (("propagate", (1,)), ("random_search", (4, 0, 0))):
        expected = getattr(oracle, function)(a, b, nnf, d, 5, *args, 0.0)
        actual = on(backend, function, a, b, nnf, d, 5, *args, max_product_of(a, b))
        assert_same(actual[0], expected[0])
        assert_same(actual[1], expected[1])


def test_a_larger_max_product_gives_the_same_result(backend, rng):
    a, b = directions(rng, (9, 8), 16), directions(rng, (7, 9), 16)
    nnf = random_field(rng, (9, 8), (7, 9))
    d = on(backend, "distance", a, b, nnf, 5)
    for function, args in (("propagate", (1,)), ("random_search", (9, 0, 0))):
        tight = on(backend, function, a, b, nnf, d, 5, *args, UNIT_VECTORS)
        loose = on(backend, function, a, b, nnf, d, 5, *args, 1e9 * ONE**2)
        assert_same(tight[0], loose[0])
        assert_same(tight[1], loose[1])


def test_a_candidate_is_rejected_once_max_product_rules_it_out(backend, rng):
    # With a `max_product` this low, a candidate is rejected before the last row of its patch is
    # added.
    a, b = directions(rng, (8, 9), 16), directions(rng, (9, 7), 16)
    nnf = random_field(rng, (8, 9), (9, 7))
    d = on(backend, "distance", a, b, nnf, 3)
    for function, args in (("propagate", (1,)), ("random_search", (9, 0, 0))):
        actual = on(backend, function, a, b, nnf, d, 3, *args, -1e9 * ONE**2)
        assert_same(actual[0][1:-1], nnf[1:-1])
        assert_same(actual[1][1:-1], d[1:-1])
        assert (on(backend, function, a, b, nnf, d, 3, *args, UNIT_VECTORS)[0] != nnf)[1:-1].any(axis=2).mean() > 0.5
    # Now B has one row, so the first row of a patch is also its last, and no candidate is rejected.
    b, nnf = b[:1].copy(), nnf * np.array([0, 1], np.int32)
    d = on(backend, "distance", a, b, nnf, 3)
    for function, args in (("propagate", (1,)), ("random_search", (9, 0, 0))):
        low, enough = (
            on(backend, function, a, b, nnf, d, 3, *args, max_product)[0]
            for max_product in (-1e9 * ONE**2, UNIT_VECTORS)
        )
        assert_same(low, enough)
        assert (low != nnf).any()


def test_the_current_match_is_not_evaluated_again(backend, rng):
    # Every candidate is the current match. Its given distance is wrong, and must be returned,
    # because kernels do not compute it again.
    a = directions(rng, (5, 6), 8)
    same = np.stack(np.mgrid[:5, :6], axis=2).astype(np.int32)
    wrong = np.full((5, 6), 7, np.float32)
    assert_same(on(backend, "propagate", a, a, same, wrong, 3, 1, UNIT_VECTORS)[1], wrong)
    only = np.zeros((5, 6, 2), np.int32)
    assert_same(on(backend, "random_search", a, a[:1, :1].copy(), only, wrong, 3, 4, 0, 0, UNIT_VECTORS)[1], wrong)


@pytest.mark.parametrize("shape", SHAPES[3:7])
def test_labels_forbid_matches_as_in_the_oracle(backend, rng, shape):
    size_a, size_b, channels = shape
    a, b = whole_numbers(rng, size_a, channels), whole_numbers(rng, size_b, channels)
    labels = tuple(rng.integers(-1, 2, size).astype(np.int32) for size in (size_a, size_b))
    nnf = random_field(rng, size_a, size_b)
    d = oracle.distance(a, b, nnf, 3)
    forbidden = ~oracle.allowed(labels, nnf)
    d[forbidden] = np.inf
    for function, args in (("propagate", (1,)), ("random_search", (12, 1, 0))):
        expected = getattr(oracle, function)(a, b, nnf, d, 3, *args, 0.0, labels)
        actual = on(backend, function, a, b, nnf, d, 3, *args, max_product_of(a, b), labels)
        assert_same(actual[0], expected[0])
        assert_same(actual[1], expected[1])
        assert oracle.allowed(labels, actual[0])[~forbidden].all()


@pytest.mark.parametrize("which", ["a", "b", "both"])
def test_features_need_no_alignment_beyond_that_of_one_number(backend, rng, which):
    def there(name, x):
        """Return `x` on the device, at an address moved by one element if `which` names it."""
        off = which in (name, "both")
        return backend.asarray(np.append(np.zeros(int(off), x.dtype), x))[int(off) :].reshape(x.shape)

    a, b = whole_numbers(rng, (4, 5), 8), whole_numbers(rng, (5, 4), 8)
    nnf, f, g = random_field(rng, (4, 5), (5, 4)), b.astype(np.float32), b[::-1].astype(np.float32)
    field, d = backend.asarray(nnf), oracle.distance(a, b, nnf, 3)
    there_a, there_b = there("a", a), there("b", b)
    assert_same(backend.to_host(backend.distance(there_a, there_b, field, 3)), d)
    for function, args in (("propagate", (1,)), ("random_search", (4, 1, 0))):
        expected = getattr(oracle, function)(a, b, nnf, d, 3, *args, 0.0)
        found = getattr(backend, function)(there_a, there_b, field, backend.asarray(d), 3, *args, max_product_of(a, b))
        assert_same(backend.to_host(found[0]), expected[0])
        assert_same(backend.to_host(found[1]), expected[1])
    joined = backend.to_host(backend.join(there("a", f), there("b", g)))
    np.testing.assert_allclose(joined, oracle.join(f, g), atol=1)
    voted = backend.to_host(backend.vote(field, there("b", f), 1))
    np.testing.assert_allclose(voted, oracle.vote(nnf, f, 1))


@pytest.mark.gpu
def test_matches_beyond_2_31_elements_are_found_on_a_gpu(rng):
    # test_large_arrays.py tests the same on the simulator, where large arrays take no memory.
    backend = CudaBackend()
    if backend.free_memory() < 10 << 30:
        pytest.skip(f"takes 10 GiB of a GPU's memory, but only {backend.free_memory() / 2**30:.0f} GiB are free")
    a, part = (rng.integers(-9, 10, (size, size, 1)).astype(np.int16) for size in (3, 5))
    nnf = rng.integers(1, 4, (3, 3, 2)).astype(np.int32)
    top, left = 1 << 15, 40
    for dtype in (np.int16, np.float32):
        b = backend.xp.zeros(((1 << 15) + 8, 1 << 16, 1), dtype)
        b[top : top + 5, left : left + 5] = backend.asarray(part.astype(dtype))
        field = backend.asarray(nnf + np.array([top, left], np.int32))
        if dtype is np.int16:
            d = backend.to_host(backend.distance(backend.asarray(a), b, field, 3))
            assert_same(d, oracle.distance(a, part, nnf, 3))
        else:
            voted = backend.to_host(backend.vote(field, b, 3))
            np.testing.assert_allclose(voted, oracle.vote(nnf, part, 3), rtol=1e-6, atol=1e-6)
        del b
        backend.xp.get_default_memory_pool().free_all_blocks()


def test_free_memory_is_in_bytes_and_at_most_what_the_device_has(backend):
    on_host = backend.xp is np
    total = psutil.virtual_memory().total if on_host else backend.xp.cuda.runtime.memGetInfo()[1]
    assert total / 1000 < backend.free_memory() <= total  # a result in kilobytes would be too small


def search(backend, a, b, nnf, patch, iterations):
    a, b, nnf = map(backend.asarray, (a, b, nnf))
    d = backend.distance(a, b, nnf, patch)
    for iteration in range(iterations):
        for jump in (8, 4, 2, 1):
            nnf, d = backend.propagate(a, b, nnf, d, patch, jump, UNIT_VECTORS)
        nnf, d = backend.random_search(a, b, nnf, d, patch, 20, 5, iteration, UNIT_VECTORS)
    return backend.to_host(nnf), backend.to_host(d)


def searched(a, b, nnf, patch, labels, frames, search_radius):
    """Yield four passes of a search, each with the result of the previous pass as input."""
    maps = {"a": a, "b": b, "patch": patch, "frames": frames}
    distance = yield Pass("distance", maps | {"nnf": nnf})
    maps |= {"labels": labels, "max_product": UNIT_VECTORS}
    read = {"nnf": nnf, "distance": distance}
    nnf, distance = yield Pass("propagate", maps | read | {"jump": 2, "previous_field": None})
    found = {"nnf": nnf, "distance": distance}
    nnf, distance = yield Pass("propagate", maps | found | {"jump": 2, "previous_field": read["nnf"]})
    found = {"nnf": nnf, "distance": distance}
    return (yield Pass("random_search", maps | found | {"search_radius": search_radius, "seed": 5, "iteration": 3}))


@pytest.mark.parametrize("channels", [(8, 8, 8), (8, 6, 6)], ids=str)
def test_searches_that_run_together_find_what_each_finds_alone(backend, rng, channels):
    # The searches differ in sizes, frames, labels and radii. Kernels read four channels at once if
    # the number of channels is a multiple of four. So a search with six channels takes other
    # launches than a search with eight.
    sizes = ((9, 14), (16, 5)), ((16, 5), (9, 14)), ((3, 4), (20, 6))
    cases = []
    for (size_a, size_b), width, patch in zip(sizes, channels, (3, 3, 5), strict=True):
        a, b = directions(rng, size_a, width), directions(rng, size_b, width)
        labels = tuple(rng.integers(-1, 2, size).astype(np.int32) for size in (size_a, size_b))
        frames = np.array([[0, 4, size_b[1]], [4, size_b[0], size_b[1] - 1]], np.int32)
        nnf = random_field(rng, size_a, (size_b[0], size_b[1] - 1))
        given = [(labels, None), (None, frames), (labels, frames)][len(cases)]
        cases.append((a, b, nnf, patch, *given, max(size_b)))
    expected = [backend.run_together([searched(*move(backend, case))]) for case in cases]
    found = backend.run_together([searched(*move(backend, case)) for case in cases])
    for one, (other,), (a, b, nnf, patch, labels, frames, radius) in zip(found, expected, cases, strict=True):
        for actual, same in zip(one, other, strict=True):
            assert_same(backend.to_host(actual), backend.to_host(same))
        distance = oracle.distance(a, b, nnf, patch, frames)
        for _ in range(2):
            nnf, distance = oracle.propagate(a, b, nnf, distance, patch, 2, UNIT_VECTORS, labels, frames)
        nnf, distance = oracle.random_search(a, b, nnf, distance, patch, radius, 5, 3, UNIT_VECTORS, labels, frames)
        assert_same(backend.to_host(one[0]), nnf)
        assert_same(backend.to_host(one[1]), distance)


def test_a_pass_with_an_unknown_argument_is_an_error(backend, rng):
    a = backend.asarray(directions(rng, (3, 4), 8))
    maps = {"a": a, "b": a, "nnf": backend.asarray(random_field(rng, (3, 4), (3, 4))), "patch": 3}
    with pytest.raises(TypeError, match="lables"):
        backend.run_together([(Pass("distance", maps | {"lables": None}) for _ in range(1))])


def test_no_searches_and_searches_without_a_pass_return(backend):
    def nothing():
        return 5
        yield

    assert backend.run_together([]) == []
    assert backend.run_together([nothing(), nothing()]) == [5, 5]


def test_both_directions_of_a_search_take_one_launch_a_pass_on_a_gpu(simulated, rng, monkeypatch):
    launched = []
    real = launch.Kernel.__call__
    monkeypatch.setattr(
        launch.Kernel, "__call__", lambda kernel, *args: launched.append(kernel.name) or real(kernel, *args)
    )
    a, b = (simulated.asarray(directions(rng, size, 8)) for size in ((6, 7), (5, 9)))
    there, back = (simulated.asarray(random_field(rng, *sizes)) for sizes in (((6, 7), (5, 9)), ((5, 9), (6, 7))))
    simulated.run_together([searched(a, b, there, 3, None, None, 9), searched(b, a, back, 3, None, None, 7)])
    assert launched == ["distance_twice", "propagate_twice", "propagate_twice", "random_search_twice"]


def test_search_recovers_a_known_translation(backend, rng):
    whole = directions(rng, (24, 22), 24)
    a, b = np.ascontiguousarray(whole[:20, :18]), np.ascontiguousarray(whole[4:, 4:])
    nnf, d = search(backend, a, b, random_field(rng, (20, 18), (20, 18)), 3, 3)
    y, x = np.mgrid[5:19, 5:17]
    assert (nnf[5:19, 5:17] == np.stack([y - 4, x - 4], axis=2)).all()
    np.testing.assert_allclose(d[5:19, 5:17], -2, rtol=3e-4)  # not exactly -2, since joined features are rounded


def test_repeated_calls_give_the_same_bits(backend, rng):
    a, b = directions(rng, (14, 9), 20), directions(rng, (10, 12), 20)
    nnf = random_field(rng, (14, 9), (10, 12))
    first, second = (search(backend, a, b, nnf, 3, 1) for _ in range(2))
    assert_same(first[0], second[0])
    assert_same(first[1], second[1])


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_does_not_change_a_bit(cpu, rng, threads):
    a, b = directions(rng, (23, 9), 20), directions(rng, (10, 12), 20)
    nnf = random_field(rng, (23, 9), (10, 12))
    one, many = CpuBackend(1), CpuBackend(threads)
    for alone, together in zip(search(one, a, b, nnf, 3, 2), search(many, a, b, nnf, 3, 2), strict=True):
        assert_same(together, alone)
    for function, args in (
        ("vote", (nnf, b.astype(np.float32), 5)),
        ("join", (a.astype(np.float32), a.astype(np.float32))),
        ("resample", (nnf, (46, 18), (20, 24), (2, 2), (2, 2))),
    ):
        assert_same(on(many, function, *args), on(one, function, *args))


def test_asarray_is_contiguous_and_to_host_returns_the_same_numbers(backend, rng):
    strided = rng.standard_normal((6, 8, 3), np.float32)[::2, ::-1].transpose(1, 0, 2)
    there = backend.asarray(strided)
    assert there.flags.c_contiguous
    assert backend.pointer(there) % 4 == 0
    assert_same(backend.to_host(there), strided)
