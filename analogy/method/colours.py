"""Recolouring of a result with the chroma of its content."""

from __future__ import annotations

import numpy as np

from ..backends import Array, Backend

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in the luminance Y (ITU-R BT.601)."""


def keep_colours(backend: Backend, result: Array, content: Array) -> Array:
    """Return a picture with the luminance of `result` and the chroma of `content`.

    Gatys et al. 2016 ("Controlling Perceptual Factors in Neural Style Transfer", section 5.1) also
    transfer the luminance alone. Luminance is Y, and chroma is Cb and Cr (ITU-R BT.601). A change
    of red, green and blue by the same amount changes Y, but not Cb and Cr. So the function adds the
    luminance of `result` minus that of `content` to all three channels of `content`. The sums are
    rounded, and clipped to the range of the dtype.

    Parameters
    ----------
    backend
        The backend of the arrays.
    result, content
        (H, W, 3) RGB, both uint8 or both uint16.

    Returns
    -------
    picture
        (H, W, 3) RGB, with the dtype of `result`.
    """
    xp, white = backend.xp, np.iinfo(result.dtype).max
    change = (result.astype(np.float32) - content) @ backend.asarray(LUMINANCE)
    return xp.rint(xp.clip(content + change[..., None], 0, white)).astype(result.dtype)
