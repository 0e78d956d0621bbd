"""Conversion of the pixels of layers to PNG files, and back.

Krita gives the pixels of an RGB layer row by row as blue, green, red and alpha, with one byte each,
or two bytes each with the low byte first.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MOST_REGIONS = 255
"""Largest number of regions that a label picture can have.

A palette has 256 colours, and one of them stands for places without a label.
"""


class Region(NamedTuple):
    """A region of a label picture, which is one layer of a label group."""

    name: str
    """The name of the layer, without spaces around it."""
    alpha: bytes
    """The alpha of each pixel, 8 bits, row by row."""


def layer_png(pixels: bytes, width: int, height: int, bits: int) -> bytes:
    """Return the pixels of a layer as a PNG file with alpha.

    `pixels` has width * height * 4 samples in Krita's order, of 8 or 16 `bits` each.
    """
    step, one = bits // 2, bits // 8
    swapped = bytearray(len(pixels))
    for place, channel in enumerate((2, 1, 0, 3)):
        for byte in range(one):  # PNG stores the high byte first
            swapped[place * one + byte :: step] = pixels[channel * one + one - 1 - byte :: step]
    return _png(bytes(swapped), width, height, bits, 6, width * step)


def alpha_of(pixels: bytes, bits: int) -> bytes:
    """Return the alpha of each pixel of a layer in 8 bits: of 16 bits, it returns the high byte."""
    return pixels[bits // 2 - 1 :: bits // 2]


def layer_pixels(png: bytes, bits: int) -> tuple[int, int, bytes]:
    """Return the width and the height of a PNG file, and its pixels in Krita's order.

    The returned samples have 8 or 16 `bits`. Qt reads the file. Raises `ValueError` if `png` is not
    a PNG picture.
    """
    from PyQt5.QtGui import QImage

    image = QImage.fromData(png, "PNG")
    if image.isNull():
        raise ValueError("the service sent a file that is not a PNG picture; start the service again")
    image = image.convertToFormat(QImage.Format_ARGB32 if bits == 8 else QImage.Format_RGBA64)
    bits_of_image = image.constBits()
    bits_of_image.setsize(image.sizeInBytes())
    pixels = bytes(bits_of_image)  # rows with 4 or 8 bytes a pixel have no padding
    return image.width(), image.height(), pixels if bits == 8 else red_and_blue_swapped(pixels)


def red_and_blue_swapped(pixels: bytes) -> bytes:
    """Return pixels with 16 bits per sample, with red and blue exchanged."""
    swapped = bytearray(pixels)
    for byte in range(2):
        swapped[byte::8], swapped[byte + 4 :: 8] = pixels[byte + 4 :: 8], pixels[byte::8]
    return bytes(swapped)


def label_colours(*groups: list[Region]) -> dict[str, int]:
    """Return name of a region -> number of its colour in the palette, from 1.

    Regions of the same name in several groups have the same number. Raises `ValueError` if a name
    is missing in a group, if there is no region, or if there are more than `MOST_REGIONS`.
    """
    named = [{region.name for region in group} for group in groups]
    names = sorted(set().union(*named))
    for name in names:
        if not all(name in of_group for of_group in named):
            raise ValueError(f"the region '{name}' is in one group only; each group needs a layer of this name")
    if not names:
        raise ValueError("the label groups have no layers; paint one layer for each region")
    if len(names) > MOST_REGIONS:
        raise ValueError(f"the label groups have {len(names)} regions; use at most {MOST_REGIONS}")
    return {name: number for number, name in enumerate(names, 1)}


def label_png(regions: list[Region], colours: dict[str, int], width: int, height: int) -> bytes:
    """Return a label picture as a PNG file: one colour for each region, transparent elsewhere.

    `regions` are sorted from the lowest to the highest; a higher region hides the lower ones. A
    pixel belongs to a region if its alpha is at least half. `colours` is the result of
    `label_colours`.
    """
    size = width * height
    labels = 0
    covers = bytes(255 if alpha >= 128 else 0 for alpha in range(256))
    for region in regions:  # one large integer holds all pixels, since a loop over them would take seconds
        covered = int.from_bytes(region.alpha.translate(covers), "big")
        colour = int.from_bytes(bytes([colours[region.name]]) * size, "big")
        labels ^= (labels ^ colour) & covered
    # Any two colours differ both in green and in blue. Black is the colour of places without a
    # label.
    palette = b"".join(bytes([number and 128, number, number * 37 % 256]) for number in range(256))
    more = _chunk(b"PLTE", palette) + _chunk(b"tRNS", b"\0")
    return _png(labels.to_bytes(size, "big"), width, height, 8, 3, width, more)


def _png(samples: bytes, width: int, height: int, bits: int, kind: int, row: int, more: bytes = b"") -> bytes:
    """Return a PNG file of colour type `kind`, from `samples` with `row` bytes in each row.

    The chunks `more` come before the samples.
    """
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    rows = b"".join(b"\0" + samples[start : start + row] for start in range(0, len(samples), row))
    body = _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
