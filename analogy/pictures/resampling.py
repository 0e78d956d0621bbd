"""Pillow's Lanczos filter, for pictures that lie on a GPU: the same pixels, without a way over the host."""

from __future__ import annotations

from typing import Any

import numpy as np

_REACH = 3.0
"""Number of lobes of the Lanczos filter on each side (a = 3)."""
_BITS = 22
"""Fractional bits of Pillow's fixed-point weights."""


def lanczos(xp: Any, pixels: Any, height: int, width: int) -> Any:
    """Return `pixels` (H, W, 3) uint8 of the array module `xp` at `height` x `width`, to the bit as Pillow's `resize` does.

    Rows first, then columns, each in whole numbers and rounded to 8 bits, and only where the size
    changes. (Pillow 13 takes columns first in pictures more than twice as high as wide: there the
    two rounding steps differ by a few levels.)
    """
    for axis, size in ((1, width), (0, height)):
        if pixels.shape[axis] != size:
            pixels = _along(xp, pixels, axis, size)
    return pixels


def _along(xp: Any, pixels: Any, axis: int, size: int) -> Any:
    places, weights = (xp.asarray(table) for table in _taps(pixels.shape[axis], size))
    shape = (1, size, 1) if axis == 1 else (size, 1, 1)
    total = xp.zeros(tuple(size if i == axis else n for i, n in enumerate(pixels.shape)), np.int32)
    total += np.int32(1 << (_BITS - 1))
    for k in range(len(places)):
        total += xp.take(pixels, places[k], axis=axis).astype(np.int32) * weights[k].reshape(shape)
    return xp.clip(total // np.int32(1 << _BITS), 0, 255).astype(np.uint8)


def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (taps, after) int32, twice: the places that each new pixel is made of, and their weights times 2 ** `_BITS`.

    The filter is as wide as a new pixel, if that is wider than an old one, and ends at the border.
    Every new pixel has as many taps as the one with most; the weights of the others are zero.
    """
    scale = before / after
    wide = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - _REACH * wide + 0.5).astype(int), 0)
    last = np.minimum((centres + _REACH * wide + 0.5).astype(int), before)
    places = first + np.arange((last - first).max())[:, None]
    x = (places - centres + 0.5) / wide
    weights = np.where((places < last) & (x >= -_REACH) & (x < _REACH), np.sinc(x) * np.sinc(x / _REACH), 0)
    weights /= np.cumsum(weights, axis=0)[-1]  # summed one by one, as Pillow does
    whole = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights))
    return np.minimum(places, before - 1).astype(np.int32), whole.astype(np.int32)
