"""Manifest of a batch, a file of JSON lines that says which jobs are done.

One run at a time appends lines to it. The next run does the jobs that the manifest does not record
as done or failed, and those whose inputs, settings or results have changed.

    {"analogy": "0.1.0", "run": "2030-01-31T12:00:00+00:00", "model": .., "settings": .., ..}
    {"job": "x.png", "state": "begun", "files": ["x.png"]}
    {"job": "x.png", "state": "done", "seen": .., "from": ..,
     "files": {"x.png": {"bytes": .., "sha256": ..}}, ..}
    {"job": "y.png", "state": "failed", "seen": .., "error": "A (y.jpg): there is no such file", ..}

Each of these objects takes one line. If a job has several "done" or "failed" lines, only the last
one counts. "seen" is a checksum of the size and the modification time of the inputs, and "from" is
a checksum of their content. Both checksums also cover the settings, the model, the names of the
results and the version of analogy. A batch overwrites only files that a line of its manifest names.
A line that a killed run has left incomplete does not count.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError, reason
from ..files.locks import lock

NAME = "batch.jsonl"
"""Name of the manifest in a folder for results on this machine."""
REPORT = "report.html"
"""Name of the page about the batch in the folder of the manifest."""
_LONGEST_LINE = 1 << 22
"""Maximum length of a line, in bytes. Longer lines are skipped."""
_KINDS = {"analogy": str, "run": str, "model_sha256": str, "settings": dict}
"""Key that the first line of a manifest must have -> type of its value."""
_BEGINNING = re.compile(rb'\{"analogy": "[\w.+-]+')
"""Pattern of the first bytes of a manifest, up to the end of the version."""
_AFTER_VERSION = b'", "run": "'
"""Bytes that follow the version in the first line of a manifest."""


class Manifest:
    """Manifest at a path, as a context manager that holds a lock on the file.

    Raises
    ------
    OutputError
        If another run holds the lock, or if the file cannot be written or is not a manifest.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written to ({reason(error)}); correct that, or name another folder"
            ) from error
        self._reader = path.open("rb")
        try:
            lock(self._file, path, "another batch writes into this folder")
            # The index of the lines is on disk, so that a million jobs take little memory.
            self._index = sqlite3.connect("", isolation_level=None)
            self._index.execute("CREATE TABLE jobs (name TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
            self._index.execute("CREATE TABLE files (name TEXT PRIMARY KEY) WITHOUT ROWID")
            self._index.execute("BEGIN")
            self._end = self._read()
            self._index.execute("COMMIT")
            os.ftruncate(self._file, self._end)  # removes an incomplete line that a killed run has left
            self._reader.close()  # the buffer of the old reader may still have that line
            self._reader = path.open("rb")
        except BaseException:
            self._reader.close()
            os.close(self._file)
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *error: object) -> None:
        self._index.close()
        self._reader.close()
        os.close(self._file)
        if not self._end:  # the file is empty
            with suppress(OSError):
                self.path.unlink()

    def known(self, job: str) -> dict[str, Any] | None:
        """Return the last line that says that a job is done or has failed.

        Returns None if there is no such line, or if it has wrong values.
        """
        found = self._index.execute("SELECT place FROM jobs WHERE name = ?", (job,)).fetchone()
        if found is None:
            return None
        self._reader.seek(found[0])
        line: dict[str, Any] = json.loads(self._reader.readline())
        return line if _is_sound(line) else None

    def owns(self, file: str) -> bool:
        """Return whether a run of this batch has begun to make this file."""
        return self._index.execute("SELECT 1 FROM files WHERE name = ?", (file,)).fetchone() is not None

    def append(self, line: dict[str, Any]) -> None:
        """Add the line of a run or of a job.

        Raises `OutputError` if the line cannot be written; the file then stays as it was.
        """
        content = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            os.lseek(self._file, self._end, os.SEEK_SET)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise OutputError(
                f"{self.path} cannot be written to ({reason(error)}); correct that, and run the same command again to "
                "continue"
            ) from error
        self._remember(line, self._end)
        self._end += len(content)

    def _read(self) -> int:
        """Read the lines, and return the offset in bytes at which the next line will be added."""
        end = 0
        self._reader.seek(0)
        while line := self._reader.readline(_LONGEST_LINE):
            fields: Any = None
            with suppress(ValueError, RecursionError):
                fields = json.loads(line)
            if not end and not _begins(line, fields):
                raise OutputError(f"{self.path} is not a manifest of a batch; move it away, or name another folder")
            length, last = len(line), line
            while len(last) == _LONGEST_LINE and not last.endswith(b"\n"):
                last = self._reader.readline(_LONGEST_LINE)
                length += len(last)
            if not last.endswith(b"\n"):
                return end
            if isinstance(fields, dict):
                self._remember(fields, end)
            end += length
        return end

    def _remember(self, line: dict[str, Any], place: int) -> None:
        """Add a line of the file, which begins at the offset `place`, to the index."""
        job, state, files = line.get("job"), line.get("state"), line.get("files")
        if not _is_name(job):
            return
        if isinstance(state, str) and state in ("done", "failed"):
            self._index.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?)", (job, place))
        if isinstance(files, (list, dict)):
            self._index.executemany(
                "INSERT OR IGNORE INTO files VALUES (?)", [(name,) for name in files if _is_name(name)]
            )


def _begins(line: bytes, fields: Any) -> bool:
    """Return whether a line, which may be incomplete, can be the first line of a manifest."""
    if line.endswith(b"\n") or fields is not None:
        return isinstance(fields, dict) and all(isinstance(fields.get(name), kind) for name, kind in _KINDS.items())
    if version := _BEGINNING.match(line):
        rest = line[version.end() :]
        return rest.startswith(_AFTER_VERSION) or _AFTER_VERSION.startswith(rest)
    return b'{"analogy": "'.startswith(line)


def is_visible(text: str) -> bool:
    """Return whether all characters of a text are printable or spaces of any kind."""
    return all(character.isprintable() or unicodedata.category(character) == "Zs" for character in text)


def _is_name(name: Any) -> bool:
    """Return whether a value can be the name of a result."""
    return isinstance(name, str) and is_visible(name)


def _is_sound(line: Mapping[str, Any]) -> bool:
    """Return whether the line of an ended job has all values that later runs need."""
    seconds, thumbnails, files = line.get("seconds", 0), line.get("thumbnails", {}), line.get("files")
    if not (isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 and isinstance(thumbnails, dict)):
        return False
    if line["state"] == "failed":
        return isinstance(line.get("error"), str)
    return isinstance(files, dict) and all(
        isinstance(file, dict) and isinstance(file.get("bytes"), int) for file in files.values()
    )
