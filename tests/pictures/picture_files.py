"""Functions that make files and ICC profiles that Pillow cannot make, and that compare pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

H, W = 20, 24
ORIENTATION = 0x0112
TONES = ("rTRC", "gTRC", "bTRC")


def to8(wide):
    return np.rint(wide / 257).astype(np.uint8)


def close(a, b, within=1):
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).max() <= within


# Picture files


def png(path, samples, depth, key=None, exif=b""):
    """Write samples (H, W, bands) as an unfiltered PNG file with `depth` bits per sample.

    `key` is the colour that counts as transparent (tRNS).
    """
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
    """Write a TIFF file with these data and tags, by default in one strip, and return its path."""
    names = {"bits": 258, "photometric": 262, "bands": 277, "planar": 284, "extra": 338, "icc": 34675, "turn": 274}
    names |= {"kind": 254, "inner": 330, "compression": 259, "predictor": 317, "rows": 278, "sample_format": 339}
    names |= {"tile_width": 322, "tile_height": 323, "tile_offsets": 324, "tile_counts": 325}
    names |= {"width": 256, "height": 257}
    ifd = ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    base = {256: W, 257: H, 259: 1, 273: 0, 278: H, 279: len(data)}
    for tag, value in (base | {names[name]: value for name, value in tags.items()}).items():
        ifd[tag] = value
    with path.open("wb") as file:
        ifd.save(file)
        file.write(data)
    return path


# ICC profiles


def profile(space, pcs, **tags):
    """Return a minimal ICC profile, version 2, from `space` to `pcs`, with the given tags."""
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
    """Return an ICC table (lut8) whose grid has two points in each band.

    `corner` maps a point of the grid, 0 or 1 for each band, to the three bytes of a Lab colour.
    """
    head = b"mft1" + struct.pack(">IBBBB", 0, bands, 3, 2, 0) + np.multiply(np.eye(3), 65536).astype(">i4").tobytes()
    ramp = bytes(range(256))
    cube = bytes(v for i in range(2**bands) for v in corner([i >> (bands - 1 - k) & 1 for k in range(bands)]))
    return head + ramp * bands + cube + ramp * 3


def wide_gamut(pcs=b"XYZ ", **curves):
    """Return an ICC profile with the primaries of Adobe RGB, adapted to D50."""
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
