"""Look-up of frames (see `contract`) in the CPU kernels of the search and of painting."""

from __future__ import annotations

import numpy as np
from numba import njit

_inline = njit(error_model="numpy")
"""Decorator for functions that kernels call, which Numba compiles together with the kernels."""


@_inline
def frame_of(frames, count, row, hb, wb):
    """Return the first row, the row after the last, and the number of columns of a row's frame.

    The frame is the one that contains `row`. `frames` is a flat array of `count` times three
    numbers. If `count` is 0, the whole array of `hb` rows and `wb` columns is one frame.
    """
    if count == 0:
        return np.int64(0), hb, wb
    k = 0
    while k + 1 < count and row >= frames[3 * (k + 1)]:
        k += 1
    return np.int64(frames[3 * k]), np.int64(frames[3 * k + 1]), np.int64(frames[3 * k + 2])
