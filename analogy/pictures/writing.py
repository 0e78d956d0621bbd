"""Writing pictures: an array becomes a file, in the format of the file's suffix.

Pillow encodes; `sixteen_bit.py` writes what Pillow cannot."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import AnalogyError, ImageError, OutputError, reason, shown
from ..files.atomic import atomic
from .colour import out_of_srgb, to_8_bits
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
NOT_WRITTEN = frozenset(
    (".apng", ".avif", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg2000")
    + (".jpx", ".jxl", ".pbm", ".pcx", ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".xcf")
    + (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv")
    + (".ts", ".vob", ".webm", ".wmv", ".y4m")
).difference(WRITERS)
"""Suffixes of pictures in other formats, and of videos: an output with one of them is not meant as a folder."""
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Most rows and most columns that a format can hold, where pictures may have more (libjpeg, libwebp)."""


def write_picture(
    path: str | os.PathLike[str],
    rgb: Array,
    *,
    like: Picture | None = None,
    suffix: str = "",
    tick: Callable[[float], None] | None = None,
) -> None:
    """Write `rgb`, (H, W, 3) uint8 or uint16 in sRGB, to `path`, in the format of `suffix` (by default its own).

    like  a picture whose alpha the file gets (the sizes must be equal), and whose ICC profile (colours are converted).
    tick  is told how much is written, 0 to 1, as often as the format's encoder hands something over.

    uint16 makes a 16-bit PNG or TIFF. Other formats, and ICC profiles that are not a plain matrix,
    make it 8 bits. JPEG and BMP files have no alpha here: the picture is laid on white. BMP files
    have no profile: they stay in sRGB. JPEG (without chroma subsampling) and WebP are lossy, at
    quality 95. The file appears whole or not at all (see `files`).

    Raises OutputError: the suffix is not in `WRITERS`, its format cannot hold a picture so large,
    the folder does not exist, there is no permission, or the disk is full. Raises ImageError: the
    array has another shape or dtype.
    """
    path = Path(path)
    kind, options = _writer(suffix or path.suffix, str(path))
    check_size(rgb.shape[:2], suffix or path.suffix, str(path))
    rgb, alpha, icc = _prepare(rgb, like, kind, path.name)
    told = _Ticking(rgb.nbytes, tick or (lambda share: None))
    try:
        with atomic(path) as told.file:
            _encode(told, rgb, alpha, icc, kind, options)
    except OutputError:
        if told.raised is not None:  # whatever its kind, it is not the file's fault
            raise told.raised from None
        raise
    told.tick(1)


class _Ticking:
    """A file that calls `tick` with the share of `size` bytes that is written. `raised`: the error of `tick` that ended it.

    It has no `fileno`: libtiff and libjpeg would write there by themselves, tell nobody, and say on
    standard error what goes wrong.
    """

    file: IO[bytes]

    def __init__(self, size: int, tick: Callable[[float], None]):
        self.tick = tick
        self.raised: BaseException | None = None
        self._size, self._written = size, 0

    def write(self, data: bytes) -> int:
        self._written += len(data)
        try:
            self.tick(min(1.0, self._written / self._size))
        except BaseException as error:
            self.raised = error
            raise
        return self.file.write(data)

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, to: int, whence: int = 0) -> int:
        return self.file.seek(to, whence)

    def flush(self) -> None:
        self.file.flush()


def write_stream(file: IO[bytes], rgb: Array, suffix: str, *, like: Picture | None = None) -> None:
    """Write a picture as `write_picture` does, to a file that is open for writing in binary mode: all at once, or nothing.

    Raises also OutputError if the file cannot be written to.
    """
    label = str(getattr(file, "name", "the open file"))
    kind, options = _writer(suffix, label)
    check_size(rgb.shape[:2], suffix, label)
    content = io.BytesIO()
    try:
        _encode(content, *_prepare(rgb, like, kind, label), kind, options)
        file.write(content.getvalue())
        file.flush()
    except TypeError as error:
        raise OutputError(f"{label}: open as text; open it in binary mode ('wb')") from error
    except (OSError, ValueError) as error:
        if isinstance(error, AnalogyError):
            raise
        raise OutputError(f"{label}: cannot be written ({reason(error)})") from error


