"""Reader of TIFF files with floats, 32-bit integers, or more than four samples per pixel.

Pillow cannot decode most of these files, but it decompresses the strips or tiles one after the
other, each as a grey picture of its bytes. This module turns the bytes into numbers (TIFF 6.0,
sections 14 and 15; Adobe Photoshop TIFF Technical Note 3 for the predictor of floats).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from .pages import MOST_PAGES

Array: TypeAlias = npt.NDArray[Any]

# The following constants are numbers of TIFF tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _OFFSETS, _TURN, _BANDS, _ROWS, _COUNTS = (
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279
)  # fmt: skip
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA, _KIND, _PROFILE = (
    284, 317, 322, 323, 324, 325, 338, 339, 34675
)  # fmt: skip
TIFF_HEADS = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
"""First bytes of TIFF and BigTIFF files, in both byte orders."""
_KINDS = {1: "u", 2: "i", 3: "f"}
"""TIFF's sample format -> NumPy's kind of dtype."""
_COLOURS = {1: 1, 2: 3}
"""TIFF's photometric interpretation -> number of colour samples, for grey (0 is black) and RGB."""
_PREDICTED = (5, 8, 32946, 34925, 50000)
"""Compressions with a predictor: LZW, deflate (two numbers), LZMA and Zstandard, as in libtiff."""
_MOST_BANDS = 16
"""Largest number of samples per pixel that is accepted."""


@dataclass(frozen=True, eq=False)
class NumbersFile:
    """Description of a page of a TIFF file, from which `samples` decodes the page.

    Attributes
    ----------
    file : file
        The file, open for reading in binary mode.
    page, pages : int
        Index of the page, from 0, and number of the pages of the file.
    tags : ImageFileDirectory_v2
        The page's tags.
    size : (int, int)
        Rows and columns, before the EXIF orientation is applied.
    dtype : numpy.dtype
        Type of the samples, in the byte order of the file.
    bands : int
        Number of samples per pixel.
    colours : int
        Number of samples per pixel that are colours, 1 or 3. They come before all other samples.
    alpha : str
        Meaning of the sample after the colours: "alpha"; "premultiplied" for an alpha by which the
        colours are multiplied; or "" if there is no alpha.
    orientation : int
        EXIF orientation, 1 to 8.
    icc : bytes or None
        ICC colour profile.
    """

    file: IO[bytes]
    page: int
    pages: int
    tags: Any
    size: tuple[int, int]
    dtype: np.dtype[Any]
    bands: int
    colours: int
    alpha: str
    orientation: int
    icc: bytes | None

    def samples(self) -> Array:
        """Return the samples, (H, W, bands). Raises OSError if the file is damaged."""
        rows, columns = self.size
        tags, planes = self.tags, self.bands if self.tags.get(_PLANAR) == 2 else 1
        if tiled := _TILE_WIDTH in tags:
            high, wide = tags[_TILE_HEIGHT], tags[_TILE_WIDTH]
            offsets, counts = tags[_TILE_OFFSETS], tags[_TILE_COUNTS]
        else:
            high, wide = min(rows, tags.get(_ROWS, rows)), columns
            offsets, counts = tags[_OFFSETS], tags[_COUNTS]
        if high < 1 or wide < 1:
            raise OSError("its strips or tiles have no size")
        found = np.empty((rows, columns, self.bands), self.dtype.newbyteorder("="))
        places = iter(zip(offsets, counts, strict=True))
        for plane in range(planes):
            bands = slice(plane, plane + 1) if planes > 1 else slice(None)
            for top in range(0, rows, high):
                for left in range(0, columns, wide):
                    offset, count = next(places, (0, 0))
                    part = found[top : top + high, left : left + wide, bands]
                    shape = (high if tiled else len(part)), wide, part.shape[2]
                    part[...] = self._part(offset, count, shape)[: len(part), : part.shape[1]]
        return found

    def _part(self, offset: int, count: int, shape: tuple[int, int, int]) -> Array:
        """Return the samples of the strip or the tile of `count` bytes at `offset`."""
        rows, columns, bands = shape
        self.file.seek(offset)
        packed = self.file.read(min(count, 2 * rows * columns * bands * self.dtype.itemsize + 1024))
        content = _unpacked(packed, self.tags.get(_COMPRESSION, 1), rows, columns * bands * self.dtype.itemsize)
        predictor = self.tags.get(_PREDICTOR, 1) if self.tags.get(_COMPRESSION, 1) in _PREDICTED else 1
        if predictor == 3:
            steps = content.reshape(rows, -1, bands).cumsum(axis=1, dtype=np.uint8)
            swapped = steps.reshape(rows, self.dtype.itemsize, -1).swapaxes(1, 2)
            return np.ascontiguousarray(swapped).view(self.dtype.newbyteorder(">")).reshape(shape)
        samples = content.view(self.dtype).reshape(shape)
        if predictor == 2:
            whole = np.dtype(f"u{self.dtype.itemsize}")
            native = samples.astype(self.dtype.newbyteorder("=")).view(whole)
            return native.cumsum(axis=1, dtype=whole).view(self.dtype.newbyteorder("="))
        return samples


