"""Reader for pictures: any common file, PIL image or array becomes a `Picture`.

Pillow decodes the files. `sixteen_bit` helps to read RGB pixels with 16 bits, which Pillow cannot
read alone, and `colour` applies ICC profiles.
"""

import hashlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from ..errors import ImageError, MemoryLimitError, reason, unreadable
from ..files.inputs import is_address, open_regular, without_warnings
from .arrays import from_array
from .colour import into_srgb, to_8_bits
from .images import SMALLEST, Admit, Array, Picture, as_picture
from .pages import frames_left_out, is_lone_thumbnail, largest_read, turn_to_largest
from .png_texts import without_long_texts
from .scaling import from_numbers, scaled
from .scans import check_scans
from .sixteen_bit import LOW_BYTES
from .tiff_numbers import TIFF_HEADS, NumbersFile, find_numbers

logger = logging.getLogger("analogy")

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF") + (("AVIF",) if features.check("avif") else ())
"""Pillow's names of the formats that are read.

HEIF is read, too, if the extra `heif` is installed. Pillow's other formats are not accepted. For
EPS files, for instance, Pillow would start Ghostscript.
"""
_A_TIFF = "is a TIFF file that is damaged, or has pixels of a kind that cannot be read"
"""Part of a message about a TIFF file that Pillow cannot read; it follows the file's name."""
MOST_BYTES = 1 << 30
"""Largest accepted size of an open file, in bytes, since a stream may never end."""


class _Array(Protocol):
    def __array__(self) -> Any: ...


class _DLPack(Protocol):
    def __dlpack__(self, **options: Any) -> Any: ...


PictureLike: TypeAlias = str | os.PathLike[str] | bytes | bytearray | IO[bytes] | Image.Image | _Array | _DLPack
"""Types of a picture that `read_picture` accepts."""


def read_picture(
    source: PictureLike, *, name: str | None = None, admit: Admit | None = None, grounded: bool = True
) -> Picture:
    """Read a picture from a file, a PIL image or an array.

    * The EXIF orientation is applied.
    * Colours with an ICC profile are converted to sRGB (perceptual intent). A damaged profile is
      ignored, and a log line says so. Pillow converts CMYK without a profile by a simple formula.
    * If a file has several pictures, the largest page or the first frame is read, and a log line
      says so.
    * 32-bit integers (Pillow's mode "I") are taken as 8-bit values if all lie in 0..255, and
      otherwise as 16-bit values if all lie in 0..65535. Floats (mode "F") are taken as values from
      0 (black) to 1 (white) if all lie in 0..1, and otherwise like integers. If the values have any
      other range, the smallest becomes black and the largest white, and a log line says so.
    * A PIL image of a 16-bit RGB file has only 8 bits. To use 16 bits, pass the path of the file.

    Parameters
    ----------
    source : path, bytes, file, PIL.Image.Image or array
        One of the following. The path of a JPEG, PNG, WebP, TIFF, BMP or GIF file, of an AVIF file
        if Pillow can read it, or of a HEIC file if the extra `heif` is installed. The content of
        one of these files, as bytes or as a file that is open in binary mode; an open file is read
        to its end, and may have at most `MOST_BYTES` bytes. A PIL image. An array (of NumPy, CuPy,
        PyTorch or JAX, or any with `__array__` or `__dlpack__`) of shape (H, W), (H, W, 1),
        (H, W, 3), or (H, W, 4) with alpha last, and of dtype bool, uint8, uint16, or any float with
        values in 0..1.
    name : str, optional
        Name of the picture in messages, which also contain its path if it has one; by default only
        the path, or "the picture".
    admit : callable, optional
        Function that is called before the picture is decoded, and may raise an error to reject it
        (see `images.Admit`). It gets the rows and columns as they are before the EXIF orientation
        is applied, and the name.
    grounded : bool
        If true, a picture with transparency is laid on the mean of its colours (see `Picture`).
        Otherwise transparent pixels keep the colours that they have in the source.

    Returns
    -------
    Picture
        The picture, upright and in sRGB.

    Raises
    ------
    ImageError
        If the file is missing, unreadable, truncated, not a picture, or not a plain file (a pipe or
        a device, for instance); if the picture is smaller than 16 x 16 or larger than Pillow's
        limit of about 179 megapixels; or if the array is masked or has another shape, dtype or
        range.
    MemoryLimitError
        If there is not enough memory.
    """
    label, checked = label_of(source, name), _checked(admit)
    with as_image_errors(label):
        if isinstance(source, Image.Image):
            checked((source.height, source.width), label)
            source.load()
            return _from_pil(_upright(source, label), None, False, label, grounded)
        file = _opened(source, label)
        if file is None:
            return from_array(source, label, checked, grounded)
        with file:
            return _read_file(file, label, checked, grounded)


