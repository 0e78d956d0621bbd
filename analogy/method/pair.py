"""The pair of pictures of a transfer: its sides, A and each B', and the directions between them.

A `Side` holds one given picture, and a `Way` holds one direction, from a content to its sources.
Each step of the method is written once, for any side or any direction, and called for all of them.
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
    """Given picture of a pair: A or a B'.

    Attributes
    ----------
    name
        Name in messages and in progress reports: "A" or "B'"; with several B', "B' 1", "B' 2" and
        so on.
    picture
        The picture as it was read.
    working
        Working size (rows, columns) of the picture.
    """

    name: str
    picture: Picture
    working: Size

    @property
    def size(self) -> Size:
        """Full size (rows, columns) of the picture."""
        return self.picture.size


@dataclass(frozen=True, eq=False)
class Way:
    """Direction of the analogy, from one content to its sources.

    The content is matched with the sources, and is painted with their pixels.

    Attributes
    ----------
    key
        "ab" for A' (A in the looks of B'), or "ba" for B (B' in the looks of A). With several B'
        there is one direction from each B' to A: "ba 1", "ba 2" and so on.
    content
        The side that keeps its shapes.
    sources
        The sides that the pixels come from.
    labels
        The labels that limit the matches; None without masks.
    pins
        The pinned matches of the content; None without pins.
    """

    key: str
    content: Side
    sources: tuple[Side, ...]
    labels: Labels | None = None
    pins: Pins | None = None

    @property
    def direction(self) -> str:
        """Direction as in `settings.direction`, "ab" or "ba"."""
        return self.key[:2]

    @property
    def sheet(self) -> Sheet:
        """Layout of the sources at their working sizes."""
        return Sheet(tuple(side.working for side in self.sources))

    @property
    def full_sheet(self) -> Sheet:
        """Layout of the sources at their full sizes."""
        return Sheet(tuple(side.size for side in self.sources))

    def to(self, index: int) -> Way:
        """Return the direction from the content to the one source with this index."""
        labels, pins = self.labels and self.labels.to(index), self.pins and self.pins.to(index)
        return replace(self, sources=(self.sources[index],), labels=labels, pins=pins)

    def reversed(self, key: str) -> Way:
        """Return the direction from the source to the content, for a direction with one source."""
        (source,) = self.sources
        labels, pins = self.labels and self.labels.reversed(), self.pins and self.pins.reversed()
        return Way(key, source, (self.content,), labels, pins)


@dataclass(frozen=True, eq=False)
class Pair:
    """Pictures of a transfer: A, one or more B', and for each B' its B if it is known.

    Attributes
    ----------
    ab
        The direction from A to all B'.
    ba
        The directions from each B' to A.
    b
        The known B of each B', in the size of that B'; empty if B is not known.
    b_checksums
        The SHA-256 of the file of each B, or of its pixels if B was not given as a file.
    pin_rows
        (N, 4 or 5) float64, the pins as `read_pins` returns them; None without pins.
    """

    ab: Way
    ba: tuple[Way, ...]
    b: tuple[Picture, ...] = ()
    b_checksums: tuple[str, ...] = ()
    pin_rows: np.ndarray | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Sides of the pair: first A, then each B'."""
        return self.ab.content, *self.ab.sources

    @property
    def known(self) -> dict[str, tuple[Picture, Side]]:
        """Name of each known B -> its picture, and the side B' that it belongs to."""
        return {known_name(side.name): (b, side) for b, side in zip(self.b, self.ab.sources, strict=False)}

    def network_inputs(self, uploads: Uploads) -> dict[str, Array]:
        """Return the pictures at their working sizes: name of a side or of a known B -> picture.

        Each picture is (h, w, 3) float32 in 0..1, an array of the backend.
        """
        pictures = {side.name: (side.picture, side) for side in self.sides} | self.known
        return {
            name: network_input(uploads.backend, uploads.pixels(picture), side.working)
            for name, (picture, side) in pictures.items()
        }

    def ways(self, settings: Settings) -> list[Way]:
        """Return the directions whose pictures `settings.direction` asks for."""
        return [way for way in (self.ab, *self.ba) if settings.direction in ("both", way.direction)]


def known_name(name: str) -> str:
    """Return the name of the B that belongs to a B', such as "B 2" for "B' 2"."""
    return name.replace("B'", "B")


def pair_of(
    a: Side,
    b_primes: Sequence[Side],
    labels: Labels | None = None,
    pins: Pins | None = None,
    b: Sequence[Picture] = (),
) -> Pair:
    """Return the pair of A and of one or more B'.

    `labels` and `pins` are those of the direction from A to all B'. `b` has the known B of each B';
    it is empty if B is not known.
    """
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
    """Read the pictures and masks of a transfer, and check its pins.

    Parameters
    ----------
    a, mask_a
        A and its mask, as `Engine.transfer` accepts them; the mask may be None.
    b_primes, b, masks_b
        One or more B'. If B is known, `b` has one B for each B'; if not, it is None. `masks_b` has
        one mask for each B', or is None without masks.
    pins
        (N, 4 or 5) float64, as `read_pins` returns them, or None.
    settings
        The settings of the transfer, which determine the working sizes.
    admitted
        Object that checks the size of each picture before the picture is decoded.

    Raises
    ------
    ImageError
        If a picture or a mask cannot be used.
    MemoryLimitError
        If the pictures need more memory than is free.
    SettingsError
        If a pin cannot be used.
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
    """Return the B of a side B', and its SHA-256.

    Raise `ImageError` if B and B' differ in size.
    """
    name = known_name(side.name)
    picture, checksum = read_with_checksum(source, name=name, admit=admission.like(side.size, side.name))
    if picture.size != side.size:
        raise admission.differs(picture.size, name, side.size, side.name)
    return picture, checksum


class Uploads:
    """Pictures of one transfer as arrays of a backend.

    A picture is copied to the device at most once with 8 bits per channel, and at most once
    with 16.
    """

    def __init__(self, backend: Backend):
        self.backend = backend
        self._arrays: dict[tuple[Picture, bool], Array] = {}

    def pixels(self, picture: Picture, sixteen_bit: bool = False) -> Array:
        """Return the pixels (H, W, 3) of a picture as uint8, or as uint16 if `sixteen_bit`."""
        key = picture, sixteen_bit
        if key not in self._arrays:
            there = isinstance(picture.array, self.backend.xp.ndarray) and not sixteen_bit
            pixels = picture.array if there else picture.pixels(sixteen_bit)
            self._arrays[key] = self.backend.asarray(pixels)
        return self._arrays[key]


def network_input(backend: Backend, pixels: Array, working: Size) -> Array:
    """Return the pixels (H, W, 3) uint8 of a picture, resized to its working size for the network.

    The result is (*working, 3) float32 in 0..1, an array of the backend.
    """
    if backend.xp is np:
        return as_floats(backend, resize(pixels, *working))
    # The GPU shrinks the picture, because Pillow would take longer to shrink a picture of 12
    # megapixels than the GPU takes for the rest of the transfer.
    return as_floats(backend, lanczos(backend.xp, backend.asarray(pixels), *working))
