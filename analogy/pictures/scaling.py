"""Conversion of pixels with any range of values to 16-bit colours."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from PIL import Image

from ..errors import ImageError
from .colour import into_srgb, to_8_bits
from .images import Array, Picture, as_picture
from .tiff_numbers import NumbersFile

_log = logging.getLogger("analogy")

_TURNS: dict[int, Callable[[Array], Array]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: lambda array: np.rot90(array),
}
"""EXIF orientation -> function that turns or mirrors the pixels so that they are upright."""
_STRIP = 256
"""Number of rows that are scaled at a time, since all rows as float64 would need much memory."""


def scaled(values: Array, label: str) -> tuple[Array, int]:
    """Return values scaled to 0..65535 as uint16, and the value that has become white.

    White is 1 if all values are floats in 0..1. Otherwise it is 255 if all lie in 0..255, or 65535
    if all lie in 0..65535. With any other range, the smallest value becomes black and the largest
    becomes white, a log line says so, and the function returns 0 in place of the white value.
    Raises `ImageError` for NaN and infinity.
    """
    if not np.isfinite(values).all():
        raise ImageError(f"{label} has pixels that are NaN or infinite; replace them")
    low, high = float(values.min()), float(values.max())
    whites = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    top = next((white for white in whites if low >= 0 and high <= white), 0)
    if not top:
        _log.info("%s: its values, %g to %g, are stretched to the range from black to white", label, low, high)
    base, span = (0, top) if top else (low, high - low)
    found = np.empty(values.shape, np.uint16)
    for start in range(0, len(values), _STRIP):
        part = values[start : start + _STRIP].astype(np.float64)
        found[start : start + _STRIP] = np.rint((part - base) * (65535 / (span or 1)))
    return found, top


def _divided(colours: Array, share: Array) -> Array:
    """Return colours divided by their alpha `share`, 0 to 1, in the same dtype; 0 for alpha 0."""
    quotient = np.divide(colours, share, out=np.zeros(colours.shape, np.float64), where=share > 0)
    if colours.dtype.kind != "f":
        quotient = np.minimum(np.rint(quotient), np.iinfo(colours.dtype).max)
    return quotient.astype(colours.dtype)


def from_numbers(numbers: NumbersFile, label: str, grounded: bool) -> Picture:
    """Return the picture in a TIFF file whose pixels Pillow cannot decode.

    Floats are clipped to 0..1, and a log line says so if that changes them. If all floats are whole
    numbers, they are not clipped (see `scaled`). Raises OSError if the file is damaged,
    `ImageError` for NaN and infinity, and Pillow's DecompressionBombError for a picture that is too
    large.
    """
    if numbers.size[0] * numbers.size[1] > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):
        raise Image.DecompressionBombError(f"{numbers.size[1]} x {numbers.size[0]} pixels")
    values = numbers.samples()
    colours, alpha = values[..., : numbers.colours], None
    if numbers.alpha:
        opacity = scaled(values[..., numbers.colours], label)[0]
        alpha = to_8_bits(opacity)
        if numbers.alpha == "premultiplied":
            colours = _divided(colours, opacity[..., None] / np.float64(65535))
    if colours.dtype.kind == "f":
        low, high = float(colours.min()), float(colours.max())
        if (low < 0 or high > 1) and np.isfinite([low, high]).all() and (colours != np.rint(colours)).any():
            _log.info("%s: its values, %g to %g, are clipped to 0 (black) .. 1 (white)", label, low, high)
            colours = colours.clip(0, 1)
    turn = _TURNS.get(numbers.orientation, lambda array: array)
    samples = turn(scaled(colours, label)[0])
    image = Image.fromarray(to_8_bits(samples).squeeze())
    samples = np.broadcast_to(samples, (*samples.shape[:2], 3))
    pixels, icc = into_srgb(image, samples, numbers.icc, label)
    return as_picture(pixels, None if alpha is None else turn(alpha), icc, label, grounded)
