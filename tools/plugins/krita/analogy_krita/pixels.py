"""From the pixels of layers to PNG files, and back.

Krita gives the pixels of an RGB layer row by row as blue, green, red and alpha: a byte each, or two
bytes each with the low byte first.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

MOST_REGIONS = 255
"""Most regions of a label picture: a palette has 256 colours, and one stands for places without a label."""


class Region(NamedTuple):
    """A layer of a label group: the name of the region, and the alpha of each of its pixels in 8 bits."""

    name: str
    alpha: bytes


def layer_png(pixels: bytes, width: int, height: int, bits: int) -> bytes:
    """Return the pixels of a layer as a PNG file with alpha.

    pixels  as Krita gives them, width * height * 4 samples
    bits    of a sample: 8 or 16
    """
    step, one = bits // 2, bits // 8
    swapped = bytearray(len(pixels))
    for place, channel in enumerate((2, 1, 0, 3)):
        for byte in range(one):  # PNG has the high byte first
            swapped[place * one + byte :: step] = pixels[channel * one + one - 1 - byte :: step]
    return _png(bytes(swapped), width, height, bits, 6, width * step)


def alpha_of(pixels: bytes, bits: int) -> bytes:
    """Return the alpha of each pixel of a layer in 8 bits: of 16, the high byte."""
    return pixels[bits // 2 - 1 :: bits // 2]


def layer_pixels(png: bytes, bits: int) -> tuple[int, int, bytes]:
    """Return the width and the height of a PNG file, and its pixels as Krita takes them in `bits` (8 or 16) a sample.

    Raises `ValueError` for what is no picture. It uses the PNG reader of Qt.
    """
    from PyQt5.QtGui import QImage

    image = QImage.fromData(png, "PNG")
    if image.isNull():
        raise ValueError("the service sent no picture")
    image = image.convertToFormat(QImage.Format_ARGB32 if bits == 8 else QImage.Format_RGBA64)
    bits_of_image = image.constBits()
    bits_of_image.setsize(image.sizeInBytes())
    pixels = bytes(bits_of_image)  # rows of 4 or 8 bytes a pixel have no padding
    return image.width(), image.height(), pixels if bits == 8 else red_and_blue_swapped(pixels)


def red_and_blue_swapped(pixels: bytes) -> bytes:
    """Return pixels of 16 bits a sample with the first and the third sample of each in each other's place."""
    swapped = bytearray(pixels)
    for byte in range(2):
        swapped[byte::8], swapped[byte + 4 :: 8] = pixels[byte + 4 :: 8], pixels[byte::8]
    return bytes(swapped)


def label_colours(*groups: list[Region]) -> dict[str, int]:
    """Return the number of each region's colour, from 1, by its name: the same in all groups.

    Raises `ValueError` if a name is in one group and not in another, for no region at all, and for
    more than `MOST_REGIONS`.
    """
    named = [{region.name for region in group} for group in groups]
    names = sorted(set().union(*named))
    for name in names:
        if not all(name in of_group for of_group in named):
            raise ValueError(f"the region '{name}' is in one group alone; each group needs a layer of this name")
    if not names:
        raise ValueError("the label groups have no layers; paint one layer for each region")
    if len(names) > MOST_REGIONS:
        raise ValueError(f"the label groups have {len(names)} regions; there is room for {MOST_REGIONS}")
    return {name: number for number, name in enumerate(names, 1)}


def label_png(regions: list[Region], colours: dict[str, int], width: int, height: int) -> bytes:
    """Return a label picture as a PNG file: one plain colour for each region, and nothing where there is none.

    regions  from the lowest to the topmost, which hides the others; a place with at least half of the alpha belongs to it
    colours  name -> number of the colour, as `label_colours` returns it
    """
    size = width * height
    labels = 0
    covers = bytes(255 if alpha >= 128 else 0 for alpha in range(256))
    for region in regions:  # all pixels at once, as one large number: a loop over them would take seconds
        covered = int.from_bytes(region.alpha.translate(covers), "big")
        colour = int.from_bytes(bytes([colours[region.name]]) * size, "big")
        labels ^= (labels ^ colour) & covered
    # The colours differ from each other, and from the black of places without a label, in green and
    # blue.
    palette = b"".join(bytes([number and 128, number, number * 37 % 256]) for number in range(256))
    more = _chunk(b"PLTE", palette) + _chunk(b"tRNS", b"\0")
    return _png(labels.to_bytes(size, "big"), width, height, 8, 3, width, more)


def _png(samples: bytes, width: int, height: int, bits: int, kind: int, row: int, more: bytes = b"") -> bytes:
    """Return a PNG file. `kind`: its colour type; `row`: bytes of a row; `more`: the chunks before the pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    rows = b"".join(b"\0" + samples[start : start + row] for start in range(0, len(samples), row))
    body = _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
