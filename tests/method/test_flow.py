"""Fields as displacements, files and colours; warping along a field, round-trip consistency, and what is refused."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from analogy.errors import ImageError, OutputError
from analogy.method import flow
from analogy.pictures.files import atomic


@pytest.fixture
def nnf(rng):
    """A field (5, 7) into a picture of 9 x 11."""
    return np.stack([rng.integers(0, 9, (5, 7)), rng.integers(0, 11, (5, 7))], axis=2).astype(np.int32)


def test_a_displacement_is_match_minus_position_with_x_first(nnf):
    result = flow.to_flow(nnf)
    assert (result.dtype, result.shape) == (np.float32, (5, 7, 2))
    for y, x in [(0, 0), (4, 2), (1, 6)]:
        assert tuple(result[y, x]) == (nnf[y, x, 1] - x, nnf[y, x, 0] - y)
    back = flow.to_nnf(result)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, nnf)


# Files


def test_flo_files_follow_the_middlebury_format(nnf, tmp_path):
    flow.write_flo(tmp_path / "ab.flo", nnf)
    data = (tmp_path / "ab.flo").read_bytes()
    magic, width, height = struct.unpack_from("<fii", data)
    assert (magic, width, height) == (np.float32(202021.25), 7, 5)
    assert len(data) == 12 + 5 * 7 * 8
    for y in range(5):
        for x in range(7):
            displacement = struct.unpack_from("<ff", data, 12 + 8 * (7 * y + x))
            assert displacement == (nnf[y, x, 1] - x, nnf[y, x, 0] - y)


def test_text_files_have_the_format_of_the_authors_program(tmp_path):
    nnf = np.array([[[0, 2], [3, 1], [0, 0]], [[1, 0], [0, 1], [5, 9]]], np.int32)
    flow.write_text(tmp_path / "flowAB.txt", nnf)
    assert (tmp_path / "flowAB.txt").read_bytes() == b"2 0\n0 3\n-2 0\n0 0\n0 -1\n7 4\n"


def test_npz_files_hold_the_field_and_the_distance(nnf, rng, tmp_path):
    distance = rng.random((5, 7), np.float32)
    flow.write_npz(tmp_path / "ab.npz", nnf, distance)
    with np.load(tmp_path / "ab.npz") as arrays:
        assert (arrays["nnf"].dtype, arrays["distance"].dtype) == (np.int32, np.float32)
        np.testing.assert_array_equal(arrays["nnf"], nnf)
        np.testing.assert_array_equal(arrays["distance"], distance)


def write_any(path, nnf):
    if path.suffix == ".npz":
        flow.write_npz(path, nnf, np.zeros(nnf.shape[:2], np.float32))
    else:
        {".flo": flow.write_flo, ".txt": flow.write_text}[path.suffix](path, nnf)


@pytest.mark.parametrize("name", ["f.npz", "f.flo", "f.txt"])
def test_each_format_reads_back_the_field_that_was_written(nnf, tmp_path, name):
    path = tmp_path / name
    write_any(path, nnf)
    result = flow.read(path, width=7)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(flow.to_nnf(result), nnf)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left
    result[0, 0] = 0  # writable


def test_fractional_displacements_are_read_and_unknown_ones_drawn_black(tmp_path):
    values = np.array([[[0.5, -1.25], [1e10, 0], [np.nan, 1]]], "<f4")
    (tmp_path / "other.flo").write_bytes(struct.pack("<fii", 202021.25, 3, 1) + values.tobytes())
    result = flow.read(tmp_path / "other.flo")
    np.testing.assert_array_equal(result, values)
    drawn = flow.colour(result)
    assert drawn[0, 0].any()
    assert not drawn[0, 1:].any()
    with pytest.raises(ImageError, match="unknown displacements"):
        flow.to_nnf(result)


HEADER = struct.pack("<fii", 202021.25, 2, 2)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("f.flo", b"", "not a .flo file"),
        ("f.flo", b"PIEH\2\0", "not a .flo file"),
        ("f.flo", struct.pack(">fii", 202021.25, 2, 2) + bytes(32), "not a .flo file"),
        ("f.flo", HEADER + bytes(31), "2 x 2 takes 44 bytes, it has 43"),
        ("f.flo", HEADER + bytes(33), "2 x 2 takes 44 bytes, it has 45"),
        ("f.flo", struct.pack("<fii", 202021.25, -2, 2), "it says that it is -2 x 2"),
        ("f.flo", struct.pack("<fii", 202021.25, 2, 2**30), "it says that it is 2 x 1073741824"),
        ("f.npz", b"", "damaged, or not a .npz file"),
        ("f.npz", b"PK\3\4 and then nothing", "damaged, or not a .npz file"),
        ("f.txt", b"", "empty"),
        ("f.txt", b" \n\n", "empty"),
        ("f.txt", b"1 2\n3 four\n", "'dx dy' on each line"),
        ("f.txt", b"1 2\n3 4 5\n", "'dx dy' on each line"),
        ("f.txt", b"\xff\xfe1 2\n", "'dx dy' on each line"),
        ("f.txt", b"1\n2\n", "2 lines of 1 numbers"),
        ("f.txt", b"1 2\n3 4\n5 6\n", "3 lines of 2 numbers"),
        ("f.exr", b"", "cannot read '.exr' files"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=re.escape(message)) as caught:
        flow.read(path, width=2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_npz_files_are_refused_with_the_reason(nnf, tmp_path):
    path = tmp_path / "f.npz"
    write_any(path, nnf)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-30])
    with pytest.raises(ImageError, match="damaged, or not a"):
        flow.read(path)
    data[60:120] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(ImageError, match="damaged, or not a"):
        flow.read(path)
    np.save(path.with_suffix(".npy"), nnf)
    path.with_suffix(".npy").replace(path)
    with pytest.raises(ImageError, match="damaged, or not a"):
        flow.read(path)
    np.savez(path, field=nnf)
    with pytest.raises(ImageError, match="no array 'nnf'"):
        flow.read(path)
    np.savez(path, nnf=np.zeros((3, 4, 2)))
    with pytest.raises(ImageError, match=r"\(3, 4, 2\) of float64"):
        flow.read(path)
    np.savez(path, nnf=np.array([{}], object))
    with pytest.raises(ImageError, match="damaged, or not a"):  # no pickle is loaded
        flow.read(path)


def test_a_text_file_is_refused_without_a_width(nnf, tmp_path):
    flow.write_text(tmp_path / "f.txt", nnf)
    for width in (None, 0):
        with pytest.raises(ImageError, match="give the width"):
            flow.read(tmp_path / "f.txt", width)


@pytest.mark.parametrize("name", ["f.npz", "f.flo", "f.txt"])
def test_missing_files_and_folders_are_named(nnf, tmp_path, name):
    with pytest.raises(ImageError, match="no such file"):
        flow.read(tmp_path / name, width=7)
    with pytest.raises(OutputError, match=r"the folder .*nowhere' does not exist"):
        write_any(tmp_path / "nowhere" / name, nnf)


def test_arrays_that_are_no_field_are_refused_and_nothing_is_written(nnf, tmp_path):
    for wrong in (nnf[..., 0], nnf[..., :1], nnf.astype(np.float32), nnf[:0]):
        for name in ("f.npz", "f.flo", "f.txt"):
            with pytest.raises(ImageError, match="a field is"):
                write_any(tmp_path / name, wrong)
    with pytest.raises(ImageError, match=r"\(7, 5\) does not fit"):
        flow.write_npz(tmp_path / "f.npz", nnf, np.zeros((7, 5), np.float32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, raised", [(KeyboardInterrupt, KeyboardInterrupt), (OSError, OutputError), (ImageError, ImageError)]
)
def test_a_write_that_fails_leaves_the_old_file(tmp_path, error, raised):
    path = tmp_path / "f.bin"
    path.write_bytes(b"old")
    with pytest.raises(raised), atomic(path) as file:
        file.write(b"half of the n")
        raise error("stop")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    path, link = tmp_path / "f.bin", tmp_path / "link to the old one"
    path.write_bytes(b"old")
    link.hardlink_to(path)
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert link.read_bytes() == b"old"


# Colours


def test_the_colour_wheel_is_that_of_baker_et_al():
    wheel = flow.wheel()
    # Indices where a colour is reached, and some between (makecolorwheel in the code of Baker et al.).
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
    # With a scale given, longer displacements keep their hue and get darker.
    beyond = flow.colour(field, largest=1)
    assert tuple(beyond[0, 0]) == (191, 0, 0)
    assert tuple(beyond[0, 5]) == (255, 0, 0)


def test_displacements_of_full_length_are_fully_saturated():
    angle = np.linspace(0, 2 * np.pi, 1001)
    drawn = flow.colour(np.stack([np.cos(angle), np.sin(angle)], axis=1)[None] * np.float32(7.3), largest=7.3)
    assert (drawn.max(axis=2) == 255).all()
    assert (drawn.min(axis=2) == 0).all()
    drawn = flow.colour(np.array([[[-1, 0], [0, 1], [0, -1], [3, 3], [3, -3], [-3, 3], [-3, -3]]], np.float32))
    assert ((drawn.max(axis=2) == 255) & (drawn.min(axis=2) == 0))[0, 3:].all()  # the longest of this field
    alone = [flow.colour(np.array([[[np.cos(t), np.sin(t)]]], np.float32)) for t in angle]
    assert {(int(colour.min()), int(colour.max())) for colour in alone} == {(0, 255)}


def test_no_displacement_is_white_and_invalid_arguments_are_refused():
    assert (flow.colour(np.zeros((3, 4, 2), np.float32)) == 255).all()
    for largest in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ImageError, match="must be above zero"):
            flow.colour(np.ones((3, 4, 2), np.float32), largest)
    with pytest.raises(ImageError, match=r"a flow is \(H, W, 2\)"):
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
    # A match is scaled by its centre; the result lies within the image.
    ramp = np.arange(40)[None].repeat(9, axis=0)
    ends = np.array([[[0, 0], [0, 10]]], np.int32)
    assert flow.warp(ramp, ends, size_b=(9, 11)).tolist() == [[1, 38]]
    assert flow.warp(ramp[:, :3], ends, size_b=(9, 11)).tolist() == [[0, 2]]


@pytest.mark.parametrize("size_b", [(9.0, 11), (9,), 9, "ab"])
def test_warp_names_a_size_that_is_none(nnf, size_b):
    with pytest.raises(ImageError, match=r"size_b is .*; it takes two whole numbers, \(rows, columns\)") as caught:
        flow.warp(np.zeros((9, 11)), nnf, size_b=size_b)
    assert "\n" not in str(caught.value)


def test_warp_refuses_lists(nnf):
    with pytest.raises(ImageError, match=r"an image is an array, this is a list; pass numpy\.asarray of it"):
        flow.warp([[1, 2]], nnf)
    with pytest.raises(ImageError, match="a field is an array, this is a list"):
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
    with pytest.raises(ImageError, match="whole numbers"):
        flow.warp(np.zeros((9, 11)), nnf.astype(np.float32))


def test_consistency_is_the_round_trip_distance(rng):
    # A field of 5 x 7 into 9 x 11, and one back, which is then changed by (3, 4) at one position.
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
