"""Motion in a film: dense optical flow between two frames, and operations on it.

A flow is an array (H, W, 2) float32, as in `method.flow`. Its element [y, x] is the displacement
(dx, dy), in pixels, from the pixel [y, x] of one frame to the pixel's place in another frame: the
position of the thing that the pixel shows. A flow "leads" from the pixel to the place. OpenCV's DIS
(Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search") computes the flow. This module
needs the extra `video`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..errors import SettingsError

_GRID = 16
"""Step in rows and columns between the vectors to which an affine motion is fitted, in pixels."""
_POINTS_OF_AFFINE = 3
"""Number of vectors that determine an affine motion."""

_TEXTURE_WINDOW = 9
"""Side of the square over which the squared gradient is averaged, in pixels."""
_NOISE = 6.0
"""Mean squared gradient at which `texture` is one half, in squared grey levels per squared pixel.

The noise of a film has a smaller mean squared gradient.
"""
_COARSER = 0.1
"""Weight in `spread` of the next coarser level's flow; a pixel's own flow has 0 to about 1."""
_LEAST_WEIGHT = 1e-4
"""Weight that `spread` adds to each pixel's weight, so that a mean exists where all are 0."""
_COARSEST = 4
"""Length of the shorter side, in pixels, at or below which a level of `spread` is the coarsest."""


def optical_flow(here: np.ndarray, there: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Return the flow from the frame `here` to the frame `there`, both (H, W, 3) uint8 RGB.

    The search begins at the flow `start` if one is given. It stops at half the resolution of the
    frames, because full resolution would take four times as long. After `spread` has smoothed the
    flow, full resolution would not bring it nearer to the true motion.
    """
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)), start)


def both_flows(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow from the frame `one` to the frame `other`, and the flow back.

    The frames are (H, W, 3) uint8 RGB.
    """
    return optical_flow(one, other), optical_flow(other, one)


def refine(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the flow from `here` to `there`, found by a search that begins at `flow`.

    The search moves patches, but does not rotate or scale them. So the affine motion of the whole
    frame is undone before the search. This makes the flow exact to less than a pixel even where the
    film zooms or rotates.
    """
    whole = _affine(flow)
    return compose(optical_flow(here, sample(there, whole), flow - whole), whole)


def _affine(flow: np.ndarray) -> np.ndarray:
    """Return, as a flow, the affine motion that most vectors of `flow` follow.

    If no such motion is found, all vectors of the result are zero.
    """
    places = _grid(flow.shape[:2])
    some = (slice(_GRID // 2, None, _GRID),) * 2
    # OpenCV accepts only contiguous arrays.
    here, there = (np.ascontiguousarray(p).reshape(-1, 2) for p in (places[some], places[some] + flow[some]))
    if len(here) < _POINTS_OF_AFFINE:
        return np.zeros_like(flow)
    matrix, _ = opencv().estimateAffine2D(here, there, ransacReprojThreshold=3.0)
    if matrix is None:
        return np.zeros_like(flow)
    matrix[:, :2] -= np.eye(2)
    affine: np.ndarray = opencv().transform(places, matrix)
    return affine


def texture(frame: np.ndarray) -> np.ndarray:
    """Return the texture around each pixel of `frame`, (H, W, 3) uint8: (H, W) float32, 0 to 1.

    Optical flow needs texture. In a flat region, where the texture is near 0, the flow follows the
    noise.
    """
    steep = _steepness(frame) / np.float32(_NOISE)
    squared = steep * steep
    found: np.ndarray = squared / (squared + 1)
    return found


def squared_error(frame: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Return an estimate of the squared error of each pixel's place, in pixels^2: (H, W) float32.

    The estimate is the squared colour difference divided by the squared gradient of the frame,
    because a place that is wrong by one pixel makes a difference as large as the gradient (Lucas
    and Kanade 1981, "An Iterative Image Registration Technique"). A constant is added to the
    squared gradient, so that the estimate stays finite in flat regions.

    Parameters
    ----------
    frame : (H, W, 3) uint8
        The frame whose pixels have places in another frame.
    difference : (H, W) float32
        RMS colour difference between each pixel and its place, in grey levels (0 to 255).

    Returns
    -------
    (H, W) float32
        The estimated squared errors.
    """
    found: np.ndarray = difference * difference / (_steepness(frame) + np.float32(_NOISE))
    return found


def _steepness(frame: np.ndarray) -> np.ndarray:
    """Return the mean squared gradient around each pixel, in squared grey levels per pixel^2."""
    cv2 = opencv()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    steep: np.ndarray = cv2.blur(dx * dx + dy * dy, (_TEXTURE_WINDOW, _TEXTURE_WINDOW))
    return steep


def spread(flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a smooth flow in which pixels of small `weight` follow nearby pixels of large weight.

    `weight` is (H, W) float32, 0 to 1. Each vector of the result is a weighted mean of `flow`
    around the pixel, over a small area where the weights are large and over a larger area where
    they are small. The means are taken on the levels of a pyramid (push-pull; Gortler et al. 1996,
    "The Lumigraph").
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
    """Return the colours of `picture` at the places to which `flow` leads.

    The picture is (H, W, C) float32 or uint8. The interpolation is bilinear. A place outside the
    picture has the colour of the nearest pixel.
    """
    cv2 = opencv()
    return cv2.remap(picture, _places(flow), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def show(picture: np.ndarray, flow: np.ndarray, sharp: bool = False) -> np.ndarray:
    """Return the colours of `picture` at the places to which `flow` leads, for painting.

    The picture is (H, W) or (H, W, C) float32. If `sharp` is True, the interpolation is
    Lanczos's, which preserves fine detail; otherwise it is bilinear. Outside its edges the picture
    is continued by its mirror image, because repeating the nearest pixel, as `sample` does, would
    paint streaks.
    """
    cv2 = opencv()
    how = cv2.INTER_LANCZOS4 if sharp else cv2.INTER_LINEAR
    return cv2.remap(picture, _places(flow), None, how, borderMode=cv2.BORDER_REFLECT_101)


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow that leads along `first` and from there along `second`."""
    return first + sample(second, first)


def inside(flow: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels whose places lie inside the frame."""
    height, width = flow.shape[:2]
    found: np.ndarray = opencv().inRange(_places(flow), (0, 0), (width - 1, height - 1)) > 0
    return found


def agree(forth: np.ndarray, back: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels that pass the forward-backward check.

    From such a pixel, `forth` leads to a place inside the frame, and `back` leads from there to a
    point less than `tolerance` pixels away from the pixel.
    """
    return inside(forth) & (squared_length(compose(forth, back)) < tolerance**2)


def squared_length(flow: np.ndarray) -> np.ndarray:
    """Return the squared lengths of the vectors of a flow, (H, W) float32."""
    dx, dy = flow[..., 0], flow[..., 1]
    return dx * dx + dy * dy


@cache
def opencv() -> Any:
    """Return the module cv2, or raise `SettingsError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise SettingsError('clips need OpenCV: pip install "deep-image-analogy[video]"') from error
    return cv2


def _places(flow: np.ndarray) -> np.ndarray:
    """Return the coordinates (x, y) of the places to which a flow leads, (H, W, 2) float32."""
    return flow + _grid(flow.shape[:2])


@lru_cache(maxsize=1)
def _grid(size: tuple[int, int]) -> np.ndarray:
    """Return the coordinates (x, y) of each pixel, (H, W, 2) float32, as a read-only array."""
    y, x = np.indices(size, np.float32)
    grid = np.stack([x, y], axis=-1)
    grid.flags.writeable = False
    return grid
