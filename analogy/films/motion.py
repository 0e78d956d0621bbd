"""Motion in a film: dense optical flow between two frames, and operations on it.

A flow is an array (H, W, 2) float32: [y, x] holds the displacement (dx, dy), in pixels, from a pixel of one frame to its
place in another, as in `method.flow`. OpenCV's DIS (Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search")
finds it. Needs the extra `video`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..errors import SettingsError

_FULL = 1_500_000
"""Largest number of pixels of a frame whose flow is refined at full resolution. Larger ones are refined at half of it."""

_GRID = 8
"""Distance in pixels, in both directions, between the vectors of a flow to which the affine motion is fitted."""


def optical_flow(here: np.ndarray, there: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Return the flow from each pixel of `here` to its place in `there`; both are (H, W, 3) uint8 RGB.

    start  a flow from which the search begins. With it, the result is exact to less than a pixel and takes twice the time
    """
    cv2 = opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(int(start is None or here.shape[0] * here.shape[1] > _FULL))
    return search.calc(*(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)), start)


def both_flows(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow from `one` to `other` and the flow back; both frames are (H, W, 3) uint8 RGB."""
    return optical_flow(one, other), optical_flow(other, one)


def refine(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the flow from `here` to `there` near `flow`, exact to less than a pixel, also if one frame is larger or rotated.

    The affine motion of the whole frame is undone before the rest is searched, because the search knows only displacements.
    """
    whole = _affine(flow)
    return compose(optical_flow(here, sample(there, whole), flow - whole), whole)


def _affine(flow: np.ndarray) -> np.ndarray:
    """Return the affine flow that agrees with most of `flow`; zeros if none is found."""
    x, y = (np.broadcast_to(axis, flow.shape[:2]) for axis in _places(np.zeros_like(flow)))
    places = np.stack([x, y], axis=-1)
    some = (slice(_GRID // 2, None, _GRID),) * 2
    here, there = (points[some].reshape(-1, 2) for points in (places, places + flow))
    matrix, _ = opencv().estimateAffine2D(here, there, ransacReprojThreshold=3.0)
    if matrix is None:
        return np.zeros_like(flow)
    return (places @ matrix[:, :2].T + matrix[:, 2] - places).astype(np.float32)


def sample(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return `picture` (H, W, C), float32 or uint8, at the places to which `flow` leads.

    Between pixels the interpolation is bilinear. Places outside the picture take its nearest pixel.
    """
    cv2 = opencv()
    x, y = _places(flow)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def compose(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow that goes along `first`, and from there along `second`."""
    return first + sample(second, first)


def inside(flow: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels from which a flow leads to a place inside the frame."""
    x, y = _places(flow)
    return (x >= 0) & (x <= flow.shape[1] - 1) & (y >= 0) & (y <= flow.shape[0] - 1)


def agree(forth: np.ndarray, back: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a mask (H, W) bool of the pixels whose places are inside the frame and from which `back` leads back to them.

    tolerance  distance in pixels from where they began that is near enough
    """
    return inside(forth) & (np.linalg.norm(compose(forth, back), axis=-1) < tolerance)


@cache
def opencv() -> Any:
    """Return the module cv2. Raises `SettingsError` if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise SettingsError('clips need OpenCV: pip install "deep-image-analogy[video]"') from error
    return cv2


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the x and the y, (H, W) float32, of the places to which a flow leads."""
    height, width = flow.shape[:2]
    return flow[..., 0] + np.arange(width, dtype=np.float32), flow[..., 1] + np.arange(height, dtype=np.float32)[
        :, None
    ]
