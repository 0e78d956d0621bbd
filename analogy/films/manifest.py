"""Manifest of a folder of painted frames, which says how each file was made.

It contains the checksum of each file, and a checksum of everything that each frame was made from.
A run writes each file under a temporary name, and records the name and the checksum of the complete
file before it renames it. So if the run is killed, the next run knows by the checksum that the file
was made by a run and not by the user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import OutputError, reason
from ..files.atomic import atomic
from ..files.inputs import checksum
from ..files.manifests import FILM, MANIFEST, is_unchanged, read_manifest, recorded_files


class FilmManifest:
    """Manifest of a folder of painted frames, which a run reads, changes and writes again.

    Attributes
    ----------
    exists : bool
        True if the folder had a manifest of painted frames.
    frames : dict of str to str
        Name -> checksum of each frame's file that a run has made, including deleted files.
    made_from : dict of str to str
        Name -> checksum of everything that the frame was made from, for the files that exist.
    beside : dict of str to str
        Path, relative to the folder -> checksum of each video or contact sheet of the frames.
    """

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / MANIFEST
        self._fields = read_manifest(self._path)
        self.exists = self._fields.get("kind") == FILM
        self.frames: dict[str, str] = {}
        self.made_from: dict[str, str] = {}
        self.beside = _strings(self._fields.get("beside"))
        self._begun: dict[str, str] | None = None  # "name" and "checksum" of a file, and for a frame "made_from"
        if self.exists:
            self._read()

    def _read(self) -> None:
        """Read the records of the frames, and of the file that a killed run was renaming."""
        names_of = self._fields.get("made_from")
        made_from = {
            name: digest
            for digest, names in (names_of.items() if isinstance(names_of, dict) else ())
            for name in (names if isinstance(names, list) else ())
            if isinstance(name, str)
        }
        recorded = recorded_files(self._path)
        self.frames = {name: recorded.get(name, "") for name in made_from if Path(name).name == name != MANIFEST}
        self.made_from = {name: made_from[name] for name in self.frames if os.path.lexists(self._folder / name)}
        begun = self._fields.get("begun")
        if isinstance(begun, dict) and self._is_made(begun):
            self._begun = begun
            self.renamed()

    def _is_made(self, begun: dict[str, Any]) -> bool:
        """Return whether a run has made the file that `begun` describes, and nobody has changed it.

        `begun` is the value that a killed run has written as "begun", or any other JSON object.
        """
        name = begun.get("name")
        if not isinstance(name, str) or not all(isinstance(value, str) for value in begun.values()):
            return False
        if "made_from" in begun and not Path(name).name == name != MANIFEST:
            return False
        return is_unchanged(self._folder / name, begun.get("checksum", ""))

    def refuse_another_film(self, film: str, names: Sequence[str]) -> None:
        """Raise `OutputError` if the frames in the folder belong to another film.

        `film` is the path of the film to paint, relative to the folder, and `names` are the names
        of its painted frames. Another film is one with another path, or one whose frames in the
        folder have none of these names.
        """
        before = self._fields.get("film", film)
        if self.made_from and (before != film or not set(names) & set(self.made_from)):
            raise OutputError(
                f"{self._folder} holds the frames of another film, {self._fields.get('frames')}; name another "
                "folder, or move this one away"
            )

    def begin(self, record: dict[str, Any]) -> None:
        """Set the record of how the frames are made, which the next `write` writes."""
        self._fields = record

    def forget(self, name: str) -> None:
        """Remove a frame from the manifest, but do not delete its file."""
        del self.frames[name]
        self.made_from.pop(name, None)

    def renaming(self, name: str, made_from: str | None) -> Callable[[Path], None]:
        """Return a function that records a complete file just before it is renamed (see `atomic`).

        Parameters
        ----------
        name : str
            The name that the file will have: that of a frame, or the path, relative to the folder,
            of a video or a contact sheet.
        made_from : str or None
            The checksum of everything that the frame was made from; None for a video or a contact
            sheet.

        Returns
        -------
        callable
            Function of the file's temporary path, which writes the manifest. It raises OSError if
            the file cannot be read, and `OutputError` if the manifest cannot be written.
        """

        def complete(path: Path) -> None:
            self._begun = {"name": name, "checksum": checksum(path)}
            if made_from is not None:
                self._begun["made_from"] = made_from
            self.write()

        return complete

    def renamed(self) -> None:
        """Add the file that was to be renamed, which has its name now, to the other files.

        The method does not write the manifest.
        """
        assert self._begun is not None
        name, digest = self._begun["name"], self._begun["checksum"]
        if "made_from" in self._begun:
            self.frames[name], self.made_from[name] = digest, self._begun["made_from"]
        else:
            self.beside[name] = digest
        self._begun = None

    def write(self) -> None:
        """Write the manifest. Raises `OutputError` if it cannot be written."""
        names_of: dict[str, list[str]] = {}
        for name, digest in self.made_from.items():
            names_of.setdefault(digest, []).append(name)
        fields = self._fields | {
            "kind": FILM,
            "made_from": names_of,
            "begun": self._begun,
            "beside": self.beside,
            "files": {name: self.frames[name] for name in self.made_from},
        }
        with atomic(self._path) as file:
            file.write((json.dumps(fields, indent=1) + "\n").encode())


@contextmanager
def written_beside(folder: Path, path: Path) -> Iterator[Callable[[Path], None]]:
    """Record in the manifest of `folder` that the block writes `path`, a video or a contact sheet.

    Yields the function that the block must call with the path of the complete temporary file, just
    before it renames the file to `path` (see `atomic`). Raises `OutputError` if the manifest cannot
    be written.
    """
    manifest = FilmManifest(folder)
    yield manifest.renaming(relative_to(folder, path), None)
    manifest.renamed()
    manifest.write()


def relative_to(folder: Path, path: Path) -> str:
    """Return `path` relative to `folder`, so that it stays valid if both are moved together.

    A path on another drive is returned as an absolute one. Raises `OutputError` if the current
    folder has been deleted.
    """
    try:
        place = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    except FileNotFoundError as error:  # from `os.getcwd`
        raise OutputError(
            f"{path}: the current folder cannot be found ({reason(error)}); change to another folder, and run the "
            "command again"
        ) from error
    try:
        return Path(os.path.relpath(place, os.path.realpath(folder))).as_posix()
    except ValueError:
        return Path(place).as_posix()


def _strings(value: Any) -> dict[str, str]:
    """Return the items of a JSON object that have a string as value; {} for other JSON values."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}
