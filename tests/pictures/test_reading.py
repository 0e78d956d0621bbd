"""Tests of reading pictures from all that users may pass, and of the errors for anything else."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from picture_files import ORIENTATION, H, W, close, png, tiff
from PIL import Image, ImageCms, ImageOps, features
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

from analogy.errors import ImageError, MemoryLimitError, OutputError
from analogy.pictures import reading
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import WRITERS, write_picture


def refused(source, match, **kwargs):
    with pytest.raises(ImageError, match=match) as caught:
        read_picture(source, **kwargs)
    assert "\n" not in str(caught.value)


# Tests of picture files


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_written_format_is_read_back(tmp_path, rgb, suffix):
    write_picture(tmp_path / f"x{suffix}", rgb)
    picture = read_picture(tmp_path / f"x{suffix}")
    assert close(picture.rgb, rgb, 0 if suffix in (".png", ".tif", ".tiff", ".bmp") else 12)
    assert picture.alpha is picture.rgb16 is picture.icc is None
    assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous and picture.rgb.flags.writeable
    assert picture.name == str(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_frame_is_read(tmp_path, rgb, suffix):
    first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
    first.save(tmp_path / f"x{suffix}", save_all=True, append_images=[second], lossless=True)
    assert close(read_picture(tmp_path / f"x{suffix}").rgb, rgb, 30 if suffix == ".gif" else 0)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read_where_pillow_can(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "x.avif", quality=100, subsampling="4:4:4")
    assert close(read_picture(tmp_path / "x.avif").rgb, rgb, 12)


@pytest.mark.parametrize("sizes", [[(6, 5), (W, H)], [(W, H), (6, 5)], [(6, 5), (W, H), (W, H), (9, 30)]])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_largest_page_of_a_tiff_is_read_and_the_others_are_logged(tmp_path, rgb, rgb16, sizes, depth, caplog):
    """The first page may be a thumbnail. Among pages of equal size, the first is read."""
    path, largest = tmp_path / "x.tif", sizes.index((W, H))
    pages, pixels = [], rgb if depth == 8 else rgb16
    for index, (width, height) in enumerate(sizes):
        page = pixels if index == largest else np.zeros((height, width, 3), pixels.dtype)
        write_picture(tmp_path / f"{index}.tif", page)
        pages.append((tmp_path / f"{index}.tif").read_bytes())
    with AppendingTiffWriter(str(path), new=True) as file:
        for page in pages:
            file.write(page)
            file.newFrame()
    with caplog.at_level(logging.INFO, "analogy"):
        picture = read_picture(path)
    assert np.array_equal(picture.pixels(depth == 16), pixels)
    assert reading.picture_size(path) == (H, W)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: page {largest + 1} of {len(sizes)}, the largest, is read, and the others are left out"
    ]


def test_a_page_without_a_profile_gets_none_of_another_page(tmp_path, rgb):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    small, large = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (5, 6)).save(small, "TIFF", icc_profile=profile)
    Image.fromarray(rgb).save(large, "TIFF")
    with AppendingTiffWriter(str(tmp_path / "x.tif"), new=True) as file:
        for page in (small, large):
            file.write(page.getvalue())
            file.newFrame()
    with Image.open(tmp_path / "x.tif") as image:
        image.seek(1)
        assert image.info["icc_profile"] == profile
    picture = read_picture(tmp_path / "x.tif")
    assert picture.icc is None
    assert np.array_equal(picture.rgb, rgb)


def test_a_page_that_cannot_be_read_does_not_affect_the_others(tmp_path, rgb, caplog):
    first, second = io.BytesIO(), io.BytesIO()
    Image.fromarray(rgb).save(first, "TIFF")
    ifd = ImageFileDirectory_v2()
    for tag, value in {256: 100, 257: 100, 258: (77, 77, 77), 262: 2, 273: 0, 277: 3, 278: 100, 279: 1}.items():
        ifd[tag] = value
    ifd.save(second)
    with AppendingTiffWriter(str(tmp_path / "x.tif"), new=True) as file:
        for page in (first, second):
            file.write(page.getvalue())
            file.newFrame()
    assert np.array_equal(read_picture(tmp_path / "x.tif").rgb, rgb)


def test_a_pointer_to_a_page_that_does_not_exist_is_ignored(tmp_path, rgb, caplog):
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, "TIFF", compression="tiff_lzw")
    plain = bytearray(content.getvalue())
    at = int.from_bytes(plain[4:8], "little")
    following = at + 2 + 12 * int.from_bytes(plain[at : at + 2], "little")
    for where in (5, at + 6, len(plain) - 3, len(plain) + 1000, 2**32 - 1):
        plain[following : following + 4] = where.to_bytes(4, "little")
        (tmp_path / "x.tif").write_bytes(plain)
        with caplog.at_level(logging.INFO, "analogy"):
            assert np.array_equal(read_picture(tmp_path / "x.tif").rgb, rgb), where
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_reading_only_the_first_frame_is_logged_in_one_line(tmp_path, rgb, suffix, caplog):
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / f"one{suffix}")
    with caplog.at_level(logging.INFO, "analogy"):
        read_picture(tmp_path / f"x{suffix}")
        read_picture(tmp_path / f"one{suffix}")
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{tmp_path / 'x'}{suffix}: only the first of its frames is read")
    assert ("`analogy clip` paints all of them" in message) == (suffix == ".gif")


def test_a_telephone_photograph_logs_no_further_frame(tmp_path, rgb, caplog):
    """A telephone's photograph may contain a smaller or brighter version of itself at its end."""
    Image.fromarray(rgb).save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[Image.fromarray(rgb[::2, ::2])])
    with caplog.at_level(logging.INFO, "analogy"):
        assert close(read_picture(tmp_path / "x.jpg").rgb, rgb, 60)
    assert not caplog.records


