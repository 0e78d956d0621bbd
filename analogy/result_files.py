"""The files of a result: their names in a folder, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .backends.host import available_cores
from .errors import OutputError
from .files.atomic import atomic
from .files.folders import checksums, make_folder, replacing, reserve
from .files.manifests import MANIFEST, TRANSFER
from .files.places import Places
from .method.flow_files import write_flo, write_npz, write_text
from .pictures.images import Picture
from .pictures.writing import suffix_of, write_picture, write_stream
from .progress import StageReporter, Tick, side_by_side
from .request import numbered
from .settings import Settings

Pixels: TypeAlias = npt.NDArray[Any]
"""An array of a result: a NumPy array, or a CuPy array (see the notes of `Result`)."""


class Painted(NamedTuple):
    """A picture that a transfer made."""

    name: str
    """Name of its file without the suffix: "a_prime", "b", or "b_1" where there are several B."""
    pixels: Pixels
    """The picture, (H, W, 3) uint8 or uint16 RGB."""
    like: Picture
    """The given picture of the same size, whose alpha and ICC profile the file gets."""


class Field(NamedTuple):
    """A nearest-neighbour field and its patch distances."""

    nnf: Pixels
    """The matches, (h, w, 2) int32; (h, w, 3) for matches in several examples."""
    distance: Pixels
    """The patch distance of each match, (h, w) float32."""


@dataclass(frozen=True)
class Contents:
    """Contents of a folder of results, from which `save_folder` writes the files.

    Attributes
    ----------
    made : list of Painted
        The pictures that were made: A', then each B.
    montage : callable
        Function without arguments that returns the montage, (H, W, 3) uint8.
    levels : dict
        Level -> the picture painted from the field of that level, (H, W, 3) uint8.
    ab : Field or None
        The field of A', None where only B was made.
    ba : list of Field
        The field of each B, empty where only A' was made.
    examples : int
        Number of pictures B'.
    settings : Settings
        The settings of the result.
    record : dict
        Plain values for `settings.json` that say how the result was made.
    """

    made: list[Painted]
    montage: Callable[[], Pixels]
    levels: dict[int, np.ndarray]
    ab: Field | None
    ba: list[Field]
    examples: int
    settings: Settings
    record: dict[str, Any]


def file_names(settings: Settings, flow: bool = False, levels: bool = False, examples: int = 1) -> list[str]:
    """Return the names of the files that `Result.save` writes into a folder, except the manifest.

    `settings.direction` has to be "ab" where B was given. `examples` is the number of pictures B'.
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


def to_host(array: Any) -> np.ndarray:
    """Return a NumPy or a CuPy array as a NumPy array."""
    return array if isinstance(array, np.ndarray) else array.get()


def save_stream(file: IO[bytes], made: list[Painted], format: str | None, flow: bool) -> None:
    """Write A', or B if only B was made, to an open file.

    Arguments and errors are those of `Result.save`.
    """
    name = getattr(file, "name", None)
    label = name if isinstance(name, str) else "the open file"
    if format is None:
        format = Path(label).suffix
        if not format:
            raise OutputError(f"{label}: the format is unknown; pass format='png', for instance")
    _refuse_flow(label, flow)
    picture = _single(made, label)
    write_stream(file, to_host(picture.pixels), suffix_of(format, label), like=picture.like)


def save_picture(path: Path, made: list[Painted], format: str | None, flow: bool, report: StageReporter) -> None:
    """Write A', or B if only B was made, to a path.

    Arguments and errors are those of `Result.save`.
    """
    _refuse_flow(str(path), flow)
    picture = _single(made, str(path))
    pixels = to_host(picture.pixels)
    make_folder(path.parent)
    suffix = suffix_of(format, str(path)) if format else ""
    report.plan({"saving": {"picture": 1}})
    write_picture(path, pixels, like=picture.like, suffix=suffix, tick=report.part("picture"))


def save_folder(folder: Path, contents: Contents, flow: bool, report: StageReporter) -> None:
    """Replace the results in a folder by `contents`. Errors are those of `Result.save`."""
    folder = make_folder(folder)
    with Places() as places:
        reserve(folder, file_names(contents.settings, flow, bool(contents.levels), contents.examples), places)
    report.plan({"saving": {"pictures": 4, "flow": int(flow)}})
    with replacing(folder) as new:
        _write_files(new, contents, flow, report)


def _refuse_flow(label: str, flow: bool) -> None:
    if flow:
        raise OutputError(f"{label}: the file of one picture cannot contain the fields; give a folder to write them to")


def _single(made: list[Painted], label: str) -> Painted:
    """Return A', or B if only B was made.

    Raises `OutputError`, which names `label`, if there are several B and no A'.
    """
    if made[0].name != "a_prime" and len(made) > 1:
        raise OutputError(
            f"{label}: there are {len(made)} pictures B, one for each example; give a folder to write them to"
        )
    return made[0]


def _write_files(folder: Path, contents: Contents, flow: bool, report: StageReporter) -> None:
    # This thread copies the pictures from the device, since other threads have other CUDA streams.
    made = [picture._replace(pixels=to_host(picture.pixels)) for picture in contents.made]

    def write(name: str, picture: Pixels, like: Picture | None, tick: Tick) -> None:
        write_picture(folder / f"{name}.png", picture, like=like, tick=tick)

    def write_montage(tick: Tick) -> None:
        write("montage", contents.montage(), None, tick)

    tasks: list[Callable[[Tick], None]]
    tasks = [write_montage]  # first, because it takes longest
    tasks += [partial(write, *picture) for picture in made]
    tasks += [partial(write, f"level_{level}", voted, None) for level, voted in contents.levels.items()]
    # Compression takes most of the time, and releases Python's lock, so that threads help.
    side_by_side(min(available_cores(), len(tasks)), tasks, report.part("pictures"))
    if flow:
        _write_fields(folder, contents, report.part("flow"))
    manifest = contents.record | {"kind": TRANSFER, "files": checksums(folder)}
    with atomic(folder / MANIFEST) as file:
        file.write((json.dumps(manifest, indent=2) + "\n").encode())


def _write_fields(folder: Path, contents: Contents, tick: Tick) -> None:
    """Write the fields that were made, under the names of `file_names`."""
    if contents.ab is not None:
        field, distance = map(to_host, contents.ab)
        example = field[..., 0] if field.shape[2] == 3 and contents.examples > 1 else None
        field = field[..., -2:]
        write_npz(folder / "flow_ab.npz", field, distance, example)
        for index, name in enumerate(numbered("ab", contents.examples)):
            known = None if example is None else example == index
            write_flo(folder / f"flow_{name}.flo", field, known)
            if known is None:
                write_text(folder / "flowAB.txt", field)
        tick(0.5)
    for name, of_b in zip(numbered("ba", len(contents.ba)), contents.ba, strict=True):
        field, distance = map(to_host, of_b)
        write_npz(folder / f"flow_{name}.npz", field, distance)
        write_flo(folder / f"flow_{name}.flo", field)
        write_text(folder / f"flow{name.upper()}.txt", field)
    tick(1)
