"""Folders for results, whose content is always that of one run.

A run writes its files into a temporary folder inside the folder for results, and a manifest last, which names each with its
checksum. When all are there, the files that the manifest of the run before names are moved aside, and the new ones take their
places, the manifest last. So a folder with a manifest holds what one run made, and a kill in between leaves the old
results, or a part of the old or of the new and no manifest; the next run in that folder finishes such an exchange.

A run asks `reserve` before its work: nothing is written over that no manifest names, that has
changed since, or that the run reads. Nothing is
deleted that no manifest names, or that has changed since.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError, printable, reason
from . import temporary
from .inputs import open_regular, read_regular
from .places import Places

MANIFEST = "settings.json"
"""Its key "files" maps the name of each other file to its checksum (SHA-256)."""
_KINDS = {"analogy": str, "model_sha256": str, "settings": dict, "files": dict}
"""The keys by which a manifest is known, and the types of their values."""
_PREVIOUS = "previous"
"""In the temporary folder, what the exchange moved aside. While it is there, the exchange has begun."""
_MOST_BYTES = 1 << 26


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for results, if it is not there, and clear what killed runs left in it.

    Raises `OutputError` if that fails, or it cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason(error)}; choose another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write to the folder {folder}; choose another")
    with suppress(OSError):
        for path in [Path(entry) for entry in os.scandir(folder) if temporary.is_temporary(entry.name)]:
            if not path.is_symlink() and (path.is_dir() or path.is_file()):
                _clear(path)
    return folder


@contextmanager
def folder_for(folder: str | os.PathLike[str]) -> Iterator[None]:
    """`make_folder`; if the block raises, the folders that were made for it and are empty vanish."""
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
    """A new folder to write a run's files into, the manifest last. When the block ends, they take the place of those of the
    run before in `folder`; if it raises, everything stays as it was.

    Raises `OutputError`, also in place of one of the block, whose message then names the file in `folder`; and if the folder
    holds a film.
    """
    refuse_a_film(folder)
    try:
        new, lock = temporary.new_folder(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({reason(error)})") from error
    try:
        try:
            yield new
        except OutputError as error:
            raise OutputError(str(error).replace(printable(str(new)), printable(str(folder)))) from error
        try:
            _exchange(folder, new)
        except OSError as error:
            raise OutputError(f"{folder}: the results cannot be put in their place ({reason(error)})") from error
    finally:
        if _has_begun(new):  # and could not be undone: the next run finishes it
            lock.close()
        else:
            temporary.remove_folder(new, lock)


def reserve(folder: Path, names: Iterable[str], places: Places) -> None:
    """Take in the files that a run will write into `folder`, its manifest among them, and those that make way for them.

    Raises `OutputError` if one of them is a file that the run reads, or is not as a run has made it; and if the folder holds a
    film.
    """
    refuse_a_film(folder)
    before = recorded_files(folder / MANIFEST)
    names = [*names, MANIFEST]
    claim(folder, names, places, before | ({MANIFEST: ""} if read_manifest(folder / MANIFEST) else {}))
    for name in before:
        if name not in names and is_unchanged(folder / name, before[name]):
            places.write(folder / name, name)


def claim(folder: Path, names: Collection[str], places: Places, ours: Mapping[str, str]) -> None:
    """Take in the files of these names that a run will write into `folder`.

    ours  name -> checksum of those that a run before has made; "" for one whose content does not matter

    Raises `OutputError` if one of them is a file that the run reads, or is there and is not one of `ours` as it was made.
    """
    for name in names:
        places.write(folder / name, name)
        refuse_foreign(folder / name, name in ours)
    for name in names:
        refuse_changed(folder / name, ours.get(name, ""))


def refuse_foreign(path: Path, ours: bool) -> None:
    """Raise `OutputError` if there is something at the path of a result, and it is not `ours`."""
    if not ours and os.path.lexists(path):
        raise OutputError(
            f"{path}: is there already, and no such run has made it; move it away, or name another place for the results"
        )


def refuse_changed(path: Path, recorded: str) -> None:
    """Raise `OutputError` if a result is there, and its checksum is not the one that a manifest records, if it records one."""
    if recorded and os.path.lexists(path) and not is_unchanged(path, recorded):
        raise OutputError(
            f"{path}: has been changed since it was made; move it away, or delete it to have it made anew"
        )


def checksums(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of each file that a run has written into a folder of `replacing`."""
    return {name: checksum(folder / name) for name in _content(folder)}


