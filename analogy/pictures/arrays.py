"""Conversion of NumPy, CuPy, PyTorch and other arrays to pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ImageError, reason
from .colour import to_8_bits
from .images import Admit, Array, DevicePicture, Picture, as_picture


def from_array(source: Any, label: str, admit: Admit, grounded: bool = True) -> Picture:
    """Return an array of any library as a `Picture`.

    `read_picture` says which arrays are accepted, and defines `admit` and `grounded`. `label` is
    the name of the picture in messages. Raises ImageError for an array that is not accepted.
    """
    if _on_device(source):
        admit(source.shape[:2], label)
        return DevicePicture(source.copy(), label)  # a copy, because the caller may change the array later
    array = _to_numpy(source, label)
    shape = array.shape
    if array.size == 0:
        raise ImageError(f"{label}: the array of shape {shape} is empty; pass a picture")
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        cure = "pass an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            cure = "channels come last: pass array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            cure = "pass one picture at a time, channels last"
        raise ImageError(f"{label}: an array of shape {shape} is not a picture; {cure}")
    admit((shape[0], shape[1]), label)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())  # both are NaN if a value is NaN
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"{label} has values that are NaN or infinite; replace them")
        if low < -1e-3 or high > 1 + 1e-3:  # values may be just outside 0..1 by rounding
            cure = "divide by 255" if low >= 0 and 2 < high <= 255 else "clip or rescale the values"
            raise ImageError(f"{label}: floats must be in 0..1; got {low:g}..{high:g}; {cure}")
        array = np.rint(array * np.float32(255)).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ImageError(f"{label} has the dtype {array.dtype}; pass uint8, uint16, bool, or floats in 0..1")
    array = array.reshape(*shape[:2], -1)
    if array.shape[2] == 4:
        return as_picture(array[..., :3], to_8_bits(array[..., 3]), None, label, grounded)
    return as_picture(np.broadcast_to(array, (*shape[:2], 3)), None, None, label)


def _on_device(source: Any) -> bool:
    """Return True if `source` is a CuPy array (H, W, 3) uint8 with at least one pixel.

    Such an array stays on its GPU. Any other array is converted on the host.
    """
    return (
        hasattr(source, "__cuda_array_interface__")
        and hasattr(source, "get")
        and getattr(source, "dtype", None) == np.uint8
        and source.ndim == 3
        and source.shape[2] == 3
        and source.size > 0
    )


def _to_numpy(source: Any, label: str) -> Array:
    """Return an array of any library as a NumPy array.

    Raises ImageError for a masked array, and for anything that cannot become a NumPy array.
    """
    if isinstance(source, np.ma.MaskedArray):
        raise ImageError(
            f"{label} is a masked array; pass its pixels as array.filled(0), and pass masks as mask_a and mask_b"
        )
    try:
        if hasattr(source, "detach"):  # PyTorch, on any device
            source = source.detach().cpu()
        elif hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):  # CuPy
            return np.asarray(source.get())
        if hasattr(source, "__array__"):
            return np.asarray(source)
        if hasattr(source, "__dlpack__"):
            return np.asarray(np.from_dlpack(source))
    except Exception as error:  # each library raises its own errors
        raise ImageError(f"{label} cannot become a NumPy array ({reason(error)}); pass a NumPy array") from error
    raise ImageError(
        f"{label} is a {type(source).__name__}, which cannot be read; pass a path, bytes, an open file, a PIL image or "
        "an array"
    )
