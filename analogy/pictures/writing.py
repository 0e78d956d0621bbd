"""Writer for pictures: an array becomes a file, in the format that the file's suffix names.

Pillow encodes the files. `sixteen_bit` writes 16-bit RGB files, which Pillow cannot write.
"""

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
"""Pillow's name of the format JPEG, and options for it: quality 95, no chroma subsampling."""
_TIFF: tuple[str, dict[str, Any]] = ("TIFF", {"compression": "tiff_adobe_deflate"})
"""Pillow's name of the format TIFF, and options for it: lossless compression."""
WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    # 12 megapixels take 1.7 s; compress_level 6 takes 2.6 s, for 11 % fewer bytes
    ".png": ("PNG", {"compress_level": 3}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": ("BMP", {}),
}
"""Suffix of a picture that can be written -> Pillow's name of the format, and options for it."""
NOT_WRITTEN = frozenset(
    (".apng", ".avif", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg2000")
    + (".jpx", ".jxl", ".pbm", ".pcx", ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".xcf")
    + (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv")
    + (".ts", ".vob", ".webm", ".wmv", ".y4m")
).difference(WRITERS)
"""Suffixes of pictures that this package cannot write, and of videos.

An output path with one of these suffixes names a file, unless a folder has this path.
"""
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Pillow's name of a format -> longest side, in pixels, that the format allows."""


def write_picture(
    path: str | os.PathLike[str],
    rgb: Array,
    *,
    like: Picture | None = None,
    suffix: str = "",
    tick: Callable[[float], None] | None = None,
    complete: Callable[[Path], None] | None = None,
) -> None:
    """Write a picture to a file, which appears only when it is complete.

    A uint16 array is written with 16 bits to PNG and TIFF files. It is reduced to 8 bits for other
    formats, and for an ICC profile that is not a matrix profile (see `colour`). JPEG and BMP files
    have no alpha, so the picture is laid on white. BMP files have no profile, so the picture stays
    in sRGB. JPEG (without chroma subsampling) and WebP are lossy, with quality 95.

    Parameters
    ----------
    path : path
        Path of the file.
    rgb : (H, W, 3) uint8 or uint16
        The picture in sRGB.
    like : Picture, optional
        A picture of the same size, whose alpha and ICC profile are written to the file. The colours
        are converted to this profile.
    suffix : str
        Suffix that names the format; by default the suffix of `path`.
    tick : callable, optional
        Function that is called with the finished share, 0 to 1, whenever the encoder writes
        something, and at the end. The share is estimated: written bytes divided by the bytes of
        `rgb`.
    complete : callable, optional
        Function that is called with the path of the complete temporary file just before the file is
        renamed to `path`.

    Raises
    ------
    OutputError
        If the suffix is not in `WRITERS`, the picture is too large for its format, the folder
        does not exist, there is no permission, or the disk is full.
    ImageError
        If the array has another shape or dtype, or the alpha of `like` has another size.
    """
    path = Path(path)
    kind, options = _writer(suffix or path.suffix, str(path))
    check_size(rgb.shape[:2], suffix or path.suffix, str(path))
    rgb, alpha, icc = _prepare(rgb, like, kind, path.name)
    ticking = _Ticking(rgb.nbytes, tick or (lambda share: None))
    try:
        with atomic(path, complete) as ticking.file:
            _encode(ticking, rgb, alpha, icc, kind, options)
    except OutputError:
        if ticking.raised is not None:  # this error came from `tick`, not from the file
            raise ticking.raised from None
        raise
    ticking.tick(1)


class _Ticking:
    """File that calls `tick` before each write, with the share written after it.

    The share is relative to `size`, an estimate of the file's bytes. `raised` is the error of
    `tick` that ended the writing, or None. The class has no `fileno`. If it had one, libtiff and
    libjpeg would write to the descriptor, so that `tick` would not be called and errors would be
    printed to standard error.
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
    """Write a picture to a file that is open in binary mode.

    The function encodes the whole picture before it writes anything. Formats and errors are those
    of `write_picture`. Also raises OutputError if the file cannot be written.
    """
    label = str(getattr(file, "name", "the open file"))
    kind, options = _writer(suffix, label)
    check_size(rgb.shape[:2], suffix, label)
    content = io.BytesIO()
    try:
        _encode(content, *_prepare(rgb, like, kind, label), kind, options)
        _write_all(file, content.getbuffer())
        file.flush()
    except TypeError as error:
        raise OutputError(f"{label} is open as text; open it in binary mode ('wb')") from error
    except (OSError, ValueError) as error:
        if isinstance(error, AnalogyError):
            raise
        raise OutputError(f"{label} cannot be written ({reason(error)}); choose another place") from error


def _write_all(file: IO[bytes], content: memoryview) -> None:
    """Write all of `content`. Raises OSError if the file takes only a part of it.

    An unbuffered file, such as standard output with PYTHONUNBUFFERED, may write only a part, and
    raises no error if a disk becomes full in between.
    """
    if not isinstance(file, io.RawIOBase):
        file.write(content)
        return
    while len(content):
        written = file.write(content)
        if not written:
            raise OSError("it takes no more bytes")
        content = content[written:]


def as_image(rgb: Array, like: Picture, label: str) -> Image.Image:
    """Return `rgb`, (H, W, 3) uint8 or uint16 in sRGB, as a PIL image with 8 bits per channel.

    The image has the alpha and the ICC profile of `like`. The colours are converted to this
    profile, which is stored in `info`, as in an image that Pillow has read.
    """
    pixels, alpha, icc = _prepare(to_8_bits(rgb), like, "PNG", label)
    return _image(pixels, alpha, icc)


def check_size(size: tuple[int, ...], suffix: str, label: str) -> None:
    """Raise OutputError if a format cannot hold a picture of `size` (rows, columns)."""
    kind, _ = _writer(suffix, label)
    if max(size) > LONGEST_SIDE.get(kind, max(size)):
        raise OutputError(
            f"{label} has {size[1]} x {size[0]} pixels; {kind} holds at most {LONGEST_SIDE[kind]} on a side; "
            "use .png or .tif"
        )


def suffix_of(format: str, label: str) -> str:
    """Return the suffix of a format that is given as a name such as "PNG", "jpeg" or ".webp".

    Raises OutputError if the suffix is not in `WRITERS`.
    """
    if not isinstance(format, str):
        raise OutputError(f"{label}: format must be a name such as 'png'; got {shown(format)}")
    suffix = f".{format.lower().removeprefix('.')}"
    _writer(suffix, label)
    return suffix


def _writer(suffix: str, label: str) -> tuple[str, dict[str, Any]]:
    """Return Pillow's format and options for a suffix."""
    if suffix.lower() not in WRITERS:
        raise OutputError(f"{label}: the program cannot write '{suffix}' files; use one of {' '.join(WRITERS)}")
    return WRITERS[suffix.lower()]


def _prepare(
    rgb: Array, like: Picture | None, kind: str, label: str
) -> tuple[Array, npt.NDArray[np.uint8] | None, bytes | None]:
    """Return the pixels, the alpha and the profile to write in Pillow's format `kind`."""
    check_rgb(rgb, (np.uint8, np.uint16))
    alpha = like.alpha if like is not None else None
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(
            f"{label}: the picture has the shape {rgb.shape[:2]}, but the alpha of `like` has {alpha.shape}; "
            "give pictures of one size"
        )
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
    """Write pixels, alpha and profile to an open file in Pillow's format `kind`."""
    if rgb.dtype == np.uint16:
        samples = rgb if alpha is None else np.dstack([rgb, alpha * np.uint16(257)])
        (write_png16 if kind == "PNG" else write_tiff16)(file, samples, icc)
    else:
        _image(rgb, alpha, None).save(file, kind, **options, **({"icc_profile": icc} if icc else {}))


def _image(rgb: Array, alpha: npt.NDArray[np.uint8] | None, icc: bytes | None) -> Image.Image:
    """Return pixels, alpha and profile as a PIL image."""
    image = Image.fromarray(rgb)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    if icc is not None:
        image.info["icc_profile"] = icc
    return image


def is_file_path(path: Path) -> bool:
    """Return True if an output path names a picture or video file rather than a folder."""
    # A `Path` raises for a name that is too long.
    return path.suffix.lower() in NOT_WRITTEN.union(WRITERS) and not os.path.isdir(path)  # noqa: PTH112


def is_picture_path(path: Path) -> bool:
    """Return True if an output path names a picture that can be written, False if a folder.

    Raises OutputError if the suffix names a format that cannot be written, and if the path is a
    suffix without a name.
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):  # noqa: PTH112 (a `Path` raises for a name that is too long)
        return False
    if suffix in NOT_WRITTEN:
        raise OutputError(
            f"{path}: the program cannot write {suffix} pictures; use one of {' '.join(WRITERS)}, or name a folder"
        )
    if not suffix and path.name.lower() in NOT_WRITTEN.union(WRITERS):
        raise OutputError(f"{path} is a suffix without a name; name the picture, for instance 'picture{path.name}'")
    return suffix in WRITERS
