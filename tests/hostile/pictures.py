"""Damaged and malicious pictures, all made by this module.

`sound` returns small valid files of each kind, which `mutate` of `hostile.models` damages. `bombs`
returns small files that claim to be huge. `liars` returns files whose content contradicts their
header, or that never end.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

H, W = 20, 24


def _rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3)).astype(np.uint8)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def png(width: int, height: int, depth: int, colour: int, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file with the given chunks, followed by an IDAT chunk that contains `data`."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """Return a little-endian TIFF file with one directory.

    `tags` maps each tag to its type, its count, and its value or the offset of its values.
    `following` is the offset of the next directory, 0 for none.
    """
    entries = b"".join(struct.pack("<HHII", tag, *fields) for tag, fields in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + data


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + head + bytes(100)


def webp(width: int, height: int) -> bytes:
    """Return a lossless WebP file of one colour, which takes only 38 bytes whatever its size."""
    bits = (width - 1) | (height - 1) << 14  # the upper bits are 0: no alpha, and version 0
    data = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08\x07\x10\x11\x11\x88\x88\xfe\x07\0"
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + b"," + struct.pack(
        "<HHHHB", 0, 0, width, height, 0
    ) + b"\x02\x02\x44\x01\0;"  # fmt: skip


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG file of a small picture, whose header claims to have this size instead."""
    content = bytearray(_saved(Image.fromarray(_rgb()), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@cache
def sound() -> dict[str, bytes]:
    """Return small valid picture files, by name."""
    rgb = _rgb()
    image, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    alpha = Image.fromarray(np.dstack([rgb, rgb[..., 0]]))
    wide = np.random.default_rng(1).integers(0, 65536, (H, W)).astype(np.uint16)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    more = {"exif": exif.tobytes(), "icc_profile": icc}
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)]}
    files = {
        "jpeg": _saved(image, "JPEG", **more),
        "jpeg progressive": _saved(image, "JPEG", progressive=True, subsampling=2),
        "jpeg grey": _saved(grey, "JPEG"),
        "jpeg cmyk": _saved(image.convert("CMYK"), "JPEG"),
        "png": _saved(image, "PNG", **more),
        "png alpha": _saved(alpha, "PNG"),
        "png palette": _saved(image.convert("P"), "PNG", transparency=3, bits=8),
        "png 1 bit": _saved(image.convert("1"), "PNG"),
        "png grey, 16 bits": _saved(Image.fromarray(wide), "PNG"),
        "png, 16 bits": png(W, H, 16, 6, zlib.compress(bytes((1 + W * 8) * H)), (b"tEXt", b"a\0b")),
        "png animated": _saved(image, "PNG", **frames),
        "webp": _saved(image, "WEBP", **more),
        "webp lossless": _saved(alpha, "WEBP", lossless=True),
        "webp animated": _saved(image, "WEBP", **frames),
        "gif": _saved(image, "GIF"),
        "gif animated": _saved(image, "GIF", transparency=0, **frames),
        "bmp": _saved(image, "BMP"),
        "bmp palette": _saved(image.convert("P"), "BMP"),
        "tiff": _saved(image, "TIFF", **more),
        "tiff float": _saved(Image.fromarray(wide.astype(np.float32)), "TIFF"),
        "tiff 16 bits": _saved(Image.fromarray(wide), "TIFF"),
        "tiff frames": _saved(image, "TIFF", **frames),
    }
    floats = (rgb / np.float32(255)).tobytes()
    files["tiff of floats for colours"] = _float_tiff(floats)
    files["tiff of floats for colours, packed"] = _float_tiff(zlib.compress(floats), (259, 8), (317, 2))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        files[f"tiff {compression}"] = _saved(image.convert("1") if compression == "group4" else image, "TIFF",
                                              compression=compression)  # fmt: skip
    if features.check("avif"):
        files |= {"avif": _saved(image, "AVIF"), "avif animated": _saved(image, "AVIF", **frames)}
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return files
    register_heif_opener()
    return files | {"heif": _saved(image, "HEIF")}


def _float_tiff(data: bytes, *more: tuple[int, int]) -> bytes:
    """Return a TIFF file with three floats for each pixel."""
    tags = {256: (4, 1, W), 257: (4, 1, H), 262: (3, 1, 2), 277: (3, 1, 3), 278: (4, 1, H), 279: (4, 1, len(data))}
    tags |= {tag: (3, 1, value) for tag, value in more}
    place = 8 + 2 + 12 * (len(tags) + 3) + 4
    tags |= {258: (3, 3, place), 339: (3, 3, place + 6), 273: (4, 1, place + 12)}
    return tiff(tags, struct.pack("<6H", 32, 32, 32, 3, 3, 3) + data)


def _rows(count: int, size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(size)) for _ in range(count)) + packer.flush()


_BASE = {256: (4, 1, W), 257: (4, 1, H), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 200),
         277: (3, 1, 1), 278: (4, 1, H), 279: (4, 1, W * H)}  # fmt: skip
_HUGE = {256: (4, 1, 1_000_000), 257: (4, 1, 1_000_000), 278: (4, 1, 1_000_000)}


