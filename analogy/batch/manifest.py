"""The manifest of a batch: a file of JSON lines to which one run at a time appends.

The next run does what is missing or has changed.

    {"analogy": "0.1.0", "run": "2030-01-31T12:00:00+00:00", "model": ..., "model_sha256": ...,
    "device": ..., "settings": ...} {"job": "x.png", "state": "begun", "files": ["x.png"]} {"job":
    "x.png", "state": "done", "seen": ..., "from": ..., "files": {"x.png": {"bytes": ..., "sha256":
    ...}}, ...} {"job": "y.png", "state": "failed", "seen": ..., "error": "A (photos/y.jpg): there
    is no such file", ...}

Of the lines of a job the last counts. "seen" is a checksum of the inputs as their store shows them
unread (size and time), and "from" is one of the inputs' content; the settings, the model and the
version of analogy are part of both. A file that no line names is none of ours, and is never written
over. A line that a killed run left half is no line.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError, reason
from ..files.locks import lock

NAME, REPORT = "batch.jsonl", "report.html"
"""The files of a batch itself in the folder for results: this file, and the page about it."""
_LONGEST_LINE = 1 << 22
"""Most bytes of a line that is read; a longer line counts as if it were not there."""
_KINDS = {"analogy": str, "run": str, "model_sha256": str, "settings": dict}
"""The keys of the line of a run by which a manifest is known, and the types of their values."""
_BEGINNING = re.compile(rb'\{"analogy": "[\w.+-]+')
_THEN = b'", "run": "'
"""The pattern of the first bytes of a manifest, with the version, and the bytes that follow it."""


class Manifest:
    """The manifest at `path`, a context manager that holds a lock on it until it is closed.

    Raises `OutputError` if another run holds it, it cannot be written to, or the file there is
    none.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written to ({reason(error)})") from error
        self._reader = path.open("rb")
        try:
            lock(self._file, path, "another batch writes into this folder")
            # Where each job's line is, on disk: a million of them are no matter of memory.
            self._index = sqlite3.connect("", isolation_level=None)
            self._index.execute("CREATE TABLE jobs (name TEXT PRIMARY KEY, place INTEGER) WITHOUT ROWID")
            self._index.execute("CREATE TABLE files (name TEXT PRIMARY KEY) WITHOUT ROWID")
            self._index.execute("BEGIN")
            self._end = self._read()
            self._index.execute("COMMIT")
            os.ftruncate(self._file, self._end)  # a line that a killed run left half
            self._reader.close()  # it has read ahead
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
        if not self._end:  # nothing has begun
            with suppress(OSError):
                self.path.unlink()

    def known(self, job: str) -> dict[str, Any] | None:
        """Return the last line of a job, done or failed; None if there is none, or if no run can have written it."""
        found = self._index.execute("SELECT place FROM jobs WHERE name = ?", (job,)).fetchone()
        if found is None:
            return None
        self._reader.seek(found[0])
        line: dict[str, Any] = json.loads(self._reader.readline())
        return line if _is_sound(line) else None

    def owns(self, file: str) -> bool:
        """Return whether a run of this manifest has begun to make a file."""
        return self._index.execute("SELECT 1 FROM files WHERE name = ?", (file,)).fetchone() is not None

    def append(self, line: dict[str, Any]) -> None:
        """Add the line of a run or of a job. Raises `OutputError`; then the file is as it was."""
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
                f"{self.path}: cannot be written to ({reason(error)}); mend that, then run the same command: it goes on"
            ) from error
        self._remember(line, self._end)
        self._end += len(content)

    def _read(self) -> int:
        """Read the lines that are there. Returns the place where the next line begins, in bytes."""
        end = 0
        self._reader.seek(0)
        while line := self._reader.readline(_LONGEST_LINE):
            fields: Any = None
            with suppress(ValueError, RecursionError):
                fields = json.loads(line)
            if not end and not _begins(line, fields):
                raise OutputError(f"{self.path}: is no manifest of a batch; move it away, or name another folder")
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
    """Return whether the first line of a file, whole or half, is the first line of a manifest."""
    if line.endswith(b"\n") or fields is not None:
        return isinstance(fields, dict) and all(isinstance(fields.get(name), kind) for name, kind in _KINDS.items())
    if version := _BEGINNING.match(line):
        rest = line[version.end() :]
        return rest.startswith(_THEN) or _THEN.startswith(rest)
    return b'{"analogy": "'.startswith(line)


def _is_name(name: Any) -> bool:
    """Return whether a run can have written this name of a result."""
    return isinstance(name, str) and name.isprintable()


def _is_sound(line: Mapping[str, Any]) -> bool:
    """Return whether the line of a job that has ended holds all that later runs need, each value of its type."""
    seconds, thumbnails, files = line.get("seconds", 0), line.get("thumbnails", {}), line.get("files")
    if not (isinstance(seconds, (int, float)) and 0 <= seconds < 1e9 and isinstance(thumbnails, dict)):
        return False
    if line["state"] == "failed":
        return isinstance(line.get("error"), str)
    return isinstance(files, dict) and all(
        isinstance(file, dict) and isinstance(file.get("bytes"), int) for file in files.values()
    )
