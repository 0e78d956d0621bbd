"""The result of a transfer, in memory and as files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from .backends.host import available_cores
from .errors import OutputError, SettingsError, enough_memory, reason
from .files.atomic import as_path, atomic
from .files.folders import checksums, make_folder, replacing, reserve
from .files.inputs import read_regular
from .files.manifests import MANIFEST, TRANSFER
from .files.places import Places
from .method.flow import consistency
from .method.flow_files import write_flo, write_npz, write_text
from .method.pins import read_pins
from .pictures.colour import to_8_bits
from .pictures.images import Picture, montage
from .pictures.reading import PictureLike
from .pictures.writing import as_image, is_picture_path, suffix_of, write_picture, write_stream
from .progress import Progress, StageReporter, Tick, side_by_side
from .request import Examples, listed, numbered
from .settings import Direction, Settings
from .version import __version__

MONTAGE_HEIGHT = 1080
"""Most rows of a montage, which is for looking at."""
PREVIEW_HEIGHT = 300
"""Most rows of the montage that a notebook shows."""

_MOST_BYTES = 1 << 20
"""Most bytes of a settings.json, which usually has a thousand."""

Pixels: TypeAlias = npt.NDArray[Any]
"""An array of a result: NumPy's (or CuPy's, where A was one)."""

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
            self._save_stream(target, format, flow)
        elif format is not None or is_picture_path(as_path(target)):
            self._save_picture(as_path(target), format, flow, report)
        else:
            self._save_folder(as_path(target), flow, report)
        report.end()

    def _save_stream(self, file: IO[bytes], format: str | None, flow: bool) -> None:
        name = getattr(file, "name", None)
        label = name if isinstance(name, str) else "the open file"
        if format is None:
            format = Path(label).suffix
            if not format:
                raise OutputError(f"{label}: in which format? Say so with format='png', for instance")
        _refuse_flow(label, flow)
        picture, own = self._one(label)
        write_stream(file, picture, suffix_of(format, label), like=own)

    def _save_picture(self, path: Path, format: str | None, flow: bool, report: StageReporter) -> None:
        _refuse_flow(str(path), flow)
        picture, own = self._one(str(path))
        make_folder(path.parent)
        suffix = suffix_of(format, str(path)) if format else ""
        report.plan({"saving": {"picture": 1}})
        write_picture(path, picture, like=own, suffix=suffix, tick=report.part("picture"))

    def _one(self, label: str) -> tuple[Pixels, Picture]:
        """Return A', or B if that alone was made; and the picture whose alpha and profile it gets.

        label  names the one picture to write in the `OutputError` that is raised where there are several B
        """
        made = self._made()
        if made[0][0] != "a_prime" and len(made) > 1:
            raise OutputError(f"{label}: there are {len(made)} B, one for each example; name a folder to write them to")
        _, picture, own = made[0]
        return to_host(picture), own

    def _made(self) -> list[tuple[str, Pixels, Picture]]:
        """Return the name, the pixels, and the picture of the same size of A' and of each B, as far as they were made."""
        made: list[tuple[str, Any, Picture]] = [] if self.a_prime is None else [("a_prime", self.a_prime, self.a)]
        pictures, examples = listed(self.b), listed(self.b_prime)
        names = numbered("b", len(examples))
        return made + list(zip(names, pictures, examples, strict=False))

    def _montage(self, height: int) -> Pixels:
        """Return A, A', each B (made or given) and each B' side by side, at most `height` high."""
        made = [to_8_bits(to_host(picture)) for _, picture, _ in self._made()]
        given = [picture.rgb for picture in (*listed(self.known_b), *listed(self.b_prime))]
        row = [self.a.rgb, *made, *given]
        return montage(row, height=min(height, max(len(picture) for picture in row)))

    def _save_folder(self, folder: Path, flow: bool, report: StageReporter) -> None:
        folder = make_folder(folder)
        with Places() as places:
            examples = listed(self.b_prime)
            reserve(folder, file_names(self.settings, flow, bool(self.levels), len(examples)), places)
        pixels = self.a.rgb.size * (1 + len(self.levels)) + sum(picture.rgb.size for picture in examples)
        report.plan({"saving": {"pictures": pixels, "flow": flow * pixels / 4}})
        with replacing(folder) as new:
            self._write_files(new, flow, report)

    def _write_files(self, folder: Path, flow: bool, report: StageReporter) -> None:
        made = [(name, to_host(picture), own) for name, picture, own in self._made()]  # here, on this thread's stream

        def write(name: str, picture: Pixels, own: Picture | None, tick: Tick) -> None:
            write_picture(folder / f"{name}.png", picture, like=own, tick=tick)

        def write_montage(tick: Tick) -> None:
            tick(0)  # which ends it where another could not be written
            write("montage", self._montage(MONTAGE_HEIGHT), None, tick)

        tasks: list[Callable[[Tick], None]]
        tasks = [partial(write, name, picture, own) for name, picture, own in made]
        tasks += [write_montage]
        tasks += [partial(write, f"level_{level}", voted, None) for level, voted in self.levels.items()]
        # Most of the time goes into compressing, which Python's lock does not hold up.
        side_by_side(min(available_cores(), len(tasks)), tasks, report.part("pictures"))
        if flow:
            self._write_fields(folder, report.part("flow"))
        manifest = self.record() | {"kind": TRANSFER, "files": checksums(folder)}
        with atomic(folder / MANIFEST) as file:
            file.write((json.dumps(manifest, indent=2) + "\n").encode())

    def _write_fields(self, folder: Path, tick: Tick) -> None:
        """Write the fields that were made, with the names that `file_names` gives them."""
        if self.nnf_ab is not None and self.error_ab is not None:
            field, distance = to_host(self.nnf_ab), to_host(self.error_ab)
            count = len(listed(self.b_prime))
            example = field[..., 0] if field.shape[2] == 3 and count > 1 else None
            field = field[..., -2:]
            write_npz(folder / "flow_ab.npz", field, distance, example)
            for index, name in enumerate(numbered("ab", count)):
                known = None if example is None else example == index
                write_flo(folder / f"flow_{name}.flo", field, known)
                if known is None:
                    write_text(folder / "flowAB.txt", field)
            tick(0.5)
        fields, distances = listed(self.nnf_ba), listed(self.error_ba)
        for name, field, distance in zip(numbered("ba", len(fields)), fields, distances, strict=True):
            write_npz(folder / f"flow_{name}.npz", to_host(field), to_host(distance))
            write_flo(folder / f"flow_{name}.flo", to_host(field))
            write_text(folder / f"flow{name.upper()}.txt", to_host(field))
        tick(1)

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