def test_a_raw_photograph_is_refused_and_its_thumbnail_is_not_read(tmp_path, rgb):
    path = tiff(tmp_path / "x.nef", rgb.tobytes(), bits=(8, 8, 8), photometric=2, bands=3, kind=1, inner=8)
    refused(path, rf"x.nef: only a thumbnail of {W} x {H} pixels can be read")


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "tEXt", "iCCP"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_long_metadata_is_read_with_all_its_bits(tmp_path, rgb16, kind, behind):
    """Pillow refuses files with long texts (work flows, histories) or with large ICC profiles."""
    text = b"{'nodes': []}" * 200_000
    write_picture(tmp_path / "plain.png", rgb16)
    content = (tmp_path / "plain.png").read_bytes()
    chunks = {
        "zTXt": [b"workflow\0\0" + zlib.compress(text)],
        "iTXt": [b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)],
        "tEXt": [b"history\0" + text] * 27,  # 70 MB together
        "iCCP": [b"profile\0\0" + zlib.compress(long_profile())],
    }[kind]
    extra = b"".join(
        len(each).to_bytes(4, "big") + kind.encode() + each + zlib.crc32(kind.encode() + each).to_bytes(4, "big")
        for each in chunks
    )
    at = len(content) - 12 if behind else 33  # before IEND, or after IHDR
    (tmp_path / "x.png").write_bytes(content[:at] + extra + content[at:])
    assert reading.picture_size(tmp_path / "x.png") == (H, W)
    picture = read_picture(tmp_path / "x.png")
    assert close(picture.rgb16, rgb16, 2 if kind == "iCCP" else 0)
    assert picture.icc == (long_profile() if kind == "iCCP" else None)


