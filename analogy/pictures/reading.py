"""Reading pictures: any common file, PIL image or array becomes a `Picture`, upright and in sRGB.

Pillow decodes. It has no 16-bit RGB pixels; `sixteen_bit.py` makes up for that. `colour.py` applies the ICC profiles.
"""

import io
import logging
import os
import warnings
from functools import cache
from typing import IO, Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError, reason
from .colour import into_srgb, to_8_bits
from .images import SMALLEST, Array, Picture, composite
from .sixteen_bit import LOW_BYTES

logger = logging.getLogger("analogy")

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # and no other: Pillow would hand EPS files to Ghostscript
MOST_BYTES = 1 << 30
"""Most bytes to read from an open file, which may never end."""


class _Array(Protocol):
    def __array__(self) -> Any: ...


class _DLPack(Protocol):
    def __dlpack__(self, **options: Any) -> Any: ...


PictureLike: TypeAlias = str | os.PathLike[str] | bytes | bytearray | IO[bytes] | Image.Image | _Array | _DLPack
"""What `read_picture` takes."""


def read_picture(source: PictureLike, *, name: str | None = None) -> Picture:
    """Read `source` as a `Picture`.

    source  the path of a JPEG, PNG, WebP, TIFF, BMP or GIF file (its first frame), or of HEIC with the extra `heif`; or
            such a file's content, as bytes or as a file open for reading in binary mode (up to its end, at most
            `MOST_BYTES`); or a PIL image; or an array (NumPy, CuPy, PyTorch, JAX, anything with `__array__` or
            `__dlpack__`) of shape (H, W), (H, W, 1), (H, W, 3), or (H, W, 4) with alpha last, and of dtype bool, uint8,
            uint16, or any float in 0..1. A masked array is refused.
    name    what messages call it; the path, or "the picture", if not given.

    The EXIF orientation is applied. ICC colours become sRGB (perceptual intent); a damaged profile is ignored, with one
    logged line. CMYK without a profile is converted by Pillow's plain formula. 32-bit integers (Pillow's mode "I") count
    as 8 bits if all lie in 0..255, else as 16 bits if all lie in 0..65535. Floats (mode "F") count as 0..1 if all lie in
    it, else like the integers. Any other range is stretched, its least value to black and its greatest to white, with one
    logged line. Pillow has kept only 8 bits of a 16-bit RGB file: pass its path to keep all 16.

    Raises ImageError: the file is missing, unreadable, truncated or not a picture; the picture is smaller than 16 x 16 or
    above Pillow's limit of 178 megapixels; or the array has another shape, type or range.
    """
    label = name or "the picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, and on sizes that are still acceptable
            if isinstance(source, (str, os.PathLike)):
                path = os.fsdecode(source)
                label = f"{name} ({path})" if name else path
                return _read_file(path, label)
            if isinstance(source, (bytes, bytearray)):
                return _read_file(bytes(source), label)
            if _is_open_file(source):
                own = getattr(source, "name", None)
                if isinstance(own, str):
                    label = f"{name} ({own})" if name else own
                return _read_file(_content(source, label), label)
            if isinstance(source, Image.Image):
                _check_size(source.height, source.width, label)
                source.load()
                return _from_pil(_upright(source), None, label)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _image_error(error, label) from error
    return _from_array(source, label)


def _is_open_file(source: object) -> TypeGuard[IO[Any]]:
    """Whether it is a file rather than an image (which Pillow lets read no bytes) or an array."""
    return callable(getattr(source, "read", None)) and not isinstance(source, Image.Image)


def _content(file: IO[Any], label: str) -> bytes:
    """What is left to read of an open file. Raises ImageError if that is text, or more than `MOST_BYTES`."""
    parts, size = [], 0
    while part := file.read(1 << 20):
        if not isinstance(part, bytes):
            raise ImageError(f"{label}: the file is open as text; open it in binary mode ('rb')")
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise ImageError(f"{label}: more than {MOST_BYTES >> 20} MB and no end; give the path of a file")
    return b"".join(parts)


def _read_file(file: str | bytes, label: str) -> Picture:
    """Read the file at a path, or of this content."""
    with Image.open(_opened(file), formats=_formats()) as image:
        _check_size(image.height, image.width, label)
        raw = _prepare(image, label)
        image.load()
        upright = _upright(image)
        return _from_pil(upright, _samples16(file, image, upright, raw), label)


def _opened(file: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


@cache
def _formats() -> tuple[str, ...]:
    """`FORMATS`, and HEIF (the HEIC of telephones) if the extra `heif` is installed."""
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _image_error(error: Exception, label: str) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{label}: there is no such file")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{label}: this is a folder; give the path of a picture")
    if isinstance(error, PermissionError):
        return ImageError(f"{label}: no permission to read it")
    if isinstance(error, UnidentifiedImageError):
        known = ", ".join(_formats())
        extra = "" if "HEIF" in known else ', and HEIC with pip install "deep-image-analogy[heif]"'
        return ImageError(f"{label}: not a picture that can be read; known formats: {known}{extra}")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{label}: too large; make it smaller. {reason(error)}")
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