def find_numbers(file: IO[bytes]) -> NumbersFile | None:
    """Describe the largest page of a TIFF file, if it has grey or RGB samples of whole bytes.

    Of several pages of this size, the function describes the first. It returns None for any other
    file, for a page with more than `_MOST_BANDS` samples per pixel, and for a damaged file.
    """
    try:
        file.seek(0)
        head = file.read(8)
        if head[:4] not in TIFF_HEADS:
            return None
        pages = _pages(file, head + file.read(8) if b"+" in head[:4] else head)
        sizes = [tags.get(_HEIGHT, 0) * tags.get(_WIDTH, 0) for tags in pages]
        page = sizes.index(max(sizes))
        tags = pages[page]
        bands, colours = tags.get(_BANDS, 1), _COLOURS[tags[_PHOTOMETRIC]]
        (bits,), (kind,) = set(tags[_BITS]), set(tags.get(_KIND, (1,)))
        dtype = np.dtype(f"{'<' if head[:1] == b'I' else '>'}{_KINDS[kind]}{bits // 8}")
        extra = (*tags.get(_EXTRA, ()), 0)[0] if bands > colours else 0
        if (
            bits % 8
            or not colours <= bands <= _MOST_BANDS
            or tags.get(_FILL_ORDER, 1) != 1
            or tags.get(_PREDICTOR, 1) not in (1, 2, 3)
        ):
            return None
        return NumbersFile(
            file,
            page,
            len(pages),
            tags,
            (int(tags[_HEIGHT]), int(tags[_WIDTH])),
            dtype,
            bands,
            colours,
            {1: "premultiplied", 2: "alpha"}.get(extra, ""),
            tags.get(_TURN, 1),
            tags.get(_PROFILE),
        )
    except Exception:  # for damaged files, Pillow raises errors of many types
        return None


def _pages(file: IO[bytes], head: bytes) -> list[Any]:
    """Return the tags of each page of a TIFF file that begins with `head`, at most `MOST_PAGES`.

    Pages after a damaged page are left out. If the first page is damaged, an error is raised.
    """
    pages: dict[int, Any] = {}
    """Place of a page in the file -> its tags."""
    place = ImageFileDirectory_v2(head).next
    while place and place not in pages and len(pages) < MOST_PAGES:
        tags = ImageFileDirectory_v2(head)
        try:
            file.seek(place)
            tags.load(file)
        except Exception:  # for damaged files, Pillow raises errors of many types
            if not pages:
                raise
            break
        pages[place] = tags
        place = tags.next
    return list(pages.values())


class _Strip(TiffImageFile):
    """Strip or tile as a grey picture, with one pixel for each byte.

    Pillow would compare the number of these pixels with its limit. The number of the pixels of the
    whole file has been compared with the limit already.
    """

    def load_prepare(self) -> None:
        ImageFile.ImageFile.load_prepare(self)


def _unpacked(packed: bytes, compression: int, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """Return the unpacked bytes of a strip or a tile, (rows, columns) uint8, or raise OSError."""
    if compression == 1:
        if len(packed) < rows * columns:
            raise OSError("its end is missing")
        return np.frombuffer(packed, np.uint8, rows * columns).reshape(rows, columns)
    content = io.BytesIO()
    tags = ImageFileDirectory_v2()
    values = {256: columns, 257: rows, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: rows, 279: len(packed)}
    for tag, value in values.items():
        tags[tag] = value
    tags.save(content)
    content.write(packed)
    content.seek(0)
    with _Strip(content) as image:
        return np.array(image, np.uint8)
