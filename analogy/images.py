"""Pictures in and out: any common file, PIL image or array becomes sRGB pixels, and results become files.

Arrays are (height, width, 3), RGB, uint8 (or uint16 where said), C-contiguous and writable. Pillow decodes and encodes.
It has no 16-bit RGB pixels, so the last part of this module makes up for it: such files are decoded twice, once for
each byte of a sample; 16-bit PNG and TIFF files are written from a few lines; 16-bit pixels pass ICC profiles in NumPy.
"""

import io
import logging
import os
import struct
import sys
import uuid
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .errors import ImageError, OutputError

Array: TypeAlias = npt.NDArray[Any]

logger = logging.getLogger("analogy")

SMALLEST = 16  # pixels on each side: one position at the coarsest level (stride 16)
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # and no other: Pillow would hand EPS files to Ghostscript
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


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, upright and in sRGB.

    rgb    (H, W, 3) uint8, sRGB. Where the picture is transparent, its mean opaque colour shows through (mid grey if
           nothing is opaque), so that hidden colours do not take part in the matching.
    alpha  (H, W) uint8, 255 is opaque; None if the source had no transparency.
    deep   (H, W, 3) uint16, sRGB, the same pixels as `rgb` (which is `deep` / 257, rounded); None unless the source had
           16 bits per channel.
    icc    the source's RGB ICC profile, for writing results back in it; None if it had none, or one that is damaged, or
           for grey or CMYK, which cannot hold a result.
    name   what messages call it.
    """

    rgb: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None = None
    deep: npt.NDArray[np.uint16] | None = None
    icc: bytes | None = None
    name: str = "picture"


def read(source: object, *, name: str | None = None) -> Picture:
    """`source` as a `Picture`.

    source  the path of a JPEG, PNG, WebP, TIFF, BMP or GIF file (its first frame); or a PIL image; or an array (NumPy,
            CuPy, PyTorch, JAX, anything with `__array__` or `__dlpack__`) of shape (H, W), (H, W, 1), (H, W, 3), or
            (H, W, 4) with alpha last, and of dtype bool, uint8, uint16, or any float with values in 0..1.
    name    what messages call it; the path, or "the picture", if not given.

    The EXIF orientation is applied. ICC colours become sRGB (perceptual intent); a damaged profile is ignored, with one
    logged line. CMYK without a profile is converted plainly. 32-bit integers (Pillow's mode "I") count as 8 bits if all
    lie in 0..255, else as 16 bits if all lie in 0..65535; floats (mode "F") likewise, but first 0..1; other ranges are
    stretched from least to most, with one logged line. A PIL image of 16-bit RGB has only 8 bits left: to keep them,
    pass the path.

    Raises ImageError: missing, unreadable, not a picture, truncated, smaller than 16 x 16, above Pillow's limit of 178
    megapixels, or an array of another shape, type or range.
    """
    label = name or "the picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata, and on sizes that are still acceptable
            if isinstance(source, (str, os.PathLike)):
                path = os.fsdecode(source)
                label = f"{name} ({path})" if name else path
                return _read_file(path, label)
            if isinstance(source, Image.Image):
                _check_size(source.height, source.width, label)
                source.load()
                return _from_pil(_upright(source), None, label)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _image_error(error, label) from error
    return _from_array(source, label)


def resize(rgb: Array, height: int, width: int) -> Array:
    """`rgb` (H, W, 3) uint8 at `height` x `width`; the very same array if that is its size.

    Lanczos: when shrinking, Pillow widens it so that nothing aliases, and it keeps edges sharper than a box does, which
    matters to the features. Raises ImageError for another shape or dtype, or a size below 1.
    """
    _check_rgb(rgb, (np.uint8,))
    if height < 1 or width < 1:
        raise ImageError(f"cannot resize to {width} x {height} pixels: both sides must be at least 1")
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))


def montage(pictures: Sequence[Array], *, gap: int = 8, height: int | None = None) -> Array:
    """`pictures`, (H, W, 3) uint8 each, side by side on white, `gap` apart, all `height` high (default: the least).

    Raises ImageError for none, or one of another shape or dtype.
    """
    if not pictures:
        raise ImageError("a montage needs at least one picture")
    rows = height if height is not None else min(len(p) for p in pictures)
    parts: list[Array] = []
    for picture in pictures:
        parts.append(resize(picture, rows, max(1, round(picture.shape[1] * rows / picture.shape[0]))))
        parts.append(np.full((rows, gap, 3), 255, np.uint8))
    return np.concatenate(parts[:-1], axis=1)


def write(path: str | os.PathLike[str], rgb: Array, *, like: Picture | None = None) -> None:
    """Write `rgb`, (H, W, 3) uint8 or uint16 in sRGB, to `path`, in the format of its suffix (see WRITERS).

    like  take on this picture's alpha (it must have the same size) and ICC profile (the colours are converted to it).

    uint16 makes a 16-bit PNG or TIFF; other formats, and profiles other than a plain matrix, take it in 8 bits. JPEG
    and BMP have no alpha here: the picture is laid on white. BMP has no profile: it stays sRGB. JPEG (with full colour
    resolution) and WebP are lossy, quality 95. The file appears whole or not at all: it is written beside `path` under
    another name, then renamed.

    Raises OutputError: unknown suffix, no such folder, no permission, disk full; ImageError: wrong shape or dtype.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise OutputError(f"{path}: cannot write '{path.suffix}' files; use one of {' '.join(WRITERS)}")
    kind, options = WRITERS[path.suffix.lower()]
    _check_rgb(rgb, (np.uint8, np.uint16))
    alpha = like.alpha if like is not None else None
    if alpha is not None and alpha.shape != rgb.shape[:2]:
        raise ImageError(f"{path}: the picture is {rgb.shape[:2]}, but the alpha to give it is {alpha.shape}")
    if kind not in ("PNG", "TIFF"):
        rgb = _to_8_bits(rgb)
    if alpha is not None and kind in ("JPEG", "BMP"):
        rgb, alpha = _lay_on(rgb, alpha, 255), None
    icc = like.icc if like is not None and kind != "BMP" else None
    if icc is not None:
        rgb, icc = _out_of_srgb(rgb, icc, str(path))

    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # not tempfile: its files are closed to other users
    try:
        with temporary.open("xb") as file:
            if rgb.dtype == np.uint16:
                samples = rgb if alpha is None else np.dstack([rgb, alpha * np.uint16(257)])
                (_write_png16 if kind == "PNG" else _write_tiff16)(file, samples, icc)
            else:
                image = Image.fromarray(rgb)
                if alpha is not None:
                    image.putalpha(Image.fromarray(alpha))
                image.save(file, kind, **options, **({"icc_profile": icc} if icc else {}))
        temporary.replace(path)
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist; make it first") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write there; choose another folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


# Reading


def _read_file(path: str, label: str) -> Picture:
    with Image.open(path, formats=FORMATS) as image:
        _check_size(image.height, image.width, label)
        raw = _prepare(image, label)
        image.load()
        upright = _upright(image)
        return _from_pil(upright, _wide(path, image, upright, raw), label)


def _image_error(error: Exception, label: str) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError(f"{label}: there is no such file")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"{label}: this is a folder; give the path of a picture")
    if isinstance(error, PermissionError):
        return ImageError(f"{label}: no permission to read it")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{label}: not a picture that can be read; known formats: {', '.join(FORMATS)}")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{label}: too large; make it smaller. {_reason(error)}")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError(f"{label}: cannot be read ({_reason(error)})")
    return ImageError(f"{label}: damaged or truncated, it cannot be decoded ({_reason(error)})")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())  # one line


