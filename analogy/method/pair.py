"""The pair of pictures that a transfer is made of: its two sides, and the directions between them.

What A and B' each have belongs to a `Side`, and what each direction has belongs to a `Way`. So each
step of the method is written once, and called for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..backends import Array, Backend, Size
from ..pictures.images import Picture, resize
from ..pictures.reading import PictureLike, read_picture, read_with_checksum
from ..pictures.resampling import lanczos
from ..settings import Settings
from . import admission, guidance
from .features import as_floats
from .guidance import Labels
from .pins import Pins, place_pins
from .sheets import Sheet


@dataclass(frozen=True, eq=False)
class Side:
    """A picture of the pair.

    name     what messages and progress call it: "A" or "B'"; of several B', "B' 1", "B' 2" and so on
    picture  the picture as it was read
    working  rows and columns in which the network sees it
    """

    name: str
    picture: Picture
    working: Size

    @property
    def size(self) -> Size:
        """Rows and columns of the picture as it was read."""
        return self.picture.size


@dataclass(frozen=True, eq=False)
class Way:
    """A direction of the analogy: `content` is matched with `sources`, and is painted with their pixels.

    key     "ab" for A' (A in the looks of B'), or "ba" for B (B' in the looks of A); with several B', "ba 1", "ba 2" and so on
    labels  which places of the content may match which of the sources; None without masks
    pins    matches of the content that are fixed; None without pins
    """

    key: str
    content: Side
    sources: tuple[Side, ...]
    labels: Labels | None = None
    pins: Pins | None = None

    @property
    def direction(self) -> str:
        """The direction as `settings.direction` has it, "ab" or "ba"."""
        return self.key[:2]

    @property
    def sheet(self) -> Sheet:
        """The layout of the sources as the network sees them."""
        return Sheet(tuple(side.working for side in self.sources))

    @property
    def full_sheet(self) -> Sheet:
        """The layout of the sources at their own sizes."""
        return Sheet(tuple(side.size for side in self.sources))

    def to(self, index: int) -> Way:
        """Return the way from the content to one of the sources alone."""
        labels, pins = self.labels and self.labels.to(index), self.pins and self.pins.to(index)
        return replace(self, sources=(self.sources[index],), labels=labels, pins=pins)

    def reversed(self, key: str) -> Way:
        """Return the other direction of a way with one source."""
        (source,) = self.sources
        labels, pins = self.labels and self.labels.reversed(), self.pins and self.pins.reversed()
        return Way(key, source, (self.content,), labels, pins)


@dataclass(frozen=True, eq=False)
class Pair:
    """A and B', as the ways from A to B' and back; and B, where it is known. Of B' and B there may be several.

    ab          the way from A to all B'
    ba          the way from each B' to A
    b           the known B of each B', in its size; empty where B is not known
    b_checksums  the SHA-256 of the file of each B, or of its pixels where it has none
    pin_rows    (N, 4 or 5) float64, the pins as a caller gives them: xa, ya, xb, yb in pixels, and the number of B'; or None
    """

    ab: Way
    ba: tuple[Way, ...]
    b: tuple[Picture, ...] = ()
    b_checksums: tuple[str, ...] = ()
    pin_rows: np.ndarray | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The side A, and each side B'."""
        return self.ab.content, *self.ab.sources

    @property
    def known(self) -> dict[str, tuple[Picture, Side]]:
        """The name of each known B -> that picture, and the side B' on which it lies."""
        return {known_name(side.name): (b, side) for b, side in zip(self.b, self.ab.sources, strict=False)}

    def seen(self, uploads: Uploads) -> dict[str, Array]:
        """Return what the network sees: name of a side or of a known B -> (h, w, 3) float32 0..1, on the device."""
        pictures = {side.name: (side.picture, side) for side in self.sides} | self.known
        return {
            name: as_seen(uploads.backend, uploads.pixels(picture), side.working)
            for name, (picture, side) in pictures.items()
        }

    def ways(self, settings: Settings) -> list[Way]:
        """Return the ways whose pictures `settings.direction` asks for."""
        return [way for way in (self.ab, *self.ba) if settings.direction in ("both", way.direction)]


def known_name(name: str) -> str:
    """Return the name of the known B of the side B' that has a name: "B" for "B'"."""
    return name.replace("B'", "B")


def pair_of(
    a: Side,
    b_primes: Sequence[Side],
    labels: Labels | None = None,
    pins: Pins | None = None,
    b: Sequence[Picture] = (),
) -> Pair:
    """Return the pair of a side A and of one or more sides B'. `b` are the known B, one of each B', if they are known."""
    ab = Way("ab", a, tuple(b_primes), labels, pins)
    several = len(b_primes) > 1
    back = (ab.to(k).reversed(f"ba {k + 1}" if several else "ba") for k in range(len(b_primes)))
    return Pair(ab, tuple(back), tuple(b))


def read_pair(
    a: PictureLike,
    b_primes: Sequence[PictureLike],
    b: Sequence[PictureLike] | None,
    mask_a: PictureLike | None,
    masks_b: Sequence[PictureLike] | None,
    pins: np.ndarray | None,
    settings: Settings,
    admitted: admission.Admission,
) -> Pair:
    """Read the pictures of a transfer, its masks, and its pins, each as `Engine.transfer` takes it.

    b_primes, b, masks_b  one picture, or more; as many of each
    pins                  (N, 4 or 5) float64, as `read_pins` returns them
    admitted              is asked about each picture before it is decoded

    Raises `ImageError` for a picture or a mask that cannot be used, `MemoryLimitError` if the
    memory does not suffice, and `SettingsError` for a pin.
    """

    def side(name: str, source: PictureLike) -> Side:
        picture = read_picture(source, name=name, admit=admitted.to(name))
        return Side(name, picture, admission.working_size(picture.size, settings))

    side_a = side("A", a)
    names = ["B'"] if len(b_primes) == 1 else [f"B' {k}" for k in range(1, len(b_primes) + 1)]
    sides = [side(name, source) for name, source in zip(names, b_primes, strict=True)]
    known = [_read_known(source, of) for source, of in zip(b, sides, strict=True)] if b else []
    sizes = {side.name: side.size for side in sides}
    labels = guidance.read_labels(mask_a, masks_b, side_a.size, sizes)
    placed = place_pins(pins, side_a.size, sizes, side_a.working, labels)
    pair = pair_of(side_a, sides, labels, placed, [picture for picture, _ in known])
    return replace(pair, b_checksums=tuple(checksum for _, checksum in known), pin_rows=pins)


def _read_known(source: PictureLike, side: Side) -> tuple[Picture, str]:
    """Read the B of a side B', and return it with its SHA-256. Raises `ImageError` if it does not lie on B'."""
    name = known_name(side.name)
    picture, checksum = read_with_checksum(source, name=name, admit=admission.like(side.size, side.name))
    if picture.size != side.size:
        raise admission.differs(picture.size, name, side.size, side.name)
    return picture, checksum


class Uploads:
    """The pictures of one transfer as arrays of a backend. Each is copied to the device once, however often it is needed."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self._arrays: dict[tuple[int, bool], Array] = {}

    def pixels(self, picture: Picture, sixteen_bit: bool = False) -> Array:
        """Return the pixels (H, W, 3) of a picture as uint8, or as uint16 if `sixteen_bit`."""
        key = id(picture), sixteen_bit
        if key not in self._arrays:
            there = isinstance(picture.array, self.backend.xp.ndarray) and not sixteen_bit
            pixels = picture.array if there else picture.pixels(sixteen_bit)
            self._arrays[key] = self.backend.asarray(pixels)
        return self._arrays[key]


def as_seen(backend: Backend, pixels: Array, working: Size) -> Array:
    """Return a picture (H, W, 3) uint8 as the network sees it: (*working, 3) float32 0..1, an array of the backend."""
    if backend.xp is np:
        return as_floats(backend, resize(pixels, *working))
    # The GPU shrinks it: for a picture of 12 megapixels Pillow would take longer than the rest of
    # the transfer.
    return as_floats(backend, lanczos(backend.xp, backend.asarray(pixels), *working))
