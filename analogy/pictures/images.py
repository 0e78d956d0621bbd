"""Class of a picture in memory, and operations on pixels: resize, composite, montage.

Arrays of pixels are (height, width, 3) RGB, C-contiguous and writable. They are uint8 unless uint16
is mentioned.
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
"""Function that is called before a picture is decoded, and may raise an error to reject it.

Its arguments are the picture's (rows, columns), before the EXIF orientation is applied, and the
picture's name in messages.
"""

SMALLEST = 16
"""Smallest accepted height or width of a picture, in pixels.

At the coarsest level, a position covers 16 x 16 pixels, and a picture needs at least one position.
"""


@dataclass(frozen=True, eq=False)
class Picture:
    """Picture in memory, upright and in sRGB.

    Its source is the file, the PIL image or the array from which it was made.

    Attributes
    ----------
    rgb : (H, W, 3) uint8
        The pixels. A picture with transparency is laid on the mean of its colours, weighted by
        their opacity, so that the matching does not use the colours of transparent pixels. The
        background is mid grey if all pixels are transparent. With `grounded` false (see
        `read_picture`) there is no background, and the pixels have the colours of the source.
    alpha : (H, W) uint8 or None
        Opacity: 255 is opaque, 0 is transparent. None if the source has no alpha channel and no
        transparent colour.
    rgb16 : (H, W, 3) uint16 or None
        The same pixels with 16 bits per channel; `rgb` is `rgb16` / 257, rounded. None if the
        picture was read with 8 bits.
    icc : bytes or None
        The RGB ICC profile of the source, in which results can be written. None if the source has
        no profile, a damaged one, or one for grey or CMYK.
    name : str
        Name of the picture in messages.
    ground : (3,) float64 or None
        The background colour, 0 to 255, on which the picture is laid in `rgb`. None if nothing is
        transparent, or with `grounded` false.
    """

    rgb: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    rgb16: npt.NDArray[np.uint16] | None = None
    icc: bytes | None = None
    name: str = "picture"
    ground: npt.NDArray[np.float64] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.rgb.shape[:2]

    @property
    def array(self) -> Any:
        """Pixels (H, W, 3) uint8, not copied, as a NumPy array, or on a GPU as a CuPy array."""
        return self.rgb

    def pixels(self, sixteen_bit: bool) -> Array:
        """Return the pixels (H, W, 3) as uint16 if `sixteen_bit`, else as uint8."""
        if not sixteen_bit:
            return self.rgb
        return self.rgb16 if self.rgb16 is not None else self.rgb * np.uint16(257)

    def over(self, ground: Any) -> npt.NDArray[np.uint8]:
        """Return the pixels (H, W, 3) uint8 over another background, `ground`.

        The background is a grey level, a colour (3,), or pixels (H, W, 3), 0 to 255.
        """
        if self.alpha is None or self.ground is None:
            return self.rgb
        through = 1 - self.alpha[..., None] * np.float32(1 / 255)
        laid = self.rgb + (np.asarray(ground, np.float32) - self.ground.astype(np.float32)) * through
        return np.rint(np.clip(laid, 0, 255)).astype(np.uint8)


class DevicePicture(Picture):
    """Picture on a GPU, (H, W, 3) uint8, which is copied to the host only when `rgb` is used."""

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
        """CuPy array of the pixels, (H, W, 3) uint8."""
        return self.__dict__["_there"]

    @cached_property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """Copy of the pixels on the host, (H, W, 3) uint8."""
        return np.asarray(self.array.get())

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        rows, columns = self.array.shape[:2]
        return rows, columns


def as_picture(pixels: Array, alpha: Array | None, icc: bytes | None, label: str, grounded: bool = True) -> Picture:
    """Return pixels, (H, W, 3) uint8 or uint16 in sRGB, as a `Picture` with a copy of the pixels.

    If `grounded`, a picture with transparency is laid on the mean of its colours (see `Picture`).
    Otherwise the colours of transparent pixels are not changed.
    """
    ground = None
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        if grounded and alpha.min() < 255:
            opaque = float(alpha.sum(dtype=np.float64))
            grey = 128 if pixels.dtype == np.uint8 else 128 * 257
            mean = np.einsum("ijc,ij->c", pixels, alpha, dtype=np.float64) / opaque if opaque else np.full(3, grey)
            pixels = composite(pixels, alpha, mean)
            ground = mean / (1.0 if pixels.dtype == np.uint8 else 257.0)
    rgb16 = np.array(pixels, np.uint16, order="C") if pixels.dtype.itemsize == 2 else None
    return Picture(np.array(to_8_bits(pixels), order="C"), alpha, rgb16, icc, label, ground)


def resize(rgb: Array, height: int, width: int, *, quick: bool = False) -> Array:
    """Return `rgb` (H, W, 3) uint8 in another size, or the same array if it has that size.

    The filter is Lanczos. When Pillow shrinks a picture, it widens the filter. This prevents
    aliasing, and edges stay sharper than with a box filter. The features depend on sharp edges. If
    `quick`, Pillow first shrinks by a whole factor with a box filter. The result is good enough for
    viewing, but not for the features.

    Raises ImageError for an array of another shape or dtype, or for a side below 1 pixel.
    """
    check_rgb(rgb, (np.uint8,))
    if height < 1 or width < 1:
        raise ImageError(f"a picture cannot be resized to {width} x {height} pixels; give sides of at least 1 pixel")
    if rgb.shape[:2] == (height, width):
        return rgb
    gap = 1.0 if quick else None
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=gap))


def fitted_size(size: tuple[int, int], most_pixels: int, ratio: float = 1.0) -> tuple[int, int]:
    """Return the rows and columns that a picture of `size` (rows, columns) has after shrinking.

    It is shrunk to `most_pixels` pixels if it has more, and then both sides are multiplied by
    `ratio`. Each side of the result is at least `SMALLEST`, so that a very narrow picture may keep
    more pixels.
    """
    scale = min(1.0, (most_pixels / (size[0] * size[1])) ** 0.5) * ratio
    return max(SMALLEST, round(size[0] * scale)), max(SMALLEST, round(size[1] * scale))


def montage(pictures: Sequence[Array], *, gap: int = 8, height: int | None = None) -> Array:
    """Return a montage: pictures resized to one height, side by side on white.

    Parameters
    ----------
    pictures : sequence of (H, W, 3) uint8
        The pictures.
    gap : int
        Gap between two pictures, in pixels.
    height : int, optional
        Height of the montage in pixels; by default that of the tallest picture. A picture that is
        more than four times as wide as high is resized to a width of four times the montage's
        height, and centred vertically.

    Returns
    -------
    (height, W, 3) uint8
        The montage.

    Raises
    ------
    ImageError
        If there are no pictures, or if one is not an (H, W, 3) uint8 array.
    """
    if not pictures:
        raise ImageError("a montage needs at least one picture; give one")
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
    """Return `pixels` (H, W, 3) laid on the background `ground`, with the opacity `alpha`.

    `alpha` is (H, W) uint8. The pixels may have any integer dtype, and the result has the same.
    `ground` is one colour (3,) or one grey level.
    """
    weight = alpha[..., None] * np.float32(1 / 255)
    return np.rint(pixels * weight + np.asarray(ground, np.float32) * (1 - weight)).astype(pixels.dtype)


def check_rgb(rgb: Array, dtypes: tuple[type, ...]) -> None:
    """Raise ImageError unless `rgb` is a picture (H, W, 3) of one of `dtypes`."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in dtypes or not rgb.size:
        wanted = " or ".join(np.dtype(d).name for d in dtypes)
        raise ImageError(f"expected a picture of shape (height, width, 3) in {wanted}, got {rgb.shape} {rgb.dtype}")
