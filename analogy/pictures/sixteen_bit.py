"""Addition to Pillow: RGB pixels with 16 bits per channel in PNG and TIFF files.

To read a file with 16 bits per channel, `reading` lets Pillow decode it twice, once for each byte
of a sample, with the raw modes of `LOW_BYTES`. The functions of this module write such files.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

Array: TypeAlias = npt.NDArray[Any]

LOW_BYTES = {"LA;16B": "RGBA"} | {
    f"{bands};16{order}": f"{bands};16{swapped}"
    for bands in ("RGB", "RGBA")
    for order, swapped in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
"""Raw mode of Pillow that reads the high byte of each sample -> raw mode that reads the low byte.

A pixel of "LA;16B" has four bytes, so "RGBA" reads both bytes of both samples. "N" stands for the
machine's byte order, in which libtiff returns samples.
"""


def write_png16(file: IO[bytes], samples: Array, icc: bytes | None) -> None:
    """Write a picture (H, W, 3 or 4) uint16 as a PNG file with 16 bits per channel.

    The filter is Sub, which stores the difference between a pixel and the pixel to its left.
    """
    height, width, bands = samples.shape
    rows = np.ascontiguousarray(samples, ">u2").view(np.uint8).reshape(height, -1)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = 1
    lines[:, 1:] = rows
    lines[:, 1 + 2 * bands :] -= rows[:, : -2 * bands]
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if bands == 3 else 6, 0, 0, 0))
    if icc:
        putchunk(file, b"iCCP", b"ICC\0\0", zlib.compress(icc))
    putchunk(file, b"IDAT", zlib.compress(lines.tobytes(), 3))
    putchunk(file, b"IEND")


def write_tiff16(file: IO[bytes], samples: Array, icc: bytes | None) -> None:
    """Write a picture (H, W, 3 or 4) uint16 as a TIFF file with 16 bits per channel.

    The file has one strip, which contains the differences between neighbouring pixels of a row,
    compressed with deflate.
    """
    height, width, bands = samples.shape
    rows = np.array(samples, "<u2", order="C")
    rows[:, 1:] -= samples[:, :-1]
    data = zlib.compress(rows.tobytes(), 3)
    tags = ImageFileDirectory_v2()
    values = {256: width, 257: height, 258: (16,) * bands, 259: 8, 262: 2, 277: bands, 278: height, 284: 1, 317: 2}
    values |= {273: 0, 279: len(data)}  # offset and size of the strip; Pillow adds the header's size to the offset
    values |= {338: 2} if bands == 4 else {}  # the last channel is alpha, by which the colours are not multiplied
    values |= {34675: icc} if icc else {}
    for tag, value in values.items():
        tags[tag] = value
    tags.save(file)
    file.write(data)
