"""Joining two paintings of a frame, which were carried there from the keys before and after it, to one."""

from __future__ import annotations

import numpy as np

from .motion import opencv

_SHARPNESS = 2.0
"""Power of the ratio of the distances in time to which the weights are proportional: how soon the nearer key prevails."""
_DOUBT = 20.0
"""Change of the logarithm of the ratio of the weights for a difference of doubt of 1."""
_LEAST_SIDE = 16
"""Length in pixels of the shorter side at which the pyramid ends."""


def join(
    before: np.ndarray, after: np.ndarray, doubt_before: np.ndarray, doubt_after: np.ndarray, time: float
) -> np.ndarray:
    """Return the picture (H, W, 3) float32 that joins the paintings from the keys before and after a frame.

    before, after              the paintings, (H, W, 3) float32
    doubt_before, doubt_after  how doubtful their pixels are, (H, W) float32 (see `Carrier.doubt`)
    time                       where the frame lies between the keys, above 0 and below 1

    Each pixel takes more of the key that is nearer in time, and of the one that is less doubtful. The bands of a pyramid are
    joined one by one (Burt and Adelson 1983, "A Multiresolution Spline"): coarse bands over wide borders and fine ones over
    narrow borders, so that there is no seam. The weights change little from frame to frame, so nothing jumps; a seam along
    the path of least difference, found for each frame by itself, would jump.
    """
    odds = _SHARPNESS * np.log(time / (1 - time)) + _DOUBT * (doubt_before - doubt_after)
    weight = (1 / (1 + np.exp(-np.clip(odds, -30, 30)))).astype(np.float32)
    return _blend(before, after, weight)


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return `first` where `weight` (H, W) is 0 and `second` where it is 1, blended band by band."""
    cv2, size = opencv(), weight.shape[::-1]
    if min(size) < 2 * _LEAST_SIDE:
        return first + (second - first) * weight[..., None]
    smaller = [cv2.pyrDown(array) for array in (first, second, weight)]
    fine = (picture - cv2.pyrUp(small, dstsize=size) for picture, small in zip((first, second), smaller, strict=False))
    fine_first, fine_second = fine
    return cv2.pyrUp(_blend(*smaller), dstsize=size) + fine_first + (fine_second - fine_first) * weight[..., None]
