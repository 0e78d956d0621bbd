"""Tests of TIFF files with floats or 32-bit integers, which are read with 16 bits per channel."""

from __future__ import annotations

import logging
import zlib

import numpy as np
import pytest
from picture_files import H, W, close, tiff, to8
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import AppendingTiffWriter

from analogy.errors import ImageError
from analogy.pictures.images import composite
from analogy.pictures.reading import picture_size, read_picture

RGB = {"photometric": 2, "planar": 1}


def floats(rgb16, dtype="<f4"):
    return (rgb16 / 65535).astype(dtype)


def predicted_floats(samples):
    """Return the bytes of floats (H, W, bands) as a TIFF file with predictor 3 stores them.

    In each row, the most significant bytes of all floats come first, then the next bytes, and so
    on. Each byte is stored as its difference from the byte that is `bands` bytes before it.
    """
    rows, _, bands = samples.shape
    big = samples.astype(samples.dtype.newbyteorder(">"))
    planes = big.reshape(rows, -1, 1).view(np.uint8).swapaxes(1, 2).reshape(rows, -1, bands)
    return np.diff(planes, axis=1, prepend=np.zeros((rows, 1, bands), np.uint8)).astype(np.uint8).tobytes()


def write(path, samples, data=None, order="<", **tags):
    bands = samples.shape[2]
    tags = RGB | {"bits": (samples.dtype.itemsize * 8,) * bands, "bands": bands} | tags
    tags |= {} if samples.dtype.kind == "u" else {"sample_format": (3,) * bands}
    return tiff(path, samples.tobytes() if data is None else data, order, **tags)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<u4", ">u4"])
def test_colours_as_numbers_are_read_with_16_bits(tmp_path, rgb16, dtype):
    samples = floats(rgb16, dtype) if "f" in dtype else rgb16.astype(dtype)
    path = write(tmp_path / "x.tif", samples, order=dtype[0])
    assert picture_size(path) == (H, W)
    assert close(read_picture(path).rgb16, rgb16, 0)
    assert np.array_equal(read_picture(path.read_bytes()).rgb, read_picture(path).rgb)


@pytest.mark.parametrize(
    "kinds", [("float32", "float32"), ("uint8", "float32"), ("float32", "uint8"), ("uint16", "float32")], ids=str
)
@pytest.mark.parametrize("largest", [0, 1])
def test_the_largest_of_several_pages_is_read(tmp_path, rgb16, kinds, largest, caplog):
    """Pillow can read only some of the pages; one that it cannot read may be no picture at all."""
    path, expected = tmp_path / "x.tif", rgb16 // 257 * 257
    with AppendingTiffWriter(str(path), new=True) as file:
        for index, kind in enumerate(kinds):
            pixels = expected if index == largest else expected[:6, :5]
            samples = {"float32": floats(pixels), "uint8": to8(pixels), "uint16": pixels}[kind]
            height, width = pixels.shape[:2]
            page = write(tmp_path / f"{index}.tif", samples, width=width, height=height, rows=height)
            file.write(page.read_bytes())
            file.newFrame()
    assert picture_size(path) == (H, W)
    with caplog.at_level(logging.INFO, "analogy"):
        assert close(read_picture(path).pixels(True), expected, 1)
    by_pillow = kinds[largest] != "float32" and kinds[0] != "float32"
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: page {largest + 1} of 2, the largest, is read, and the others are left out"
    ] * (not by_pillow)


def test_half_floats_are_read(tmp_path, rgb16):
    assert close(read_picture(write(tmp_path / "x.tif", floats(rgb16, "<f2"))).rgb16, rgb16, 32)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
def test_floats_that_are_packed_with_their_predictor_are_read(tmp_path, rgb16, dtype):
    samples = floats(rgb16, dtype)
    data = zlib.compress(predicted_floats(samples))
    path = write(tmp_path / "x.tif", samples, data, dtype[0], compression=8, predictor=3)
    assert close(read_picture(path).rgb16, rgb16, 32 if "2" in dtype else 0)


def test_integers_that_are_packed_with_their_predictor_are_read(tmp_path, rgb16):
    samples = rgb16.astype("<u4")
    steps = np.diff(samples, axis=1, prepend=np.zeros((H, 1, 3), "<u4")).astype("<u4")
    path = write(tmp_path / "x.tif", samples, zlib.compress(steps.tobytes()), compression=8, predictor=2)
    assert close(read_picture(path).rgb16, rgb16)


def in_parts(path, samples, parts, **tags):
    """Write a TIFF file whose `parts` (tiles or planes) follow its directory in the given order."""
    sizes = tuple(map(len, parts))
    start = 0
    for _ in range(2):  # the first write finds the length of the file without the parts
        places = [start + sum(sizes[:index]) for index in range(len(parts))]
        write(path, samples, b"".join(parts), tile_offsets=tuple(places), tile_counts=sizes, **tags)
        start = len(path.read_bytes()) - sum(sizes)
    return path


def test_tiles_are_put_together(tmp_path, rgb16):
    samples = floats(rgb16)
    padded = np.zeros((32, 32, 3), "<f4")
    padded[:H, :W] = samples
    tiles = [padded[top : top + 16, left : left + 16] for top in (0, 16) for left in (0, 16)]
    packed = [zlib.compress(predicted_floats(tile)) for tile in tiles]
    path = in_parts(tmp_path / "x.tif", samples, packed, compression=8, predictor=3, tile_width=16, tile_height=16)
    assert np.array_equal(read_picture(path).rgb16, rgb16)


