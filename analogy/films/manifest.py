"""Manifest of a folder of painted frames, which says how each file was made.

It contains the checksum of each file, and a checksum of everything that each frame was made from.
A run records the name of a file before it writes the file. So if the run is killed, the next run
knows that the file was made by a run and not by the user.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError
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
        Name -> checksum of everything that the frame was made from, for the files that exist. The
        checksum is "" if a killed run has left the file.
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
        if self.exists:
            self._read()

    def _read(self) -> None:
        """Read the records of the frames, and of the file that a killed run was writing."""
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
        for name in begun if isinstance(begun, list) else ():
            if isinstance(name, str):
                self._read_begun(name)

    def _read_begun(self, name: str) -> None:
        """Record the present checksum of the file `name`, which a killed run was writing.

        The method does nothing if there is no such file, if the file is a link, or if it has the
        checksum that the manifest records.
        """
        path, is_frame = self._folder / name, Path(name).name == name
        recorded = (self.frames if is_frame else self.beside).get(name, "")
        if path.is_symlink() or is_unchanged(path, recorded):
            return
        with suppress(OSError):
            if is_frame:
                self.frames[name], self.made_from[name] = checksum(path), ""
            else:
                self.beside[name] = checksum(path)

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

    def add(self, name: str, made_from: str) -> None:
        """Add a frame whose file has been written. Raises OSError if the file cannot be read."""
        self.frames[name], self.made_from[name] = checksum(self._folder / name), made_from

    def write(self, begun: str | None) -> None:
        """Write the manifest. `begun` is the name of the file that will be written next, or None.

        Raises `OutputError` if the manifest cannot be written.
        """
        names_of: dict[str, list[str]] = {}
        for name, digest in self.made_from.items():
            names_of.setdefault(digest, []).append(name)
        fields = self._fields | {
            "kind": FILM,
            "made_from": names_of,
            "begun": [begun] if begun else [],
            "beside": self.beside,
            "files": {name: self.frames[name] for name in self.made_from},
        }
        with atomic(self._path) as file:
            file.write((json.dumps(fields, indent=1) + "\n").encode())


@contextmanager
def written_beside(folder: Path, path: Path) -> Iterator[None]:
    """Record in the manifest of `folder` that the block writes `path`, a video or a contact sheet.

    Raises `OutputError` if the manifest cannot be written, and OSError if the block does not write
    the file.
    """
    manifest, name = FilmManifest(folder), relative_to(folder, path)
    manifest.write(name)
    yield
    manifest.beside[name] = checksum(path)
    manifest.write(None)


def relative_to(folder: Path, path: Path) -> str:
    """Return `path` relative to `folder`, so that it stays valid if both are moved together.

    A path on another drive is returned as an absolute one.
    """
    place = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    try:
        return Path(os.path.relpath(place, os.path.realpath(folder))).as_posix()
    except ValueError:
        return Path(place).as_posix()


def _strings(value: Any) -> dict[str, str]:
    """Return the items of a JSON object that have a string as value; {} for other JSON values."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}
