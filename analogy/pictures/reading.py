"""Reading pictures: any common file, PIL image or array becomes a `Picture`, upright and in sRGB.

Pillow decodes. It has no 16-bit RGB pixels; `sixteen_bit.py` makes up for that. `colour.py` applies
the ICC profiles.
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

from ..errors import ImageError, MemoryLimitError, reason
from ..files.inputs import is_address, open_regular, without_warnings
from .arrays import from_array
from .colour import into_srgb, to_8_bits
from .images import SMALLEST, Admit, Array, Picture, as_picture
from .pages import frames_left_out, is_lone_thumbnail, turn_to_largest
from .png_texts import without_long_texts
from .scaling import from_numbers, scaled
from .scans import check_scans
from .sixteen_bit import LOW_BYTES
from .tiff_numbers import TIFF_HEADS, NumbersFile, find_numbers

logger = logging.getLogger("analogy")

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF") + (("AVIF",) if features.check("avif") else ())
"""The only formats that are read, by Pillow's names: with all of them it would hand EPS files to Ghostscript."""
_A_TIFF = "a TIFF file that is damaged, or has pixels of a kind that cannot be read"
MOST_BYTES = 1 << 30
"""Most bytes to read from an open file, which may never end."""


class _Array(Protocol):
    def __array__(self) -> Any: ...


class _DLPack(Protocol):
    def __dlpack__(self, **options: Any) -> Any: ...


PictureLike: TypeAlias = str | os.PathLike[str] | bytes | bytearray | IO[bytes] | Image.Image | _Array | _DLPack
"""A picture as `read_picture` takes it."""


def read_picture(
    source: PictureLike, *, name: str | None = None, admit: Admit | None = None, grounded: bool = True
) -> Picture:
    """Read `source` as a `Picture`.

    source  the path of a JPEG, PNG, WebP, TIFF, BMP or GIF file, of AVIF where Pillow can read it, or of HEIC with the extra
            `heif`; or such a file's content, as bytes or as a file open for reading in binary mode (up to its end, at most
            `MOST_BYTES`); or a PIL image; or an array (NumPy, CuPy, PyTorch, JAX, anything with `__array__` or
            `__dlpack__`) of shape (H, W), (H, W, 1), (H, W, 3), or (H, W, 4) with alpha last, and of dtype bool, uint8,
            uint16, or any float in 0..1. A masked array is refused.
    name    what messages call it; the path, or "the picture", if not given.
    admit   is told the rows and columns (of the file: not yet turned upright) and that name, before anything is decoded or
            copied; what it raises ends the reading.
    grounded  whether the mean opaque colour shows through where the picture is transparent, as `Picture` says; else the
            colours are those that the source holds there.

    Of a file with several pictures the largest page is read, or the first frame, with one logged
    line.

    The EXIF orientation is applied. ICC colours become sRGB (perceptual intent); a damaged profile
    is ignored, with one logged line. CMYK without a profile is converted by Pillow's plain formula.
    32-bit integers (Pillow's mode "I") count as 8 bits if all lie in 0..255, else as 16 bits if all
    lie in 0..65535. Floats (mode "F") count as 0..1 if all lie in it, else like the integers. Any
    other range is stretched, its least value to black and its greatest to white, with one logged
    line. Pillow has kept only 8 bits of a 16-bit RGB file: pass its path to keep all 16.

    Raises ImageError: the file is missing, unreadable, truncated or not a picture, or no plain file
    (a pipe, a device); the picture is smaller than 16 x 16 or above Pillow's limit of 178
    megapixels; or the array has another shape, type or range. Raises MemoryLimitError if the memory
    does not suffice.
    """
    label = _label(source, name)
    own_admit = admit or (lambda size, label: None)

    def checked(size: tuple[int, int], label: str) -> None:
        if min(size) < SMALLEST:
            raise ImageError(f"{label}: only {size[1]} x {size[0]} pixels; at least {SMALLEST} x {SMALLEST} are needed")
        own_admit(size, label)

    with as_image_errors(label):
        if isinstance(source, Image.Image):
            checked((source.height, source.width), label)
            source.load()
            return _from_pil(_upright(source, label), None, label, grounded)
        file = _opened(source, label)
        if file is None:
            return from_array(source, label, checked, grounded)
        with file:
            return _read_file(file, label, checked, grounded)


