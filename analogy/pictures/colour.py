"""Colour spaces: ICC profiles to and from sRGB, at 8 and 16 bits.

Pillow's LCMS stops at 8 bits per channel, so plain matrix profiles are applied to 16-bit pixels in
NumPy.
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
    """Return uint8 values as they are, and uint16 values divided by 257 and rounded."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def into_srgb(image: Image.Image, rgb16: Array | None, icc: bytes | None, label: str) -> tuple[Array, bytes | None]:
    """Convert `image` (L, RGB or CMYK), or `rgb16` (H, W, 3) uint16 if given, from the profile `icc` to sRGB.

    Returns the pixels, and `icc` if results can be written in it (else None).
    """
    if icc:
        try:
            space = icc[16:20]
            if image.mode not in {b"RGB ": ("L", "RGB"), b"GRAY": ("L",), b"CMYK": ("CMYK",)}.get(space, ()):
                raise ValueError(f"it is for {space.decode('latin-1').strip()!r}, the picture is {image.mode}")
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            kept = icc if space == b"RGB " else None
            if rgb16 is not None:
                if (converted := _convert16(rgb16, icc, _srgb_profile().tobytes())) is not None:
                    return converted, kept
                logger.info("%s: 16 bits are reduced to 8, as its colour profile is not a plain matrix", label)
            source = image.convert("RGB") if space == b"RGB " else image
            return np.asarray(ImageCms.profileToProfile(source, profile, _srgb_profile(), outputMode="RGB")), kept
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            logger.warning("%s: its colour profile is ignored (%s)", label, reason(error))
    return (rgb16 if rgb16 is not None else np.asarray(image.convert("RGB"))), None


def out_of_srgb(rgb: Array, icc: bytes, label: str) -> tuple[Array, bytes | None]:
    """Convert `rgb` from sRGB to the profile `icc`. Returns the pixels and `icc`; or `rgb` and None
    if it cannot be used."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if rgb.dtype == np.uint16 and (converted := _convert16(rgb, _srgb_profile().tobytes(), icc)) is not None:
            return converted, icc
        image = Image.fromarray(to_8_bits(rgb))
        return np.asarray(ImageCms.profileToProfile(image, _srgb_profile(), profile)), icc
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s: written in sRGB, as the colour profile cannot be used (%s)", label, reason(error))
        return rgb, None


def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _convert16(pixels: Array, source: bytes, target: bytes) -> Array | None:
    """Convert (H, W, 3) uint16 from one ICC profile to another, relative colorimetric; None if either is no matrix profile.

    Pillow's LCMS stops at 8 bits. Up to its rounding, both give the same colours.
    """
    start, end = _matrix_profile(source), _matrix_profile(target)
    if start is None or end is None:
        return None
    matrix = (np.linalg.inv(end[1]) @ start[1]).T
    roots = np.linspace(0, 1, 65536)  # the way back is a table by the square root of light: fine enough in the dark
    inverse = np.rint([np.interp(roots**2, curve, np.arange(65536)) for curve in end[0]]).astype(np.uint16)
    result = np.empty(pixels.shape, np.uint16)
    for top in range(0, len(pixels), 64):  # in strips, for the float64 in between
        strip = pixels[top : top + 64]
        light = np.stack([start[0][c][strip[..., c]] for c in range(3)], axis=-1) @ matrix
        index = np.rint(np.sqrt(np.clip(light, 0, 1)) * 65535).astype(np.uint16)
        result[top : top + 64] = np.stack([inverse[c][index[..., c]] for c in range(3)], axis=-1)
    return result


@lru_cache(4)
def _matrix_profile(icc: bytes) -> tuple[Array, Array] | None:
    """Return (curves (3, 65536): sample -> light in 0..1, matrix (3, 3): light -> XYZ) of an ICC profile (ICC.1, 9 and 10).

    A grey profile counts as one with the primaries of sRGB. None for profiles made of tables, for
    damaged ones, and where black is not 0 (LCMS compensates for that).
    """
    try:
        count = int.from_bytes(icc[128:132], "big")
        table = np.frombuffer(icc, [("name", "S4"), ("at", ">u4"), ("size", ">u4")], count, 132)
        tags = {name: icc[at : at + size] for name, at, size in table.tolist()}
        if b"A2B0" in tags:
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
    """Return a tone curve (curveType or parametricCurveType) at 65536 points, never falling."""
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
    if kind < 3:  # (a x + b) ^ g + e; zero where a x + b is negative
        g, a, b, e = p + [1.0, 0.0, 0.0][len(p) - 1 :]
        y = np.maximum(a * x + b, 0) ** g + e
    else:  # and c x + f below d
        g, a, b, c, d, e, f = p + [0.0] * (7 - len(p))
        y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    return np.maximum.accumulate(np.clip(y, 0, 1))
