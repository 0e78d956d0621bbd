"""Frames of a sheet in the CPU kernels (see `contract`), for the search and for painting."""

from __future__ import annotations

import numpy as np
from numba import njit

_inline = njit(error_model="numpy")
"""Decorator of functions that kernels call."""


@_inline
def frame_of(frames, count, row, hb, wb):
    """Return the first row, the end of the rows and the columns of the frame of `b` with a row."""
    if count == 0:
        return np.int64(0), hb, wb
    k = 0
    while k + 1 < count and row >= frames[3 * (k + 1)]:
        k += 1
    return np.int64(frames[3 * k]), np.int64(frames[3 * k + 1]), np.int64(frames[3 * k + 2])
