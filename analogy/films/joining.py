"""Joining of two paintings of a frame, one from the key before it and one from the key after it.

Over the frames between the keys, the colours of the earlier key's painting fade into those of the
later key's painting. Strokes do not fade, since the mean of two strokes side by side is a blur. In
each small area of the frame, nearly all strokes come from one of the two paintings.
"""

from __future__ import annotations

import numpy as np

from .motion import opencv

_SHARPNESS = 2.0
"""Exponent of a ratio of times; the power is the odds w / (1 - w) of the later key's weight w.

Doubt changes these odds further. The ratio is the time from the earlier key to the frame, divided
by the time from the frame to the later key.
"""
_DOUBT = 20.0
"""Growth of the log odds of a painting's weight if the other painting's doubt grows by 1."""
_CHOICE = 8.0
"""Factor of the log odds for strokes, so that nearly every stroke comes from a single key."""
_PATCH = 32
"""Distance between the random numbers that `_pattern` interpolates, in pixels."""
_SPREAD = 1.0
"""Standard deviation of the random numbers of `_pattern`, which shift the log odds for strokes."""
_FINE = 3
"""Number of the finest bands of the pyramid, which contain the strokes."""
_LEAST_SIDE = 16
"""Smallest length of the shorter side to which the pyramid shrinks a picture, in pixels."""


def join(
    before: np.ndarray, after: np.ndarray, doubt_before: np.ndarray, doubt_after: np.ndarray, time: float
) -> np.ndarray:
    """Join two paintings of a frame, which come from different keys, into one picture.

    The paintings are blended band by band in a pyramid (Burt and Adelson 1983, "A Multiresolution
    Spline"). The weight of the later painting grows with time, and with the doubt of the earlier
    painting. The coarse bands of the result are the weighted means of the bands of both paintings.
    The fine bands, which contain the strokes, come almost entirely from the painting with the
    larger weight. Noise, the same for all frames, is added to the log odds for the fine bands, so
    that not all strokes change in the same frame.

    Parameters
    ----------
    before, after : (H, W, 3) float32
        The painting from the key before the frame, and the painting from the key after it.
    doubt_before, doubt_after : (H, W) float32
        How doubtful each pixel of the paintings is (see `Carrier.doubt`).
    time : float
        Position of the frame between the keys, above 0 and below 1.

    Returns
    -------
    (H, W, 3) float32
        The joined picture.
    """
    # These are the log odds of the later painting's weight.
    odds = _SHARPNESS * np.log(time / (1 - time)) + _DOUBT * (doubt_before - doubt_after)
    weight = _logistic(odds)
    return _blend(before, after, weight, _logistic(_CHOICE * (odds + _pattern(odds.shape))), _FINE)


def _logistic(odds: np.ndarray) -> np.ndarray:
    """Convert log odds to weights, 0 to 1."""
    return (1 / (1 + np.exp(-np.clip(odds, -30, 30)))).astype(np.float32)


def _pattern(size: tuple[int, ...]) -> np.ndarray:
    """Return smooth noise, (H, W) float32, that is the same for all frames of this `size`."""
    height, width = (-(-side // _PATCH) + 1 for side in size)
    noise = np.random.default_rng(0).normal(0, _SPREAD, (height, width)).astype(np.float32)
    found: np.ndarray = opencv().resize(noise, size[::-1], interpolation=opencv().INTER_CUBIC)
    return found


def _blend(first: np.ndarray, second: np.ndarray, weight: np.ndarray, choice: np.ndarray, fine: int) -> np.ndarray:
    """Return a blend: `first` where the weight is 0, `second` where it is 1.

    The `fine` finest bands are weighted by `choice` (H, W), the others by `weight` (H, W).
    """
    cv2, size = opencv(), weight.shape[::-1]
    band_weight = choice if fine > 0 else weight
    if min(size) < 2 * _LEAST_SIDE:
        return first + (second - first) * weight[..., None]
    less_first, less_second, less_weight, less_choice = map(cv2.pyrDown, (first, second, weight, choice))
    band = first - cv2.pyrUp(less_first, dstsize=size)
    other = second - cv2.pyrUp(less_second, dstsize=size)
    coarse = _blend(less_first, less_second, less_weight, less_choice, fine - 1)
    joined: np.ndarray = cv2.pyrUp(coarse, dstsize=size) + band + (other - band) * band_weight[..., None]
    return joined
