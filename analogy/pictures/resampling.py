"""Lanczos filter for pictures on a GPU, with Pillow's results, but without a copy to the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import __version__

_REACH = 3.0
"""Number of lobes of the Lanczos filter on each side (a = 3)."""
_BITS = 22
"""Number of fractional bits in Pillow's fixed-point weights."""

_IS_PILLOW_13 = int(__version__.partition(".")[0]) >= 13
"""True if the installed Pillow is release 13 or later."""


def lanczos(xp: Any, pixels: Any, height: int, width: int) -> Any:
    """Return `pixels` (H, W, 3) uint8 resized to `height` x `width`, equal to Pillow's result.

    `xp` is the module of the array `pixels`, NumPy or CuPy. The filter runs along the rows first,
    then along the columns, and rounds to 8 bits each time. It does not run along an axis whose size
    does not change. Since release 13, Pillow runs along the columns first if they lose more than
    twice as many pixels as the rows lose; so does this function with such a release.
    """
    lost_rows, lost_columns = pixels.shape[0] - height, pixels.shape[1] - width
    columns_first = _IS_PILLOW_13 and lost_rows > 2 * max(0, lost_columns)
    for axis, size in ((0, height), (1, width)) if columns_first else ((1, width), (0, height)):
        if pixels.shape[axis] != size:
            pixels = _along(xp, pixels, axis, size)
    return pixels


def _along(xp: Any, pixels: Any, axis: int, size: int) -> Any:
    """Return `pixels` resized to `size` along one axis."""
    places, weights = (xp.asarray(table) for table in _taps(pixels.shape[axis], size))
    shape = (1, size, 1) if axis == 1 else (size, 1, 1)
    total = xp.zeros(tuple(size if i == axis else n for i, n in enumerate(pixels.shape)), np.int32)
    total += np.int32(1 << (_BITS - 1))
    for k in range(len(places)):
        total += xp.take(pixels, places[k], axis=axis).astype(np.int32) * weights[k].reshape(shape)
    return xp.clip(total // np.int32(1 << _BITS), 0, 255).astype(np.uint8)


def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each new pixel, the indices and the weights of the old pixels that make it.

    Both arrays are (n, `after`) int32, where n is the largest number of old pixels that make a new
    pixel. The weights are multiplied by 2 ** `_BITS`. If the picture is shrunk, the filter is
    widened by the factor before / after. It ends at the border of the picture. For a new pixel that
    is made from fewer than n old pixels, the remaining weights are zero.
    """
    scale = before / after
    wide = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - _REACH * wide + 0.5).astype(int), 0)
    last = np.minimum((centres + _REACH * wide + 0.5).astype(int), before)
    places = first + np.arange((last - first).max())[:, None]
    x = (places - centres + 0.5) / wide
    weights = np.where((places < last) & (x >= -_REACH) & (x < _REACH), np.sinc(x) * np.sinc(x / _REACH), 0)
    weights /= np.cumsum(weights, axis=0)[-1]  # added one by one, so that they are rounded as in Pillow
    whole = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights))
    return np.minimum(places, before - 1).astype(np.int32), whole.astype(np.int32)
