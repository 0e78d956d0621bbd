"""What the manifest of a folder of painted frames says: each file with its checksum, and what each frame was made from.

A run names the file that it writes next before it writes it, so that a killed run leaves no file which the next one takes for
somebody else's.
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
from ..files.manifests import FILM, MANIFEST, checksum, is_unchanged, read_manifest, recorded_files


class Made:
    """The files that runs have made for a painted film, as the manifest in its folder records them.

    is_there   whether the folder has a manifest of a painted film
    files      name -> checksum of each frame
    made_from  name -> the checksum of what a frame was made from, for each frame that is there
    beside     path seen from the folder -> checksum of each video and contact sheet that was made of the frames
    """

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / MANIFEST
        self._fields = read_manifest(self._path)
        self.is_there = self._fields.get("kind") == FILM
        self.files: dict[str, str] = {}
        self.made_from: dict[str, str] = {}
        self.beside = _texts(self._fields.get("beside"))
        if self.is_there:
            self._take_in()

    def _take_in(self) -> None:
        stretches = self._fields.get("made_from")
        made_from = {
            name: digest
            for digest, names in (stretches.items() if isinstance(stretches, dict) else ())
            for name in (names if isinstance(names, list) else ())
            if isinstance(name, str)
        }
        files = recorded_files(self._path)
        self.files = {name: files.get(name, "") for name in made_from if Path(name).name == name != MANIFEST}
        self.made_from = {name: made_from[name] for name in self.files if os.path.lexists(self._folder / name)}
        begun = self._fields.get("begun")
        for name in begun if isinstance(begun, list) else ():
            if isinstance(name, str):
                self._take_in_begun(name)

    def _take_in_begun(self, name: str) -> None:
        """Take in a file that a run was about to write when it was killed: it counts as made, whatever is in it."""
        path, is_frame = self._folder / name, Path(name).name == name
        recorded = (self.files if is_frame else self.beside).get(name, "")
        if path.is_symlink() or is_unchanged(path, recorded):
            return
        with suppress(OSError):
            if is_frame:
                self.files[name], self.made_from[name] = checksum(path), ""
            else:
                self.beside[name] = checksum(path)

    def refuse_another(self, film: str, names: Sequence[str]) -> None:
        """Raise `OutputError` if the frames in the folder are those of another film.

        film   the film's place, seen from the folder
        names  of its frames
        """
        before = self._fields.get("film", film)
        if self.made_from and (before != film or not set(names) & set(self.made_from)):
            raise OutputError(
                f"{self._folder}: holds the frames of another film, {self._fields.get('frames')}; name another folder, or "
                "move that away"
            )

    def begin(self, record: dict[str, Any]) -> None:
        """Take in how the frames are made, for the manifest."""
        self._fields = record

    def forget(self, name: str) -> None:
        """Strike out a frame."""
        del self.files[name]
        self.made_from.pop(name, None)

    def finish(self, name: str, made_from: str) -> None:
        """Take in a frame that is written now."""
        self.files[name], self.made_from[name] = checksum(self._folder / name), made_from

    def write(self, begun: str | None) -> None:
        """Write the manifest. `begun`: the file that is written next, if there is one, as the manifest names it."""
        stretches: dict[str, list[str]] = {}
        for name, digest in self.made_from.items():
            stretches.setdefault(digest, []).append(name)
        files = {name: self.files[name] for name in self.made_from}
        told = {
            "kind": FILM,
            "made_from": stretches,
            "begun": [begun] if begun else [],
            "beside": self.beside,
            "files": files,
        }
        with atomic(self._path) as file:
            file.write((json.dumps({**self._fields, **told}, indent=1) + "\n").encode())


@contextmanager
def written_beside(folder: Path, path: Path) -> Iterator[None]:
    """Record in the manifest of a folder of painted frames that the block writes the file `path`, made of these frames."""
    made, name = Made(folder), seen_from(folder, path)
    made.write(name)
    yield
    made.beside[name] = checksum(path)
    made.write(None)


def seen_from(folder: Path, path: Path) -> str:
    """Return a path as it is seen from a folder: it stays the same when both are moved together."""
    place = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 (a `Path` has no path on another drive)
    try:
        return Path(os.path.relpath(place, os.path.realpath(folder))).as_posix()
    except ValueError:  # another drive
        return Path(place).as_posix()


def _texts(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}
