"""Conversion of colours between ICC profiles and sRGB, with 8 and 16 bits per channel.

Pillow converts with the library LCMS, but only with 8 bits per channel. So this module converts
16-bit pixels with NumPy if the profile is a matrix profile, which has three curves and a matrix,
and no tables.
"""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ..errors import reason

Array: TypeAlias = npt.NDArray[Any]

logger = logging.getLogger("analogy")


def to_8_bits(values: Array) -> Array:
    """Return uint8 values unchanged, and uint16 values divided by 257 and rounded to uint8."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def into_srgb(image: Image.Image, rgb16: Array | None, icc: bytes | None, label: str) -> tuple[Array, bytes | None]:
    """Convert an image from the profile `icc` to sRGB.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, of mode L, RGB or CMYK.
    rgb16 : (H, W, 3) uint16 or None
        The same pixels with 16 bits. They are used instead of `image`, unless `icc` is a profile
        with which this module cannot convert 16-bit pixels.
    icc : bytes or None
        The ICC profile of the image; None stands for sRGB.
    label : str
        Name of the picture in log lines.

    Returns
    -------
    pixels : (H, W, 3) uint8 or uint16
        The pixels in sRGB.
    icc : bytes or None
        `icc` if it is an RGB profile that could be used. Results can be written in it. Otherwise
        None.
    """
    if icc:
        try:
            space = icc[16:20]
            if image.mode not in {b"RGB ": ("L", "RGB"), b"GRAY": ("L",), b"CMYK": ("CMYK",)}.get(space, ()):
                raise ValueError(f"it is for {space.decode('latin-1').strip()!r}, but the picture is {image.mode}")
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            writable = icc if space == b"RGB " else None
            if rgb16 is not None:
                if (converted := _convert16(rgb16, icc, _srgb_profile().tobytes())) is not None:
                    return converted, writable
                logger.info(
                    "%s is read with 8 bits per channel, because its colour profile is not a matrix profile", label
                )
            source = image.convert("RGB") if space == b"RGB " else image
            return np.asarray(ImageCms.profileToProfile(source, profile, _srgb_profile(), outputMode="RGB")), writable
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            logger.warning("%s: its colour profile is ignored (%s)", label, reason(error))
    return (rgb16 if rgb16 is not None else np.asarray(image.convert("RGB"))), None


def out_of_srgb(rgb: Array, icc: bytes, label: str) -> tuple[Array, bytes | None]:
    """Convert `rgb` (H, W, 3) from sRGB to the profile `icc`, and return the new pixels and `icc`.

    The new pixels are uint8, unless `rgb` is uint16 and `icc` is a matrix profile. If the profile
    cannot be used, the function logs this, and returns `rgb` and None.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if rgb.dtype == np.uint16 and (converted := _convert16(rgb, _srgb_profile().tobytes(), icc)) is not None:
            return converted, icc
        image = Image.fromarray(to_8_bits(rgb))
        return np.asarray(ImageCms.profileToProfile(image, _srgb_profile(), profile)), icc
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s is written in sRGB, because the colour profile cannot be used (%s)", label, reason(error))
        return rgb, None


def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _convert16(pixels: Array, source: bytes, target: bytes) -> Array | None:
    """Return (H, W, 3) uint16 pixels converted from one ICC profile to another.

    The rendering intent is relative colorimetric. Returns None if `_matrix_profile` returns None
    for one of the profiles. For all other profiles LCMS gives the same colours with its perceptual
    intent, but rounds them to 8 bits.
    """
    start, end = _matrix_profile(source), _matrix_profile(target)
    if start is None or end is None:
        return None
    matrix = (np.linalg.inv(end[1]) @ start[1]).T
    # The index of `inverse` is the square root of light: thus the table is finer for dark colours.
    roots = np.linspace(0, 1, 65536)
    inverse = np.rint([np.interp(roots**2, curve, np.arange(65536)) for curve in end[0]]).astype(np.uint16)
    result = np.empty(pixels.shape, np.uint16)
    for top in range(0, len(pixels), 64):  # 64 rows at a time, since the float64 arrays are large
        strip = pixels[top : top + 64]
        light = np.stack([start[0][c][strip[..., c]] for c in range(3)], axis=-1) @ matrix
        index = np.rint(np.sqrt(np.clip(light, 0, 1)) * 65535).astype(np.uint16)
        result[top : top + 64] = np.stack([inverse[c][index[..., c]] for c in range(3)], axis=-1)
    return result


@lru_cache(4)
def _matrix_profile(icc: bytes) -> tuple[Array, Array] | None:
    """Return the curves and the matrix of an ICC profile (ICC.1, sections 9 and 10).

    The curves, (3, 65536), map a sample to light in 0..1, and the matrix, (3, 3), maps light to
    XYZ. For a grey profile, the matrix is that of sRGB. Returns None for a profile with tables, for
    one that leads to Lab instead of XYZ, and for a damaged profile. Also returns None if black
    (sample 0) has more light than 0.001, because LCMS would then change the black point, and this
    module does not.
    """
    try:
        count = int.from_bytes(icc[128:132], "big")
        table = np.frombuffer(icc, [("name", "S4"), ("at", ">u4"), ("size", ">u4")], count, 132)
        tags = {name: icc[at : at + size] for name, at, size in table.tolist()}
        if b"A2B0" in tags or icc[20:24] != b"XYZ ":
            return None
        curves = np.stack([_curve(tags.get(b"kTRC") or tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        if curves[:, 0].max() > 1e-3:
            return None
        if b"kTRC" in tags:
            rgb = _matrix_profile(_srgb_profile().tobytes())
            return None if rgb is None else (curves, rgb[1])
        matrix = np.stack([np.frombuffer(tags[name], ">i4", 3, 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
        return curves, matrix / 65536
    except (KeyError, ValueError, IndexError):
        return None


def _curve(tag: bytes) -> Array:
    """Return the values of a tone curve at 65536 points in 0..1, made monotonic.

    `tag` is the content of a tag of the ICC type curveType or parametricCurveType. Raises
    ValueError for another type.
    """
    x = np.linspace(0, 1, 65536)
    if tag[:4] == b"curv":
        points = np.frombuffer(tag, ">u2", int.from_bytes(tag[8:12], "big"), 12)
        if len(points) < 2:
            return x ** (points[0] / 256) if len(points) else x
        return np.maximum.accumulate(np.interp(x, np.linspace(0, 1, len(points)), points / 65535))
    if tag[:4] != b"para":
        raise ValueError("unknown kind of curve")
    kind = int.from_bytes(tag[8:10], "big")
    p = [float(v) / 65536 for v in np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12)]
    if kind < 3:  # y = (a x + b) ^ g + e, where a negative a x + b counts as zero
        g, a, b, e = p + [1.0, 0.0, 0.0][len(p) - 1 :]
        y = np.maximum(a * x + b, 0) ** g + e
    else:  # the same for x >= d, and y = c x + f for x < d
        g, a, b, c, d, e, f = p + [0.0] * (7 - len(p))
        y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    return np.maximum.accumulate(np.clip(y, 0, 1))
