"""Folder of a painted film, which contains the painting of each frame.

The folder's manifest records the checksum of each finished painting, and a checksum of everything
that the painting was made from. A run does not paint a frame again if neither checksum has changed.
So if a run is killed, the next run keeps the frames that were finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OutputError, reason
from ..files.folders import claim, folder_for, refuse_changed, refuse_foreign
from ..files.manifests import MANIFEST, is_unchanged
from ..files.places import Places
from ..pictures.writing import write_picture
from .clip import Clip
from .manifest import FilmManifest, relative_to
from .work import alone

SUFFIX = ".png"
"""Suffix of the files of painted frames."""
_WORK = ".clip"
"""Name of the folder, beside the frames, in which a run saves its state for the next run."""


@contextmanager
def film_folder(folder: Path) -> Iterator[None]:
    """Make a folder for painted frames, and keep other runs from painting into it during the block.

    An existing folder is used as it is. Raises `OutputError` if the folder cannot be made or
    written to, or if another run paints into it.
    """
    with folder_for(folder), alone(folder / _WORK):
        yield


def paint_folder(
    clip: Clip,
    folder: Path,
    record: dict[str, Any],
    on_frame: Callable[[int, int], None],
    places: Places,
    beside: Sequence[Path] = (),
) -> list[Path]:
    """Paint the frames of a clip into a folder, inside a block of `film_folder`.

    Parameters
    ----------
    clip : Clip
        The film.
    folder : Path
        The folder for the painted frames.
    record : dict
        Fields of the manifest that say how the frames are made.
    on_frame : callable
        Called when painting begins and after each frame, with the number of frames that are kept
        from earlier runs and the number of frames that this run has painted.
    places : Places
        The files that the run reads, and those that it will write apart from the frames.
    beside : sequence of Path
        Videos and contact sheets that will be written in blocks of `written_beside`.

    Returns
    -------
    list of Path
        Paths of the painted frames in order.

    Raises
    ------
    OutputError
        If the folder contains the frames of another film, if a file cannot be written, or if a
        painted frame that the film no longer has cannot be deleted. Also if one of the files to
        write is a file that the run reads, a file that no run has made, a result that was changed
        after a run made it, or a file that would become a frame of the film itself. Unless the
        writing itself fails, the error is raised before anything is painted.
    """
    manifest = FilmManifest(folder)
    paths = [folder / f"{name}{SUFFIX}" for name in clip.names]
    names = [path.name for path in paths]
    _claim_files(clip, manifest, folder, names, places, beside)
    film = relative_to(folder, clip.files[0] if clip.video else clip.files[0].parent)
    manifest.refuse_another_film(film, names)
    surplus = [name for name in manifest.frames if name not in set(names)]
    for name in surplus:
        places.write(folder / name, name)
    made_from: dict[str, str] = {}
    for stretch in clip.stretches:
        made_from |= dict.fromkeys((names[index] for index in stretch.frames), clip.made_from(stretch))

    for name in surplus:
        if is_unchanged(folder / name, manifest.frames[name]):
            _delete(folder / name)
        manifest.forget(name)
    missing = [index for index, name in enumerate(names) if manifest.made_from.get(name) != made_from[name]]
    manifest.begin(record | {"film": film})
    manifest.write()
    on_frame(len(names) - len(missing), 0)
    for count, frame in enumerate(clip.paint(frozenset(missing), folder / _WORK), 1):
        path = paths[frame.index]
        complete = manifest.renaming(path.name, made_from[path.name])
        write_picture(path, frame.picture, like=frame.film, complete=complete)
        manifest.renamed()
        on_frame(len(names) - len(missing), count)
    manifest.write()
    return paths


def _delete(path: Path) -> None:
    """Delete a painted frame that the film no longer has. Raises `OutputError` if that fails."""
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(
            f"{path} is a painted frame that the film no longer has, and it cannot be deleted ({reason(error)}); "
            "delete it, or name another folder for the results"
        ) from error


def _claim_files(
    clip: Clip, manifest: FilmManifest, folder: Path, names: Sequence[str], places: Places, beside: Sequence[Path]
) -> None:
    """Record in `places` the files that `paint_folder` will write.

    Raises `OutputError` for a file that `paint_folder` must not write.
    """
    claim(folder, [*names, MANIFEST], places, manifest.frames | ({MANIFEST: ""} if manifest.exists else {}))
    for path in beside:
        recorded = manifest.beside.get(relative_to(folder, path), "")
        refuse_foreign(path, bool(recorded))
        refuse_changed(path, recorded)
    for path in [folder, *(folder / name for name in names), *beside]:
        if clip.takes(path):
            raise OutputError(f"{path} would be among the frames of the film; name another folder for the results")
