"""Painting of a frame with the strokes of a key: each pixel is a sharp sample of the key.

This departs from section 4.5 of Liao et al. 2017, where a pixel is the mean over all patches that
cover it. In a film, the matches of these patches differ by fractions of a pixel, and the mean would
blur the strokes. Here a pixel is one sample of the key, at the pixel's place (see `carrying`).

Three corrections are applied:

* At a joint, a piece that the search found meets another piece, or pixels whose places the motion
  of the film gave. There, a pixel is the mean of samples from both sides, and the gradients of both
  sides are averaged so that no seam shows (see `method.seams`).
* A sample between pixels of the key is softer than the key, and softest halfway between two pixels.
  An enlarged piece of the key is softer, too. So `_with_detail` sharpens the frame until it has
  about as much detail as the key. Without this, the painting would be blurred, and its sharpness
  would change from frame to frame as the film moves.
* Where a place is uncertain, fine detail may be on the wrong spot. `_with_detail` makes the frame
  softer there, about as a mean over the possible places would be. Faint detail such as grain is
  softened, and strokes hardly change.
"""

from __future__ import annotations

import numpy as np

from ..backends import Backend
from ..method.seams import subtract_solution
from .motion import opencv, show, squared_length

_JOINT = 1.0
"""Length of the difference of two neighbouring pixels' flows that makes a joint, in pixels.

If the difference is longer, there is a joint between the two pixels.
"""
_REACH = (-2, 0, 2)
"""Offsets, along rows and columns, to the pixels whose flows are used at a pixel near a joint.

The colours of the key to which these flows lead are averaged."""
_EPSILON = 0.1
"""Weight of the colours, relative to the gradients, where pieces are joined, in 1 / pixel^2.

With this weight, the difference between two pieces is spread over three pixels, which is about the
width of a thin stroke.
"""
_OUTLINE = 0.4
"""Length of the colour difference across a joint at which `_join` halves the gradient's change.

Each channel is 0 to 1. A large difference may be an outline in the film, so the share of the change
that is applied falls as the difference grows.
"""
_GRAIN = 10.0
"""Detail (root of `_detail`, in grey levels) that is halved if the place is wrong by one pixel.

Noise with a standard deviation of 2.2 grey levels has this much detail. The grain of paper and
canvas and the artefacts of JPEG files have about as much.
"""
_LEAST = 1.0
"""Detail, in squared grey levels, added to both terms of a ratio to avoid a division by zero."""
_LEAST_GAIN = 0.5
"""Lower limit of the factor by which `_with_detail` changes the contrast of detail."""
_MOST_GAIN = 2.0
"""Upper limit of the factor by which `_with_detail` changes the contrast of detail."""
_WINDOW = 33
"""Side of the square over which `_around` averages, twice in succession, in pixels."""
_SHARPENING = 1.6
"""Factor for a picture's difference from its 3 x 3 blur.

Adding the difference times this factor to the picture about doubles the root of `_detail`."""
_LIST_WIDTH = 1024
"""Width of the array into which a list of places is reshaped, since OpenCV limits its height."""


