"""Temporary files and folders beside results: who makes one holds a lock on it, and what a killed run left is cleared.

The system lets go of the lock when a process ends, however it ends. Windows, which has no such locks, deletes nothing that
is open.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.analogy-[0-9a-f]{32}\.tmp")
LOCK = "lock"
"""The file in a temporary folder that is locked for it."""


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one of ours."""
    return _NAME.fullmatch(name) is not None


def new_file(folder: Path) -> tuple[IO[bytes], Path, int | None]:
    """A new file in `folder`, open for writing; its path; and a descriptor to close when it has its name or is gone.

    Not made by `tempfile`, whose files are closed to other users.
    """
    while True:
        path = _new_path(folder)
        file = path.open("xb")
        lock = None if fcntl is None else os.dup(file.fileno())
        if _hold(file, wait=True) and path.exists():
            return file, path, lock
        file.close()  # taken for a left-over before it was locked
        if lock is not None:
            os.close(lock)


def new_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder in `parent`, and the open file that locks it."""
    while True:
        path = _new_path(parent)
        path.mkdir()
        with suppress(FileNotFoundError):  # likewise
            file = (path / LOCK).open("ab")
            if _hold(file, wait=True) and (path / LOCK).exists():
                return path, file
            file.close()


def remove_folder(path: Path, lock: IO[bytes] | None) -> None:
    """Delete a temporary folder with all that is in it, and let go of its lock."""
    if lock is not None and fcntl is None:
        lock.close()
    shutil.rmtree(path, ignore_errors=True)
    if lock is not None:
        lock.close()


@contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Whether no run holds `lock` (a temporary file, or the lock of a temporary folder). If so, it is ours in the block."""
    if fcntl is None:
        try:
            lock.unlink(missing_ok=True)
        except OSError:
            yield False
        else:
            yield True
        return
    try:
        file = lock.open("ab")
    except OSError:
        yield False
        return
    with file:
        yield _hold(file, wait=False)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No other run is in this block for the same folder, where the file system has locks."""
    try:
        descriptor = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError:
        descriptor = None
    try:
        if descriptor is not None:
            _hold(descriptor, wait=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _new_path(folder: Path) -> Path:
    return folder / f".analogy-{uuid.uuid4().hex}.tmp"


def _hold(file: IO[bytes] | int, wait: bool) -> bool:
    """Lock an open file. False if another run holds it, or (unless `wait`) if nobody can tell."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # held, or on a file system without locks: there, nothing is cleared
        return wait
    return True