def read_with_checksum(
    source: PictureLike, *, name: str | None = None, admit: Admit | None = None, grounded: bool = True
) -> tuple[Picture, str]:
    """Return a picture as `read_picture` does, and the SHA-256 of its file.

    For a PIL image or an array, it is the SHA-256 of the `Picture`'s pixels and alpha.
    """
    label = label_of(source, name)
    with as_image_errors(label):
        file = None if isinstance(source, Image.Image) else _opened(source, label)
        if file is None:
            picture = read_picture(source, name=name, admit=admit, grounded=grounded)
            alpha = b"" if picture.alpha is None else picture.alpha.tobytes()
            return picture, hashlib.sha256(picture.pixels(picture.rgb16 is not None).tobytes() + alpha).hexdigest()
        with file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            file.seek(0)
            return _read_file(file, label, _checked(admit), grounded), checksum


def picture_size(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> tuple[int, int]:
    """Return the rows and columns of a picture file, before the EXIF orientation is applied.

    The source is the path of the file, or its content. Raises ImageError if it cannot be read.
    """
    label = label_of(source, name)
    with as_image_errors(label):
        file = _opened(source, label)
        assert file is not None
        with file:
            if numbers := _numbers(file):
                return numbers.size
            with _open_image(without_long_texts(file)[0], label) as image:
                turn_to_largest(image, file)
                return image.height, image.width


def is_picture(file: IO[bytes]) -> bool:
    """Return True if the content of a seekable file is a picture, even a damaged picture."""
    try:
        with without_warnings(), _open_image(without_long_texts(file)[0], ""):
            return True
    except UnidentifiedImageError:
        return find_numbers(file) is not None
    except Exception:  # for damaged files, Pillow raises errors of many types
        return True


def label_of(source: object, name: str | None) -> str:
    """Return the name of a picture for messages, with its path if it has one."""
    path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    if is_open_file(source) and isinstance(getattr(source, "name", None), str):
        path = source.name
    return f"{name} ({path})" if name and path else path or name or "the picture"


@contextmanager
def as_image_errors(label: str) -> Iterator[None]:
    """Raise `ImageError` or `MemoryLimitError` in place of any error in a `with` block.

    Warnings during the block are ignored. The messages name the picture `label`.
    """
    try:
        with without_warnings():  # Pillow warns of wrong metadata, and of large sizes that are allowed here
            yield
    except (ImageError, MemoryLimitError):
        raise
    except MemoryError as error:
        raise MemoryLimitError(f"{label}: there is not enough memory to read it; make it smaller") from error
    except Exception as error:  # for damaged files, Pillow raises errors of many types
        raise _image_error(error, label) from error


def _checked(admit: Admit | None) -> Admit:
    """Return a function that refuses pictures below 16 x 16, and calls `admit` for all others."""

    def checked(size: tuple[int, int], label: str) -> None:
        if min(size) < SMALLEST:
            raise ImageError(
                f"{label} has only {size[1]} x {size[0]} pixels; at least {SMALLEST} x {SMALLEST} are needed"
            )
        if admit is not None:
            admit(size, label)

    return checked


def _opened(source: object, label: str) -> IO[bytes] | None:
    """Return a seekable file with the picture, or None if the source is an image or an array.

    The source is a path, the content of a file, or an open file, which is read to its end.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        if is_address(path) and not os.path.lexists(path):
            raise ImageError(f"{label} is an address; download it, and give the path of the file")
        return open_regular(path)
    if isinstance(source, (bytes, bytearray)):
        return io.BytesIO(source)
    return whole_file(source, label) if is_open_file(source) else None


def is_open_file(source: object) -> TypeGuard[IO[Any]]:
    """Return True if `source` is an open file, and not an image or an array."""
    return callable(getattr(source, "read", None)) and not isinstance(source, Image.Image)


def whole_file(file: IO[Any], label: str) -> io.BytesIO:
    """Return the rest of an open file, in memory.

    Raises ImageError if the file is open as text, or has more than `MOST_BYTES` bytes.
    """
    content = io.BytesIO()
    while part := file.read(1 << 20):
        if not isinstance(part, bytes):
            raise ImageError(f"{label}: the file is open as text; open it in binary mode ('rb')")
        if content.write(part) and content.tell() > MOST_BYTES:
            raise ImageError(f"{label} is an open file of more than {MOST_BYTES >> 20} MB; give its path instead")
    content.seek(0)
    return content


def _read_file(file: IO[bytes], label: str, admit: Admit, grounded: bool) -> Picture:
    """Return the picture in a seekable file."""
    if numbers := _numbers(file):
        admit(numbers.size, label)
        if numbers.pages > 1:
            logger.info("%s: %s", label, largest_read(numbers.page, numbers.pages))
        return from_numbers(numbers, label, grounded)
    file, profile = without_long_texts(file)
    with _open_image(file, label) as image:
        left_out = turn_to_largest(image, file)
        if is_lone_thumbnail(image):
            raise ImageError(
                f"{label}: only a thumbnail of {image.width} x {image.height} pixels can be read, so it may be a raw "
                "photograph; develop it with another program, and give the JPEG or TIFF file"
            )
        admit((image.height, image.width), label)
        raw = _prepare(image, label)
        image.load()
        if profile is not None:
            image.info["icc_profile"] = profile or None
            if not profile:
                logger.warning("%s: its colour profile is ignored, because it is too long", label)
        upright = _upright(image, label)
        samples = _samples16(file, image, upright, raw, label)
        if left_out := left_out or frames_left_out(image):
            logger.info("%s: %s", label, left_out)
        return _from_pil(upright, samples, _is_negative(image), label, grounded)


def _numbers(file: IO[bytes]) -> NumbersFile | None:
    """Return the `NumbersFile` of a TIFF file that only `tiff_numbers` can read, else None."""
    numbers = find_numbers(file)
    file.seek(0)
    if numbers is not None:
        # For a page that it cannot read, Pillow raises errors of many types.
        with suppress(Exception), Image.open(file, formats=("TIFF",)) as image:
            image.seek(numbers.page)
            numbers = None
        file.seek(0)
    return numbers


def _open_image(file: IO[bytes], label: str) -> Image.Image:
    """Return the first page or frame of a file as an image that is not decoded yet.

    `pillow_heif` is large, so it is loaded only for a file that has none of the other formats.
    Raises `ImageError` for a JPEG file with too many scans or segments.
    """
    check_scans(file, label)
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        if file.read(4) in TIFF_HEADS:
            raise UnidentifiedImageError(_A_TIFF) from None
        if not _register_heif():
            raise
        file.seek(0)
        return Image.open(file, formats=("HEIF",))


@cache
def _register_heif() -> bool:
    """Let Pillow read HEIF (HEIC) files if the extra `heif` is installed; return True if it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _image_error(error: Exception, label: str) -> ImageError:
    """Return the `ImageError`, about the picture `label`, that is raised in place of `error`."""
    if isinstance(error, UnidentifiedImageError) and str(error) == _A_TIFF:
        return ImageError(f"{label} {_A_TIFF}; save it as RGB with 8 or 16 bits per channel")
    if isinstance(error, UnidentifiedImageError):
        more = "HEIF" if _register_heif() else 'and HEIC with pip install "deep-image-analogy[heif]"'
        return ImageError(f"{label} is not a picture that can be read; known formats: {', '.join(FORMATS)}, {more}")
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        return ImageError(f"{label} is too large; make it smaller than {most:.1f} megapixels. {reason(error)}")
    # Pillow raises OSError without a number for a damaged picture. Object stores raise these three.
    by_class = (FileNotFoundError, IsADirectoryError, PermissionError)
    if isinstance(error, OSError) and (error.errno is not None or isinstance(error, by_class)):
        return ImageError(unreadable(error, label))
    return ImageError(f"{label} is damaged or truncated and cannot be decoded ({reason(error)}); give an intact file")


def _prepare(image: Any, label: str) -> str:
    """Scale the transparent colour as Pillow scales the pixels, and return the image's raw mode.

    The raw mode is Pillow's name for the layout of the pixels in the file. It is "" if there is
    none, or if each colour has a separate plane. Raises `ImageError` for uncompressed 16-bit TIFF
    files with separate planes, which Pillow cannot decode.
    """
    args = image.tile[0].args if image.tile else ""
    raw = str(args[0] if isinstance(args, tuple) and args else args or "")
    if image.format == "TIFF" and image.tag_v2.get(284) == 2:  # each colour has a separate plane
        if image.tile[0].codec_name == "raw" and 16 in image.tag_v2.get(258, ()):
            raise ImageError(f"{label} is a 16-bit TIFF file with separate planes; save it with interleaved channels")
        return ""
    scale = {"1": 255, "L;2": 85, "L;4": 17}.get(raw)
    if (
        scale and image.format == "PNG" and "transparency" in image.info
    ):  # Pillow scales the pixels to 0..255, but not this value
        image.info["transparency"] = min(255, scale * image.info["transparency"])
    return raw


def _samples16(file: IO[bytes], image: Any, upright: Image.Image, raw: str, label: str) -> Array | None:
    """Return the pixels of a 16-bit file as (H, W, bands) uint16, upright.

    Returns None for a file with 8 bits per channel.
    """
    if image.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.uint32) * 65535 // (4095 if raw == "I;12" else 65535)
        return (65535 - grey if _is_negative(image) else grey).astype(np.uint16)[..., None]
    if (swapped := LOW_BYTES.get(raw)) is None:
        return None
    file.seek(0)
    with Image.open(file, formats=FORMATS) as again:
        again.seek(image.tell())
        for i, tile in enumerate(again.tile):
            again.tile[i] = tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        again.load()
        high, low = np.asarray(upright), np.asarray(_upright(again, label))
    if swapped == "RGBA":
        high, low = low[..., 0::2], low[..., 1::2]
    samples: Array = high.astype(np.uint16) << 8 | low
    return samples