def paint(backend: Backend, key: np.ndarray, flow: np.ndarray, sure: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the painted frame: at each pixel, the colour of the key at the pixel's place.

    Parameters
    ----------
    backend : Backend
        The backend that solves the equation of `_join`.
    key : (H, W, 3) float32
        The key, 0 to 255.
    flow : (H, W, 2) float32
        Displacement (dx, dy) in pixels from each pixel of the frame to its place in the key.
    sure : (H, W) bool
        True where the place is sure (see `Carrier`). A jump of the flow counts as a joint only near
        pixels whose place is not sure. Elsewhere a jump means that the motion of the film
        compresses a region.
    error : (H, W) float32
        Estimated squared error of each place, in pixels^2, 0 to 1.

    Returns
    -------
    (H, W, 3) float32
        The painted frame, about 0 to 255; it is not clipped.
    """
    detail = show(_detail(key), flow)
    # Less of the detail is kept where places are uncertain, and less of grain than of strokes.
    kept_share = (detail + np.float32(_LEAST)) / (detail + np.float32(_LEAST) + np.float32(_GRAIN**2) * _around(error))
    picture = show(key, flow, sharp=True)
    searched = opencv().dilate((~sure).astype(np.uint8), np.ones((5, 5))) > 0
    joints = [_joints(flow, axis) & searched for axis in (0, 1)]
    if any(mask.any() for mask in joints):
        _average(picture, key, flow, joints)
        picture = _join(backend, picture, key, flow, joints)
    return _with_detail(picture, detail * kept_share * kept_share)


def _joints(flow: np.ndarray, axis: int) -> np.ndarray:
    """Return a mask (H, W) of the pixels with a joint between them and the next along `axis`."""
    mask = squared_length(np.diff(flow, axis=axis)) > _JOINT**2
    return np.pad(mask, [(0, int(axis == each)) for each in (0, 1)])


def _average(picture: np.ndarray, key: np.ndarray, flow: np.ndarray, joints: list[np.ndarray]) -> None:
    """Replace each pixel of `picture` near a joint by a mean (see `_REACH`)."""
    near = joints[0] | joints[1]
    near[1:] |= joints[0][:-1]
    near[:, 1:] |= joints[1][:, :-1]
    y, x = np.nonzero(opencv().dilate(near.astype(np.uint8), np.ones((3, 3))))
    total = np.zeros((len(y), 3), np.float32)
    bottom, right = flow.shape[0] - 1, flow.shape[1] - 1
    for dy in _REACH:
        for dx in _REACH:
            total += _at(key, y, x, flow[np.clip(y + dy, 0, bottom), np.clip(x + dx, 0, right)])
    picture[y, x] = total / np.float32(len(_REACH) ** 2)


def _join(
    backend: Backend, picture: np.ndarray, key: np.ndarray, flow: np.ndarray, joints: list[np.ndarray]
) -> np.ndarray:
    """Return `picture` with gradients at joints near the mean of the gradients of both pieces.

    Where the colour difference across a joint is large, the gradient is changed less (see
    `_OUTLINE`). The result is the picture that is closest to the new gradients and, with the weight
    `_EPSILON`, to the colours of `picture`. It solves a screened Poisson equation (see
    `method.seams`).
    """
    divergence = np.zeros_like(picture)
    for axis, mask in enumerate(joints):
        y, x = np.nonzero(mask)
        next_y, next_x = y + (axis == 0), x + (axis == 1)
        present = picture[next_y, next_x] - picture[y, x]
        both_pieces = sum(_at(key, next_y, next_x, vectors) - _at(key, y, x, vectors)
                          for vectors in (flow[y, x], flow[next_y, next_x]))  # fmt: skip
        squared = (present * present).sum(axis=-1, keepdims=True) / np.float32((255 * _OUTLINE) ** 2)
        change = (both_pieces / 2 - present) / (1 + squared) / np.float32(255)
        divergence[y, x] += change
        divergence[next_y, next_x] -= change
    solved = subtract_solution(backend, backend.asarray(picture / 255), backend.asarray(divergence), _EPSILON)
    joined: np.ndarray = backend.to_host(solved) * np.float32(255)
    return joined


def _at(key: np.ndarray, y: np.ndarray, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the colours of `key`, (N, 3), at the pixels (y, x) moved by `vectors`, (N, 2)."""
    places = np.zeros((2, -(-len(y) // _LIST_WIDTH) * _LIST_WIDTH), np.float32)
    places[:, : len(y)] = x + vectors[:, 0], y + vectors[:, 1]
    cv2 = opencv()
    columns, rows = places.reshape(2, -1, _LIST_WIDTH)
    if not rows.size:
        return np.zeros((0, 3), np.float32)
    found = cv2.remap(key, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return found.reshape(-1, 3)[: len(y)]


def _with_detail(picture: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return `picture`, sharpened or softened to about the `wanted` detail (see `_detail`)."""
    cv2 = opencv()
    gain = np.sqrt((wanted + np.float32(_LEAST)) / (_detail(picture) + np.float32(_LEAST)))
    gain = np.clip(gain, _LEAST_GAIN, _MOST_GAIN)
    fine = picture - cv2.GaussianBlur(picture, (3, 3), 0)
    changed: np.ndarray = picture + cv2.merge([np.float32(_SHARPENING) * (gain - 1)] * 3) * fine
    return changed


def _detail(picture: np.ndarray) -> np.ndarray:
    """Return the detail around each pixel, (H, W) float32, in squared grey levels.

    It is the mean squared Laplacian of the picture in grey.
    """
    cv2 = opencv()
    edges = cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return _around(edges * edges)


def _around(values: np.ndarray) -> np.ndarray:
    """Return the mean of `values`, (H, W) float32, over the surroundings of each pixel."""
    cv2, window = opencv(), (_WINDOW, _WINDOW)
    mean: np.ndarray = cv2.blur(cv2.blur(values, window), window)
    return mean
