"""Writing pictures: an array becomes a file, in the format of the file's suffix.

Pillow encodes; `sixteen_bit.py` writes what Pillow cannot."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError, OutputError
from .colour import out_of_srgb, to_8_bits
from .files import atomic
from .images import Array, Picture, check_rgb, composite
from .sixteen_bit import write_png16, write_tiff16

_JPEG: tuple[str, dict[str, Any]] = ("JPEG", {"quality": 95, "subsampling": 0})
_TIFF: tuple[str, dict[str, Any]] = ("TIFF", {"compression": "tiff_adobe_deflate"})
WRITERS: dict[str, tuple[str, dict[str, Any]]] = {  # suffix -> Pillow's format and options
    ".png": ("PNG", {"compress_level": 3}),  # 12 megapixels: 1.7 s; level 6: 2.6 s, 11 % smaller
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": ("BMP", {}),
}
READ_ONLY = (".gif", ".heic", ".heif", ".avif")
"""Suffixes of pictures that can be read but not written."""


def write_picture(path: str | os.PathLike[str], rgb: Array, *, like: Picture | None = None) -> None:
    """Write `rgb`, (H, W, 3) uint8 or uint16 in sRGB, to `path`, in the format of its suffix (see WRITERS).

    like  a picture whose alpha the file gets (the sizes must be equal), and whose ICC profile (colours are converted).

    uint16 makes a 16-bit PNG or TIFF. Other formats, and ICC profiles that are not a plain matrix, make it 8 bits. JPEG
    and BMP files have no alpha here: the picture is laid on white. BMP files have no profile: they stay in sRGB. JPEG
    (without chroma subsampling) and WebP are lossy, at quality 95. The file appears whole or not at all (see `files`).

    Raises OutputError: the suffix is unknown, the folder does not exist, there is no permission, or the disk is full.
    Raises ImageError: the array has another shape or dtype.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise OutputError(f"{path}: cannot write '{path.suffix}' files; use one of {' '.join(WRITERS)}")
    kind, options = WRITERS[path.suffix.lower()]
    check_rgb(rgb, (np.uint8, np.uint16))
    alpha = like.alpha if like is not None else None
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{path}: the picture is {rgb.shape[:2]}, but the alpha to give it is {alpha.shape}")
    if kind not in ("PNG", "TIFF"):
        rgb = to_8_bits(rgb)
    if alpha is not None and kind in ("JPEG", "BMP"):
        rgb, alpha = composite(rgb, alpha, 255), None
    icc = like.icc if like is not None and kind != "BMP" else None
    if icc is not None:
        rgb, icc = out_of_srgb(rgb, icc, str(path))

    with atomic(path) as file:
        if rgb.dtype == np.uint16:
            samples = rgb if alpha is None else np.dstack([rgb, alpha * np.uint16(257)])
            (write_png16 if kind == "PNG" else write_tiff16)(file, samples, icc)
        else:
            image = Image.fromarray(rgb)
            if alpha is not None:
                image.putalpha(Image.fromarray(alpha))
            image.save(file, kind, **options, **({"icc_profile": icc} if icc else {}))


def is_picture_path(path: Path) -> bool:
    """Whether an output path names a picture to write, rather than a folder.

    Raises OutputError for the suffix of a picture that can only be read.
    """
    suffix = path.suffix.lower()
    if suffix in READ_ONLY:
        raise OutputError(f"cannot write {suffix} pictures; use one of {' '.join(WRITERS)}, or name a folder")
    return suffix in WRITERS and not path.is_dir()
