"""Tests of conversions between ICC profiles and sRGB, with 8 and with 16 bits per channel."""

from __future__ import annotations

import logging
import struct

import numpy as np
import pytest
from picture_files import (
    TONES,
    H,
    W,
    by_lcms,
    close,
    gamma,
    parametric,
    profile,
    table,
    tiff,
    to8,
    wide_gamut,
    xyz,
)
from PIL import Image

from analogy.pictures.images import Picture
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import write_picture


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_icc_colours_become_srgb(tmp_path, rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    image.save(tmp_path / "x.png", icc_profile=wide_gamut())
    plain = np.asarray(image.convert("RGB"))
    picture = read_picture(tmp_path / "x.png")
    assert np.array_equal(picture.rgb, by_lcms(plain, wide_gamut())) and not close(picture.rgb, plain, 5)
    assert picture.icc == wide_gamut() and (picture.alpha is not None) == (mode == "RGBA")


def test_grey_and_cmyk_profiles_are_applied_and_not_kept(tmp_path, rgb):
    linear = profile(b"GRAY", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1))
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png", icc_profile=linear)
    picture = read_picture(tmp_path / "grey.png")
    assert np.array_equal(picture.rgb, by_lcms(rgb[..., 0], linear)) and picture.icc is None
    both = np.dstack([rgb[..., 0], np.full((H, W), 255, np.uint8)])
    Image.fromarray(both).save(tmp_path / "both.png", icc_profile=linear)
    assert np.array_equal(read_picture(tmp_path / "both.png").rgb, picture.rgb)
    assert picture.rgb.astype(int).sum() > 1.2 * np.broadcast_to(rgb[..., :1], rgb.shape).astype(int).sum()

    grey_only = profile(b"CMYK", b"Lab ", A2B0=table(4, lambda cmyk: (255 - 63 * sum(cmyk), 128, 128)))
    inks = np.dstack([rgb, rgb[..., 0]])
    Image.frombytes("CMYK", (W, H), inks.tobytes()).save(tmp_path / "inks.tif", icc_profile=grey_only)
    picture = read_picture(tmp_path / "inks.tif")
    assert np.array_equal(picture.rgb, by_lcms(inks, grey_only, "CMYK")) and picture.icc is None
    assert close(picture.rgb[..., 0], picture.rgb[..., 2], 2)


@pytest.mark.parametrize(
    "icc",
    [
        b"junk",
        b"x" * 500,
        wide_gamut()[:200],
        profile(b"CMYK", b"Lab "),
        profile(b"RGB ", b"XYZ "),
        profile(b"GRAY", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1)),
    ],
)
def test_a_profile_that_does_not_fit_is_ignored_with_one_line(tmp_path, rgb, rgb16, icc, caplog):
    Image.fromarray(rgb).save(tmp_path / "x.png", icc_profile=icc)
    tiff(tmp_path / "x.tif", rgb16.tobytes(), bits=(16,) * 3, photometric=2, bands=3, icc=icc)
    assert np.array_equal(read_picture(tmp_path / "x.png").rgb, rgb) and read_picture(tmp_path / "x.png").icc is None
    assert len(caplog.records) == 2 and "profile is ignored" in caplog.messages[0]
    assert np.array_equal(read_picture(tmp_path / "x.tif").rgb16, rgb16)


CURVES = {
    "gamma": gamma(1.8),
    "linear": b"curv" + bytes(8),
    "table": b"curv" + struct.pack(">II", 0, 256) + (np.linspace(0, 1, 256) ** 2.4 * 65535).astype(">u2").tobytes(),
    "para0": parametric(0, 2.2),
    "para1": parametric(1, 2.2, 1.05, -0.05),
    "para2": parametric(2, 2.2, 1.05, -0.05, 0.0005),
    "para3": parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "para4": parametric(4, 2.4, 0.9, 0.05, 0.08, 0.04, 0.002, 0.0005),
}