def test_planes_are_put_together(tmp_path, rgb16):
    samples = floats(rgb16)
    planes = [samples[..., band].tobytes() for band in range(3)]
    path = in_parts(tmp_path / "x.tif", samples, planes, planar=2, tile_width=W, tile_height=H)
    assert np.array_equal(read_picture(path).rgb16, rgb16)


@pytest.mark.parametrize("extra", [1, 2])
def test_alpha_of_a_float_tiff_is_read_beside_the_colours(tmp_path, rgb16, holes, extra):
    alpha = holes[..., None] / 255
    colours = rgb16 / 65535
    samples = np.dstack([colours * alpha if extra == 1 else colours, alpha]).astype("<f4")
    picture = read_picture(write(tmp_path / "x.tif", samples, extra=extra), grounded=False)
    assert np.array_equal(picture.alpha, holes)
    seen = holes > 0
    assert close(picture.rgb16[seen], rgb16[seen], 1 if extra == 1 else 0)


@pytest.mark.parametrize("bands", [1, 3])
def test_whole_numbers_that_are_multiplied_by_their_alpha_are_divided_by_it(tmp_path, rgb16, bands):
    opacity = np.full((H, W, 1), 40000, np.uint16)
    colours = rgb16[..., :bands]
    layers = [np.rint(colours * (40000 / 65535)), opacity, *([opacity] if bands == 3 else [])]
    samples = np.dstack(layers).astype("<u2")
    extra = (1, 0) if bands == 3 else 1
    path = write(tmp_path / "x.tif", samples, photometric=1 if bands == 1 else 2, extra=extra)
    picture = read_picture(path, grounded=False)
    assert close(picture.rgb16[..., :bands], colours, 1)
    assert (picture.alpha == 156).all()


def test_the_limit_of_pixels_counts_pixels_and_not_bytes(tmp_path, rgb16, monkeypatch):
    samples = floats(rgb16)
    path = write(tmp_path / "x.tif", samples, zlib.compress(samples.tobytes()), compression=8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W)
    assert np.array_equal(read_picture(path).rgb16, rgb16)


def test_a_predictor_has_no_effect_without_compression(tmp_path, rgb16):
    path = write(tmp_path / "x.tif", floats(rgb16), predictor=3)
    assert np.array_equal(read_picture(path).rgb16, rgb16)


def test_samples_beyond_colour_and_alpha_are_ignored(tmp_path, rgb16):
    samples = np.dstack([rgb16, rgb16[..., :2]]).astype("<u2")
    assert np.array_equal(read_picture(write(tmp_path / "x.tif", samples, extra=(0, 0))).rgb16, rgb16)


def test_the_profile_and_the_orientation_of_a_float_tiff_are_applied(tmp_path, rgb16):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read_picture(write(tmp_path / "x.tif", floats(rgb16), icc=profile, turn=6))
    assert picture.icc == profile
    assert close(picture.rgb16, np.rot90(rgb16, -1), 2)


def test_floats_beyond_0_to_1_are_clipped_with_one_log_line_and_whole_numbers_are_not(tmp_path, rgb16, caplog):
    samples = floats(rgb16)
    samples[0, 0], samples[1, 1] = 7.5, -0.25
    path = write(tmp_path / "x.tif", samples)
    with caplog.at_level(logging.INFO, "analogy"):
        found = read_picture(path).rgb16
        assert (found[0, 0] == 65535).all()
        assert (found[1, 1] == 0).all()
        assert np.array_equal(found[2:], rgb16[2:])
        assert [record.getMessage() for record in caplog.records] == [
            f"{path}: its values, -0.25 to 7.5, are clipped to 0 (black) .. 1 (white)"
        ]
        whole = read_picture(write(path, to8(rgb16).astype("<f4")))
    assert np.array_equal(whole.rgb, to8(rgb16))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("tags", [{"photometric": 5}, {"bits": (24, 24, 24)}, {"sample_format": (6, 6, 6)}])
def test_a_tiff_with_pixels_of_another_kind_is_refused_with_a_cure(tmp_path, rgb16, tags):
    samples = floats(rgb16)
    path = tiff(
        tmp_path / "x.tif", samples.tobytes(), **RGB | {"bits": (32,) * 3, "bands": 3, "sample_format": (3,) * 3} | tags
    )
    with pytest.raises(
        ImageError, match=r"a TIFF file that is damaged, or has pixels of a kind .* save it as RGB with 8 or 16"
    ):
        read_picture(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda samples: np.full_like(samples, np.nan), "has pixels that are NaN or infinite"),
        (lambda samples: samples[:5], "is damaged or truncated and cannot be decoded"),
    ],
)
def test_a_float_tiff_that_is_not_finite_or_truncated_is_refused(tmp_path, rgb16, change, words):
    path = tmp_path / "x.tif"
    samples = floats(rgb16)
    write(path, samples, change(samples).tobytes())
    with pytest.raises(ImageError, match=words):
        read_picture(path)


def test_a_float_tiff_is_composited_like_other_pictures(tmp_path, rgb16, holes):
    samples = np.dstack([rgb16 / 65535, holes / 255]).astype("<f4")
    picture = read_picture(write(tmp_path / "x.tif", samples, extra=2))
    mean = np.einsum("ijc,ij->c", rgb16, holes, dtype=np.float64) / holes.sum(dtype=np.float64)
    assert close(picture.rgb16, composite(rgb16, holes, mean))
