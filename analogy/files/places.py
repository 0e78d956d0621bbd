"""Record of the files that a run reads and writes, so that no result overwrites another file.

A result must overwrite neither an input nor another result. A file is identified by its device and
its inode, so that symbolic links, hard links and different spellings of its path count as one file.
A result that does not exist yet is identified by its path, without regard to case, because some
file systems ignore case.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import unicodedata
from contextlib import suppress
from functools import lru_cache

from ..errors import OutputError
from .inputs import is_address

Place = str | os.PathLike[str] | int
"""Type of a file's place: its path, its address ("s3://..."), or its descriptor if it is open."""
_STREAMS = {0: "standard input", 1: "standard output"}
"""Descriptor of an open file -> its name in messages."""


class WrittenTwiceError(OutputError):
    """Error for two results of one run that would be written to the same file.

    The attribute `first` describes the result that was added first.
    """

    def __init__(self, first: str, second: str, place: object):
        super().__init__(f"{first} and {second} would both be written to {place}; give one of them another name")
        self.first = first


class Places:
    """Record of the files that a run reads and of the files that it will write.

    It is stored on disk, so that it can have any number of entries.
    """

    def __init__(self) -> None:
        self._known = sqlite3.connect("", isolation_level=None)  # SQLite uses a temporary file, and deletes it
        for table in ("inputs", "outputs"):
            self._known.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, what TEXT) WITHOUT ROWID")
        self._known.execute("BEGIN")
        self._real = lru_cache(maxsize=256)(os.path.realpath)

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *error: object) -> None:
        self._known.close()

    def read(self, place: Place, what: str) -> None:
        """Add a file that the run reads; `what` describes it in messages.

        Raises `OutputError` if the run will write this file.
        """
        key = _identity(place) or self._path(place)
        self._known.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?)", (key, _text(what)))
        if self._find("outputs", key):
            raise _overwritten(place, what)

    def write(self, place: Place, what: str) -> None:
        """Add a file that the run will write; `what` describes it in messages.

        Raises `OutputError` if the run reads this file, and `WrittenTwiceError` if another result
        will be written to it.
        """
        keys = [key for key in (_identity(place), self._path(place)) if key]
        for key in keys:
            if found := self._find("inputs", key):
                raise _overwritten(place, found)
        keys.append(f"folded {folded(keys[-1])}")
        if found := self._find("outputs", keys[-1]):
            raise WrittenTwiceError(found, what, place)
        self._known.executemany("INSERT OR IGNORE INTO outputs VALUES (?, ?)", [(key, _text(what)) for key in keys])

    def _find(self, table: str, key: str) -> str:
        """Return what the table "inputs" or "outputs" has as "what" for a `key`, or "" for none."""
        found = self._known.execute(f"SELECT what FROM {table} WHERE key = ?", (key,)).fetchone()
        return found[0] if found else ""

    def _path(self, place: Place) -> str:
        """Return the path of a file, with links in the path of its folder resolved.

        An address is returned unchanged. A descriptor becomes a text such as "descriptor 1".
        """
        if isinstance(place, int):
            return f"descriptor {place}"
        path = os.fspath(place)
        if not is_address(path):
            folder, name = os.path.split(path)
            with suppress(OSError, ValueError):
                path = os.path.join(self._real(folder), name)  # noqa: PTH118 (a `Path` takes ten times as long)
        return _text(path)


def folded(name: str) -> str:
    """Return `name` in lower case, with each accented letter as one character.

    Names that a file system may take for the same file become equal.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _identity(place: Place) -> str:
    """Return the device and inode of the plain file at `place`, or "" if there is no such file."""
    if not isinstance(place, int) and is_address(os.fspath(place)):
        return ""
    try:
        status = os.stat(place)  # noqa: PTH116 (it may be a descriptor)
    except (OSError, ValueError):
        return ""
    return f"{status.st_dev} {status.st_ino}" if stat.S_ISREG(status.st_mode) else ""


def _text(path: str) -> str:
    """Return a path in a form that SQLite accepts: escapes replace bytes that are not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def _overwritten(place: Place, what: str) -> OutputError:
    """Return the error for a result that would overwrite an input."""
    name = _STREAMS.get(place, place) if isinstance(place, int) else place
    return OutputError(f"{name} is {what}, which would be overwritten; name another place for the results")
