"""The colours of one picture kept in another."""

from __future__ import annotations

import numpy as np

from ..backends import Array, Backend

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in the luminance Y (ITU-R BT.601)."""


def keep_colours(backend: Backend, result: Array, own: Array) -> Array:
    """Return `result` with its own luminance and the chroma of `own` (Gatys et al. 2016, section 5.1).

    Both are (H, W, 3) RGB, both uint8 or both uint16, arrays of the backend, and so is the picture
    that is returned. Luminance is Y, chroma is Cb and Cr (ITU-R BT.601). To change Y alone is to
    add the same amount to red, green and blue.
    """
    xp, white = backend.xp, np.iinfo(result.dtype).max
    change = (result.astype(np.float32) - own) @ backend.asarray(LUMINANCE)
    return xp.rint(xp.clip(own + change[..., None], 0, white)).astype(result.dtype)
