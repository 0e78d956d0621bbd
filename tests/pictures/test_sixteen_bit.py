"""Tests of reading and writing PNG and TIFF files with 16 bits per channel."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import ORIENTATION, H, W, close, png, tiff, to8, wide_gamut
from PIL import Image

from analogy.errors import ImageError
from analogy.pictures.images import Picture
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import write_picture


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bit_png_is_read_with_all_bits(tmp_path, rng, bands):
    samples = rng.integers(0, 65536, (H, W, bands), dtype=np.uint16)
    if bands in (2, 4):
        samples[..., -1] = 65535
    picture = read_picture(png(tmp_path / "x.png", samples, 16))
    colours = samples[..., : 3 if bands > 2 else 1]
    assert np.array_equal(picture.rgb16, np.broadcast_to(colours, (H, W, 3)))
    assert np.array_equal(picture.rgb, to8(picture.rgb16))
    assert (picture.alpha is not None) == (bands in (2, 4))


def test_16_bit_grey_is_not_clipped(rgb16):
    grey = rgb16[..., 0]
    for image in (Image.fromarray(grey), Image.fromarray(grey.astype(np.int32))):  # Pillow's modes I;16 and I
        picture = read_picture(image)
        assert np.array_equal(picture.rgb16[..., 1], grey) and np.array_equal(picture.rgb[..., 1], to8(grey))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_16_bit_tiff_of_either_byte_order(tmp_path, rng, order, bands):
    samples = rng.integers(0, 65536, (H, W, bands), dtype=np.uint16)
    tags = {"extra": 2} if bands == 4 else {}
    if bands == 4:
        samples[..., 3] = 65535
    kind = 2 if bands > 1 else 1
    data = samples.astype(f"{order}u2").tobytes()
    tiff(tmp_path / "x.tif", data, order, bits=(16,) * bands, photometric=kind, bands=bands, **tags)
    assert np.array_equal(read_picture(tmp_path / "x.tif").rgb16, np.broadcast_to(samples[..., :3], (H, W, 3)))


def test_16_bits_are_turned_upright(tmp_path, rgb16):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = [
        tiff(tmp_path / "x.tif", rgb16.tobytes(), bits=(16,) * 3, photometric=2, bands=3, turn=6),
        png(tmp_path / "x.png", rgb16, 16, exif=exif.tobytes().removeprefix(b"Exif\0\0")),
    ]
    for path in turned:
        assert np.array_equal(read_picture(path).rgb16, np.rot90(rgb16, -1))


def test_12_bit_and_inverted_grey_tiff_are_scaled_to_16_bits(tmp_path, rgb16):
    white = tiff(tmp_path / "12.tif", b"\xff" * (H * W * 3 // 2), bits=12, photometric=1, bands=1)
    assert (read_picture(white).rgb == 255).all()
    grey = rgb16[..., 0]
    negative = tiff(tmp_path / "negative.tif", grey.tobytes(), bits=16, photometric=0, bands=1)
    assert np.array_equal(read_picture(negative).rgb16[..., 0], 65535 - grey)


def test_16_bit_tiff_with_separate_planes_is_refused(tmp_path, rgb16):
    planes = tiff(tmp_path / "x.tif", rgb16.tobytes(), bits=(16,) * 3, photometric=2, bands=3, planar=2)
    with pytest.raises(ImageError, match="separate planes") as caught:
        read_picture(planes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("icc", [None, wide_gamut()])
def test_16_bit_files_are_read_back_with_alpha_and_profile(tmp_path, rgb, rgb16, holes, suffix, with_alpha, icc):
    path = tmp_path / f"x{suffix}"
    within = 0
    if icc:  # Adobe RGB contains sRGB, so the two conversions clip nothing
        within = 40
    write_picture(path, rgb16, like=Picture(rgb, alpha=np.maximum(holes, 255 * (not with_alpha)), icc=icc))
    picture = read_picture(path)
    opaque = picture.alpha == 255
    assert close(picture.rgb16[opaque], rgb16[opaque], within)
    assert np.array_equal(picture.alpha, holes) if with_alpha else opaque.all()
    assert picture.icc == icc
    if suffix == ".tif":
        with Image.open(path) as image:
            assert image.tag_v2[338] == (2,)  # the tag tells other programs that the fourth band is alpha
    write_picture(path, rgb16)
    assert np.array_equal(read_picture(path).rgb16, rgb16) and read_picture(path).alpha is None
    with Image.open(path) as image:
        assert close(np.asarray(image), rgb16 >> 8, 0)  # Pillow reads the upper 8 bits, as other programs may


def test_16_bits_become_8_in_formats_without_16(tmp_path, rgb16):
    write_picture(tmp_path / "x.bmp", rgb16)
    assert (
        np.array_equal(read_picture(tmp_path / "x.bmp").rgb, to8(rgb16))
        and read_picture(tmp_path / "x.bmp").rgb16 is None
    )
