"""A painted film as files: a folder with a picture for each frame, which a killed run goes on to fill; videos of them.

The folder's manifest names each finished frame with its checksum, and what it was made from. A run keeps the frames that
are as a run before has left them and would come out the same, and paints the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError
from .film import Clip
from .inputs import read_regular
from .pictures.files import atomic
from .pictures.folders import MANIFEST, checksum, is_unchanged, make_folder, recorded_files
from .pictures.images import Picture, resize
from .pictures.reading import read_picture
from .pictures.video import write_video
from .pictures.writing import write_picture

SUFFIX = ".png"
_WORK = ".clip"
"""The folder in that of the frames that keeps how far a run is."""
_MOST_BYTES = 1 << 24
_CONTACT_FRAMES, _CONTACT_COLUMNS, _CONTACT_WIDTH = 24, 3, 240
"""Of a contact sheet: most frames, how many in a row, and the columns of pixels of each picture."""


def paint_folder(clip: Clip, folder: Path, record: dict[str, Any], told: Callable[[int], None]) -> list[Path]:
    """Paint the frames of a clip into `folder`, and return their paths in order.

    record  how they are made, for the manifest
    told    is called with the number of frames that are finished already, and after each frame that is painted, with 1

    Raises `OutputError` if the folder cannot be written to, or holds the film itself.
    """
    make_folder(folder)
    paths = [folder / f"{name}{SUFFIX}" for name in clip.names]
    for path in paths:
        if any(path.exists() and path.samefile(source) for source in clip.files):
            raise OutputError(f"{folder}: that is where the film is; name another folder with -o")
    made_from: dict[str, str] = {}
    for stretch in clip.stretches:
        digest = clip.made_from(stretch)
        made_from |= {paths[index].name: digest for index in range(stretch.first, stretch.last + 1)}
    files, before = recorded_files(folder / MANIFEST), _made_from(folder / MANIFEST)
    finished = {
        path.name: files[path.name]
        for path in paths
        if before.get(path.name) == made_from[path.name] and is_unchanged(path, files.get(path.name, ""))
    }
    for name, recorded in files.items():  # frames of a longer film
        if name in before and name not in made_from and is_unchanged(folder / name, recorded):
            (folder / name).unlink()
    told(len(finished))
    missing = [index for index, path in enumerate(paths) if path.name not in finished]
    for frame in clip.paint(missing, folder / _WORK):
        path = paths[frame.index]
        write_picture(path, frame.picture, like=frame.film)
        finished[path.name] = checksum(path)
        _write_manifest(folder, record, finished, made_from)
        told(1)
    _write_manifest(folder, record, finished, made_from)
    return paths


def contact_sheet(clip: Clip, painted: list[Path]) -> np.ndarray:
    """Every n-th frame, each as film and as result side by side, in rows on white: (H, W, 3) uint8."""
    step = -(-len(clip) // _CONTACT_FRAMES)
    cells = [_beside(clip.read(index), painted[index], _CONTACT_WIDTH) for index in range(0, len(clip), step)]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % _CONTACT_COLUMNS)
    rows = [cells[i : i + _CONTACT_COLUMNS] for i in range(0, len(cells), _CONTACT_COLUMNS)]
    return _in_line([_in_line(row, 12, axis=1) for row in rows], 12, axis=0)


def write_film(clip: Clip, painted: list[Path], path: Path, rate: Fraction, side_by_side: bool = False) -> None:
    """Write the painted frames as a video, like the film if that is one, else with `rate` frames a second.

    side_by_side  with the film beside them
    """
    pictures = (
        _beside(clip.read(index), frame) if side_by_side else read_picture(frame).rgb
        for index, frame in enumerate(painted)
    )
    write_video(path, pictures, clip.video, rate)


def _beside(film: Picture, painted: Path, width: int | None = None) -> np.ndarray:
    pictures = [film.rgb, read_picture(painted).rgb]
    if width is not None:
        height = max(1, round(film.size[0] * width / film.size[1]))
        pictures = [resize(picture, height, width) for picture in pictures]
    return _in_line(pictures, 4, axis=1)


def _in_line(pictures: list[np.ndarray], gap: int, axis: int) -> np.ndarray:
    """Pictures of one size side by side, or below each other, with a white gap between."""
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=axis)


def _made_from(path: Path) -> dict[str, str]:
    """Name -> the checksum of what a frame was made from; nothing if this is no manifest of a clip."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        stretches = json.loads(read_regular(path, _MOST_BYTES))["made_from"]
        return {str(name): str(digest) for digest, names in stretches.items() for name in names}
    return {}


def _write_manifest(folder: Path, record: dict[str, Any], files: dict[str, str], made_from: dict[str, str]) -> None:
    stretches: dict[str, list[str]] = {}
    for name in files:
        stretches.setdefault(made_from[name], []).append(name)
    with atomic(folder / MANIFEST) as file:
        file.write((json.dumps(record | {"made_from": stretches, "files": files}, indent=1) + "\n").encode())
