"""Motion in a film: dense optical flow between two frames, and operations on it.

A flow is an array (H, W, 2) float32: [y, x] holds the displacement (dx, dy), in pixels, from a
pixel of one frame to its place in another, as in `method.flow`. OpenCV's DIS (Kroeger et al. 2016,
"Fast Optical Flow using Dense Inverse Search") finds it. Needs the extra `video`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..errors import SettingsError

_GRID = 16
"""Distance in pixels, in both directions, between the vectors of a flow to which the affine motion is fitted."""

_TEXTURE_WINDOW = 9
"""Side in pixels of the square over which the energy of the gradient is averaged."""
_NOISE = 6.0
"""Mean squared gradient, in grey levels (0 to 255) a pixel, of a place that counts half as texture: above that of noise."""
_COARSER = 0.1
"""Weight of the coarser level of the pyramid beside that of a pixel, in `spread`."""
_LEAST_WEIGHT = 1e-4
"""Weight of every pixel in `spread`, so that there is a result where no pixel has any."""
_COARSEST = 4
"""Length in pixels of the shorter side at which the pyramid of `spread` ends."""


def optical_flow(here: np.ndarray, there: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Return the flow from each pixel of `here` to its place in `there`; both are (H, W, 3) uint8 RGB.

    start  a flow from which the search begins

    The search ends at half the resolution of the frames. At the full one, it would take four times
    as long, and the flow would be no nearer to the motion once `spread` has smoothed it.
    """
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)), start)


def both_flows(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow from `one` to `other` and the flow back; both frames are (H, W, 3) uint8 RGB."""
    return optical_flow(one, other), optical_flow(other, one)


def refine(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the flow from `here` to `there` near `flow`, exact to less than a pixel, also if one frame is larger or rotated.

    The affine motion of the whole frame is undone before the rest is searched, because the search
    knows only displacements.
    """
    whole = _affine(flow)
    return compose(optical_flow(here, sample(there, whole), flow - whole), whole)


def _affine(flow: np.ndarray) -> np.ndarray:
    """Return the affine flow that agrees with most of `flow`; zeros if none is found."""
    places = _grid(flow.shape[:2])
    some = (slice(_GRID // 2, None, _GRID),) * 2
    here, there = (points.reshape(-1, 2) for points in (places[some], places[some] + flow[some]))
    matrix, _ = opencv().estimateAffine2D(here, there, ransacReprojThreshold=3.0)
    if matrix is None:
        return np.zeros_like(flow)
    matrix[:, :2] -= np.eye(2)
    affine: np.ndarray = opencv().transform(places, matrix)
    return affine


def texture(frame: np.ndarray) -> np.ndarray:
    """Return how much there is in each pixel's surroundings by which motion can be found: (H, W) float32, 0 to 1.

    frame  (H, W, 3) uint8. Where it is flat, optical flow follows its noise
    """
    steep = _steepness(frame) / np.float32(_NOISE)
    squared = steep * steep
    found: np.ndarray = squared / (squared + 1)
    return found


def squared_error(frame: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Return how far the places of pixels in another frame may be from the true ones, squared: (H, W) float32, in pixels^2.

    frame       (H, W, 3) uint8
    difference  (H, W) float32: the root of the mean squared difference from what was found there, in grey levels

    A place that is wrong by a pixel makes a difference as large as the gradient (Lucas and Kanade
    1981, "An Iterative Image Registration Technique"). The gradient of noise is added, so that the
    error of a flat place stays finite.
    """
    found: np.ndarray = difference * difference / (_steepness(frame) + np.float32(_NOISE))
    return found


def _steepness(frame: np.ndarray) -> np.ndarray:
    """Return the mean squared gradient around each pixel, (H, W) float32, in squared grey levels a pixel."""
    cv2 = opencv()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    steep: np.ndarray = cv2.blur(dx * dx + dy * dy, (_TEXTURE_WINDOW, _TEXTURE_WINDOW))
    return steep


def spread(flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a smooth flow: that of the pixels of weight, carried on over those with little or none of it.

    weight  (H, W) float32, 0 to 1

    This is a weighted mean over surroundings that are as small as the weights allow, on the levels
    of a pyramid (push-pull; Gortler et al. 1996, "The Lumigraph").
    """
    cv2 = opencv()
    size = weight.shape[::-1]
    weight = weight + np.float32(_LEAST_WEIGHT)
    weighted = cv2.merge([flow[..., 0] * weight, flow[..., 1] * weight, weight])
    half = [-(-side // 2) for side in size]
    levels = [cv2.resize(weighted, half, interpolation=cv2.INTER_AREA)]
    while min(levels[-1].shape[:2]) > _COARSEST:
        levels.append(cv2.pyrDown(levels[-1]))
    smooth = levels[-1][..., :2] / levels[-1][..., 2:]
    for level in levels[-2::-1]:
        coarser = cv2.pyrUp(smooth, dstsize=level.shape[1::-1])
        smooth = (level[..., :2] + np.float32(_COARSER) * coarser) / (level[..., 2:] + np.float32(_COARSER))
    found: np.ndarray = cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)
    return found


def sample(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return `picture` (H, W, C), float32 or uint8, at the places to which `flow` leads.

    Between pixels the interpolation is bilinear. Places outside the picture take its nearest pixel.
    """
    cv2 = opencv()
    return cv2.remap(picture, _places(flow), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def show(picture: np.ndarray, flow: np.ndarray, sharp: bool = False) -> np.ndarray:
    """Return `picture` (H, W) or (H, W, C), float32, at the places to which `flow` leads, and mirrored outside of it.

    sharp  whether the interpolation is Lanczos's, which keeps fine detail, in place of the bilinear one

    The nearest pixel in place of the mirror image would be drawn out to a streak.
    """
    cv2 = opencv()
    how = cv2.INTER_LANCZOS4 if sharp else cv2.INTER_LINEAR
    return cv2.remap(picture, _places(flow), None, how, borderMode=cv2.BORDER_REFLECT_101)


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow that goes along `first`, and from there along `second`."""
    return first + sample(second, first)


def inside(flow: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels from which a flow leads to a place inside the frame."""
    height, width = flow.shape[:2]
    found: np.ndarray = opencv().inRange(_places(flow), (0, 0), (width - 1, height - 1)) > 0
    return found


def agree(forth: np.ndarray, back: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels whose places are inside the frame and from which `back` leads back to them.

    tolerance  distance in pixels from where they began that is near enough
    """
    return inside(forth) & (squared_length(compose(forth, back)) < tolerance**2)


def squared_length(flow: np.ndarray) -> np.ndarray:
    """Return the squared lengths of the vectors of a flow, (H, W) float32."""
    dx, dy = flow[..., 0], flow[..., 1]
    return dx * dx + dy * dy


@cache
def opencv() -> Any:
    """Return the module cv2. Raises `SettingsError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise SettingsError('clips need OpenCV: pip install "deep-image-analogy[video]"') from error
    return cv2


def _places(flow: np.ndarray) -> np.ndarray:
    """Return the x and the y of the places to which a flow leads, (H, W, 2) float32."""
    return flow + _grid(flow.shape[:2])


@lru_cache(maxsize=1)
def _grid(size: tuple[int, int]) -> np.ndarray:
    """Return the x and the y of each pixel, (H, W, 2) float32, which must not be changed."""
    y, x = np.indices(size, np.float32)
    grid = np.stack([x, y], axis=-1)
    grid.flags.writeable = False
    return grid
