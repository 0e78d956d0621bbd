"""Two paintings of one frame, carried there from the key frames before and after it, become one."""

from __future__ import annotations

import numpy as np

from .motion import opencv

_SHARPNESS = 2.0
"""How soon the nearer key takes over: weights go with the ratio of the distances in time to this power."""
_DOUBT = 20.0
"""By how much a difference of doubt changes the logarithm of the ratio of the weights."""
_LEAST_SIDE = 16
"""Pixels of the shorter side at which the pyramid ends."""


def join(
    before: np.ndarray, after: np.ndarray, doubt_before: np.ndarray, doubt_after: np.ndarray, time: float
) -> np.ndarray:
    """The picture (H, W, 3) float32 that joins `before` and `after`, of the same shape, at `time`, 0 to 1 between the keys.

    Each pixel takes more of the key that is nearer in time, and of the one of which there is less doubt ((H, W) float32,
    see `Carrier.doubt`). The bands of a pyramid are joined one by one (Burt and Adelson 1983, "A Multiresolution Spline"):
    coarse ones over wide and fine ones over narrow borders, so that there is no seam. As weights change little from frame
    to frame, there is no jump; a cut along a path of least difference, found for each frame alone, would jump about.
    """
    odds = _SHARPNESS * np.log(time / (1 - time)) + _DOUBT * (doubt_before - doubt_after)
    weight = (1 / (1 + np.exp(-np.clip(odds, -30, 30)))).astype(np.float32)
    return _blend(before, after, weight)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`first`, and `second` where `weight` (H, W) is 1, band by band."""
    cv2, size = opencv(), weight.shape[::-1]
    if min(size) < 2 * _LEAST_SIDE:
        return first + (second - first) * weight[..., None]
    smaller = [cv2.pyrDown(array) for array in (first, second, weight)]
    fine = (picture - cv2.pyrUp(small, dstsize=size) for picture, small in zip((first, second), smaller, strict=False))
    fine_first, fine_second = fine
    return cv2.pyrUp(_blend(*smaller), dstsize=size) + fine_first + (fine_second - fine_first) * weight[..., None]
