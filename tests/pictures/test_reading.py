"""Pictures in and out: what a user may pass, what comes out, what is refused and how."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from analogy.errors import ImageError, OutputError
from analogy.pictures import reading
from analogy.pictures.images import Picture, montage, resize
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import WRITERS, write_picture

H, W = 20, 24
ORIENTATION = 0x0112
TONES = ("rTRC", "gTRC", "bTRC")


@pytest.fixture
def rgb():
    """Smooth enough for lossy formats, different in every corner and channel."""
    y, x = np.mgrid[:H, :W]
    return np.stack([10 * y, 9 * x, 255 - 5 * (x + y)], axis=-1).astype(np.uint8)


@pytest.fixture
def rgb16(rng):
    return rng.integers(0, 65536, (H, W, 3), dtype=np.uint16)


def to8(wide):
    return np.rint(wide / 257).astype(np.uint8)


def close(a, b, within=1):
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= within


def refused(source, match, **kwargs):
    with pytest.raises(ImageError, match=match) as caught:
        read_picture(source, **kwargs)
    assert "\n" not in str(caught.value)


# Files, written here byte by byte where Pillow cannot


def png(path, samples, depth, key=None, exif=b""):
    """samples (H, W, bands) -> PNG of that bit depth, unfiltered; `key` is its tRNS colour."""
    height, width, bands = samples.shape
    if depth == 16:
        rows = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=3)[..., -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    data = zlib.compress(np.insert(rows, 0, 0, axis=1).tobytes())
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if key is not None:
        chunks.append((b"tRNS", struct.pack(f">{bands}H", *key)))
    if exif:
        chunks.append((b"eXIf", exif))
    chunks += [(b"IDAT", data), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def tiff(path, data, order="<", **tags):
    """Uncompressed TIFF of one strip."""
    names = {"bits": 258, "photometric": 262, "bands": 277, "planar": 284, "extra": 338, "icc": 34675, "turn": 274}
    ifd = ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    base = {256: W, 257: H, 259: 1, 273: 0, 278: H, 279: len(data)}
    for tag, value in (base | {names[name]: value for name, value in tags.items()}).items():
        ifd[tag] = value
    with path.open("wb") as file:
        ifd.save(file)
        file.write(data)
    return path


def profile(space, pcs, **tags):
    """A minimal ICC profile, version 2."""
    body, table = b"", struct.pack(">I", len(tags))
    for name, data in tags.items():
        table += name.encode() + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(
        ">II4s4s4s12s4s", 0, 0x02100000, kind, space, pcs, struct.pack(">6H", 2020, 1, 1, 0, 0, 0), b"acsp"
    )
    head = struct.pack(">I", 132 + 12 * len(tags) + len(body)) + b"\0\0\0\0" + head[4:]
    return (head.ljust(68, b"\0") + xyz(0.9642, 1, 0.8249)[8:]).ljust(128, b"\0") + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + np.rint(np.multiply(values, 65536)).astype(">i4").tobytes()


def gamma(value):
    return b"curv" + struct.pack(">IIH", 0, 1, round(value * 256))


def parametric(kind, *values):
    return b"para" + struct.pack(">IHH", 0, kind, 0) + np.rint(np.multiply(values, 65536)).astype(">i4").tobytes()


def table(bands, corner):
    """lut8 with two points a side: corner(0/1 values of each band) -> Lab bytes."""
    head = b"mft1" + struct.pack(">IBBBB", 0, bands, 3, 2, 0) + np.multiply(np.eye(3), 65536).astype(">i4").tobytes()
    ramp = bytes(range(256))
    cube = bytes(v for i in range(2**bands) for v in corner([i >> (bands - 1 - k) & 1 for k in range(bands)]))
    return head + ramp * bands + cube + ramp * 3


def wide_gamut(pcs=b"XYZ ", **curves):
    """The primaries of Adobe RGB, adapted to D50."""
    curves = curves or dict.fromkeys(TONES, gamma(2.2))
    primaries = {
        "rXYZ": xyz(0.60974, 0.31111, 0.01947),
        "gXYZ": xyz(0.20528, 0.62567, 0.06087),
        "bXYZ": xyz(0.14919, 0.06322, 0.74457),
    }
    return profile(b"RGB ", pcs, **primaries, **curves)


def by_lcms(pixels, icc, mode=None):
    srgb = ImageCms.createProfile("sRGB")
    image = Image.frombytes(mode or ("RGB" if pixels.ndim == 3 else "L"), pixels.shape[1::-1], pixels.tobytes())
    return np.asarray(ImageCms.profileToProfile(image, io.BytesIO(icc), srgb, outputMode="RGB"))


# Reading files


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_comes_back(tmp_path, rgb, suffix):
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path, rgb, orientation, suffix):
    # EXIF: 1 upright, 2 mirrored, 3 upside down, 4 flipped, 5 transposed, 6 to be turned right, 7 transverse, 8 left
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


def test_damaged_exif_does_not_cost_the_picture(tmp_path, rgb):
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


# Alpha


@pytest.fixture
def holes():
    alpha = np.full((H, W), 255, np.uint8)
    alpha[5:10, 5:15], alpha[12:14] = 0, 100
    return alpha


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_is_kept_apart(tmp_path, rgb, holes, suffix):
    Image.fromarray(np.dstack([rgb, holes])).save(tmp_path / f"x{suffix}", lossless=True, exact=True)
    picture = read_picture(tmp_path / f"x{suffix}")
    assert np.array_equal(picture.alpha, holes)
    assert np.array_equal(picture.rgb[holes == 255], rgb[holes == 255])


def test_hidden_colours_do_not_show(rgb, holes):
    hidden = rgb.copy()
    hidden[holes == 0] = (255, 0, 255)
    shown = [read_picture(np.dstack([pixels, holes])).rgb for pixels in (rgb, hidden)]
    assert np.array_equal(*shown)
    mean = (rgb * (holes / 255)[..., None]).sum((0, 1)) / (holes / 255).sum()
    assert close(shown[0][holes == 0], np.broadcast_to(mean, (50, 3)))
    half = rgb[12, 3] * (100 / 255) + mean * (155 / 255)
    assert close(shown[0][12, 3], half)


def test_nothing_opaque_is_grey(rgb):
    assert (read_picture(np.dstack([rgb, np.zeros((H, W), np.uint8)])).rgb == 128).all()


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa"])
def test_alpha_of_other_modes(rgb, holes, mode):
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


def test_transparent_colour_of_a_palette(tmp_path, holes):
    image = Image.fromarray((holes == 0).astype(np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 0])
    for suffix in (".gif", ".png"):
        image.save(tmp_path / f"x{suffix}", transparency=1)
        picture = read_picture(tmp_path / f"x{suffix}")
        assert np.array_equal(picture.alpha == 0, holes == 0)
        assert (picture.rgb == (10, 20, 30)).all()  # the mean opaque colour, there too


@pytest.mark.parametrize(("depth", "bands"), [(1, 1), (2, 1), (4, 1), (8, 1), (8, 3), (16, 1), (16, 3)])
def test_transparent_colour_of_a_png(tmp_path, rng, depth, bands):
    samples = rng.integers(0, 2**depth, (H, W, bands))
    samples[3:7] = key = samples[0, 0]
    picture = read_picture(png(tmp_path / "x.png", samples, depth, key))
    assert np.array_equal(picture.alpha == 0, (samples == key).all(axis=2))
    opaque = picture.alpha == 255
    assert close(picture.rgb[opaque], np.broadcast_to(samples * 255 / (2**depth - 1), (H, W, 3))[opaque])


# Sixteen bits


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bit_png(tmp_path, rng, bands):
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


def test_grey_tiff_of_12_bits_or_white_at_zero(tmp_path, rgb16):
    white = tiff(tmp_path / "12.tif", b"\xff" * (H * W * 3 // 2), bits=12, photometric=1, bands=1)
    assert (read_picture(white).rgb == 255).all()
    grey = rgb16[..., 0]
    negative = tiff(tmp_path / "negative.tif", grey.tobytes(), bits=16, photometric=0, bands=1)
    assert np.array_equal(read_picture(negative).rgb16[..., 0], 65535 - grey)


def test_16_bit_tiff_in_planes_is_refused_not_garbled(tmp_path, rgb16):
    planes = tiff(tmp_path / "x.tif", rgb16.tobytes(), bits=(16,) * 3, photometric=2, bands=3, planar=2)
    refused(planes, "separate planes")


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
def test_wide_numbers_are_scaled_to_their_white(tmp_path, values, white):
    image = Image.fromarray(values.reshape(H, W))
    image.save(tmp_path / "x.tif")
    for source in (image, tmp_path / "x.tif"):
        assert close(read_picture(source).rgb[..., 0], np.rint(values.reshape(H, W) * (255 / white)))


def test_other_ranges_are_stretched_and_it_is_logged(caplog):
    values = np.linspace(-3, 1e6, H * W, dtype=np.float32).reshape(H, W)
    with caplog.at_level(logging.INFO, "analogy"):
        picture = read_picture(Image.fromarray(values), name="heights")
    assert picture.rgb[0, 0, 0] == 0 and picture.rgb[-1, -1, 0] == 255
    assert ["heights" in r.message and "-3" in r.message for r in caplog.records] == [True]
    values[3, 3] = np.nan
    refused(Image.fromarray(values), "NaN")


# Colour profiles


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_icc_colours_become_srgb(tmp_path, rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    image.save(tmp_path / "x.png", icc_profile=wide_gamut())
    plain = np.asarray(image.convert("RGB"))
    picture = read_picture(tmp_path / "x.png")
    assert np.array_equal(picture.rgb, by_lcms(plain, wide_gamut())) and not close(picture.rgb, plain, 5)
    assert picture.icc == wide_gamut() and (picture.alpha is not None) == (mode == "RGBA")


def test_grey_and_cmyk_profiles(tmp_path, rgb):
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
    assert np.unique(picture.rgb16[..., 1] % 257).size > 20  # more than 8 bits wide


def test_16_bit_grey_profile(tmp_path, rgb):
    linear = profile(b"GRAY", b"XYZ ", wtpt=xyz(0.9642, 1, 0.8249), kTRC=gamma(1))
    grey = np.ascontiguousarray(rgb[..., 0])
    tiff(tmp_path / "x.tif", (grey * np.uint16(257)).tobytes(), bits=16, photometric=1, bands=1, icc=linear)
    picture = read_picture(tmp_path / "x.tif")
    assert picture.rgb16 is not None and close(picture.rgb, by_lcms(grey, linear))


@pytest.mark.parametrize(
    "icc",
    [
        wide_gamut(b"Lab ", A2B0=table(3, lambda c: (255 * c[1], 128, 128)), **dict.fromkeys(TONES, gamma(2.2))),
        wide_gamut(rTRC=CURVES["gamma"], gTRC=CURVES["gamma"], bTRC=parametric(2, 2.2, 0.9, 0.05, 0.02)),
    ],
    ids=["tables", "raised black"],
)
def test_16_bits_are_given_up_where_the_profile_needs_lcms(tmp_path, rgb, icc, caplog):
    tiff(tmp_path / "x.tif", (rgb * np.uint16(257)).tobytes(), bits=(16,) * 3, photometric=2, bands=3, icc=icc)
    with caplog.at_level(logging.INFO, "analogy"):
        picture = read_picture(tmp_path / "x.tif")
    assert np.array_equal(picture.rgb, by_lcms(rgb, icc)) and picture.rgb16 is None
    assert len(caplog.records) == 1 and "reduced to 8" in caplog.messages[0]


# Arrays


def test_arrays_of_every_kind(rgb, rgb16):
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


def test_the_picture_does_not_share_memory(rgb):
    rgb.flags.writeable = False
    picture = read_picture(rgb)
    assert picture.rgb.flags.writeable and not np.shares_memory(picture.rgb, rgb)


def test_arrays_of_other_libraries(rgb):
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

    refused(Broken(), "A: cannot become a NumPy array .no way.", name="A")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((H, W), np.int64), "A: int64 is not a pixel type; pass uint8"),
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
        ([[1, 2], [3, 4]], "cannot use a list; pass a path"),
        (None, "NoneType"),
    ],
)
def test_arrays_that_are_refused(array, match):
    refused(array, match, name="A")


def test_rounding_errors_of_floats_pass():
    assert (read_picture(np.full((H, W), 1 + 1e-6)).rgb == 255).all() and (
        read_picture(np.full((H, W), -1e-6)).rgb == 0
    ).all()


# Files that are refused


def test_files_that_are_refused(tmp_path, rgb):
    refused(tmp_path / "none.png", "none.png: there is no such file")
    refused(str(tmp_path / "none.png"), r"B' \(.*none.png\): there is no such file", name="B'")
    refused(tmp_path, "this is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "not a picture.*JPEG, PNG")
    (tmp_path / "text.jpg").write_text("hello")
    refused(tmp_path / "text.jpg", "not a picture")
    (tmp_path / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n")
    refused(tmp_path / "x.eps", "not a picture")  # and no Ghostscript is started
    Image.new("RGB", (300, 12)).save(tmp_path / "thin.png")
    refused(tmp_path / "thin.png", r"^[^:]*thin\.png: only 300 x 12 pixels; at least 16 x 16")
    refused(Image.new("RGB", (300, 12)), "only 300 x 12 pixels")
    refused("a\0b", "null")
    refused("x" * 5000, "cannot be read")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
def test_truncated_and_scrambled_files(tmp_path, rng, suffix):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "truncated|not a picture")
    for _ in range(30):  # whatever the damage: a picture or an ImageError, never another exception or a warning
        broken = bytearray(data)
        for at in rng.integers(4, min(len(data), 400), 5):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_picture(path)
        except ImageError as error:
            assert "\n" not in str(error)


def test_no_permission(tmp_path, rgb, monkeypatch):
    def closed(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", closed)
    refused(tmp_path / "x.png", "no permission to read")
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(OutputError, match=r"x\.png: no permission to write"):
        write_picture(tmp_path / "x.png", rgb)


def test_decompression_bombs(tmp_path, rgb, monkeypatch):
    path = png(tmp_path / "x.png", rgb, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W - 1)
    assert np.array_equal(read_picture(path).rgb, rgb)  # Pillow warns; warnings are errors in these tests
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W // 2 - 1)
    refused(path, "x.png: too large; make it smaller.*480 pixels")


# Writing


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("icc", [None, wide_gamut()])
def test_16_bit_files(tmp_path, rgb, rgb16, holes, suffix, with_alpha, icc):
    path = tmp_path / f"x{suffix}"
    within = 0
    if icc:  # Adobe RGB holds all of sRGB: nothing is clipped on the way there and back
        within = 40
    write_picture(path, rgb16, like=Picture(rgb, alpha=np.maximum(holes, 255 * (not with_alpha)), icc=icc))
    picture = read_picture(path)
    opaque = picture.alpha == 255
    assert close(picture.rgb16[opaque], rgb16[opaque], within)
    assert np.array_equal(picture.alpha, holes) if with_alpha else opaque.all()
    assert picture.icc == icc
    if suffix == ".tif":
        with Image.open(path) as image:
            assert image.tag_v2[338] == (2,)  # the fourth band is alpha, as other programs need to know
    write_picture(path, rgb16)
    assert np.array_equal(read_picture(path).rgb16, rgb16) and read_picture(path).alpha is None
    with Image.open(path) as image:
        assert close(np.asarray(image), rgb16 >> 8, 0)  # what other programs see


def test_16_bits_become_8_where_there_are_no_more(tmp_path, rgb16):
    write_picture(tmp_path / "x.bmp", rgb16)
    assert (
        np.array_equal(read_picture(tmp_path / "x.bmp").rgb, to8(rgb16))
        and read_picture(tmp_path / "x.bmp").rgb16 is None
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_result_takes_on_the_profile_of_a(tmp_path, rgb, suffix):
    rgb = rgb // 2 + 64  # Adobe RGB in 8 bits is coarse near full saturation
    a = Picture(rgb, icc=wide_gamut())
    write_picture(tmp_path / f"x{suffix}", rgb, like=a)
    picture = read_picture(tmp_path / f"x{suffix}")
    assert picture.icc == wide_gamut()
    lossy = suffix in (".jpg", ".webp")
    assert close(picture.rgb, rgb, 14 if lossy else 3)
    with Image.open(tmp_path / f"x{suffix}") as image:
        assert not close(np.asarray(image), rgb, 16)


def test_bmp_stays_srgb(tmp_path, rgb):
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


def test_alpha_of_a_is_put_back(tmp_path, rgb, holes):
    a = Picture(rgb, alpha=holes)
    for suffix in (".png", ".tif", ".webp"):
        write_picture(tmp_path / f"x{suffix}", rgb, like=a)
        assert np.array_equal(read_picture(tmp_path / f"x{suffix}").alpha, holes)
    for suffix, within in ((".bmp", 1), (".jpg", 20)):
        write_picture(tmp_path / f"x{suffix}", rgb, like=a)
        picture = read_picture(tmp_path / f"x{suffix}")
        white = rgb * (holes / 255)[..., None] + 255 * (1 - holes / 255)[..., None]
        assert picture.alpha is None and close(picture.rgb, white, within)
    with pytest.raises(ImageError, match=r"\(10, 24, 3\)|\(10, 24\)"):
        write_picture(tmp_path / "x.png", rgb[:10], like=a)


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 255, 255
    write_picture(tmp_path / "x.jpg", stripes)
    assert close(read_picture(tmp_path / "x.jpg").rgb, stripes, 40)


def test_places_that_cannot_be_written(tmp_path, rgb):
    def fails(path, match):
        with pytest.raises(OutputError, match=match) as caught:
            write_picture(path, rgb)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "x.txt", r"'.txt'.*\.png \.jpg")
    fails(tmp_path / "x", r"''.*\.png \.jpg")
    fails(tmp_path / "none" / "x.png", "none' does not exist")
    (tmp_path / "file").touch()
    fails(tmp_path / "file" / "x.png", "cannot be written")
    (tmp_path / "folder.png").mkdir()
    fails(tmp_path / "folder.png", "cannot be written")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]
    with pytest.raises(OutputError, match="cannot be written"):
        write_picture(tmp_path / "x.webp", np.zeros((16, 17000, 3), np.uint8))  # WebP ends at 16383
    for wrong in (rgb[..., 0], rgb.astype(float), np.dstack([rgb, rgb]), rgb[:0]):
        with pytest.raises(ImageError, match="uint8 or uint16, got"):
            write_picture(tmp_path / "x.png", wrong)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, rgb, monkeypatch, error):
    write_picture(tmp_path / "x.png", rgb)
    before = (tmp_path / "x.png").read_bytes()

    def save(self, file, *args, **kwargs):
        file.write(b"half")
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputError):
        write_picture(tmp_path / "x.png", 255 - rgb)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"] and (tmp_path / "x.png").read_bytes() == before


def test_others_may_read_the_result(tmp_path, rgb):
    write_picture(tmp_path / "x.png", rgb)
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Sizes


def test_resize(rgb):
    assert resize(rgb, H, W) is rgb
    assert resize(rgb, 7, 11).shape == (7, 11, 3) and resize(rgb, 41, 50).dtype == np.uint8
    flat = np.full((40, 60, 3), (3, 100, 250), np.uint8)
    assert (resize(flat, 13, 17) == flat[0, 0]).all()
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 255
    assert close(resize(fine, 16, 16)[4:-4, 4:-4], np.full((8, 8, 3), 128, np.uint8), 8)  # antialiased
    for wrong in (rgb.astype(float), rgb[..., 0]):
        with pytest.raises(ImageError, match="uint8"):
            resize(wrong, 8, 8)
    with pytest.raises(ImageError, match="0 x 8"):
        resize(rgb, 8, 0)


def test_montage(rgb):
    sheet = montage([rgb, resize(rgb, 40, 48), rgb])
    assert sheet.shape == (H, 3 * W + 16, 3)
    assert np.array_equal(sheet[:, :W], rgb) and np.array_equal(sheet[:, -W:], rgb)
    assert (sheet[:, W : W + 8] == 255).all() and close(sheet[:, W + 8 : 2 * W + 8], rgb, 12)
    assert montage([rgb, rgb], gap=0, height=10).shape == (10, W, 3)
    with pytest.raises(ImageError, match="at least one"):
        montage([])


def test_heic_needs_its_extra_and_reads_with_it(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    path = tmp_path / "telephone.heic"
    Image.new("RGB", (64, 48), (200, 40, 30)).save(path, quality=90)
    rgb = reading.read_picture(path).rgb
    assert rgb.shape == (48, 64, 3)
    assert np.abs(rgb.astype(int) - [200, 40, 30]).max() < 12
    monkeypatch.setattr(reading, "_formats", lambda: reading.FORMATS)
    with pytest.raises(ImageError, match=r"HEIC with pip install"):
        reading.read_picture(path)