def read_with_checksum(
    source: PictureLike, *, name: str | None = None, admit: Admit | None = None, grounded: bool = True
) -> tuple[Picture, str]:
    """Read a picture as `read_picture` does, and return beside it the SHA-256 of its file; of its pixels where it has none."""
    label = _label(source, name)
    with as_image_errors(label):
        file = None if isinstance(source, Image.Image) else _opened(source, label)
        if file is None:
            picture = read_picture(source, name=name, admit=admit, grounded=grounded)
            alpha = b"" if picture.alpha is None else picture.alpha.tobytes()
            return picture, hashlib.sha256(picture.pixels(picture.rgb16 is not None).tobytes() + alpha).hexdigest()
        with file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            file.seek(0)
            with_path = isinstance(getattr(file, "name", None), str)
            return read_picture(file, name=name if with_path else label, admit=admit, grounded=grounded), checksum


def picture_size(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> tuple[int, int]:
    """Return rows and columns of a file (its path, or its content), not yet turned upright. Raises ImageError."""
    label = _label(source, name)
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
    """Return whether a file, any place of which can be read, is a picture by its content, be it damaged or too large."""
    try:
        with without_warnings(), _open_image(without_long_texts(file)[0], ""):
            return True
    except UnidentifiedImageError:
        return find_numbers(file) is not None
    except Exception:  # damaged files make Pillow raise nearly anything
        return True


def _label(source: object, name: str | None) -> str:
    """Return what messages call a picture: its name, with its path if there is one."""
    own = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else None
    if _is_open_file(source) and isinstance(getattr(source, "name", None), str):
        own = source.name
    return f"{name} ({own})" if name and own else own or name or "the picture"


@contextmanager
def as_image_errors(label: str) -> Iterator[None]:
    """Turn errors about the picture `label` into `ImageError` and `MemoryLimitError`, and ignore warnings about it."""
    try:
        with without_warnings():  # Pillow's remarks on odd metadata, and on sizes that are still acceptable
            yield
    except (ImageError, MemoryLimitError):
        raise
    except MemoryError as error:
        raise MemoryLimitError(f"{label}: there is not enough memory to read it; make it smaller") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _image_error(error, label) from error


def _opened(source: object, label: str) -> IO[bytes] | None:
    """Return the file of a path or content, or the rest of an open file; it is seekable. None for anything else."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        if is_address(path) and not os.path.lexists(path):
            raise ImageError(f"{label}: this is an address; download it, and give the path of the file")
        return open_regular(path)
    if isinstance(source, (bytes, bytearray)):
        return io.BytesIO(source)
    return whole_file(source, label) if _is_open_file(source) else None


def _is_open_file(source: object) -> TypeGuard[IO[Any]]:
    """Return whether it is a file rather than an image (which Pillow lets read no bytes) or an array."""
    return callable(getattr(source, "read", None)) and not isinstance(source, Image.Image)


def whole_file(file: IO[Any], label: str) -> io.BytesIO:
    """Return the rest of an open file. Raises ImageError if that is text, or more than `MOST_BYTES`."""
    content = io.BytesIO()
    while part := file.read(1 << 20):
        if not isinstance(part, bytes):
            raise ImageError(f"{label}: the file is open as text; open it in binary mode ('rb')")
        if content.write(part) and content.tell() > MOST_BYTES:
            raise ImageError(f"{label}: more than {MOST_BYTES >> 20} MB and no end; give the path of a file")
    content.seek(0)
    return content


def _read_file(file: IO[bytes], label: str, admit: Admit, grounded: bool) -> Picture:
    """Read the whole of a file of which any place can be read."""
    if numbers := _numbers(file):
        admit(numbers.size, label)
        return from_numbers(numbers, label, grounded)
    file, profile = without_long_texts(file)
    with _open_image(file, label) as image:
        left_out = turn_to_largest(image, file)
        if is_lone_thumbnail(image):
            raise ImageError(
                f"{label}: all that can be read of it is a thumbnail of {image.width} x {image.height} pixels, as in raw "
                "photographs; develop it, and give the JPEG or TIFF file"
            )
        admit((image.height, image.width), label)
        raw = _prepare(image, label)
        image.load()
        if profile is not None:
            image.info["icc_profile"] = profile or None
            if not profile:
                logger.warning("%s: its colour profile is ignored (it is too long)", label)
        upright = _upright(image, label)
        samples = _samples16(file, image, upright, raw, label)
        if left_out := left_out or frames_left_out(image):
            logger.info("%s: %s", label, left_out)
        return _from_pil(upright, samples, label, grounded)


def _numbers(file: IO[bytes]) -> NumbersFile | None:
    """Return a TIFF file with pixels that Pillow does not know; None for a file that it opens, and for any other."""
    numbers = find_numbers(file)
    file.seek(0)
    if numbers is not None:
        with suppress(UnidentifiedImageError), Image.open(file, formats=("TIFF",)):
            numbers = None
        file.seek(0)
    return numbers


def _open_image(file: IO[bytes], label: str) -> Image.Image:
    """Return the image in a file, not yet decoded: its first page or frame.

    `pillow_heif`, which is large, is loaded for no other format than its own. Raises `ImageError`
    for a JPEG file of too many scans.
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
    """Let Pillow read HEIF (the HEIC of telephones), if the extra `heif` is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _image_error(error: Exception, label: str) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{label}: there is no such file")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{label}: this is a folder; give the path of a picture")
    if isinstance(error, PermissionError):
        return ImageError(f"{label}: no permission to read it")
    if isinstance(error, UnidentifiedImageError) and str(error) == _A_TIFF:
        return ImageError(f"{label}: {_A_TIFF}; save it as RGB with 8 or 16 bits for each channel")
    if isinstance(error, UnidentifiedImageError):
        more = "HEIF" if _register_heif() else 'and HEIC with pip install "deep-image-analogy[heif]"'
        return ImageError(f"{label}: not a picture that can be read; known formats: {', '.join(FORMATS)}, {more}")
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        return ImageError(f"{label}: too large; make it smaller than {most:.1f} megapixels. {reason(error)}")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError(f"{label}: cannot be read ({reason(error)})")
    return ImageError(f"{label}: damaged or truncated, it cannot be decoded ({reason(error)})")


def _prepare(image: Any, label: str) -> str:
    """Correct what Pillow gets wrong in an opened file. Returns the raw mode of its pixels ("" if it has none)."""
    args = image.tile[0].args if image.tile else ""
    raw = str(args[0] if isinstance(args, tuple) and args else args or "")
    if image.format == "TIFF" and image.tag_v2.get(284) == 2:  # each colour in a plane of its own
        if image.tile[0].codec_name == "raw" and 16 in image.tag_v2.get(258, ()):
            raise ImageError(f"{label}: a 16-bit TIFF file with separate planes cannot be read; save it interleaved")
        return ""
    scale = {"1": 255, "L;2": 85, "L;4": 17}.get(raw)
    if scale and "transparency" in image.info:  # PNG: the pixels are scaled to 0..255, this is not
        image.info["transparency"] = min(255, scale * image.info["transparency"])
    return raw


def _samples16(file: IO[bytes], image: Any, upright: Image.Image, raw: str, label: str) -> Array | None:
    """Return the loaded file `image` as (H, W, bands) uint16, upright; None if it does not have 16 bits per channel."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.uint32) * 65535 // (4095 if raw == "I;12" else 65535)
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
        return (65535 - grey if white_is_zero else grey).astype(np.uint16)[..., None]
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


def _upright(image: Image.Image, label: str) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged EXIF makes Pillow raise nearly anything, and must not cost the picture
        logger.warning("%s: its orientation is ignored (%s)", label, reason(error))
        return image


def _from_pil(image: Image.Image, samples: Array | None, label: str, grounded: bool) -> Picture:
    """Make a loaded, upright image a Picture. `samples`, (H, W, bands) uint16, are its pixels if the file had 16 bits."""
    icc = image.info.get("icc_profile") if image.mode != "LAB" else None  # Pillow converts Lab by itself
    transparent = image.info.get("transparency")  # one colour, in PNG
    alpha: Array | None = None
    if samples is None and image.mode.startswith("I;16"):
        samples = np.asarray(image, np.uint16)[..., None]
    elif image.mode in ("I", "F"):
        values, top = scaled(np.asarray(image), label)
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
