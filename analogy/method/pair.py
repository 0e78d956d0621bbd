"""The pair of pictures that a transfer is made of: its two sides, and the directions between them.

What A and B' each have belongs to a `Side`, and what each direction has belongs to a `Way`. So each step of the method is
written once, and called for both.
"""

from __future__ import annotations

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


@dataclass(frozen=True, eq=False)
class Side:
    """A picture of the pair.

    name     what messages and progress call it: "A" or "B'"
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
    """A direction of the analogy: `content` is matched with `source`, and is painted with its pixels.

    key     "ab" for A' (A in the looks of B'), or "ba" for B (B' in the looks of A)
    labels  which places may match, seen from the content; None without masks
    pins    matches that are fixed, seen from the content; None without pins
    """

    key: str
    content: Side
    source: Side
    labels: Labels | None = None
    pins: Pins | None = None

    def reversed(self) -> Way:
        """Return the other direction of the same pair."""
        labels, pins = self.labels and self.labels.reversed(), self.pins and self.pins.reversed()
        return Way(self.key[::-1], self.source, self.content, labels, pins)


@dataclass(frozen=True, eq=False)
class Pair:
    """A and B', as the ways from A to B' and back; and B, where it is known.

    ab          the way from A to B'
    ba          the way from B' to A
    b           the known B, in the size of B'; or None
    b_checksum  the SHA-256 of the file of B, or of its pixels where it has none; None without B
    pin_rows    (N, 4) float64, the pins as a caller gives them: xa, ya, xb, yb in pixels; or None
    """

    ab: Way
    ba: Way
    b: Picture | None = None
    b_checksum: str | None = None
    pin_rows: np.ndarray | None = None

    @property
    def sides(self) -> tuple[Side, Side]:
        """The sides A and B'."""
        return self.ab.content, self.ab.source

    def seen(self, backend: Backend) -> dict[str, Array]:
        """Return what the network sees: `Side.name`, and "B" where B is known -> (h, w, 3) float32 0..1, on the device."""
        seen = {side.name: as_seen(backend, side.picture, side.working) for side in self.sides}
        if self.b:
            seen["B"] = as_seen(backend, self.b, self.ab.source.working)
        return seen

    def ways(self, settings: Settings) -> list[Way]:
        """Return the ways whose pictures `settings.direction` asks for."""
        return [way for way in (self.ab, self.ba) if settings.direction in ("both", way.key)]


def pair_of(
    a: Side,
    b_prime: Side,
    labels: Labels | None = None,
    pins: Pins | None = None,
    b: Picture | None = None,
) -> Pair:
    """Return the pair of two sides. `labels` and `pins` are seen from A; `b` is the known B."""
    ab = Way("ab", a, b_prime, labels, pins)
    return Pair(ab, ab.reversed(), b)


def read_pair(
    a: PictureLike,
    b_prime: PictureLike,
    b: PictureLike | None,
    mask_a: PictureLike | None,
    mask_b: PictureLike | None,
    pins: np.ndarray | None,
    settings: Settings,
    admitted: admission.Admission,
) -> Pair:
    """Read the pictures of a transfer, its masks, and its pins, each as `Engine.transfer` takes it.

    pins      (N, 4) float64, as `read_pins` returns them
    admitted  is asked about each picture before it is decoded

    Raises `ImageError` for a picture or a mask that cannot be used, `MemoryLimitError` if the memory does not suffice, and
    `SettingsError` for a pin.
    """

    def side(name: str, source: PictureLike) -> Side:
        picture = read_picture(source, name=name, admit=admitted.to(name))
        return Side(name, picture, admission.working_size(picture.size, settings))

    side_a, side_b_prime = side("A", a), side("B'", b_prime)
    known_b, checksum = None, None
    if b is not None:
        known_b, checksum = read_with_checksum(b, name="B", admit=admission.like(side_b_prime.size, "B'"))
        if known_b.size != side_b_prime.size:
            raise admission.differs(known_b.size, "B", side_b_prime.size, "B'")
    labels = guidance.read_labels(mask_a, mask_b, side_a.size, side_b_prime.size)
    placed = place_pins(pins, side_a.size, side_b_prime.size, side_a.working, labels)
    pair = pair_of(side_a, side_b_prime, labels, placed, known_b)
    return replace(pair, b_checksum=checksum, pin_rows=pins)


def own_pixels(backend: Backend, picture: Picture) -> Array:
    """Return the pixels (H, W, 3) uint8 of a picture: on the device if it lies there already, else on the host."""
    return picture.array if isinstance(picture.array, backend.xp.ndarray) else picture.rgb


def as_seen(backend: Backend, picture: Picture, working: Size) -> Array:
    """Return a picture as the network sees it: (*working, 3) float32 0..1, an array of the backend."""
    pixels = own_pixels(backend, picture)
    if backend.xp is np:
        return as_floats(backend, resize(pixels, *working))
    # The GPU shrinks it: for a picture of 12 megapixels Pillow would take longer than the rest of the transfer.
    return as_floats(backend, lanczos(backend.xp, backend.asarray(pixels), *working))