def _prepare(image: Any, label: str) -> str:
    """Mend what Pillow gets wrong in an opened file; -> the raw mode its pixels are stored in ("" if it has none)."""
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


# The raw mode that finds the low byte of each sample where Pillow's own finds the high byte. "LA;16B" is four bytes a
# pixel, so "RGBA" reads all of it. (libtiff hands samples over in the machine's order, N.)
_LOW_BYTES = {"LA;16B": "RGBA"} | {
    f"{bands};16{order}": f"{bands};16{swapped}"
    for bands in ("RGB", "RGBA")
    for order, swapped in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}


def _wide(path: str, image: Any, upright: Image.Image, raw: str) -> Array | None:
    """(H, W, bands) uint16 of the loaded file `image`, upright; None if it does not have 16 bits per channel."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.uint32) * 65535 // (4095 if raw == "I;12" else 65535)
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
        return (65535 - grey if white_is_zero else grey).astype(np.uint16)[..., None]
    if (swapped := _LOW_BYTES.get(raw)) is None:
        return None
    with Image.open(path, formats=FORMATS) as again:
        for i, tile in enumerate(again.tile):
            again.tile[i] = tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        again.load()
        high, low = np.asarray(upright), np.asarray(_upright(again))
    if swapped == "RGBA":
        high, low = low[..., 0::2], low[..., 1::2]
    wide: Array = high.astype(np.uint16) << 8 | low
    return wide


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged EXIF makes Pillow raise nearly anything, and must not cost the picture
        logger.warning("the orientation of %s is ignored (%s)", getattr(image, "filename", "a picture"), _reason(error))
        return image


def _from_pil(image: Image.Image, wide: Array | None, label: str) -> Picture:
    """`image` is loaded and upright; `wide`, (H, W, bands) uint16, holds its pixels where it had 16 bits."""
    icc = image.info.get("icc_profile") if image.mode != "LAB" else None  # Pillow converts Lab by itself
    key = image.info.get("transparency")
    alpha: Array | None = None
    if wide is None and image.mode.startswith("I;16"):
        wide = np.asarray(image, np.uint16)[..., None]
    elif image.mode in ("I", "F"):
        values, top = _scaled(np.asarray(image), label)
        if top == 65535:
            wide = values[..., None]
        image = Image.fromarray(_to_8_bits(values))
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if wide is not None:
        if wide.shape[2] in (2, 4):
            wide, alpha = wide[..., :-1], _to_8_bits(wide[..., -1])
        elif key is not None:
            alpha = np.where((wide == np.array(key)).all(axis=2), 0, 255).astype(np.uint8)
        image = Image.fromarray(_to_8_bits(wide).squeeze())
        wide = np.broadcast_to(wide, (*wide.shape[:2], 3))
    elif image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    pixels, icc = _into_srgb(image, wide, icc, label)
    return _picture(pixels, alpha, icc, label)


def _scaled(values: Array, label: str) -> tuple[Array, int]:
    """Modes I and F -> uint16 of 0..65535, and what counted as white (0 if the range was stretched)."""
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
        return _picture(array[..., :3], _to_8_bits(array[..., 3]), None, label)
    return _picture(np.broadcast_to(array, (*shape[:2], 3)), None, None, label)


def _to_numpy(source: Any, label: str) -> Array:
    try:
        if hasattr(source, "detach"):  # PyTorch, wherever it lies
            source = source.detach().cpu()
        elif hasattr(source, "__cuda_array_interface__") and hasattr(source, "get"):  # CuPy
            return np.asarray(source.get())
        if hasattr(source, "__array__"):
            return np.asarray(source)
        if hasattr(source, "__dlpack__"):
            return np.asarray(np.from_dlpack(source))
    except Exception as error:  # each library has its own
        raise ImageError(f"{label}: cannot become a NumPy array ({_reason(error)}); pass one") from error
    raise ImageError(f"{label}: cannot use a {type(source).__name__}; pass a path, a PIL image or an array")


def _picture(pixels: Array, alpha: Array | None, icc: bytes | None, label: str) -> Picture:
    """`pixels`, (H, W, 3) uint8 or uint16 in sRGB, as a Picture with arrays of its own."""
    if alpha is not None:
        alpha = np.ascontiguousarray(alpha)
        if alpha.min() < 255:
            seen = float(alpha.sum(dtype=np.float64))
            grey = 128 if pixels.dtype == np.uint8 else 128 * 257
            mean = np.einsum("ijc,ij->c", pixels, alpha, dtype=np.float64) / seen if seen else np.full(3, grey)
            pixels = _lay_on(pixels, alpha, mean)
    deep = np.array(pixels, np.uint16, order="C") if pixels.dtype.itemsize == 2 else None
    return Picture(np.array(_to_8_bits(pixels), order="C"), alpha, deep, icc, label)


def _lay_on(pixels: Array, alpha: Array, ground: Any) -> Array:
    weight = alpha[..., None] * np.float32(1 / 255)
    return np.rint(pixels * weight + np.asarray(ground, np.float32) * (1 - weight)).astype(pixels.dtype)


def _to_8_bits(values: Array) -> Array:
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_size(height: int, width: int, label: str) -> None:
    if min(height, width) < SMALLEST:
        raise ImageError(f"{label}: only {width} x {height} pixels; at least {SMALLEST} x {SMALLEST} are needed")


def _check_rgb(rgb: Array, dtypes: tuple[type, ...]) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in dtypes or not rgb.size:
        wanted = " or ".join(np.dtype(d).name for d in dtypes)
        raise ImageError(f"expected a picture of shape (height, width, 3) in {wanted}, got {rgb.shape} {rgb.dtype}")


# Colour profiles


def _into_srgb(image: Image.Image, wide: Array | None, icc: bytes | None, label: str) -> tuple[Array, bytes | None]:
    """`image` (L, RGB or CMYK) or `wide` (H, W, 3) uint16 -> sRGB pixels, and `icc` if a result can be put in it."""
    if icc:
        try:
            space = icc[16:20]
            if image.mode not in {b"RGB ": ("L", "RGB"), b"GRAY": ("L",), b"CMYK": ("CMYK",)}.get(space, ()):
                raise ValueError(f"it is for {space.decode('latin-1').strip()!r}, the picture is {image.mode}")
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            kept = icc if space == b"RGB " else None
            if wide is not None:
                if (deep := _convert_wide(wide, icc, _srgb_profile().tobytes())) is not None:
                    return deep, kept
                logger.info("%s: 16 bits are reduced to 8, as its colour profile is not a plain matrix", label)
            source = image.convert("RGB") if space == b"RGB " else image
            return np.asarray(ImageCms.profileToProfile(source, profile, _srgb_profile(), outputMode="RGB")), kept
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            logger.warning("%s: its colour profile is ignored (%s)", label, _reason(error))
    return (wide if wide is not None else np.asarray(image.convert("RGB"))), None


def _out_of_srgb(rgb: Array, icc: bytes, label: str) -> tuple[Array, bytes | None]:
    """sRGB -> the colours of `icc`, and `icc`; or `rgb` and None where that profile cannot be used."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if rgb.dtype == np.uint16 and (deep := _convert_wide(rgb, _srgb_profile().tobytes(), icc)) is not None:
            return deep, icc
        image = Image.fromarray(_to_8_bits(rgb))
        return np.asarray(ImageCms.profileToProfile(image, _srgb_profile(), profile)), icc
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s: written in sRGB, as the colour profile cannot be used (%s)", label, _reason(error))
        return rgb, None