@pytest.mark.parametrize("curve", CURVES)
def test_16_bit_colours_follow_the_profile_as_8_bit_ones_do(tmp_path, rgb, curve):
    icc = wide_gamut(rTRC=CURVES[curve], gTRC=CURVES["gamma"], bTRC=CURVES[curve])
    expected = by_lcms(rgb, icc)
    tiff(tmp_path / "x.tif", (rgb * np.uint16(257)).tobytes(), bits=(16,) * 3, photometric=2, bands=3, icc=icc)
    picture = read_picture(tmp_path / "x.tif")
    assert picture.rgb16 is not None and picture.icc == icc
    assert close(picture.rgb, expected)
    assert np.unique(picture.rgb16[..., 1] % 257).size > 20  # if all were multiples of 257, they would have only 8 bits


def test_a_grey_profile_is_applied_at_16_bits(tmp_path, rgb):
    linear = profile(b"GRAY", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1))
    grey = np.ascontiguousarray(rgb[..., 0])
    tiff(tmp_path / "x.tif", (grey * np.uint16(257)).tobytes(), bits=16, photometric=1, bands=1, icc=linear)
    picture = read_picture(tmp_path / "x.tif")
    assert picture.rgb16 is not None and close(picture.rgb, by_lcms(grey, linear))


def test_a_grey_profile_whose_curve_gives_lightness_is_applied_as_by_lcms(tmp_path, rgb):
    lightness = profile(b"GRAY", b"Lab ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1))
    grey = np.ascontiguousarray(rgb[..., 0])
    tiff(tmp_path / "x.tif", (grey * np.uint16(257)).tobytes(), bits=16, photometric=1, bands=1, icc=lightness)
    assert np.array_equal(read_picture(tmp_path / "x.tif").rgb, by_lcms(grey, lightness))


@pytest.mark.parametrize(
    "icc",
    [
        wide_gamut(b"Lab ", A2B0=table(3, lambda c: (255 * c[1], 128, 128)), **dict.fromkeys(TONES, gamma(2.2))),
        wide_gamut(rTRC=CURVES["gamma"], gTRC=CURVES["gamma"], bTRC=parametric(2, 2.2, 0.9, 0.05, 0.02)),
    ],
    ids=["tables", "raised black"],
)
def test_a_profile_of_tables_or_raised_black_reduces_16_bits_to_8(tmp_path, rgb, icc, caplog):
    tiff(tmp_path / "x.tif", (rgb * np.uint16(257)).tobytes(), bits=(16,) * 3, photometric=2, bands=3, icc=icc)
    with caplog.at_level(logging.INFO, "analogy"):
        picture = read_picture(tmp_path / "x.tif")
    assert np.array_equal(picture.rgb, by_lcms(rgb, icc)) and picture.rgb16 is None
    assert len(caplog.records) == 1 and "read with 8 bits" in caplog.messages[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_file_written_like_a_has_the_profile_and_the_colours_of_a(tmp_path, rgb, suffix):
    rgb = rgb // 2 + 64  # no saturated colours, for which Adobe RGB with 8 bits is too coarse
    a = Picture(rgb, icc=wide_gamut())
    write_picture(tmp_path / f"x{suffix}", rgb, like=a)
    picture = read_picture(tmp_path / f"x{suffix}")
    assert picture.icc == wide_gamut()
    lossy = suffix in (".jpg", ".webp")
    assert close(picture.rgb, rgb, 14 if lossy else 3)
    with Image.open(tmp_path / f"x{suffix}") as image:
        assert not close(np.asarray(image), rgb, 16)


def test_bmp_files_stay_in_srgb(tmp_path, rgb):
    write_picture(tmp_path / "x.bmp", rgb, like=Picture(rgb, icc=wide_gamut()))
    assert np.array_equal(read_picture(tmp_path / "x.bmp").rgb, rgb)


def test_a_profile_that_cannot_be_written_leaves_srgb(tmp_path, rgb, rgb16, caplog):
    for pixels in (rgb, rgb16):
        for icc in (b"junk", profile(b"CMYK", b"Lab ")):
            caplog.clear()
            write_picture(tmp_path / "x.png", pixels, like=Picture(rgb, icc=icc))
            picture = read_picture(tmp_path / "x.png")
            assert picture.icc is None and np.array_equal(picture.rgb, to8(pixels) if pixels is rgb16 else rgb)
            assert len(caplog.records) == 1 and "written in sRGB" in caplog.messages[0]
