"""Joining two paintings of a frame, which were carried there from the keys before and after it, to one."""

from __future__ import annotations

import numpy as np

from .motion import opencv

_SHARPNESS = 2.0
"""Power of the ratio of the distances in time to which the weights are proportional: how soon the nearer key prevails."""
_DOUBT = 20.0
"""Change of the logarithm of the ratio of the weights for a difference of doubt of 1."""
_CHOICE = 8.0
"""Factor of the odds by which the strokes are chosen: how narrow the border between the strokes of two keys is."""
_PATCH, _SPREAD = 32, 1.0
"""Side in pixels of the squares whose strokes change over at times of their own, and the deviation
of the odds from square to square."""
_FINE = 3
"""Number of the bands of the pyramid that show strokes."""
_LEAST_SIDE = 16
"""Length in pixels of the shorter side at which the pyramid ends."""


def join(
    before: np.ndarray, after: np.ndarray, doubt_before: np.ndarray, doubt_after: np.ndarray, time: float
) -> np.ndarray:
    """Return the picture (H, W, 3) float32 that joins the paintings from the keys before and after a frame.

    before, after              the paintings, (H, W, 3) float32
    doubt_before, doubt_after  how doubtful their pixels are, (H, W) float32 (see `Carrier.doubt`)
    time                       where the frame lies between the keys, above 0 and below 1

    The coarse bands of a pyramid (Burt and Adelson 1983, "A Multiresolution Spline") take more of
    the key that is nearer in time, and of the one that is less doubtful, so colours change over
    slowly. The fine bands, the strokes, are of one key or the other but for a narrow border, since
    the mean of two strokes that lie side by side is a blur. All strokes would change over in the
    same frame if the keys decided alone: so each square of a fixed irregular pattern has a time of
    its own.
    """
    odds = _SHARPNESS * np.log(time / (1 - time)) + _DOUBT * (doubt_before - doubt_after)
    weight = _logistic(odds)
    return _blend(before, after, weight, _logistic(_CHOICE * (odds + _pattern(odds.shape))), _FINE)


def _logistic(odds: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-np.clip(odds, -30, 30)))).astype(np.float32)


def _pattern(size: tuple[int, ...]) -> np.ndarray:
    """Return smooth noise of this size, (H, W) float32, which changes about as much as the odds do between the keys."""
    height, width = (-(-side // _PATCH) + 1 for side in size)
    noise = np.random.default_rng(0).normal(0, _SPREAD, (height, width)).astype(np.float32)
    found: np.ndarray = opencv().resize(noise, size[::-1], interpolation=opencv().INTER_CUBIC)
    return found


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray, choice: np.ndarray, fine: int) -> np.ndarray:
    """Return `first` where a weight (H, W) is 0 and `second` where it is 1, blended band by band.

    weight, choice  the weights of the coarse and of the fine bands
    fine            how many bands are fine
    """
    cv2, size = opencv(), weight.shape[::-1]
    own = choice if fine > 0 else weight
    if min(size) < 2 * _LEAST_SIDE:
        return first + (second - first) * weight[..., None]
    less_first, less_second, less_weight, less_choice = map(cv2.pyrDown, (first, second, weight, choice))
    band = first - cv2.pyrUp(less_first, dstsize=size)
    other = second - cv2.pyrUp(less_second, dstsize=size)
    coarse = _blend(less_first, less_second, less_weight, less_choice, fine - 1)
    joined: np.ndarray = cv2.pyrUp(coarse, dstsize=size) + band + (other - band) * own[..., None]
    return joined