@functools.cache  # the profile contains the time, so two calls would return different profiles
def long_profile():
    """Return the profile of sRGB, followed by two megabytes to which no tag refers."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(2 << 20)
    return len(profile).to_bytes(4, "big") + profile[4:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path, rgb, orientation, suffix):
    # EXIF's numbers: 1 upright, 2 mirrored, 3 upside down, 4 flipped top to bottom, 5 transposed, 6
    # must be turned right, 7 transposed along the other diagonal, 8 must be turned left.
    undo = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a[::-1],
        lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1),
        lambda a: a[::-1, ::-1].swapaxes(0, 1),
        lambda a: np.rot90(a),
    ][orientation - 1]
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    image.save(tmp_path / f"x{suffix}", exif=exif, quality=95)
    assert close(read_picture(tmp_path / f"x{suffix}").rgb, undo(rgb), 12)


def test_a_picture_with_damaged_exif_is_read(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "x.jpg", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x9a" * 40)
    assert close(read_picture(tmp_path / "x.jpg").rgb, rgb, 12)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"])
def test_every_mode_becomes_rgb(rgb, mode, caplog):
    image = Image.fromarray(rgb)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    else:
        image = image.convert(mode)
    picture = read_picture(image)
    assert close(picture.rgb, np.asarray(image.convert("RGB"))) and picture.alpha is None
    assert not caplog.records
    if mode not in ("1", "L", "P", "LAB"):
        assert close(picture.rgb, rgb, 8)


def test_a_cmyk_jpeg_is_not_inverted(tmp_path):
    Image.new("CMYK", (W, H), (255, 0, 0, 0)).save(tmp_path / "x.jpg", quality=95)
    assert close(read_picture(tmp_path / "x.jpg").rgb[0, 0], np.array([0, 255, 255]), 4)


def test_heic_is_read_with_its_extra_and_named_without(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    path = tmp_path / "telephone.heic"
    Image.new("RGB", (64, 48), (200, 40, 30)).save(path, quality=90)
    rgb = reading.read_picture(path).rgb
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - [200, 40, 30]).max() < 12
    monkeypatch.setattr(reading, "_register_heif", lambda: False)
    with pytest.raises(ImageError, match=r"HEIC with pip install"):
        reading.read_picture(path)


def test_pillow_heif_is_loaded_only_for_a_file_that_may_be_heic(tmp_path):
    code = """
import sys
from PIL import Image
from analogy.pictures.reading import read_picture
Image.new("RGB", (20, 20)).save(sys.argv[1])
read_picture(sys.argv[1])
assert not [name for name in sys.modules if "heif" in name]
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "x.png"], check=True)


# Tests of alpha


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_read_beside_the_colours(tmp_path, rgb, holes, suffix):
    Image.fromarray(np.dstack([rgb, holes])).save(tmp_path / f"x{suffix}", lossless=True, exact=True)
    picture = read_picture(tmp_path / f"x{suffix}")
    assert np.array_equal(picture.alpha, holes)
    assert np.array_equal(picture.rgb[holes == 255], rgb[holes == 255])


def test_colours_under_full_transparency_have_no_effect(rgb, holes):
    hidden = rgb.copy()
    hidden[holes == 0] = (255, 0, 255)
    shown = [read_picture(np.dstack([pixels, holes])).rgb for pixels in (rgb, hidden)]
    assert np.array_equal(*shown)
    mean = (rgb * (holes / 255)[..., None]).sum((0, 1)) / (holes / 255).sum()
    assert close(shown[0][holes == 0], np.broadcast_to(mean, (50, 3)))
    half = rgb[12, 3] * (100 / 255) + mean * (155 / 255)
    assert close(shown[0][12, 3], half)


def test_a_fully_transparent_picture_is_mid_grey(rgb):
    assert (read_picture(np.dstack([rgb, np.zeros((H, W), np.uint8)])).rgb == 128).all()


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_alpha_is_read_from_every_mode_that_has_it(rgb, holes, mode):
    rgba = Image.fromarray(np.dstack([rgb, holes]))
    palette = Image.fromarray(rgb).quantize()
    palette.putalpha(Image.fromarray(holes))
    image = {
        "LA": lambda: rgba.convert("LA"),
        "La": lambda: rgba.convert("LA").convert("La"),
        "PA": lambda: palette,
        "RGBa": lambda: rgba.convert("RGBa"),
    }[mode]()
    picture = read_picture(image)
    assert np.array_equal(picture.alpha, holes)
    if mode != "PA":
        plain = rgba.convert("L").convert("RGB") if mode in ("LA", "La") else rgba.convert("RGB")
        assert close(picture.rgb[0], np.asarray(plain)[0])


