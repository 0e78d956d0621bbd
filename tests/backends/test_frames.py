"""Tests of frames (several pictures in one array): no kernel reads beyond the frame of a match."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from analogy.backends import MOST_PATCH

SIZE_A = 11, 13
SIZES = [(9, 8), (5, 14), (7, 11)]
PATCHES = [1, 3, 5]
MOST = 1e6


def laid(pictures, gap, fill=77):
    """Return an array of the pictures below each other, and their frames.

    Between two pictures are `gap` rows with the value `fill`, which no kernel may read.
    """
    heights = [len(picture) for picture in pictures]
    tops = np.cumsum([0, *(height + gap for height in heights)])
    columns = [picture.shape[1] for picture in pictures]
    sheet = np.full((tops[-1] - gap, max(columns), pictures[0].shape[2]), fill, pictures[0].dtype)
    for picture, top in zip(pictures, tops[:-1], strict=True):
        sheet[top : top + len(picture), : picture.shape[1]] = picture
    return sheet, np.stack([tops[:-1], tops[:-1] + heights, columns], axis=1).astype(np.int32)


def whole_numbers(rng, size, channels=8):
    """Return joined features with few different values, so that many distances are equal."""
    return rng.integers(-2, 3, (*size, channels)).astype(np.int16)


def field_into(rng, size):
    return np.stack([rng.integers(0, n, SIZE_A) for n in size], axis=2).astype(np.int32)


def on(backend, function, *args):
    """Return the result of a kernel as a tuple of NumPy arrays."""
    there = [backend.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
    result = getattr(backend, function)(*there)
    return tuple(map(backend.to_host, result if isinstance(result, tuple) else (result,)))


def assert_same(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(params=[0, 3], ids=lambda gap: f"gap {gap}")
def mixed(request, rng):
    """Return (a, b, nnf, frames), where the frame of each match is random."""
    a = whole_numbers(rng, SIZE_A)
    b, frames = laid([whole_numbers(rng, size) for size in SIZES], request.param)
    fields = [
        field_into(rng, size) + np.array([top, 0], np.int32) for size, top in zip(SIZES, frames[:, 0], strict=True)
    ]
    return a, b, np.choose(rng.integers(0, 3, SIZE_A)[..., None], fields).astype(np.int32), frames


def inside(nnf, frames):
    """Return True if every match lies in a frame."""
    return oracle._inside_frame(None, frames, nnf, nnf[..., 0], nnf[..., 1]).all()


@pytest.mark.parametrize("patch", PATCHES)
def test_a_field_into_several_frames_is_searched_as_by_the_oracle(backend, mixed, patch):
    a, b, nnf, frames = mixed
    d = oracle.distance(a, b, nnf, patch, frames)
    assert_same(on(backend, "distance", a, b, nnf, patch, frames), [d])
    assert (d != oracle.distance(a, b, nnf, patch)).any() or patch == 1  # without frames, the result is different
    for jump in (1, 4):
        expected = oracle.propagate(a, b, nnf, d, patch, jump, 0.0, None, frames)
        assert_same(on(backend, "propagate", a, b, nnf, d, patch, jump, MOST, None, frames), expected)
        assert inside(expected[0], frames)
    expected = oracle.random_search(a, b, nnf, d, patch, 40, 5, 1, 0.0, None, frames)
    assert_same(on(backend, "random_search", a, b, nnf, d, patch, 40, 5, 1, MOST, None, frames), expected)
    assert inside(expected[0], frames)
    assert (
        oracle._frame(b, frames, expected[0])[0] == oracle._frame(b, frames, nnf)[0]
    ).all()  # each match is still in the same frame


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("channels", [3, 8])
def test_no_position_votes_across_the_border_of_a_frame(backend, rng, mixed, patch, channels):
    _, b, nnf, frames = mixed
    b = np.ascontiguousarray(b[..., :channels]).astype(np.float32)
    for top, end, columns in frames:
        b[top:end, :columns] = rng.random((end - top, columns, channels))
    [found] = on(backend, "vote", nnf, b, patch, frames)
    np.testing.assert_allclose(found, oracle.vote(nnf, b, patch, frames), rtol=1e-6, atol=1e-6)
    assert found.max() <= 1  # a vote that had read a row between the frames would be larger


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("index", range(3))
def test_each_kernel_gives_the_same_within_a_frame_as_for_that_picture_alone(backend, rng, patch, index):
    a, pictures = whole_numbers(rng, SIZE_A), [whole_numbers(rng, size) for size in SIZES]
    (b, frames), alone, nnf = laid(pictures, MOST_PATCH), pictures[index], field_into(rng, SIZES[index])
    down = np.array([frames[index, 0], 0], np.int32)
    [d] = on(backend, "distance", a, alone, nnf, patch)
    assert_same(on(backend, "distance", a, b, nnf + down, patch, frames), [d])
    for kernel, args in (("propagate", (2, MOST)), ("random_search", (9, 3, 1, MOST))):
        field, distance = on(backend, kernel, a, alone, nnf, d, patch, *args)
        assert (field != nnf).any()
        assert_same(on(backend, kernel, a, b, nnf + down, d, patch, *args, None, frames), (field + down, distance))
    pixels = [picture[..., :3].astype(np.float32) for picture in map(np.ascontiguousarray, pictures)]
    (b, _), alone = laid(pixels, MOST_PATCH), pixels[index]
    voted = on(backend, "vote", nnf, alone, patch)
    assert_same(on(backend, "vote", nnf + down, b, patch, frames), voted)
    assert_same(
        on(backend, "seams", nnf + down, b, *voted, patch, frames), on(backend, "seams", nnf, alone, *voted, patch)
    )


def test_seams_are_the_differences_within_the_frames(backend, cpu, rng):
    sources = [rng.random((*size, 3), np.float32) for size in SIZES]
    source, frames = laid(sources, MOST_PATCH)
    pieces = [field_into(rng, size) + np.array([top, 0]) for size, top in zip(SIZES, frames[:, 0], strict=True)]
    nnf = np.choose((np.arange(SIZE_A[1]) // 5)[None, :, None], pieces).astype(np.int32)
    [picture] = on(cpu, "vote", nnf, source, 3, frames)
    [actual] = on(backend, "seams", nnf, source, picture, 3, frames)
    for axis in range(2):
        steps = []
        for each in sources:
            step = np.zeros_like(each)
            step[(slice(None), slice(-1)) if axis == 0 else slice(-1)] = np.diff(each, axis=1 - axis)
            steps.append(step)
        across = np.zeros_like(picture)
        across[(slice(None), slice(-1)) if axis == 0 else slice(-1)] = np.diff(picture, axis=1 - axis)
        expected = oracle.vote(nnf, laid(steps, MOST_PATCH)[0], 3, frames) - across
        expected[(slice(None), -1) if axis == 0 else (-1,)] = 0
        np.testing.assert_allclose(actual[..., 3 * axis : 3 * axis + 3], expected, atol=1e-6)


def test_labels_and_frames_hold_together(backend, rng, mixed):
    a, b, nnf, frames = mixed
    labels = rng.integers(-1, 2, SIZE_A).astype(np.int32), rng.integers(-1, 2, b.shape[:2]).astype(np.int32)
    d = oracle.distance(a, b, nnf, 3, frames)
    there = tuple(map(backend.asarray, labels))
    for kernel, args in (("propagate", (1,)), ("random_search", (20, 2, 0))):
        expected = getattr(oracle, kernel)(a, b, nnf, d, 3, *args, 0.0, labels, frames)
        assert_same(on(backend, kernel, a, b, nnf, d, 3, *args, MOST, there, frames), expected)
        moved = (expected[0] != nnf).any(axis=2)
        assert moved.any()
        assert oracle.allowed(labels, expected[0])[moved].all()


@pytest.mark.parametrize("kernel", ["distance", "propagate", "random_search"])
def test_cpu_and_simulator_agree_to_the_bit(cpu, simulated, mixed, kernel):
    a, b, nnf, frames = mixed
    [d] = on(cpu, "distance", a, b, nnf, 3, frames)
    args = {
        "distance": (3, frames),
        "propagate": (d, 3, 1, MOST, None, frames),
        "random_search": (d, 3, 12, 1, 0, MOST, None, frames),
    }[kernel]
    assert_same(on(cpu, kernel, a, b, nnf, *args), on(simulated, kernel, a, b, nnf, *args))
