"""The result of a transfer, in memory and as files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from typing import IO, TYPE_CHECKING, Any, Generic, Literal, overload

import numpy as np
from PIL import Image

from .errors import SettingsError, enough_memory
from .files.atomic import as_path
from .method.flow import consistency
from .pictures.colour import to_8_bits
from .pictures.images import Picture, montage
from .pictures.reading import PictureLike
from .pictures.writing import as_image, is_picture_path, write_stream
from .progress import Progress, StageReporter
from .request import Examples, listed, numbered
from .result_files import Contents, Field, Painted, Pixels, save_folder, save_picture, save_stream, to_host
from .settings import Direction, Settings
from .version import __version__

MONTAGE_HEIGHT = 1080
"""Most rows of a montage, which is for looking at."""
PREVIEW_HEIGHT = 300
"""Most rows of the montage that a notebook shows."""

if TYPE_CHECKING:  # the defaults are for type checkers alone; Python knows them from 3.13 on
    from typing_extensions import TypeVar

    Way = TypeVar("Way", bound=Direction, default=Direction)
    Looks = TypeVar("Looks", PictureLike, Examples)
    Way_co = TypeVar("Way_co", bound=Direction, covariant=True, default=Direction)
    Looks_co = TypeVar("Looks_co", bound=PictureLike | Examples, covariant=True, default=PictureLike)

    class _OfA:
        """The type of A' and of what belongs to it: an array, or None where the call asks for B alone."""

        @overload
        def __get__(self, result: Result[Literal["ba"], Any], owner: Any) -> None: ...
        @overload
        def __get__(self, result: Result[Literal["ab", "both"], Any], owner: Any) -> Pixels: ...
        @overload
        def __get__(self, result: Result[Any, Any], owner: Any) -> Pixels | Any: ...
        def __get__(self, result: Any, owner: Any) -> Any: ...

    class _OfB:
        """The type of B and of what belongs to it: an array, a list of them, or None where the call asks for A' alone."""

        @overload
        def __get__(self, result: Result[Literal["ab"], Any], owner: Any) -> None: ...
        @overload
        def __get__(self, result: Result[Literal["ba", "both"], Examples], owner: Any) -> list[Pixels]: ...
        @overload
        def __get__(self, result: Result[Literal["ba", "both"], Any], owner: Any) -> Pixels: ...
        @overload
        def __get__(self, result: Result[Any, Any], owner: Any) -> Pixels | Any: ...
        def __get__(self, result: Any, owner: Any) -> Any: ...

    class _Given:
        """The type of B' as it was read: a picture, or a list of them."""

        @overload
        def __get__(self, result: Result[Any, Examples], owner: Any) -> list[Picture]: ...
        @overload
        def __get__(self, result: Result[Any, Any], owner: Any) -> Picture: ...
        def __get__(self, result: Any, owner: Any) -> Any: ...