def test_the_transparent_colour_of_a_palette_becomes_alpha(tmp_path, holes):
    image = Image.fromarray((holes == 0).astype(np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 0])
    for suffix in (".gif", ".png"):
        image.save(tmp_path / f"x{suffix}", transparency=1)
        picture = read_picture(tmp_path / f"x{suffix}")
        assert np.array_equal(picture.alpha == 0, holes == 0)
        assert (picture.rgb == (10, 20, 30)).all()  # the mean opaque colour, on which the picture is laid


def test_a_gif_with_one_bit_for_each_pixel_keeps_its_transparent_colour(tmp_path):
    """Check a GIF whose LZW code size is 1, which some programs write and Pillow reads."""
    transparent_second = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes([10, 20, 30, 200, 100, 0])
    transparent_second += b"!\xf9\x04\x01\0\0\x01\0" + b"," + struct.pack("<HHHHB", 0, 0, 16, 16, 0)
    codes = [2] + [1, 2] * 256  # a clear code before each pixel keeps the codes at two bits
    bits = "".join(f"{code:02b}"[::-1] for code in [*codes, 3])
    data = bytes(int(bits[k : k + 8][::-1].zfill(8), 2) for k in range(0, len(bits), 8))
    (tmp_path / "x.gif").write_bytes(transparent_second + b"\x01" + bytes([len(data)]) + data + b"\0;")
    assert (read_picture(tmp_path / "x.gif").alpha == 0).all()


@pytest.mark.parametrize(("depth", "bands"), [(1, 1), (2, 1), (4, 1), (8, 1), (8, 3), (16, 1), (16, 3)])
def test_the_transparent_colour_of_a_png_becomes_alpha(tmp_path, rng, depth, bands):
    samples = rng.integers(0, 2**depth, (H, W, bands))
    samples[3:7] = key = samples[0, 0]
    picture = read_picture(png(tmp_path / "x.png", samples, depth, key))
    assert np.array_equal(picture.alpha == 0, (samples == key).all(axis=2))
    opaque = picture.alpha == 255
    assert close(picture.rgb[opaque], np.broadcast_to(samples * 255 / (2**depth - 1), (H, W, 3))[opaque])


# Tests of 32-bit pixels


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, H * W, dtype=np.float32), 1),
        (np.linspace(0, 255, H * W, dtype=np.float32), 255),
        (np.linspace(0, 65535, H * W, dtype=np.float32), 65535),
        (np.arange(H * W, dtype=np.int32) % 256, 255),
        (np.arange(H * W, dtype=np.int32) * 130, 65535),
    ],
)
def test_32_bit_pixels_are_scaled_by_the_smallest_white_that_holds_them(tmp_path, values, white):
    image = Image.fromarray(values.reshape(H, W))
    image.save(tmp_path / "x.tif")
    for source in (image, tmp_path / "x.tif"):
        assert close(read_picture(source).rgb[..., 0], np.rint(values.reshape(H, W) * (255 / white)))


@pytest.mark.parametrize(("dtype", "white"), [("u1", 255), ("<u2", 65535), ("<f4", 1)])
def test_a_tiff_in_which_0_is_white_is_inverted(tmp_path, dtype, white):
    values = np.rint(np.linspace(0, white, H * W)) if dtype != "<f4" else np.linspace(0, white, H * W)
    bits, kind = np.dtype(dtype).itemsize * 8, 3 if dtype == "<f4" else 1
    path = tiff(
        tmp_path / "x.tif", values.astype(dtype).tobytes(), bits=bits, photometric=0, bands=1, sample_format=kind
    )
    assert close(read_picture(path).rgb[..., 0], 255 - np.rint(values.reshape(H, W) * (255 / white)))