def _samples16(file: str | bytes, image: Any, upright: Image.Image, raw: str) -> Array | None:
    """The loaded file `image` as (H, W, bands) uint16, upright; None if it does not have 16 bits per channel."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.uint32) * 65535 // (4095 if raw == "I;12" else 65535)
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
        return (65535 - grey if white_is_zero else grey).astype(np.uint16)[..., None]
    if (swapped := LOW_BYTES.get(raw)) is None:
        return None
    with Image.open(_opened(file), formats=FORMATS) as again:
        for i, tile in enumerate(again.tile):
            again.tile[i] = tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        again.load()
        high, low = np.asarray(upright), np.asarray(_upright(again))
    if swapped == "RGBA":
        high, low = low[..., 0::2], low[..., 1::2]
    samples: Array = high.astype(np.uint16) << 8 | low
    return samples


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged EXIF makes Pillow raise nearly anything, and must not cost the picture
        logger.warning("the orientation of %s is ignored (%s)", getattr(image, "filename", "a picture"), reason(error))
        return image


def _from_pil(image: Image.Image, samples: Array | None, label: str) -> Picture:
    """A loaded, upright image as a Picture. `samples`, (H, W, bands) uint16, are its pixels if the file had 16 bits."""
    icc = image.info.get("icc_profile") if image.mode != "LAB" else None  # Pillow converts Lab by itself
    transparent = image.info.get("transparency")  # one colour, in PNG
    alpha: Array | None = None
    if samples is None and image.mode.startswith("I;16"):
        samples = np.asarray(image, np.uint16)[..., None]
    elif image.mode in ("I", "F"):
        values, top = _scaled(np.asarray(image), label)
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
    return _picture(pixels, alpha, icc, label)


def _scaled(values: Array, label: str) -> tuple[Array, int]:
    """Pixels of mode I or F as uint16 in 0..65535, and the value that counted as white (0 if the range was stretched)."""
    if not np.isfinite(values).all():
        raise ImageError(f"{label}: has pixels that are NaN or infinite; replace them")
    low, high = float(values.min()), float(values.max())
    whites = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    top = next((white for white in whites if low >= 0 and high <= white), 0)
    if not top:
        logger.info("%s: its values, %g to %g, are stretched to black .. white", label, low, high)
    base, span = (0, top) if top else (low, high - low)
    return np.rint((values.astype(np.float64) - base) * (65535 / (span or 1))).astype(np.uint16), top


def _from_array(source: object, label: str) -> Picture:
    array = _to_numpy(source, label)
    shape = array.shape
    if array.size == 0:
        raise ImageError(f"{label}: the array of shape {shape} is empty")
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        cure = "pass (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            cure = "channels come last: pass array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            cure = "pass one picture at a time, channels last"
        raise ImageError(f"{label}: an array of shape {shape} is not a picture; {cure}")
    _check_size(shape[0], shape[1], label)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())  # NaN if any is NaN
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError(f"{label}: the array has values that are NaN or infinite; replace them")
        if low < -1e-3 or high > 1 + 1e-3:  # rounding of earlier steps may leave a hair outside: still 0 and 255
            cure = "divide by 255" if low >= 0 and 2 < high <= 255 else "clip or rescale it"
            raise ImageError(f"{label}: floats must lie in 0..1, these in {low:g}..{high:g}; {cure}")
        array = np.rint(array * np.float32(255)).astype(np.uint8)
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise ImageError(f"{label}: {array.dtype} is not a pixel type; pass uint8, uint16, bool, or floats of 0..1")
    array = array.reshape(*shape[:2], -1)
    if array.shape[2] == 4:
        return _picture(array[..., :3], to_8_bits(array[..., 3]), None, label)
    return _picture(np.broadcast_to(array, (*shape[:2], 3)), None, None, label)


def _to_numpy(source: Any, label: str) -> Array:
    if isinstance(source, np.ma.MaskedArray):
        raise ImageError(
            f"{label}: a masked array; give its pixels with array.filled(0), and what to match with mask_a and mask_b"
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
    except Exception as error:  # each library has its own
        raise ImageError(f"{label}: cannot become a NumPy array ({reason(error)}); pass one") from error
    raise ImageError(
        f"{label}: cannot use a {type(source).__name__}; pass a path, bytes, an open file, a PIL image or an array"
    )


def _picture(pixels: Array, alpha: Array | None, icc: bytes | None, label: str) -> Picture:
    """`pixels`, (H, W, 3) uint8 or uint16 in sRGB, as a Picture with arrays of its own."""
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        if alpha.min() < 255:
            seen = float(alpha.sum(dtype=np.float64))
            grey = 128 if pixels.dtype == np.uint8 else 128 * 257
            mean = np.einsum("ijc,ij->c", pixels, alpha, dtype=np.float64) / seen if seen else np.full(3, grey)
            pixels = composite(pixels, alpha, mean)
    rgb16 = np.array(pixels, np.uint16, order="C") if pixels.dtype.itemsize == 2 else None
    return Picture(np.array(to_8_bits(pixels), order="C"), alpha, rgb16, icc, label)


def _check_size(height: int, width: int, label: str) -> None:
    if min(height, width) < SMALLEST:
        raise ImageError(f"{label}: only {width} x {height} pixels; at least {SMALLEST} x {SMALLEST} are needed")
