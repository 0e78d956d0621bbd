"""Fields as displacements and colours, warping by a field, and round-trip consistency."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from analogy.errors import ImageError
from analogy.method import flow


@pytest.fixture
def nnf(rng):
    """Return a field (5, 7) into a picture of 9 x 11."""
    return np.stack([rng.integers(0, 9, (5, 7)), rng.integers(0, 11, (5, 7))], axis=2).astype(np.int32)


def test_a_displacement_is_match_minus_position_with_x_first(nnf):
    result = flow.to_flow(nnf)
    assert (result.dtype, result.shape) == (np.float32, (5, 7, 2))
    for y, x in [(0, 0), (4, 2), (1, 6)]:
        assert tuple(result[y, x]) == (nnf[y, x, 1] - x, nnf[y, x, 0] - y)
    back = flow.to_nnf(result)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, nnf)


# Colours


def test_the_colour_wheel_equals_that_of_baker_et_al():
    wheel = flow.wheel()
    # Index -> colour, for the corners of the wheel and some colours between them, as the function
    # `makecolorwheel` in the code of Baker et al. gives them.
    published = {
        0: (255, 0, 0), 1: (255, 17, 0), 14: (255, 238, 0), 15: (255, 255, 0), 16: (213, 255, 0), 21: (0, 255, 0),
        22: (0, 255, 63), 25: (0, 255, 255), 26: (0, 232, 255), 36: (0, 0, 255), 37: (19, 0, 255), 49: (255, 0, 255),
        54: (255, 0, 43),
    }  # fmt: skip
    assert wheel.shape == (55, 3)
    assert {i: tuple(wheel[i]) for i in published} == published


def test_hue_is_direction_and_saturation_is_length():
    #                 right   left     down    up      none
    field = np.array([[[2, 0], [-2, 0], [0, 2], [0, -2], [0, 0], [1, 0]]], np.float32)
    drawn = flow.colour(field)
    assert drawn.dtype == np.uint8
    expected = [(255, 0, 0), (0, 209, 255), (255, 229, 0), (88, 0, 255), (255, 255, 255), (255, 127, 127)]
    assert [tuple(map(int, c)) for c in drawn[0]] == expected
    # With `largest`, longer displacements keep their hue and get darker.
    beyond = flow.colour(field, largest=1)
    assert tuple(beyond[0, 0]) == (191, 0, 0)
    assert tuple(beyond[0, 5]) == (255, 0, 0)


def test_displacements_of_full_length_are_fully_saturated():
    angle = np.linspace(0, 2 * np.pi, 1001)
    drawn = flow.colour(np.stack([np.cos(angle), np.sin(angle)], axis=1)[None] * np.float32(7.3), largest=7.3)
    assert (drawn.max(axis=2) == 255).all()
    assert (drawn.min(axis=2) == 0).all()
    drawn = flow.colour(np.array([[[-1, 0], [0, 1], [0, -1], [3, 3], [3, -3], [-3, 3], [-3, -3]]], np.float32))
    longest = drawn[0, 3:]
    assert ((longest.max(axis=1) == 255) & (longest.min(axis=1) == 0)).all()
    alone = [flow.colour(np.array([[[np.cos(t), np.sin(t)]]], np.float32)) for t in angle]
    assert {(int(colour.min()), int(colour.max())) for colour in alone} == {(0, 255)}


def test_no_displacement_is_white_and_invalid_arguments_are_refused():
    assert (flow.colour(np.zeros((3, 4, 2), np.float32)) == 255).all()
    for largest in (0, -1, float("nan"), float("inf"), 10**400, "1"):
        with pytest.raises(ImageError, match="must be a number above zero"):
            flow.colour(np.ones((3, 4, 2), np.float32), largest)
    with pytest.raises(ImageError, match=r"a flow must be an \(H, W, 2\)"):
        flow.colour(np.ones((3, 4, 3), np.float32))


# Warping and consistency


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("channels", [(), (1,), (4,)])
def test_warp_takes_each_pixel_from_its_match(nnf, rng, dtype, channels):
    image = (rng.random((9, 11, *channels)) * 200).astype(dtype)
    out = flow.warp(image, nnf)
    assert (out.shape, out.dtype) == ((5, 7, *channels), image.dtype)
    for y in range(5):
        for x in range(7):
            np.testing.assert_array_equal(out[y, x], image[tuple(nnf[y, x])])


def test_warp_scales_matches_to_an_image_of_another_size(nnf, rng):
    small = rng.integers(0, 256, (9, 11), dtype=np.uint8)
    large = small.repeat(3, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(flow.warp(large, nnf, size_b=(9, 11)), flow.warp(small, nnf))
    # `warp` scales the centre of the matched pixel, so the scaled point is never outside the image.
    ramp = np.arange(40)[None].repeat(9, axis=0)
    ends = np.array([[[0, 0], [0, 10]]], np.int32)
    assert flow.warp(ramp, ends, size_b=(9, 11)).tolist() == [[1, 38]]
    assert flow.warp(ramp[:, :3], ends, size_b=(9, 11)).tolist() == [[0, 2]]


@pytest.mark.parametrize("size_b", [(9.0, 11), (9,), 9, "ab"])
def test_warp_refuses_a_size_that_is_not_two_whole_numbers(nnf, size_b):
    with pytest.raises(ImageError, match=r"size_b is .*; it must be two integers, \(rows, columns\)") as caught:
        flow.warp(np.zeros((9, 11)), nnf, size_b=size_b)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size_b", [(0, 11), (-9, 11), (9, 2**62), (10**30, 11)])
def test_warp_refuses_a_size_that_no_picture_has(nnf, size_b):
    with pytest.raises(ImageError, match=r"size_b is .*; each number must be from 1 to 2147483647"):
        flow.warp(np.zeros((9, 11)), nnf, size_b=size_b)


def test_fields_of_other_libraries_are_refused(nnf):
    foreign = SimpleNamespace(ndim=3, shape=(5, 7, 2), dtype="int32")  # like PyTorch's dtypes, this one has no `kind`
    for use in (
        lambda: flow.warp(np.zeros((9, 11)), foreign),
        lambda: flow.to_flow(foreign),
        lambda: flow.colour(foreign),
    ):
        with pytest.raises(ImageError, match=r"\(H, W, 2\) (integer array|array of numbers)"):
            use()


def test_warp_refuses_lists(nnf):
    with pytest.raises(ImageError, match=r"an image must be an array; got a list; convert it with numpy\.asarray"):
        flow.warp([[1, 2]], nnf)
    with pytest.raises(ImageError, match="a field must be an array; got a list"):
        flow.warp(np.zeros((9, 11)), nnf.tolist())


def test_warp_refuses_fields_that_point_outside_and_arrays_of_another_shape(nnf):
    nnf[0, 0] = 8, 10
    with pytest.raises(ImageError, match=r"the image has 8 rows, but the field points to rows . to 8; .* as size_b"):
        flow.warp(np.zeros((8, 11)), nnf)
    with pytest.raises(ImageError, match=r"size_b has 10 columns, but the field points to columns . to 10"):
        flow.warp(np.zeros((9, 11)), nnf, size_b=(9, 10))
    nnf[0, 0, 1] = -1
    with pytest.raises(ImageError, match="points to columns -1"):
        flow.warp(np.zeros((9, 11)), nnf)
    with pytest.raises(ImageError, match=r"array of shape \(9,\)"):
        flow.warp(np.zeros(9), abs(nnf))
    with pytest.raises(ImageError, match="integer array"):
        flow.warp(np.zeros((9, 11)), nnf.astype(np.float32))


def test_consistency_is_the_round_trip_distance(rng):
    # `back` is the inverse of `there`. Then one of its matches is moved by (3, 4).
    there = np.stack(np.mgrid[:5, :7], axis=2).astype(np.int32) + 2
    back = np.clip(np.stack(np.mgrid[:9, :11], axis=2) - 2, 0, (4, 6)).astype(np.int32)
    apart = flow.consistency(there, back)
    assert (apart.dtype, apart.shape) == (np.float32, (5, 7))
    assert not apart.any()
    back[2, 2] = 3, 4
    apart = flow.consistency(there, back)
    assert apart[0, 0] == 5
    assert np.count_nonzero(apart) == 1
    with pytest.raises(ImageError, match="nnf_ba has 5 rows"):
        flow.consistency(there, there)
    back[8, 8] = 5, 0
    with pytest.raises(ImageError, match="nnf_ab has 5 rows"):
        flow.consistency(there, back)
