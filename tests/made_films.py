"""Films whose motion is known exactly: a camera moves over a large picture."""

import cv2
import numpy as np


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a coloured texture with structure of every size, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 7):
        small = rng.normal(0, 1, (max(2, height >> octave), max(2, width >> octave), 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * octave**0.5
    return np.clip(128 + 12 * total, 0, 255).astype(np.uint8)


def camera(whole: np.ndarray, size: tuple[int, int], index: int, pan: tuple[float, float], zoom: float) -> np.ndarray:
    """Return the affine map (2, 3) from (x, y) in a frame to the place in the whole picture.

    `index` is the number of the frame, from 0, and `size` is its size (rows, columns).
    """
    scale = zoom**-index
    middle = whole.shape[1] / 2 + pan[0] * index, whole.shape[0] / 2 + pan[1] * index
    corner = middle[0] - size[1] / 2 * scale, middle[1] - size[0] / 2 * scale
    return np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])


def film(
    whole: np.ndarray, size: tuple[int, int], count: int, pan: tuple[float, float] = (0, 0), zoom: float = 1.0
) -> list[np.ndarray]:
    """Return `count` frames of `size`, while the camera pans and zooms.

    From each frame to the next, the camera moves by `pan` (x, y) pixels of `whole`, and magnifies
    `zoom` times.
    """
    return [
        cv2.warpAffine(
            whole,
            camera(whole, size, index, pan, zoom),
            size[::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for index in range(count)
    ]
