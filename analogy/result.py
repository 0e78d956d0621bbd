"""The result of a transfer: its pictures, its fields, and how they were made."""

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
"""Largest height of the montage in a folder of results, in pixels."""
PREVIEW_HEIGHT = 300
"""Largest height of the montage that a notebook shows, in pixels."""

if TYPE_CHECKING:  # `typing` lacks defaults of type variables before Python 3.13; only type checkers need them
    from typing_extensions import TypeVar

    Way = TypeVar("Way", bound=Direction, default=Direction)
    Looks = TypeVar("Looks", PictureLike, Examples)
    Way_co = TypeVar("Way_co", bound=Direction, covariant=True, default=Direction)
    Looks_co = TypeVar("Looks_co", bound=PictureLike | Examples, covariant=True, default=PictureLike)

    class _OfA:
        """Type of A', its field and its distances: an array, or None if only B was made."""

        @overload
        def __get__(self, result: Result[Literal["ba"], Any], owner: Any) -> None: ...
        @overload
        def __get__(self, result: Result[Literal["ab", "both"], Any], owner: Any) -> Pixels: ...
        @overload
        def __get__(self, result: Result[Any, Any], owner: Any) -> Pixels | Any: ...
        def __get__(self, result: Any, owner: Any) -> Any: ...

    class _OfB:
        """Type of B, its field and its distances: an array, a list, or None if only A' was made."""

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
        """Type of B' as it was read: a picture, or a list of pictures."""

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
    """The pictures and fields that a transfer made, and how they were made.

    The pictures and fields that `settings.direction` leaves out are None. If B' was given as a
    list, the attributes `b_prime`, `b`, `nnf_ba`, `error_ba`, `known_b` and `known_b_sha256` are
    lists in the same order.

    Attributes
    ----------
    a, b_prime : Picture
        The given pictures, as they were read.
    a_prime, b : ndarray
        The pictures that were made, (H, W, 3) RGB. A' has the size of A, and B has the size of B'.
        The dtype is uint16 if the content or one of its sources was read with 16 bits per channel,
        else uint8.
    nnf_ab, nnf_ba : ndarray
        The nearest-neighbour fields at the working size, (h, w, 2) int32: `nnf[y, x]` is the
        (row, column) of the match. With several examples `nnf_ab` is (h, w, 3): the index of the
        example, from 0, then the row and the column in it.
    error_ab, error_ba : ndarray
        The patch distance of each match, (h, w) float32. The smallest possible distance is -2.
    settings : Settings
        All settings of the transfer.
    model, model_sha256 : str
        The name of the model, and one SHA-256 for all of its files.
    device : str
        The device that computed the result, in words.
    known_b : Picture or None
        B as it was read, if it was given.
    known_b_sha256 : str or None
        SHA-256 of the file of a given B, or of its pixels if it was not a file.
    pins : ndarray or None
        The pins, (N, 4) float64: xa, ya, xb, yb in pixels. With several examples a fifth column has
        the number of the example, from 1.
    masks : dict
        "mask_a" and "mask_b" -> a dict with the "name" and the "sha256" of the label picture. With
        several examples, "mask_b" has a list of such dicts. Empty without masks.
    levels : dict
        Level -> A' (or the first B if A' was not made) as it is painted from the field of that
        level, (H, W, 3) uint8. Empty unless the transfer had `levels=True`.
    seconds : dict
        Stage -> the seconds that it took.

    Notes
    -----
    The arrays are NumPy arrays, with one exception: if A was a CuPy array and the device is "cuda",
    the pictures, fields and distances are CuPy arrays. These are ready on the stream that was
    current in the calling thread: synchronise that stream before another stream uses them.

    For type checkers, `Result[Way, Looks]` depends on the call. `Way` is the literal that the call
    gives as `direction`: "both", "ab" or "ba". The attributes that this direction leaves out have
    the type None. If the call gives no literal, type checkers accept any use of the attributes that
    can be None. `Looks` is `Examples` if B' was a list, and the attributes of B' and B are then
    lists. Otherwise it is `PictureLike`.
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
        """Return a small montage as a PNG file, which a notebook shows."""
        content = io.BytesIO()
        write_stream(content, self._montage(PREVIEW_HEIGHT), ".png")
        return content.getvalue()

    @property
    def a_prime_image(self) -> Image.Image:
        """A' as a PIL image of 8 bits per channel, with the alpha channel and the ICC profile of A.

        Raises `SettingsError` if only B was made.
        """
        if self.a_prime is None:
            raise SettingsError("there is no A', since this result was made with direction 'ba'; use 'ab' or 'both'")
        return as_image(to_host(self.a_prime), self.a, "A'")

    @property
    def b_image(self) -> Image.Image:
        """B as a PIL image of 8 bits per channel, with the alpha channel and the ICC profile of B'.

        Raises `SettingsError` if only A' was made, or if there are several B; `b_images` has those.
        """
        images = self.b_images
        if len(images) > 1:
            raise SettingsError(f"there are {len(images)} pictures B, one for each example; use b_images")
        return images[0]

    @property
    def b_images(self) -> list[Image.Image]:
        """Each B as a PIL image like `b_image`, in the order of the examples.

        Raises `SettingsError` if only A' was made.
        """
        if self.b is None:
            raise SettingsError("there is no B, since this result was made with direction 'ab'; use 'ba' or 'both'")
        return [as_image(to_host(picture), own, "B") for name, picture, own in self._made() if name != "a_prime"]

    def consistency(self) -> np.ndarray:
        """Return the round-trip error of the two fields at each position of A.

        Returns
        -------
        ndarray
            (hA, wA) float32, in positions of the working size: the distance between a position of A
            and the position that `nnf_ba` assigns to its match in B'. It is 0 where the two fields
            agree.

        Raises
        ------
        SettingsError
            If only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with direction {self.settings.direction!r}; "
                "use 'both'"
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
        """Write the result into a folder, or one picture of it to a file.

        Parameters
        ----------
        target : str, path or binary file
            The path of a folder, which is made if needed, or the path or the open file of one
            picture. A path is that of a picture if it ends in .png, .jpg, .jpeg, .webp, .tif, .tiff
            or .bmp, and no folder has this path. An open file must be open for writing in binary
            mode.
        format : str, optional
            The format of a picture, such as "png". If it is given, one picture is written, whatever
            the name of `target` is. It is required for an open file whose name has no suffix.
        flow : bool
            Also write the fields into the folder.
        progress : callable, optional
            Called with a `Progress` while files are written. An exception that it raises ends the
            writing and leaves no partly written file.

        Raises
        ------
        OutputError
            If a file cannot be written; if the folder has a file with the name of a new file,
            except an unchanged file of an earlier result; if the format is unknown; if `flow` is
            true for a single picture; or if a single picture is asked for, and the result has
            several B and no A'.

        Notes
        -----
        A single picture is A', or B if only B was made.

        A folder gets `a_prime.png` and `b.png`, with the alpha channel and the ICC profile of A and
        of B'; `montage.png` (A, A', B, B'); and `settings.json`, with which the command can make
        the same result again. If the result has levels, the folder gets `level_5.png` to
        `level_1.png`. With `flow` it gets each field as `flow_ab.npz` (arrays `nnf` and
        `distance`), `flow_ab.flo` (Middlebury's format) and `flowAB.txt` (the format of the
        authors' program), and the same files for `ba`.

        With several examples the folder gets `b_1.png`, `b_2.png` and so on, with their fields
        `flow_ba_1.npz` and so on. In `flow_ab.npz` the array `example` has the index of each
        match's example, from 0. `flow_ab_1.flo` contains the matches in the first example, and
        marks all other positions as unknown; `flow_ab_2.flo` and so on do the same for their
        examples. `flowAB.txt` cannot express several examples, so it is not written for them.

        A file is never left partly written, and all files that `save` has written into a folder
        belong to the same result. `settings.json` lists these files with their checksums. Unchanged
        files of an earlier result that this result does not have are deleted; all other files in
        the folder stay.
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
        """Return the pictures that were made: A', then each B."""
        made = [] if self.a_prime is None else [Painted("a_prime", self.a_prime, self.a)]
        pictures, examples = listed(self.b), listed(self.b_prime)
        return made + list(map(Painted, numbered("b", len(examples)), pictures, examples))

    def _contents(self) -> Contents:
        """Return the pictures, the fields and the record that `save` writes into a folder."""
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
        """Return a montage of A, A', each B (made or given) and each B'.

        It is at most `height` pixels high.
        """
        made = [to_8_bits(to_host(picture)) for _, picture, _ in self._made()]
        given = [picture.rgb for picture in (*listed(self.known_b), *listed(self.b_prime))]
        row = [self.a.rgb, *made, *given]
        return montage(row, height=min(height, max(len(picture) for picture in row)))

    def record(self) -> dict[str, Any]:
        """Return a dict for JSON that says how the result was made.

        Returns
        -------
        dict
            The versions of this package, NumPy, Numba and Pillow; the settings, the model and the
            device; the names of the pictures; the checksums of a known B and of the label pictures;
            the pins; the sizes of A and B'; and the seconds of each stage.
        """
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
            "size_a": list(self.a.size),
            "size_b_prime": _each(self.b_prime, lambda picture: list(picture.size)),
            "seconds": self.seconds,
        }


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to a value, or to each member of a list; None stays None."""
    if value is None:
        return None
    return [function(member) for member in value] if isinstance(value, list) else function(value)