def test_32_bit_pixels_of_other_ranges_are_stretched_with_one_logged_line(caplog):
    values = np.linspace(-3, 1e6, H * W, dtype=np.float32).reshape(H, W)
    with caplog.at_level(logging.INFO, "analogy"):
        picture = read_picture(Image.fromarray(values), name="heights")
    assert picture.rgb[0, 0, 0] == 0 and picture.rgb[-1, -1, 0] == 255
    assert ["heights" in r.message and "-3" in r.message for r in caplog.records] == [True]
    values[3, 3] = np.nan
    refused(Image.fromarray(values), "NaN")


# Tests of arrays


def test_arrays_of_every_dtype_and_layout_give_the_same_pixels(rgb, rgb16):
    exact = [rgb, rgb / 255, (rgb / 255).astype(np.float32), rgb * np.uint16(257), np.asfortranarray(rgb)]
    for array in exact:
        assert np.array_equal(read_picture(array).rgb, rgb) and read_picture(array).rgb.flags.c_contiguous, array.dtype
    assert close(read_picture((rgb / 255).astype(np.float16)).rgb, rgb)
    assert np.array_equal(read_picture(rgb16).rgb16, rgb16) and np.array_equal(
        read_picture(rgb16.astype(">u2")).rgb16, rgb16
    )
    assert (
        read_picture(rgb).rgb16 is None
        and read_picture(rgb).name == "the picture"
        and read_picture(rgb, name="A").name == "A"
    )
    for grey in (rgb[..., 0], rgb[..., :1], rgb[..., 0] / 255):
        assert np.array_equal(read_picture(grey).rgb, np.repeat(rgb[..., :1], 3, axis=2))
    assert np.array_equal(read_picture(rgb[..., 0] > 90).rgb[..., 2], np.where(rgb[..., 0] > 90, 255, 0))
    for alpha in (np.full((H, W, 1), 255, np.uint8), np.full((H, W, 1), 7, np.uint8)):
        assert (read_picture(np.dstack([rgb, alpha]) / 255).alpha == alpha[..., 0]).all()
        assert (read_picture(np.dstack([rgb, alpha]) * np.uint16(257)).alpha == alpha[..., 0]).all()


def test_a_picture_does_not_share_memory_with_its_array(rgb):
    rgb.flags.writeable = False
    picture = read_picture(rgb)
    assert picture.rgb.flags.writeable and not np.shares_memory(picture.rgb, rgb)


def test_arrays_of_other_libraries_are_read(rgb):
    class OnlyDlpack:
        def __dlpack__(self, **kwargs):
            return rgb.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return rgb.__dlpack_device__()

    class LikeCupy:
        __cuda_array_interface__ = None

        def get(self):
            return rgb

        def __array__(self, *args, **kwargs):
            raise TypeError("implicit conversion is not allowed")

    class LikeTorch:
        def detach(self):
            return self

        def cpu(self):
            return rgb

    for source in (OnlyDlpack(), LikeCupy(), LikeTorch()):
        assert np.array_equal(read_picture(source).rgb, rgb), type(source)

    class Broken:
        def __array__(self, *args, **kwargs):
            raise TypeError("no\nway")

    refused(Broken(), "A cannot become a NumPy array .no way.", name="A")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((H, W), np.int64), "A has the dtype int64; pass uint8"),
        (np.zeros((H, W), np.uint32), "uint32"),
        (np.zeros((H, W), complex), "complex128"),
        (np.zeros((H, W), object), "object"),
        (np.zeros((3, H, W), np.uint8), r"\(3, 20, 24\).*transpose\(1, 2, 0\)"),
        (np.zeros((1, H, W, 3), np.uint8), r"\(1, 20, 24, 3\).*one picture at a time"),
        (np.zeros((H, W, 2), np.uint8), r"\(20, 24, 2\)"),
        (np.zeros(500, np.uint8), r"\(500,\)"),
        (np.zeros((0, W, 3), np.uint8), r"\(0, 24, 3\) is empty"),
        (np.zeros((15, 300, 3), np.uint8), "only 300 x 15 pixels; at least 16 x 16"),
        (np.full((H, W), np.nan), "NaN"),
        (np.full((H, W), -np.inf), "infinite"),
        (np.full((H, W), 200.0), "200.*divide by 255"),
        (np.full((H, W), -0.5), "-0.5.*clip or rescale"),
        (np.full((H, W), 1.5, np.float16), "1.5.*clip or rescale"),
        ([[1, 2], [3, 4]], "is a list, which cannot be read; pass a path"),
        (None, "NoneType"),
    ],
)
def test_arrays_that_are_refused(array, match):
    refused(array, match, name="A")


