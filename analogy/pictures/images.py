"""A picture in memory, and what can be done with its pixels: resize, lay on a ground, place side by side.

Arrays are (height, width, 3), RGB, uint8 (or uint16 where said), C-contiguous and writable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ImageError
from .colour import to_8_bits

Array: TypeAlias = npt.NDArray[Any]

Admit: TypeAlias = Callable[[tuple[int, int], str], None]
"""A function that is called with (rows, columns) of a picture and its name before it is decoded, and raises to reject it."""

SMALLEST = 16
"""Fewest pixels on each side of a picture: one position at the coarsest level (stride 16)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, upright and in sRGB.

    rgb    (H, W, 3) uint8, sRGB. Where the picture is transparent, its mean opaque colour shows through (mid grey if
           nothing is opaque), so that hidden colours do not take part in the matching.
    alpha  (H, W) uint8, 255 is opaque; None if the source had no transparency.
    rgb16  (H, W, 3) uint16, sRGB, the same pixels at 16 bits per channel (`rgb` is `rgb16` / 257, rounded); None unless
           the source had 16 bits.
    ground (3,) float64, the colour that shows through in `rgb`; None unless something is transparent.
    icc    the source's RGB ICC profile, for writing results back in it; None if it had none, if the profile is damaged,
           or if it is for grey or CMYK, which cannot hold a result.
    name   what messages call the picture.
    """

    rgb: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    rgb16: npt.NDArray[np.uint16] | None = None
    icc: bytes | None = None
    name: str = "picture"
    ground: npt.NDArray[np.float64] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rgb.shape[:2]

    @property
    def array(self) -> Any:
        """`rgb` where it lies: an array on the host, or a CuPy array on a GPU."""
        return self.rgb

    def pixels(self, sixteen_bit: bool) -> Array:
        """Return `rgb` (H, W, 3), or the same pixels as uint16 if `sixteen_bit`."""
        if not sixteen_bit:
            return self.rgb
        return self.rgb16 if self.rgb16 is not None else self.rgb * np.uint16(257)

    def over(self, ground: Any) -> npt.NDArray[np.uint8]:
        """Return `rgb` (H, W, 3) uint8 where another `ground` shows through, a grey, a colour, or pixels (H, W, 3)."""
        if self.alpha is None or self.ground is None:
            return self.rgb
        through = 1 - self.alpha[..., None] * np.float32(1 / 255)
        laid = self.rgb + (np.asarray(ground, np.float32) - self.ground.astype(np.float32)) * through
        return np.rint(np.clip(laid, 0, 255)).astype(np.uint8)


class DevicePicture(Picture):
    """A picture of 8 bits that lies on a GPU, as (H, W, 3) `array`; copied to the host when `rgb` is read."""

    def __init__(self, array: Any, name: str):
        for attribute, value in (
            ("_there", array),
            ("alpha", None),
            ("rgb16", None),
            ("icc", None),
            ("name", name),
            ("ground", None),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def array(self) -> Any:
        return self.__dict__["_there"]

    @cached_property
    def rgb(self) -> npt.NDArray[np.uint8]:
        return np.asarray(self.array.get())

    @property
    def size(self) -> tuple[int, int]:
        rows, columns = self.array.shape[:2]
        return rows, columns


def as_picture(pixels: Array, alpha: Array | None, icc: bytes | None, label: str, grounded: bool = True) -> Picture:
    """Make `pixels`, (H, W, 3) uint8 or uint16 in sRGB, a Picture with arrays of its own.

    `grounded`: whether the mean colour shows through where it is transparent; else the colours stay
    as they are.
    """
    ground = None
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        if grounded and alpha.min() < 255:
            seen = float(alpha.sum(dtype=np.float64))
            grey = 128 if pixels.dtype == np.uint8 else 128 * 257
            mean = np.einsum("ijc,ij->c", pixels, alpha, dtype=np.float64) / seen if seen else np.full(3, grey)
            pixels = composite(pixels, alpha, mean)
            ground = mean / (1.0 if pixels.dtype == np.uint8 else 257.0)
    rgb16 = np.array(pixels, np.uint16, order="C") if pixels.dtype.itemsize == 2 else None
    return Picture(np.array(to_8_bits(pixels), order="C"), alpha, rgb16, icc, label, ground)


def resize(rgb: Array, height: int, width: int, *, quick: bool = False) -> Array:
    """Return `rgb` (H, W, 3) uint8 at `height` x `width`; the very same array if it has that size already.

    The filter is Lanczos. When Pillow shrinks a picture it widens the filter, so nothing aliases,
    and edges stay sharper than with a box filter, which matters to the features. `quick`: by a
    whole factor with a box filter first, as far as that goes, for pictures that are only looked at.

    Raises ImageError for another shape or dtype, or a size below 1.
    """
    check_rgb(rgb, (np.uint8,))
    if height < 1 or width < 1:
        raise ImageError(f"cannot resize to {width} x {height} pixels: both sides must be at least 1")
    if rgb.shape[:2] == (height, width):
        return rgb
    gap = 1.0 if quick else None
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=gap))


def fitted_size(size: tuple[int, int], most_pixels: int, ratio: float = 1.0) -> tuple[int, int]:
    """Return rows and columns of a picture of `size`, shrunken to `most_pixels` if it has more, then by `ratio`.

    Both are at least `SMALLEST`.
    """
    scale = min(1.0, (most_pixels / (size[0] * size[1])) ** 0.5) * ratio
    return max(SMALLEST, round(size[0] * scale)), max(SMALLEST, round(size[1] * scale))


def montage(pictures: Sequence[Array], *, gap: int = 8, height: int | None = None) -> Array:
    """Return `pictures`, (H, W, 3) uint8 each, side by side on white, `gap` apart.

    height  rows of the montage, and of each picture (default: of the tallest). A picture that would then be more than four
            times as wide is made as wide as that, and lies in the middle.

    Raises ImageError for an empty sequence, or a picture of another shape or dtype.
    """
    if not pictures:
        raise ImageError("a montage needs at least one picture")
    rows = height if height is not None else max(len(p) for p in pictures)
    parts: list[Array] = []
    for picture in pictures:
        check_rgb(picture, (np.uint8,))
        scale = min(rows / picture.shape[0], 4 * rows / picture.shape[1])
        fitted = resize(
            picture, max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)), quick=True
        )
        above = (rows - len(fitted)) // 2
        parts.append(np.full((rows, fitted.shape[1], 3), 255, np.uint8))
        parts[-1][above : above + len(fitted)] = fitted
        parts.append(np.full((rows, gap, 3), 255, np.uint8))
    return np.concatenate(parts[:-1], axis=1)


def composite(pixels: Array, alpha: Array, ground: Any) -> Array:
    """Return `pixels` (H, W, 3), of any integer dtype, over a `ground` (one colour or one grey) by `alpha` (H, W) uint8."""
    weight = alpha[..., None] * np.float32(1 / 255)
    return np.rint(pixels * weight + np.asarray(ground, np.float32) * (1 - weight)).astype(pixels.dtype)


def check_rgb(rgb: Array, dtypes: tuple[type, ...]) -> None:
    """Raise ImageError unless `rgb` is a picture (H, W, 3) of one of `dtypes`."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in dtypes or not rgb.size:
        wanted = " or ".join(np.dtype(d).name for d in dtypes)
        raise ImageError(f"expected a picture of shape (height, width, 3) in {wanted}, got {rgb.shape} {rgb.dtype}")