def _is_negative(image: Any) -> bool:
    """Return whether an image is from a TIFF file in which 0 is white.

    Pillow inverts such a file only if it has 8 bits or fewer.
    """
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


def _upright(image: Image.Image, label: str) -> Image.Image:
    """Return an image with its EXIF orientation applied, or unchanged if its EXIF is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:  # for damaged EXIF, Pillow raises errors of many types
        logger.warning("%s: its EXIF orientation is ignored (%s)", label, reason(error))
        return image


def _from_pil(image: Image.Image, samples: Array | None, is_negative: bool, label: str, grounded: bool) -> Picture:
    """Return a loaded, upright image as a `Picture`.

    `samples`, (H, W, bands) uint16, are its pixels if the file has 16 bits; otherwise None.
    `is_negative` says whether 0 is white in a file with 32 bits.
    """
    # The profile of a Lab file does not describe the RGB that Pillow makes of it.
    icc = image.info.get("icc_profile") if image.mode != "LAB" else None
    transparent = image.info.get("transparency")  # for PNG, the colour of transparent pixels
    alpha: Array | None = None
    if samples is None and image.mode.startswith("I;16"):
        samples = np.asarray(image, np.uint16)[..., None]
    elif image.mode in ("I", "F"):
        values, top = scaled(np.asarray(image), label)
        if is_negative:
            values = 65535 - values
        if top == 65535:
            samples = values[..., None]
        image = Image.fromarray(to_8_bits(values))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if samples is not None:
        if samples.shape[2] in (2, 4):
            samples, alpha = samples[..., :-1], to_8_bits(samples[..., -1])
        elif transparent is not None:
            alpha = np.where((samples == np.array(transparent)).all(axis=2), 0, 255).astype(np.uint8)
        image = Image.fromarray(to_8_bits(samples).squeeze())
        samples = np.broadcast_to(samples, (*samples.shape[:2], 3))
    elif image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    pixels, icc = into_srgb(image, samples, icc, label)
    return as_picture(pixels, alpha, icc, label, grounded)
