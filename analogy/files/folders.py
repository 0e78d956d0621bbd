"""Folders for results, in which a run replaces the results of the previous run.

Before its work, a run calls `reserve`, which checks that the run may write its files. It then
writes the files into the temporary folder of `replacing`, and a manifest (see `manifests`) last.
These files and the manifest replace the results of the previous run (see `exchange`). A run never
overwrites or deletes a file that no manifest records, that somebody has changed since it was
recorded, or that the run reads.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError, printable, reason
from . import temporary
from .exchange import exchange, is_under_way, new_files
from .inputs import checksum
from .manifests import FILM, MANIFEST, is_unchanged, read_manifest, recorded_files
from .places import Places


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for results unless it exists, and return its path.

    The function deletes temporary files that killed runs have left in the folder. Raises
    `OutputError` if the folder cannot be made, or if there is no permission to write to it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason(error)}; choose another folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write to the folder {folder}; choose another folder")
    with suppress(OSError):
        for path in [Path(entry) for entry in os.scandir(folder) if temporary.is_temporary(entry.name)]:
            if not path.is_symlink() and (path.is_dir() or path.is_file()):
                _delete_abandoned(path)
    return folder


def _delete_abandoned(path: Path) -> None:
    """Delete a temporary file or folder unless a run still uses it.

    If the folder belongs to an exchange that was killed, the function finishes the exchange first.
    """
    with temporary.claimed(path) as ours:
        if not ours:
            return
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if is_under_way(path):
            with suppress(OSError):
                exchange(path.parent, path)
        if not is_under_way(path):
            temporary.remove_folder(path, None)
    with suppress(OSError):
        path.rmdir()  # NFS keeps the deleted lock file, and so the folder, until the file is closed


@contextmanager
def folder_for(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Call `make_folder` before the block, and undo it if the block raises an error.

    The folders that did not exist before are deleted, except those that contain something.
    """
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        make_folder(folder)
        yield
    except BaseException:
        with suppress(OSError):
            for each in made:
                each.rmdir()
        raise


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder for new results, which replace the old ones when the block ends.

    The block writes the files, and the manifest last. If the block raises an error, nothing in
    `folder` changes.

    Raises `OutputError` if `folder` contains a painted film, or if the files cannot be moved into
    `folder`. If the block raises `OutputError`, the message names `folder` in place of the
    temporary folder.
    """
    refuse_a_film(folder)
    try:
        new, lock = temporary.new_folder(folder)
    except OSError as error:
        raise OutputError(f"no file can be made in {folder} ({reason(error)}); choose another folder") from error
    try:
        try:
            yield new
        except OutputError as error:
            raise OutputError(str(error).replace(printable(str(new)), printable(str(folder)))) from error
        try:
            exchange(folder, new)
        except OSError as error:
            raise OutputError(
                f"the new results cannot be moved into {folder} ({reason(error)}); choose another folder"
            ) from error
    finally:
        if is_under_way(new):  # the exchange failed and could not be undone, so the next run finishes it
            lock.close()
        else:
            temporary.remove_folder(new, lock)


def checksums(new: Path) -> dict[str, str]:
    """Return name -> SHA-256 of each file in the temporary folder of `replacing`, as a dict.

    The manifest is left out.
    """
    return {name: checksum(new / name) for name in new_files(new)}


def reserve(folder: Path, names: Iterable[str], places: Places) -> None:
    """Add to `places` the files that a transfer will write into `folder` or delete there.

    The transfer will write files with these `names` and a manifest. It will delete the results of
    an earlier transfer.

    Raises `OutputError` if the run reads one of these files, if a file to be written exists and no
    run has made it or somebody has changed it since, or if the folder contains a painted film.
    """
    refuse_a_film(folder)
    old = recorded_files(folder / MANIFEST)
    names = [*names, MANIFEST]
    claim(folder, names, places, old | ({MANIFEST: ""} if read_manifest(folder / MANIFEST) else {}))
    for name in old:
        if name not in names and is_unchanged(folder / name, old[name]):
            places.write(folder / name, name)


def claim(folder: Path, names: Collection[str], places: Places, ours: Mapping[str, str]) -> None:
    """Add to `places` the files with these names that a run will write into `folder`.

    `ours` is a dict: name -> checksum, for each file that an earlier run has made. The checksum ""
    permits any content.

    Raises `OutputError` if the run reads one of the files, or if one of them exists and is not in
    `ours` or has another checksum there.
    """
    for name in names:
        places.write(folder / name, name)
        refuse_foreign(folder / name, name in ours)
    for name in names:
        refuse_changed(folder / name, ours.get(name, ""))


def refuse_foreign(path: Path, ours: bool) -> None:
    """Raise `OutputError` if a file exists at `path`, where a result will be, unless it is `ours`.

    `ours` is True for a file that an earlier run made.
    """
    if not ours and os.path.lexists(path):
        raise OutputError(
            f"{path} exists already, and it is not a result that this run may replace; move it away, or name "
            "another place for the results"
        )


def refuse_changed(path: Path, recorded: str) -> None:
    """Raise `OutputError` if a result exists and its checksum is not `recorded`.

    If `recorded` is "", any content is permitted.
    """
    if recorded and os.path.lexists(path) and not is_unchanged(path, recorded):
        raise OutputError(
            f"{path} has been changed since it was made; move it away, or delete it so that it is made again"
        )


def refuse_a_film(folder: Path) -> None:
    """Raise `OutputError` if a folder contains a painted film, which no result may replace."""
    if read_manifest(folder / MANIFEST).get("kind") == FILM:
        raise OutputError(f"{folder} contains a painted film, as its {MANIFEST} says; name another folder")