def test_floats_just_outside_zero_to_one_are_clipped():
    assert (read_picture(np.full((H, W), 1 + 1e-6)).rgb == 255).all() and (
        read_picture(np.full((H, W), -1e-6)).rgb == 0
    ).all()


# Tests of files that are refused


def test_files_that_are_not_pictures_are_refused_in_one_line(tmp_path, rgb):
    refused(tmp_path / "none.png", "none.png: there is no such file")
    refused(str(tmp_path / "none.png"), r"B' \(.*none.png\): there is no such file", name="B'")
    refused(tmp_path, "is a folder; give the path")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "not a picture.*JPEG, PNG")
    (tmp_path / "text.jpg").write_text("hello")
    refused(tmp_path / "text.jpg", "not a picture")
    (tmp_path / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n")
    refused(tmp_path / "x.eps", "not a picture")  # Pillow would start Ghostscript to read it
    Image.new("RGB", (300, 12)).save(tmp_path / "thin.png")
    refused(tmp_path / "thin.png", r"^[^:]*thin\.png has only 300 x 12 pixels; at least 16 x 16")
    refused(Image.new("RGB", (300, 12)), "only 300 x 12 pixels")
    refused("a\0b", "the name of a file cannot contain a NUL character")
    for address in ("https://example.org/a.png", Path("https://example.org/a.png"), "FILE:///a.png"):
        refused(address, "is an address; download it")
    refused("x" * 5000, r"cannot be read \(.*\); give another file")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
def test_truncated_files_are_refused_and_scrambled_ones_raise_nothing_else(tmp_path, rng, suffix):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "truncated|not a picture")
    for _ in range(30):  # the result is a picture or an ImageError, never a warning or another error
        broken = bytearray(data)
        for at in rng.integers(4, min(len(data), 400), 5):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_picture(path)
        except ImageError as error:
            assert "\n" not in str(error)


def test_a_missing_permission_to_read_or_write_is_named(tmp_path, rgb, monkeypatch):
    def closed(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.png").touch()
    monkeypatch.setattr(os, "open", closed)
    refused(tmp_path / "x.png", "no permission to read")
    monkeypatch.undo()
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(OutputError, match=r"x\.png cannot be written: there is no permission"):
        write_picture(tmp_path / "x.png", rgb)


def test_pictures_above_twice_pillow_s_limit_are_refused(tmp_path, rgb, monkeypatch):
    path = png(tmp_path / "x.png", rgb, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W - 1)
    assert np.array_equal(read_picture(path).rgb, rgb)  # a warning of Pillow would be an error in these tests
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W // 2 - 1)
    refused(path, "x.png is too large; make it smaller than 0.0 megapixels.*480 pixels")


# Tests of checks before a picture is decoded


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and sockets in the file system")
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo("pipe.png")
    refused("pipe.png", "it is a pipe, not a file")
    refused("/dev/zero", "it is a device, not a file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        refused("socket.png", "it is a socket, not a file")


def refuse(size, label):
    raise ImageError(f"{label} is {size}")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".heic"])
