"""A painted film as files: a folder with a picture for each frame, which a killed run goes on to fill; videos of them.

The folder's manifest names each finished frame with its checksum, and what it was made from. A run keeps the frames that
are as a run before has left them and would come out the same, and paints the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .film import Clip
from .film_work import alone
from .inputs import read_regular
from .pictures.files import atomic
from .pictures.folders import MANIFEST, checksum, claim, folder_for, is_unchanged, recorded_files
from .pictures.images import Picture, resize
from .pictures.places import Places
from .pictures.reading import read_picture
from .pictures.video import write_video
from .pictures.writing import write_picture

SUFFIX = ".png"
_WORK = ".clip"
"""The folder in that of the frames that keeps how far a run is."""
_MOST_BYTES = 1 << 26
_WHITE = 255
"""What shows through in a video and on a contact sheet where frames are transparent, as in a JPEG of them."""
_CONTACT_FRAMES, _CONTACT_COLUMNS, _CONTACT_WIDTH = 24, 3, 240
"""Of a contact sheet: most frames, how many in a row, and the columns of pixels of each picture."""


@contextmanager
def film_folder(folder: Path) -> Iterator[None]:
    """A folder for painted frames, which is made if need be. No other run paints into it while the block runs.

    Raises `OutputError` if the folder cannot be written to, or another run paints into it.
    """
    with folder_for(folder), alone(folder / _WORK):
        yield


def paint_folder(
    clip: Clip, folder: Path, record: dict[str, Any], told: Callable[[int], None], places: Places
) -> list[Path]:
    """Paint the frames of a clip into `folder`, which is in a block of `film_folder`, and return their paths in order.

    record  how they are made, for the manifest
    told    is called with the number of frames that are finished already, and after each frame that is painted, with 1
    places  what the run reads, and what else it will write

    Raises `OutputError`, before anything is painted, for a frame that would be written over a file that the run reads, or
    that no run has made.
    """
    manifest = folder / MANIFEST
    paths = [folder / f"{name}{SUFFIX}" for name in clip.names]
    files, before, begun = recorded_files(manifest), _made_from(manifest), _begun(manifest)
    names = [path.name for path in paths]
    claim(folder, [*names, MANIFEST], places, {*before, *begun, MANIFEST} if before or begun else ())
    longer = [name for name in files if name in before and name not in set(names)]  # frames of a longer film
    for name in longer:
        places.write(folder / name, name)
    made_from: dict[str, str] = {}
    for stretch in clip.stretches:
        digest = clip.made_from(stretch)
        made_from |= {paths[index].name: digest for index in range(stretch.first, stretch.last + 1)}
    finished = {
        path.name: files[path.name]
        for path in paths
        if before.get(path.name) == made_from[path.name] and is_unchanged(path, files.get(path.name, ""))
    }
    for name in longer:
        if is_unchanged(folder / name, files[name]):
            (folder / name).unlink()
    told(len(finished))
    missing = [index for index, path in enumerate(paths) if path.name not in finished]
    for index in missing[:1]:
        _write_manifest(folder, record, finished, made_from, [names[index]])
    following = dict(pairwise(missing))
    for frame in clip.paint(frozenset(missing), folder / _WORK):
        path = paths[frame.index]
        write_picture(path, frame.picture, like=frame.film)
        finished[path.name] = checksum(path)
        begun = [names[following[frame.index]]] if frame.index in following else []
        _write_manifest(folder, record, finished, made_from, begun)
        told(1)
    _write_manifest(folder, record, finished, made_from, [])
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
        _beside(clip.read(index), frame) if side_by_side else read_picture(frame).over(_WHITE)
        for index, frame in enumerate(painted)
    )
    write_video(path, pictures, clip.video, rate)


def _beside(film: Picture, painted: Path, width: int | None = None) -> np.ndarray:
    pictures = [film.over(_WHITE), read_picture(painted).over(_WHITE)]
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


def _begun(path: Path) -> list[str]:
    """The frame, if any, that a run was about to write when it was killed."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return [name for name in json.loads(read_regular(path, _MOST_BYTES))["begun"] if isinstance(name, str)]
    return []


def _write_manifest(
    folder: Path, record: dict[str, Any], files: dict[str, str], made_from: dict[str, str], begun: list[str]
) -> None:
    """`begun`: the name of the frame that is written next, if there is one."""
    stretches: dict[str, list[str]] = {}
    for name in files:
        stretches.setdefault(made_from[name], []).append(name)
    with atomic(folder / MANIFEST) as file:
        file.write(
            (json.dumps(record | {"made_from": stretches, "begun": begun, "files": files}, indent=1) + "\n").encode()
        )
