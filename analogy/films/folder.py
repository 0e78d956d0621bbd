"""A painted film as a folder with a picture for each frame, which a killed run goes on to fill.

The folder's manifest names each finished frame with its checksum, and what it was made from. A run keeps the frames that
are as a run before has left them and would come out the same, and paints the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files.folders import claim, folder_for, refuse_changed, refuse_foreign
from ..files.manifests import MANIFEST, is_unchanged
from ..files.places import Places
from ..pictures.writing import write_picture
from .clip import Clip
from .manifest import Made, seen_from
from .work import alone

SUFFIX = ".png"
_WORK = ".clip"
"""The folder in that of the frames that keeps how far a run is."""


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
