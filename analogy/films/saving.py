"""A painted film as files: a folder with a picture for each frame, which a killed run goes on to fill; videos of them.

The folder's manifest names each finished frame with its checksum, and what it was made from. A run keeps the frames that
are as a run before has left them and would come out the same, and paints the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..files.folders import claim, folder_for, refuse_changed, refuse_foreign
from ..files.manifests import MANIFEST, is_unchanged
from ..files.places import Places
from ..pictures.images import Picture, resize
from ..pictures.reading import read_picture
from ..pictures.writing import write_picture
from .clip import Clip
from .manifest import Made, seen_from
from .video import write_video
from .work import alone

SUFFIX = ".png"
_WORK = ".clip"
"""The folder in that of the frames that keeps how far a run is."""
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
    clip: Clip,
    folder: Path,
    record: dict[str, Any],
    told: Callable[[int], None],
    places: Places,
    beside: Sequence[Path] = (),
) -> list[Path]:
    """Paint the frames of a clip into `folder`, which is in a block of `film_folder`, and return their paths in order.

    record  how they are made, for the manifest
    told    is called with the number of frames that are finished already, and after each frame that is painted, with 1
    places  what the run reads, and what else it will write
    beside  what will be written in a block of `written_beside`

    Raises `OutputError`, before anything is painted, for a frame or a file of `beside` that would be written over a file that
    the run reads, or that is not as a run has made it, or that would be a frame of the film; and if the folder holds another
    film.
    """
    made = Made(folder)
    paths = [folder / f"{name}{SUFFIX}" for name in clip.names]
    names = [path.name for path in paths]
    claim(folder, [*names, MANIFEST], places, made.files | ({MANIFEST: ""} if made.is_there else {}))
    for path in beside:
        recorded = made.beside.get(seen_from(folder, path), "")
        refuse_foreign(path, bool(recorded))
        refuse_changed(path, recorded)
    for path in [folder, *paths, *beside]:
        if clip.takes(path):
            raise OutputError(f"{path}: the results would lie among the frames of the film; name another folder")
    film = seen_from(folder, clip.files[0] if clip.video else clip.files[0].parent)
    made.refuse_another(film, names)
    longer = [name for name in made.files if name not in set(names)]
    for name in longer:
        places.write(folder / name, name)
    made_from: dict[str, str] = {}
    for stretch in clip.stretches:
        digest = clip.made_from(stretch)
        made_from |= {paths[index].name: digest for index in range(stretch.first, stretch.last + 1)}
    for name in longer:
        if is_unchanged(folder / name, made.files[name]):
            (folder / name).unlink()
        made.forget(name)
    made.begin(record | {"film": film})
    missing = [index for index, name in enumerate(names) if made.made_from.get(name) != made_from[name]]
    told(len(names) - len(missing))
    for index in missing[:1]:
        made.write(names[index])
    following = dict(pairwise(missing))
    for frame in clip.paint(frozenset(missing), folder / _WORK):
        path = paths[frame.index]
        write_picture(path, frame.picture, like=frame.film)
        made.finish(path.name, made_from[path.name])
        made.write(names[following[frame.index]] if frame.index in following else None)
        told(1)
    made.write(None)
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