def _content(folder: Path) -> list[str]:
    """The names of the files of a run, without the manifest."""
    names = {entry.name for entry in os.scandir(folder) if not temporary.is_temporary(entry.name)}
    return sorted(names - {temporary.LOCK, _PREVIOUS, MANIFEST})


def _exchange(folder: Path, new: Path) -> None:
    """Move aside what the run before made in `folder`, then move there what is in `new`, the manifest last.

    What goes wrong in between is undone, and raised.
    """
    with temporary.alone_in(folder):
        _move(folder, new)


def _move(folder: Path, new: Path) -> None:
    previous = new / _PREVIOUS
    previous.mkdir(exist_ok=True)
    arriving = _content(new)
    # Of a killed exchange that is finished now, what it has put in its place already.
    there = set(recorded_files(new / MANIFEST)) - set(arriving)
    before = recorded_files(folder / MANIFEST) or recorded_files(previous / MANIFEST)
    unchanged = [name for name in before if name not in there and is_unchanged(folder / name, before[name])]
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        moved.append((source, target))
        source.replace(target)

    try:
        for name in dict.fromkeys([MANIFEST, *unchanged, *arriving]):
            if (folder / name).is_symlink() or (folder / name).is_file():
                move(folder / name, previous / name)
        for name in [*arriving, MANIFEST]:
            move(new / name, folder / name)
    except BaseException:
        for source, target in reversed(moved):
            if not os.path.lexists(source):  # else it had not been moved yet
                with suppress(OSError):
                    target.replace(source)
        with suppress(OSError):
            previous.rmdir()
        raise


def _clear(path: Path) -> None:
    """Clear what a killed run left, and finish the exchange that it had begun."""
    folder = path.is_dir()
    with temporary.claimed(path / temporary.LOCK if folder else path) as ours:
        if not ours:
            return
        if not folder:
            path.unlink(missing_ok=True)
            return
        if _has_begun(path):
            with suppress(OSError):
                _exchange(path.parent, path)
        if not _has_begun(path):
            temporary.remove_folder(path, None)


def _has_begun(path: Path) -> bool:
    """Whether an exchange has begun and has not ended."""
    return (path / _PREVIOUS).is_dir() and (path / MANIFEST).is_file()


def recorded_files(path: Path) -> dict[str, str]:
    """Name -> checksum of each file that a manifest names; nothing if there is none, or it is no manifest."""
    files = read_manifest(path).get("files", {})
    return {name: str(value) for name, value in files.items() if Path(name).name == name and name != MANIFEST}


def refuse_a_film(folder: Path) -> None:
    """Raise `OutputError` if a folder holds a painted film, whose frames (the work of hours) would have to make way."""
    if "made_from" in read_manifest(folder / MANIFEST):
        raise OutputError(f"{folder}: holds the frames of a film, as its {MANIFEST} says; name another folder")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the fields of a manifest; none if there is none, or the file there is not as a run writes it."""
    try:
        fields = json.loads(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if isinstance(fields, dict) and all(isinstance(fields.get(name), kind) for name, kind in _KINDS.items()):
        return fields
    return {}


def is_unchanged(path: Path, recorded: str) -> bool:
    """Whether a file is there, and has the checksum that a manifest records."""
    try:
        return not path.is_symlink() and checksum(path) == recorded
    except OSError:
        return False


def checksum(path: Path) -> str:
    """The SHA-256 of a plain file. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