def as_image(rgb: Array, like: Picture, label: str) -> Image.Image:
    """Return `rgb`, (H, W, 3) uint8 or uint16 in sRGB, as a PIL image of 8 bits with the alpha and the ICC profile of `like`.

    The profile is in its `info`, and the colours are the profile's, as in an image that Pillow has
    read.
    """
    pixels, alpha, icc = _prepare(to_8_bits(rgb), like, "PNG", label)
    return _image(pixels, alpha, icc)


def check_size(size: tuple[int, ...], suffix: str, label: str) -> None:
    """Raise OutputError if the format of `suffix` cannot hold a picture of these rows and columns."""
    kind, _ = _writer(suffix, label)
    if max(size) > LONGEST_SIDE.get(kind, max(size)):
        raise OutputError(
            f"{label}: {size[1]} x {size[0]} pixels; {kind} holds at most {LONGEST_SIDE[kind]} on a side, use .png or .tif"
        )


def suffix_of(format: str, label: str) -> str:
    """Return the suffix of a format: "png" of "PNG", "jpeg" or ".webp". Raises OutputError if none of `WRITERS` is meant."""
    if not isinstance(format, str):
        raise OutputError(f"{label}: format is {shown(format)}; it takes a name, 'png' for instance")
    suffix = f".{format.lower().removeprefix('.')}"
    _writer(suffix, label)
    return suffix


def _writer(suffix: str, label: str) -> tuple[str, dict[str, Any]]:
    """Return Pillow's format and options for a suffix."""
    if suffix.lower() not in WRITERS:
        raise OutputError(f"{label}: cannot write '{suffix}' files; use one of {' '.join(WRITERS)}")
    return WRITERS[suffix.lower()]


def _prepare(
    rgb: Array, like: Picture | None, kind: str, label: str
) -> tuple[Array, npt.NDArray[np.uint8] | None, bytes | None]:
    """Return (pixels, alpha, profile) as a file of Pillow's format `kind` can hold them."""
    check_rgb(rgb, (np.uint8, np.uint16))
    alpha = like.alpha if like is not None else None
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{label}: the picture is {rgb.shape[:2]}, but the alpha to give it is {alpha.shape}")
    if kind not in ("PNG", "TIFF"):
        rgb = to_8_bits(rgb)
    if alpha is not None and kind in ("JPEG", "BMP"):
        rgb, alpha = composite(rgb, alpha, 255), None
    icc = like.icc if like is not None and kind != "BMP" else None
    if icc is not None:
        rgb, icc = out_of_srgb(rgb, icc, label)
    return rgb, alpha, icc


def _encode(
    file: Any,
    rgb: Array,
    alpha: npt.NDArray[np.uint8] | None,
    icc: bytes | None,
    kind: str,
    options: dict[str, Any],
) -> None:
    if rgb.dtype == np.uint16:
        samples = rgb if alpha is None else np.dstack([rgb, alpha * np.uint16(257)])
        (write_png16 if kind == "PNG" else write_tiff16)(file, samples, icc)
    else:
        _image(rgb, alpha, None).save(file, kind, **options, **({"icc_profile": icc} if icc else {}))


def _image(rgb: Array, alpha: npt.NDArray[np.uint8] | None, icc: bytes | None) -> Image.Image:
    image = Image.fromarray(rgb)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    if icc is not None:
        image.info["icc_profile"] = icc
    return image


def is_file_path(path: Path) -> bool:
    """Return whether an output path names a picture or a video, of any format, rather than a folder."""
    return path.suffix.lower() in NOT_WRITTEN.union(WRITERS) and not path.is_dir()


def is_picture_path(path: Path) -> bool:
    """Return whether an output path names a picture to write, rather than a folder.

    Raises OutputError for the suffix of a picture in a format that is not written, and for a suffix
    without a name.
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):  # noqa: PTH112 (a `Path` raises for a name that is too long)
        return False
    if suffix in NOT_WRITTEN:
        raise OutputError(f"{path}: cannot write {suffix} pictures; use one of {' '.join(WRITERS)}, or name a folder")
    if not suffix and path.name.lower() in NOT_WRITTEN.union(WRITERS):
        raise OutputError(f"{path}: a suffix without a name; give the picture one, 'picture{path.name}' for instance")
    return suffix in WRITERS