# Sixteen bits per channel: what Pillow cannot do


def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _convert_wide(pixels: Array, source: bytes, target: bytes) -> Array | None:
    """(H, W, 3) uint16 from one ICC profile to another, relative colorimetric; None if either is not a matrix profile.

    LCMS as Pillow offers it stops at 8 bits; up to its rounding, both give the same colours.
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
    """(curves (3, 65536): sample -> light in 0..1, matrix (3, 3): light -> XYZ) of an ICC profile (ICC.1, 9 and 10).

    A grey profile counts as one with the primaries of sRGB. None for profiles made of tables, for damaged ones, and
    where black is not 0 (LCMS compensates for that).
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
    """A tone curve (curveType or parametricCurveType) at 65536 points, never falling."""
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


def _write_png16(file: IO[bytes], samples: Array, icc: bytes | None) -> None:
    """(H, W, 3 or 4) uint16 as PNG, every row with the filter Sub (difference to the pixel at the left)."""
    height, width, bands = samples.shape
    rows = np.ascontiguousarray(samples, ">u2").view(np.uint8).reshape(height, -1)
    lines = np.empty((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = 1
    lines[:, 1:] = rows
    lines[:, 1 + 2 * bands :] -= rows[:, : -2 * bands]
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if bands == 3 else 6, 0, 0, 0))
    if icc:
        putchunk(file, b"iCCP", b"ICC\0\0", zlib.compress(icc))
    putchunk(file, b"IDAT", zlib.compress(lines.tobytes(), 3))
    putchunk(file, b"IEND")


def _write_tiff16(file: IO[bytes], samples: Array, icc: bytes | None) -> None:
    """(H, W, 3 or 4) uint16 as TIFF: one strip, deflate, horizontal differences."""
    height, width, bands = samples.shape
    rows = np.array(samples, "<u2", order="C")
    rows[:, 1:] -= samples[:, :-1]
    data = zlib.compress(rows.tobytes(), 3)
    tags = ImageFileDirectory_v2()
    values = {256: width, 257: height, 258: (16,) * bands, 259: 8, 262: 2, 277: bands, 278: height, 284: 1, 317: 2}
    values |= {273: 0, 279: len(data)}  # the strip's offset, to which Pillow adds the size of what precedes, and size
    values |= {338: 2} if bands == 4 else {}  # alpha, the colours not multiplied by it
    values |= {34675: icc} if icc else {}
    for tag, value in values.items():
        tags[tag] = value
    tags.save(file)
    file.write(data)