def test_a_caller_can_refuse_a_picture_by_its_size_before_it_is_decoded(tmp_path, rgb, suffix, monkeypatch):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(rgb).save(tmp_path / f"x{suffix}")
    content = (tmp_path / f"x{suffix}").read_bytes()
    lazy = Image.open(tmp_path / f"x{suffix}")
    monkeypatch.setattr(type(lazy), "load", lambda image: pytest.fail("it was decoded"))
    for source in (tmp_path / f"x{suffix}", content, io.BytesIO(content), lazy):
        refused(source, rf"is \({H}, {W}\)", admit=refuse)
    lazy.close()


def test_a_caller_can_refuse_an_array_by_its_size_before_it_is_copied(rgb):
    huge = np.broadcast_to(np.float32(0.5), (2**20, 2**20))  # reading its pixels would take for ever
    refused(huge, f"B' is .{2**20}, {2**20}", name="B'", admit=refuse)


def test_a_shortage_of_memory_is_a_memory_limit_error(tmp_path, rgb, monkeypatch):
    def none_left(*arguments):
        raise MemoryError

    path = png(tmp_path / "x.png", rgb, 8)
    monkeypatch.setattr(reading, "_from_pil", none_left)
    with pytest.raises(MemoryLimitError, match=r"x\.png: there is not enough memory to read it; make it smaller"):
        read_picture(path)


def test_a_shortage_of_memory_does_not_leave_a_picture_on_its_side(tmp_path, rgb, monkeypatch):
    def none_left(image):
        raise MemoryError

    monkeypatch.setattr(ImageOps, "exif_transpose", none_left)
    with pytest.raises(MemoryLimitError):
        read_picture(png(tmp_path / "x.png", rgb, 8))


def test_the_limit_of_open_files_does_not_hold_for_a_path_whose_checksum_is_computed(tmp_path, rgb, monkeypatch):
    path = png(tmp_path / "x.png", rgb, 8)
    monkeypatch.setattr(reading, "MOST_BYTES", 10)
    picture, checksum = reading.read_with_checksum(path)
    assert np.array_equal(picture.rgb, rgb)
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ImageError, match="more than 0 MB"):
        reading.read_with_checksum(io.BytesIO(path.read_bytes()))


# Tests of bytes and open files


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_bytes_and_open_files_are_read_like_the_path_with_all_their_bits(tmp_path, rgb16, suffix):
    path = tmp_path / f"x{suffix}"
    write_picture(path, rgb16)
    content = path.read_bytes()
    with path.open("rb") as file:
        for source in (content, bytearray(content), io.BytesIO(content), file):
            assert np.array_equal(read_picture(source).rgb16, rgb16)


def test_an_open_file_is_read_from_its_position_and_messages_name_it(tmp_path, rgb):
    write_picture(tmp_path / "x.png", rgb)
    file = io.BytesIO(b"head" + (tmp_path / "x.png").read_bytes())
    file.seek(4)
    assert np.array_equal(read_picture(file).rgb, rgb)
    with (tmp_path / "x.png").open("rb") as named:
        assert read_picture(named, name="A").name == f"A ({tmp_path / 'x.png'})"


def test_bytes_and_open_files_that_are_not_pictures_are_refused(monkeypatch):
    refused(b"", "not a picture")
    refused(b"I am not a picture", "A is not a picture", name="A")
    refused(io.StringIO("text"), r"open it in binary mode \('rb'\)")
    monkeypatch.setattr(reading, "MOST_BYTES", 3 << 20)

    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    refused(endless, "is an open file of more than 3 MB; give its path instead")
    assert endless.given <= 5 << 20


def test_masked_arrays_are_refused(rgb):
    refused(np.ma.masked_array(rgb, mask=rgb > 100), r"is a masked array; .* array\.filled\(0\)")
