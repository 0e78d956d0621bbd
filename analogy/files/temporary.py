"""Temporary files and folders beside results: the process that makes one locks it, and the next run deletes unlocked ones.

The system releases the lock when a process ends, however it ends, so that what a killed run left
behind can be told from what a running one still needs. Windows has no such locks; there, a file
that is open cannot be deleted.
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
"""Name of the file in a temporary folder whose lock protects the folder."""


def is_temporary(name: str) -> bool:
    """Return whether `name` is one that this module gives to temporary files and folders."""
    return _NAME.fullmatch(name) is not None


def new_file(folder: Path) -> tuple[IO[bytes], Path, int | None]:
    """Make a locked file in `folder`. Return it, open for writing, with its path and the descriptor that holds the lock.

    The caller closes the descriptor (None where there are no locks) once the file has its final
    name or is deleted. The file is not made by `tempfile`, because other users cannot read the
    files which that makes. Raises OSError.
    """
    while True:
        path = _new_path(folder)
        file = path.open("xb")
        lock = None if fcntl is None else os.dup(file.fileno())
        if _lock(file, wait=True) and path.exists():
            return file, path, lock
        file.close()  # another run deleted the file before it was locked
        if lock is not None:
            os.close(lock)


def new_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    """Make a locked folder in `parent`. Return its path and the open file that holds the lock. Raises OSError."""
    while True:
        path = _new_path(parent)
        path.mkdir()
        with suppress(FileNotFoundError):  # another run deleted the folder before it was locked
            file = (path / LOCK).open("ab")
            if _lock(file, wait=True) and (path / LOCK).exists():
                return path, file
            file.close()


def remove_folder(path: Path, lock: IO[bytes] | None) -> None:
    """Delete a temporary folder with all that is in it, and release its lock."""
    if lock is not None and fcntl is None:
        lock.close()
    shutil.rmtree(path, ignore_errors=True)
    if lock is not None:
        lock.close()


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is deleted when the block ends. It contains its own lock file.

    Raises OSError if the folder cannot be made.
    """
    path, lock = new_folder(parent)
    try:
        yield path
    finally:
        remove_folder(path, lock)


@contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Lock a temporary file, or the lock file of a temporary folder, for the block. Yield False if another run holds it."""
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
        yield _lock(file, wait=False)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other run is in such a block for the same folder. Where the file system has no locks, do not wait."""
    try:
        descriptor = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError:
        descriptor = None
    try:
        if descriptor is not None:
            _lock(descriptor, wait=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _new_path(folder: Path) -> Path:
    return folder / f".analogy-{uuid.uuid4().hex}.tmp"


def _lock(file: IO[bytes] | int, wait: bool) -> bool:
    """Lock an open file and return True. Without `wait`, return False if the lock is held or the file system has none.

    With `wait`, a file system without locks counts as success: the run goes on, and nothing on it
    is ever deleted.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return wait
    return True