else:
    from typing import TypeVar

    Way, Looks, Way_co, Looks_co = TypeVar("Way"), TypeVar("Looks"), TypeVar("Way_co"), TypeVar("Looks_co")


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[Way_co, Looks_co]):
    """The pictures and fields of an analogy, and how they were made. What `settings.direction` leaves out is None.

    Where B' was given as a list, `b_prime`, `b`, `nnf_ba`, `error_ba`, `known_b` and
    `known_b_sha256` are lists, too, in its order, and `nnf_ab` is (h, w, 3): the index of the
    example, from 0, and the row and column in it.

    a, b_prime            the inputs, as they were read
    a_prime, b            the results: (H, W, 3) RGB of the size of A and of B', uint16 if A or B' has 16 bits, else uint8
    nnf_ab, nnf_ba        (h, w, 2) int32, the fields between the pictures in the size in which the network saw them:
                          [y, x] holds the (row, column) of the match
    error_ab, error_ba    (h, w) float32, the distance of the matched patches: -2 is perfect
    settings, model, model_sha256, device    what the result was made with
    known_b               B, where it was given, as it was read; else None
    known_b_sha256        SHA-256 of the file of B, or of its pixels where it has none; None without B
    pins                  (N, 4) float64: xa, ya, xb, yb of each pin, or None
    masks                 "mask_a" and "mask_b" -> "name" and "sha256" of the label picture, or a list of these for several
                          examples; empty without masks
    levels                level -> the picture that its field votes, (H, W, 3) uint8; empty unless asked for
    seconds               stage -> the time it took

    Arrays are NumPy's. If A was a CuPy array and the device is "cuda", the results, fields and
    distances are CuPy arrays, in order on the stream that was current in the calling thread:
    synchronise it before you use them on another.

    To a type checker `Result[Way, Looks]` has what the word for `direction` in the call says,
    "both", "ab" or "ba": arrays, and None for what it leaves out. Where the call has no such word,
    `settings` or `b` decides, and the checker takes what may be None for anything. Looks is
    `PictureLike`, or `Examples` where B' was a list; then there are lists.
    """

    a: Picture
    if TYPE_CHECKING:
        b_prime = _Given()
        a_prime, nnf_ab, error_ab = _OfA(), _OfA(), _OfA()
        b, nnf_ba, error_ba = _OfB(), _OfB(), _OfB()
    else:
        b_prime: Any
        a_prime: Any
        b: Any
        nnf_ab: Any
        nnf_ba: Any
        error_ab: Any
        error_ba: Any
    settings: Settings
    model: str
    model_sha256: str
    device: str
    known_b: Picture | list[Picture] | None = None
    known_b_sha256: str | list[str] | None = None
    pins: np.ndarray | None = None
    masks: dict[str, Any] = field(default_factory=dict)
    levels: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        titled = [(name.upper().replace("_PRIME", "'"), own.size) for name, _, own in self._made()]
        made = [f"{title} {columns} x {rows}" for title, (rows, columns) in titled]
        return f"<Result: {', '.join(made)} ({self.model}, {self.device})>"

    def _repr_png_(self) -> bytes:
        """Return the montage, small, as PNG: what a notebook shows."""
        content = io.BytesIO()
        write_stream(content, self._montage(PREVIEW_HEIGHT), ".png")
        return content.getvalue()

    @property
    def a_prime_image(self) -> Image.Image:
        """A' as a PIL image of 8 bits per channel, with the alpha and the ICC profile of A (in its `info`).

        Raises `SettingsError` if only B was made.
        """
        if self.a_prime is None:
            raise SettingsError("there is no A', as this result was made with direction 'ba'; use 'ab' or 'both'")
        return as_image(to_host(self.a_prime), self.a, "A'")

    @property
    def b_image(self) -> Image.Image:
        """B as a PIL image, likewise with the alpha and the profile of B'; see `b_images` for several.

        Raises `SettingsError` if only A' was made, or if there are several B.
        """
        images = self.b_images
        if len(images) > 1:
            raise SettingsError(f"there are {len(images)} B, one for each example; use b_images")
        return images[0]

    @property
    def b_images(self) -> list[Image.Image]:
        """The B of each example as PIL images, as `b_image` has them. Raises `SettingsError` if only A' was made."""
        if self.b is None:
            raise SettingsError("there is no B, as this result was made with direction 'ab'; use 'ba' or 'both'")
        return [as_image(to_host(picture), own, "B") for name, picture, own in self._made() if name != "a_prime"]

    def consistency(self) -> np.ndarray:
        """Return how far from itself each position of A comes back through both fields, in positions.

        The array is (hA, wA) float32; 0 is perfect.

        Raises `SettingsError` if only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with {self.settings.direction!r}"
            )
        back: Any = self.nnf_ba
        return consistency(to_host(self.nnf_ab), [*map(to_host, back)] if isinstance(back, list) else to_host(back))

    @enough_memory("write the result", "close other programs")
    def save(
        self,
        target: str | os.PathLike[str] | IO[bytes],
        *,
        format: str | None = None,
        flow: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Write the result to a folder, or one picture of it to a file.

        target    a folder, which is made if needed; or the path of a picture, by its suffix (.png .jpg .jpeg .webp .tif .tiff
                  .bmp); or a file that is open for writing in binary mode
        format    "png", "jpeg" and so on: makes any path the path of a picture; needed for an open file without a name
        flow      also write the fields, into a folder
        progress  is called while files are written; an exception that it raises ends the writing, and leaves no half file

        A folder gets `a_prime.png` and `b.png`, with the alpha and the ICC profile of A and of B';
        `montage.png` (A, A', B, B'); `settings.json`; `level_5.png` to `level_1.png` if the result
        has levels; and with `flow` each field as `flow_ab.npz` (nnf, distance), `flow_ab.flo`
        (Middlebury) and `flowAB.txt` (the authors' program), `ba` likewise. A picture is A', or B
        if that alone was made.

        With several examples there are `b_1.png`, `b_2.png` and so on, and their fields
        `flow_ba_1.npz` and so on. The field of A' is `flow_ab.npz`, where `example` says in which
        of them a match lies, from 0; and `flow_ab_1.flo` and so on, where what lies in another
        example is unknown. The text of the authors' program cannot say so, and is left out.

        Each file appears whole or not at all, and a folder's files are always those of one result:
        `settings.json` names each with its checksum, and those of the result before that it does
        not name are deleted. What else is in the folder stays.

        Raises `OutputError` if a file cannot be written, if the folder has a file of such a name
        that is of no result, or was changed since, if the format is unknown, or if `flow` asks for
        more than the one picture.
        """
        report = StageReporter(progress)
        report.begin("saving")
        if not isinstance(target, (str, os.PathLike)) and hasattr(target, "write"):
            save_stream(target, self._made(), format, flow)
        elif format is not None or is_picture_path(as_path(target)):
            save_picture(as_path(target), self._made(), format, flow, report)
        else:
            save_folder(as_path(target), self._contents(), flow, report)
        report.end()

    def _made(self) -> list[Painted]:
        """Return A' and each B, as far as they were made."""
        made = [] if self.a_prime is None else [Painted("a_prime", self.a_prime, self.a)]
        pictures, examples = listed(self.b), listed(self.b_prime)
        return made + list(map(Painted, numbered("b", len(examples)), pictures, examples))

    def _contents(self) -> Contents:
        """Return what `save` writes into a folder."""
        return Contents(
            made=self._made(),
            montage=partial(self._montage, MONTAGE_HEIGHT),
            levels=self.levels,
            ab=None if self.nnf_ab is None else Field(self.nnf_ab, self.error_ab),
            ba=list(map(Field, listed(self.nnf_ba), listed(self.error_ba))),
            examples=len(listed(self.b_prime)),
            settings=self.settings,
            record=self.record(),
        )

    def _montage(self, height: int) -> Pixels:
        """Return A, A', each B (made or given) and each B' side by side, at most `height` high."""
        made = [to_8_bits(to_host(picture)) for _, picture, _ in self._made()]
        given = [picture.rgb for picture in (*listed(self.known_b), *listed(self.b_prime))]
        row = [self.a.rgb, *made, *given]
        return montage(row, height=min(height, max(len(picture) for picture in row)))

    def record(self) -> dict[str, Any]:
        """Return how the result was made, as plain values for JSON."""
        return {
            "analogy": __version__,
            "versions": {name: version(name) for name in ("numpy", "numba", "pillow")},
            "settings": asdict(self.settings),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "a": self.a.name,
            "b_prime": _each(self.b_prime, lambda picture: picture.name),
            "b": _each(self.known_b, lambda picture: picture.name),
            "b_sha256": self.known_b_sha256,
            "mask_a": self.masks.get("mask_a"),
            "mask_b": self.masks.get("mask_b"),
            "pins": [] if self.pins is None else self.pins.tolist(),
            "size_a": list(self.a.rgb.shape[:2]),
            "size_b_prime": _each(self.b_prime, lambda picture: list(picture.size)),
            "seconds": self.seconds,
        }


def _each(value: Any, of: Callable[[Any], Any]) -> Any:
    """Return what `of` returns for a value; for a list that of each of its members; None for None."""
    if value is None:
        return None
    return [of(member) for member in value] if isinstance(value, list) else of(value)