def file_names(settings: Settings, flow: bool = False, levels: bool = False, examples: int = 1) -> list[str]:
    """Return the names of the files that `Result.save` writes into a folder, but for the manifest.

    settings  those of the result, with `direction` "ab" where B was given
    examples  the number of pictures B'
    """
    ways = ("ab", "ba") if settings.direction == "both" else (settings.direction,)
    pictures = {"ab": ["a_prime"], "ba": numbered("b", examples)}
    names = [f"{name}.png" for way in ways for name in pictures[way]] + ["montage.png"]
    if levels:
        names += [f"level_{level}.png" for level in range(5, 0, -1)]
    if not flow:
        return names
    if "ab" in ways:
        names += ["flow_ab.npz", *(f"flow_{name}.flo" for name in numbered("ab", examples))]
        names += ["flowAB.txt"] if examples == 1 else []
    for name in numbered("ba", examples if "ba" in ways else 0):
        names += [f"flow_{name}.npz", f"flow_{name}.flo", f"flow{name.upper()}.txt"]
    return names


def _each(value: Any, of: Callable[[Any], Any]) -> Any:
    """Return what `of` returns for a value; for a list that of each of its members; None for None."""
    if value is None:
        return None
    return [of(member) for member in value] if isinstance(value, list) else of(value)


def _refuse_flow(label: str, flow: bool) -> None:
    if flow:
        raise OutputError(f"{label}: one picture cannot hold the fields; name a folder to write them to")


def to_host(array: Any) -> np.ndarray:
    """Return a NumPy or a CuPy array as NumPy's."""
    return array if isinstance(array, np.ndarray) else array.get()


def read_record(path: str | os.PathLike[str]) -> tuple[Settings, str, str, np.ndarray | None]:
    """Read a `settings.json`: the settings, the model's name and its checksum, the pins. Raises `SettingsError`."""
    try:
        fields = json.loads(read_regular(path, _MOST_BYTES))
        model, checksum = fields["model"], fields["model_sha256"]
        if not isinstance(model, str) or not isinstance(checksum, str):
            raise TypeError("the name or the checksum of its model is no text")
        pins = fields.get("pins", [])
        if not isinstance(pins, list):  # nor a path, which a caller might give
            raise TypeError("the pins are no list")
        return Settings.from_dict(fields["settings"]), model, checksum, read_pins(pins)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path}: not the settings.json of a result ({reason(error)})") from error


def recorded_inputs(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return "b", "mask_a" and "mask_b" -> the checksums of those pictures; an empty list where a `settings.json` has none.

    What the file does not say, as one of an earlier version, is left out.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        fields = json.loads(read_regular(path, _MOST_BYTES))
        found = {"b": [str(checksum) for checksum in listed(fields["b_sha256"])]} if "b_sha256" in fields else {}
        for name in ("mask_a", "mask_b"):
            if name in fields:
                masks = listed(fields[name])
                found[name] = [str(mask.get("sha256") if isinstance(mask, dict) else mask) for mask in masks]
        return found
    return {}


def recorded_examples(path: str | os.PathLike[str]) -> int | None:
    """Return with how many pictures B' a `settings.json` says that its result was made; None where it does not say so."""
    with suppress(OSError, ValueError, TypeError, RecursionError, KeyError):
        return len(listed(json.loads(read_regular(path, _MOST_BYTES))["b_prime"])) or None
    return None