@cache
def bombs() -> dict[str, bytes]:
    """Return small files that claim to be huge pictures, by name."""
    return {
        "png of 900 megapixels": png(30_000, 30_000, 8, 2, zlib.compress(bytes(1000))),
        "png of 4 exapixels": png(2**31 - 1, 2**31 - 1, 16, 6, b""),
        "png of 100 megapixels and 16 bits, whole": png(10_000, 10_000, 16, 6, _rows(10_000, 1 + 80_000)),
        "png of 16 x 10 million": png(16, 10_000_000, 8, 0, b""),
        "png of 10 million x 16": png(10_000_000, 16, 8, 0, b""),
        "jpeg of 177 megapixels": jpeg(13_300, 13_300),
        "jpeg of 4 gigapixels": jpeg(65_500, 65_500),
        "webp of 177 megapixels": webp(16_383, 10_800),
        "webp of 268 megapixels": webp(16_383, 16_383),
        "gif of 4 gigapixels": gif(65_535, 65_535),
        "gif of 177 megapixels": gif(13_300, 13_300),
        "bmp of 4 exapixels": bmp(2**31 - 1, 2**31 - 1),
        "bmp of 170 megapixels": bmp(13_000, -13_000),
        "bmp of 170 megapixels, run-length": bmp(13_000, 13_000, 8, 1),
        "tiff of 1 terapixel": tiff(_BASE | _HUGE, bytes(500)),
        "tiff of 170 megapixels, deflate": tiff(
            _BASE | {256: (4, 1, 13_000), 257: (4, 1, 13_000), 278: (4, 1, 13_000), 259: (3, 1, 8)}, bytes(500)
        ),
        "tiff of 170 megapixels of 64 bits": tiff(
            _BASE | {256: (4, 1, 13_000), 257: (4, 1, 13_000), 258: (3, 1, 64)}, bytes(500)
        ),
    }


@cache
def liars() -> dict[str, bytes]:
    """Return files whose content contradicts their header, or that never end, by name."""
    rgb = zlib.compress(bytes((1 + W * 3) * H))
    bomb = _rows(100, 1_000_000)
    text = b"a\0\0" + bomb
    return {
        "nothing": b"",
        "a kilobyte of zeros": bytes(1024),
        "a jpeg's first bytes": b"\xff\xd8\xff",
        "a png's first bytes": b"\x89PNG\r\n\x1a\n",
        "a riff's first bytes": b"RIFF\xff\xff\xff\xffWEBP",
        "a png of no size": png(0, 0, 8, 2, rgb),
        "a png whose profile unpacks to 100 MB": png(W, H, 8, 2, rgb, (b"iCCP", text)),
        "a png whose text unpacks to 100 MB": png(W, H, 8, 2, rgb, (b"zTXt", text)),
        "a png with ten thousand texts": png(W, H, 8, 2, rgb, *[(b"tEXt", b"k%d\0v" % n) for n in range(10_000)]),
        "a png with more pixels than it says": png(W, H, 8, 2, bomb),
        "a png of an unknown kind": png(W, H, 7, 5, rgb),
        "a png whose chunk has a length of 4 GB": png(W, H, 8, 2, rgb)[:33] + b"\xff\xff\xff\xffIDAT" + rgb,
        "a jpeg of markers": b"\xff\xd8" + b"\xff\xe0\0\x02" * 50_000 + b"\xff\xd9",
        "a jpeg of comments": b"\xff\xd8" + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 40,
        "a jpeg cut in its profile": _saved(Image.fromarray(_rgb()), "JPEG", icc_profile=bytes(200_000))[:100_000],
        "a jpeg with a profile of zeros": _saved(Image.fromarray(_rgb()), "JPEG", icc_profile=bytes(1000)),
        "a tiff whose directory follows itself": tiff(_BASE, bytes(800), following=8),
        "a tiff whose directory is after the end": b"II*\0\xff\xff\xff\x7f",
        "a tiff with a tag of 4 gigabytes": tiff(_BASE | {34675: (7, 2**32 - 1, 100)}, bytes(800)),
        "a tiff of 65535 colours": tiff(_BASE | {277: (3, 1, 65_535), 258: (3, 65_535, 100)}, bytes(800)),
        "a tiff with a million strips": tiff(_BASE | {273: (4, 1_000_000, 100), 279: (4, 1_000_000, 100)}, bytes(800)),
        "a tiff whose strips are of 4 gigabytes": tiff(_BASE | {279: (4, 1, 2**32 - 1)}, bytes(800)),
        "a tiff of tiles without a size": tiff(_BASE | {322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 100)}, bytes(800)),
        "a tiff whose resolution is missing": tiff(_BASE | {282: (5, 1, 100)}, bytes(800)),
        "a tiff with a later directory of a terapixel": tiff(_BASE, bytes(800), following=8)[:-4] + bytes(4),
        "a gif that ends in its first frame": gif(W, H)[:-4],
        "a gif of a thousand frames": gif(W, H)[:-1] + (gif(W, H)[19:-1]) * 1000,
        "a bmp of no bits": bmp(W, H, 0),
        "a bmp of 255 bits": bmp(W, H, 255),
        "a webp of no data": webp(W, H)[:20],
        "an eps, which would start Ghostscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n",
        "an svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>",
        "a pdf": b"%PDF-1.4\n",
        "a zip": b"PK\3\4" + bytes(100),
    }
