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
from typing import IO, TYPE_CHECKING, Any, Generic, TypeAlias

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
from .pictures.writing import as_image, is_picture_path, suffix_of, write_picture, write_stream
from .progress import Progress, StageReporter, Tick, side_by_side
from .settings import Settings
from .version import __version__

MONTAGE_HEIGHT = 1080
"""Most rows of a montage, which is for looking at."""
PREVIEW_HEIGHT = 300
"""Most rows of the montage that a notebook shows."""

_MOST_BYTES = 1 << 20
"""Most bytes of a settings.json, which usually has a thousand."""

Pixels: TypeAlias = npt.NDArray[Any]
"""An array of a result: NumPy's (or CuPy's, where A was one)."""

if TYPE_CHECKING:  # the default is for type checkers alone; Python knows it from 3.13 on
    from typing_extensions import TypeVar

    AB = TypeVar("AB", covariant=True, default=Pixels | None)
    BA = TypeVar("BA", covariant=True, default=Pixels | None)
else:
    from typing import TypeVar

    AB, BA = TypeVar("AB"), TypeVar("BA")


@dataclass(frozen=True, eq=False, repr=False)
class Result(Generic[AB, BA]):
    """The pictures and fields of an analogy, and how they were made. What `settings.direction` leaves out is None.

    a, b_prime            the inputs, as they were read
    a_prime, b            the results: (H, W, 3) RGB of the size of A and of B', uint16 if A or B' has 16 bits, else uint8
    nnf_ab, nnf_ba        (h, w, 2) int32, the fields between the pictures in the size in which the network saw them:
                          [y, x] holds the (row, column) of the match
    error_ab, error_ba    (h, w) float32, the distance of the matched patches: -2 is perfect
    settings, model, model_sha256, device    what the result was made with
    known_b               B, where it was given, as it was read; else None
    known_b_sha256        SHA-256 of the file of B, or of its pixels where it has none; None without B
    pins                  (N, 4) float64: xa, ya, xb, yb of each pin, or None
    masks                 "mask_a" and "mask_b" -> "name" and "sha256" of the label picture; empty without masks
    levels                level -> the picture that its field votes, (H, W, 3) uint8; empty unless asked for
    seconds               stage -> the time it took

    Arrays are NumPy's. If A was a CuPy array and the device is "cuda", the results, fields and distances are CuPy arrays,
    in order on the stream that was current in the calling thread: synchronise it before you use them on another.

    To a type checker `Result[AB, BA]` has A' and its field of type AB, B and its field of type BA; one of them is None for
    a direction that was not asked for.
    """

    a: Picture
    b_prime: Picture
    a_prime: AB
    b: BA
    nnf_ab: AB
    nnf_ba: BA
    error_ab: AB
    error_ba: BA
    settings: Settings
    model: str
    model_sha256: str
    device: str
    known_b: Picture | None = None
    known_b_sha256: str | None = None
    pins: np.ndarray | None = None
    masks: dict[str, dict[str, str]] = field(default_factory=dict)
    levels: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        made = [
            f"{name} {own.size[1]} x {own.size[0]}"
            for name, picture, own in (("A'", self.a_prime, self.a), ("B", self.b, self.b_prime))
            if picture is not None
        ]
        return f"<Result: {', '.join(made)} ({self.model}, {self.device})>"

    def _repr_png_(self) -> bytes:
        """Return the montage, small, as PNG: what a notebook shows."""
        content = io.BytesIO()
        write_stream(content, self._montage(self._results(), PREVIEW_HEIGHT), ".png")
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
        """B as a PIL image, likewise with the alpha and the profile of B'. Raises `SettingsError` if only A' was made."""
        if self.b is None:
            raise SettingsError("there is no B, as this result was made with direction 'ab'; use 'ba' or 'both'")
        return as_image(to_host(self.b), self.b_prime, "B")

    def consistency(self) -> np.ndarray:
        """Return how far from itself each position of A comes back through both fields, in positions.

        The array is (hA, wA) float32; 0 is perfect.

        Raises `SettingsError` if only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with {self.settings.direction!r}"
            )
        return consistency(to_host(self.nnf_ab), to_host(self.nnf_ba))

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

        A folder gets `a_prime.png` and `b.png`, with the alpha and the ICC profile of A and of B'; `montage.png` (A, A', B,
        B'); `settings.json`; `level_5.png` to `level_1.png` if the result has levels; and with `flow` each field as
        `flow_ab.npz` (nnf, distance), `flow_ab.flo` (Middlebury) and `flowAB.txt` (the authors' program), `ba` likewise.
        A picture is A', or B if that alone was made.

        Each file appears whole or not at all, and a folder's files are always those of one result: `settings.json` names each
        with its checksum, and those of the result before that it does not name are deleted. What else is in the folder stays.

        Raises `OutputError` if a file cannot be written, if the folder has a file of such a name that is of no result, or was
        changed since, if the format is unknown, or if `flow` asks for more than the one picture.
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
        picture, own = self._one()
        write_stream(file, picture, suffix_of(format, label), like=own)

    def _save_picture(self, path: Path, format: str | None, flow: bool, report: StageReporter) -> None:
        _refuse_flow(str(path), flow)
        picture, own = self._one()
        make_folder(path.parent)
        suffix = suffix_of(format, str(path)) if format else ""
        report.plan({"saving": {"picture": 1}})
        write_picture(path, picture, like=own, suffix=suffix, tick=report.part("picture"))

    def _one(self) -> tuple[Pixels, Picture]:
        """Return A', or B if that alone was made; and the picture whose alpha and profile it gets."""
        return (to_host(self.b), self.b_prime) if self.a_prime is None else (to_host(self.a_prime), self.a)

    def _results(self) -> dict[str, Pixels]:
        """Return the pictures that were made, on the host."""
        made = {"a_prime": self.a_prime, "b": self.b}
        return {name: to_host(picture) for name, picture in made.items() if picture is not None}

    def _montage(self, results: dict[str, Pixels], height: int) -> Pixels:
        """Return A, A', B (made or given) and B' side by side, at most `height` high."""
        given = [self.known_b.rgb] if self.known_b else []
        row = [self.a.rgb, *map(to_8_bits, results.values()), *given, self.b_prime.rgb]
        return montage(row, height=min(height, max(len(picture) for picture in row)))

    def _save_folder(self, folder: Path, flow: bool, report: StageReporter) -> None:
        folder = make_folder(folder)
        with Places() as places:
            reserve(folder, file_names(self.settings, flow, bool(self.levels)), places)
        pixels = self.a.rgb.size * (1 + len(self.levels)) + self.b_prime.rgb.size
        report.plan({"saving": {"pictures": pixels, "flow": flow * pixels / 4}})
        with replacing(folder) as new:
            self._write_files(new, flow, report)

    def _write_files(self, folder: Path, flow: bool, report: StageReporter) -> None:
        results = self._results()  # here, in order on the stream of this thread

        def write(name: str, picture: Pixels, own: Picture | None, tick: Tick) -> None:
            write_picture(folder / f"{name}.png", picture, like=own, tick=tick)

        def write_montage(tick: Tick) -> None:
            tick(0)  # which ends it where another could not be written
            write("montage", self._montage(results, MONTAGE_HEIGHT), None, tick)

        likes = {"a_prime": self.a, "b": self.b_prime}
        tasks: list[Callable[[Tick], None]]
        tasks = [partial(write, name, picture, likes[name]) for name, picture in results.items()]
        tasks += [write_montage]
        tasks += [partial(write, f"level_{level}", voted, None) for level, voted in self.levels.items()]
        # Most of the time goes into compressing, which Python's lock does not hold up.
        side_by_side(min(available_cores(), len(tasks)), tasks, report.part("pictures"))
        if flow:
            for name, nnf, error in (("ab", self.nnf_ab, self.error_ab), ("ba", self.nnf_ba, self.error_ba)):
                if nnf is not None and error is not None:
                    write_npz(folder / f"flow_{name}.npz", to_host(nnf), to_host(error))
                    write_flo(folder / f"flow_{name}.flo", to_host(nnf))
                    write_text(folder / f"flow{name.upper()}.txt", to_host(nnf))
                    report.part("flow")(0.5 if name == "ab" else 1)
        manifest = self.record() | {"kind": TRANSFER, "files": checksums(folder)}
        with atomic(folder / MANIFEST) as file:
            file.write((json.dumps(manifest, indent=2) + "\n").encode())

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
            "b_prime": self.b_prime.name,
            "b": self.known_b and self.known_b.name,
            "b_sha256": self.known_b_sha256,
            "mask_a": self.masks.get("mask_a"),
            "mask_b": self.masks.get("mask_b"),
            "pins": [] if self.pins is None else self.pins.tolist(),
            "size_a": list(self.a.rgb.shape[:2]),
            "size_b_prime": list(self.b_prime.rgb.shape[:2]),
            "seconds": self.seconds,
        }


def file_names(settings: Settings, flow: bool = False, levels: bool = False) -> list[str]:
    """Return the names of the files that `Result.save` writes into a folder, but for the manifest.

    settings  those of the result, with `direction` "ab" where B was given
    """
    ways = ("ab", "ba") if settings.direction == "both" else (settings.direction,)
    names = [{"ab": "a_prime.png", "ba": "b.png"}[way] for way in ways] + ["montage.png"]
    if levels:
        names += [f"level_{level}.png" for level in range(5, 0, -1)]
    if flow:
        names += [name for way in ways for name in (f"flow_{way}.npz", f"flow_{way}.flo", f"flow{way.upper()}.txt")]
    return names


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


def recorded_inputs(path: str | os.PathLike[str]) -> dict[str, str | None]:
    """Return "b", "mask_a" and "mask_b" -> the checksum of that picture, or None where a `settings.json` has none.

    What the file does not say, as one of an earlier version, is left out.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        fields = json.loads(read_regular(path, _MOST_BYTES))
        found = {"b": fields["b_sha256"]} if "b_sha256" in fields else {}
        for name in ("mask_a", "mask_b"):
            if name in fields:
                found[name] = None if fields[name] is None else str(fields[name].get("sha256"))
        return found
    return {}
