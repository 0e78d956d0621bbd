"""Painting a frame with the strokes of a key, each pixel of which lies somewhere between those of the key.

Departure from section 4.5 of Liao et al. 2017, where a pixel is the mean over all patches that
cover it: what differs by a fraction of a pixel, as it does in a film, is blurred by a mean, and so
are the strokes of the brush. Here a pixel is one sharp sample of the key. Only at joints, where
pieces that the search found meet each other or what the film's motion has carried, is it a mean
over the pieces, and the gradients are joined as well, so that no seam shows (see `method.seams`).

A sample between pixels is less sharp than the pixels, by a share that changes with the fraction,
and a piece that is enlarged is less sharp than the key. `_with_detail` makes up for it, so that a
film neither blurs nor pulses. Where the motion is uncertain, fine detail may be in the wrong place,
and the mean over all places where it may be would be soft. There, what is as faint as grain is
softened, and strokes stay.
"""

from __future__ import annotations

import numpy as np

from ..backends import Backend
from ..method.seams import subtract_solution
from .motion import opencv, show, squared_length

_JUMP = 1.0
"""Difference in pixels between the vectors of two neighbouring pixels above which there is a joint between them."""
_REACH = (-2, 0, 2)
"""Rows and columns, beside that of a pixel near a joint, whose pieces are in its mean."""
_EPSILON = 0.1
"""Weight of the colours beside the gradients, in 1 / pixel^2: a jump is spread over three pixels, as narrow as strokes."""
_OUTLINE = 0.4
"""Difference of colours (0 to 1, over three channels) at a joint of which half stays: large ones are outlines."""
_GRAIN = 10.0
"""Detail (see `_detail`, here its root, in grey levels) of which half is kept where the motion is
uncertain by a pixel. Noise of a deviation of 2.2 grey levels has this much: so faint are the grain
of paper and canvas and what a JPEG file adds."""
_LEAST = 1.0
"""Detail that counts as none, in squared grey levels."""
_LEAST_GAIN, _MOST_GAIN = 0.5, 2.0
"""Factors within which the detail is changed."""
_WINDOW = 33
"""Side in pixels of the square over which the detail is averaged, twice."""
_SHARPENING = 1.6
"""Multiple of what a 3 x 3 mean takes from a picture that, added to it, about doubles the detail."""
_LIST_WIDTH = 1024
"""Width of the array as which a list of places is sampled, since OpenCV bounds the height."""


def paint(backend: Backend, key: np.ndarray, flow: np.ndarray, sure: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the picture (H, W, 3) float32 that shows at each pixel what the key shows at the place to which `flow` leads.

    key    (H, W, 3) float32, 0 to 255
    flow   (H, W, 2) float32, as in `motion`
    sure   (H, W) bool: False where the search found the place. Elsewhere a flow that jumps is a piece that is compressed
    error  (H, W) float32: how far the place may be from the true one, squared, in pixels^2, 0 to 1
    """
    detail = show(_detail(key), flow)
    kept = (detail + np.float32(_LEAST)) / (detail + np.float32(_LEAST) + np.float32(_GRAIN**2) * _around(error))
    picture = show(key, flow, sharp=True)
    found = opencv().dilate((~sure).astype(np.uint8), np.ones((5, 5))) > 0
    jumps = [_jumps(flow, axis) & found for axis in (0, 1)]
    if any(mask.any() for mask in jumps):
        _average(picture, key, flow, jumps)
        picture = _join(backend, picture, key, flow, jumps)
    return _with_detail(picture, detail * kept * kept)


def _jumps(flow: np.ndarray, axis: int) -> np.ndarray:
    """Return a mask (H, W) of the pixels between which and the next one in the direction of `axis` there is a joint."""
    mask = squared_length(np.diff(flow, axis=axis)) > _JUMP**2
    return np.pad(mask, [(0, int(axis == way)) for way in (0, 1)])


def _average(picture: np.ndarray, key: np.ndarray, flow: np.ndarray, jumps: list[np.ndarray]) -> None:
    """Write into `picture`, near joints, the means over the pieces there."""
    near = jumps[0] | jumps[1]
    near[1:] |= jumps[0][:-1]
    near[:, 1:] |= jumps[1][:, :-1]
    y, x = np.nonzero(opencv().dilate(near.astype(np.uint8), np.ones((3, 3))))
    total = np.zeros((len(y), 3), np.float32)
    bottom, right = flow.shape[0] - 1, flow.shape[1] - 1
    for dy in _REACH:
        for dx in _REACH:
            total += _at(key, y, x, flow[np.clip(y + dy, 0, bottom), np.clip(x + dx, 0, right)])
    picture[y, x] = total / np.float32(len(_REACH) ** 2)


def _join(
    backend: Backend, picture: np.ndarray, key: np.ndarray, flow: np.ndarray, jumps: list[np.ndarray]
) -> np.ndarray:
    """Return `picture` whose differences at joints are the means of those within both pieces (see `method.seams`)."""
    divergence = np.zeros_like(picture)
    for axis, mask in enumerate(jumps):
        y, x = np.nonzero(mask)
        next_y, next_x = y + (axis == 0), x + (axis == 1)
        own = picture[next_y, next_x] - picture[y, x]
        within = sum(_at(key, next_y, next_x, vectors) - _at(key, y, x, vectors)
                     for vectors in (flow[y, x], flow[next_y, next_x]))  # fmt: skip
        squared = (own * own).sum(axis=-1, keepdims=True) / np.float32((255 * _OUTLINE) ** 2)
        wanted = (within / 2 - own) / (1 + squared) / np.float32(255)
        divergence[y, x] += wanted
        divergence[next_y, next_x] -= wanted
    solved = subtract_solution(backend, backend.asarray(picture / 255), backend.asarray(divergence), _EPSILON)
    joined: np.ndarray = backend.to_host(solved) * np.float32(255)
    return joined


def _at(key: np.ndarray, y: np.ndarray, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return `key` at the places, (N,) each, to which these vectors (N, 2) lead from pixels: (N, 3)."""
    places = np.zeros((2, -(-len(y) // _LIST_WIDTH) * _LIST_WIDTH), np.float32)
    places[:, : len(y)] = x + vectors[:, 0], y + vectors[:, 1]
    cv2 = opencv()
    columns, rows = places.reshape(2, -1, _LIST_WIDTH)
    if not rows.size:
        return np.zeros((0, 3), np.float32)
    found = cv2.remap(key, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return found.reshape(-1, 3)[: len(y)]


def _with_detail(picture: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return `picture` sharpened or softened so that it has about the `wanted` detail, (H, W) float32, as `_detail` has it."""
    cv2 = opencv()
    gain = np.sqrt((wanted + np.float32(_LEAST)) / (_detail(picture) + np.float32(_LEAST)))
    gain = np.clip(gain, _LEAST_GAIN, _MOST_GAIN)
    fine = picture - cv2.GaussianBlur(picture, (3, 3), 0)
    changed: np.ndarray = picture + cv2.merge([np.float32(_SHARPENING) * (gain - 1)] * 3) * fine
    return changed


def _detail(picture: np.ndarray) -> np.ndarray:
    """Return the mean squared Laplacian of the grey `picture` around each pixel, (H, W) float32, in squared grey levels."""
    cv2 = opencv()
    edges = cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return _around(edges * edges)


def _around(values: np.ndarray) -> np.ndarray:
    """Return the mean of the values, (H, W) float32, around each pixel."""
    cv2, window = opencv(), (_WINDOW, _WINDOW)
    mean: np.ndarray = cv2.blur(cv2.blur(values, window), window)
    return mean
