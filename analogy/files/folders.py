"""Folders for results, in which a run replaces the results of the run before.

A run calls `reserve` before its work, which checks that it may write. It then writes its files into
the temporary folder of `replacing`, and a manifest (see `manifests`) last. Together they replace
the results of the run before (see `exchange`). A file is never overwritten or deleted if no
manifest records it, if it has been changed since, or if the run reads it.
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

    Temporary files that killed runs left there are deleted. Raises `OutputError` if the folder
    cannot be made or written to.
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

    If a killed run left an unfinished exchange, it is finished first.
    """
    is_folder = path.is_dir()
    with temporary.claimed(path / temporary.LOCK if is_folder else path) as ours:
        if not ours:
            return
        if not is_folder:
            path.unlink(missing_ok=True)
            return
        if is_under_way(path):
            with suppress(OSError):
                exchange(path.parent, path)
        if not is_under_way(path):
            temporary.remove_folder(path, None)


@contextmanager
def folder_for(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Call `make_folder` before the block, and delete new empty folders if the block raises."""
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
    """Yield a temporary folder for a run's files, which replace the old results at the end.

    The block writes the files, and the manifest last. If it raises, everything in `folder` stays as
    it was.

    Raises `OutputError` if `folder` holds a film, or the files cannot be moved to their places. In
    the message of an `OutputError` of the block, the path of `folder` replaces the temporary path.
    """
    refuse_a_film(folder)
    try:
        new, lock = temporary.new_folder(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to ({reason(error)}); choose another folder") from error
    try:
        try:
            yield new
        except OutputError as error:
            raise OutputError(str(error).replace(printable(str(new)), printable(str(folder)))) from error
        try:
            exchange(folder, new)
        except OSError as error:
            raise OutputError(
                f"{folder}: the results cannot be moved to their places ({reason(error)}); choose another folder"
            ) from error
    finally:
        if is_under_way(new):  # the exchange failed and could not be undone; the next run finishes it
            lock.close()
        else:
            temporary.remove_folder(new, lock)


def checksums(new: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by name, in the temporary folder of `replacing`."""
    return {name: checksum(new / name) for name in new_files(new)}


def reserve(folder: Path, names: Iterable[str], places: Places) -> None:
    """Add to `places` the files that a transfer will write into `folder` or delete there.

    The new files have these `names`, and a manifest is written with them. The older results that
    they replace are deleted.

    Raises `OutputError` if the run reads one of these files, if no run made it, if it was changed
    since, or if the folder holds a film.
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

    `ours` has the checksum of each file, by name, that an earlier run made; "" permits any content.

    Raises `OutputError` if the run reads one of the files, or if it exists and is not one of
    `ours`, or was changed.
    """
    for name in names:
        places.write(folder / name, name)
        refuse_foreign(folder / name, name in ours)
    for name in names:
        refuse_changed(folder / name, ours.get(name, ""))


def refuse_foreign(path: Path, ours: bool) -> None:
    """Raise `OutputError` if a file is in the place of a result, unless it is `ours`.

    A file is `ours` if an earlier run made it.
    """
    if not ours and os.path.lexists(path):
        raise OutputError(
            f"{path} exists already, and it is not a result that this run may replace; move it away, or name "
            "another place for the results"
        )


def refuse_changed(path: Path, recorded: str) -> None:
    """Raise `OutputError` if a result exists with another checksum than `recorded`.

    The checksum "" permits any content.
    """
    if recorded and os.path.lexists(path) and not is_unchanged(path, recorded):
        raise OutputError(
            f"{path} has been changed since it was made; move it away, or delete it so that it is made again"
        )


def refuse_a_film(folder: Path) -> None:
    """Raise `OutputError` if a folder holds a painted film, which other results would replace."""
    if read_manifest(folder / MANIFEST).get("kind") == FILM:
        raise OutputError(f"{folder} holds the frames of a film, as its {MANIFEST} says; name another folder")
