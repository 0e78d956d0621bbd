"""Temporary files and folders beside results; the next run deletes those of killed runs.

The process that makes a temporary file or folder locks it. The system releases the lock when the
process ends in any way. So a temporary file without a lock was left by a killed run, and a file
with a lock is still in use. Windows has no locks of this kind; there, a file that is open cannot be
deleted.
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
"""Pattern of the names of temporary files and folders."""
LOCK = "lock"
"""Name of the file in a temporary folder whose lock protects the folder."""


def is_temporary(name: str) -> bool:
    """Return True if `name` is a name that this module gives to temporary files and folders."""
    return _NAME.fullmatch(name) is not None


def new_file(folder: Path) -> tuple[IO[bytes], Path, int | None]:
    """Make a locked file in `folder`, and return it with its path and its lock.

    The file is open for writing. The lock is a descriptor, or None on a system without locks. The
    caller must close the lock after renaming or deleting the file. `tempfile` is not used, because
    other users could not read its files. Raises OSError.
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
    """Make a locked folder in `parent`, and return its path and its open lock file.

    Raises OSError.
    """
    while True:
        path = _new_path(parent)
        path.mkdir()
        with suppress(FileNotFoundError):  # another run deleted the folder before it was locked
            file = (path / LOCK).open("ab")
            if _lock(file, wait=True) and (path / LOCK).exists():
                return path, file
            file.close()


def remove_folder(path: Path, lock: IO[bytes] | None) -> None:
    """Delete a temporary folder and everything in it, and release its lock."""
    if lock is not None and fcntl is None:
        lock.close()
    shutil.rmtree(path, ignore_errors=True)
    if lock is not None:
        lock.close()
        with suppress(OSError):
            path.rmdir()  # NFS keeps a deleted file, and so its folder, until the file is closed


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is deleted when the block ends.

    The folder contains only its lock file. Raises OSError if the folder cannot be made.
    """
    path, lock = new_folder(parent)
    try:
        yield path
    finally:
        remove_folder(path, lock)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Lock a temporary file, or a temporary folder's lock file, during the block.

    `path` is the path of the file or folder. Yields True if the file is locked now, and False if
    another run has locked it, or if it cannot be opened. On a system without locks, the function
    deletes the file instead, and yields False if that fails.
    """
    # A run may have ended before it made its lock file. But a file that is gone has been renamed to
    # its result, and must not appear again.
    lock, mode = (path / LOCK, "ab") if path.is_dir() else (path, "r+b")
    if fcntl is None:
        try:
            lock.unlink(missing_ok=True)
        except OSError:
            yield False
        else:
            yield True
        return
    try:
        file = lock.open(mode)
    except OSError:
        yield False
        return
    with file:
        yield _lock(file, wait=False)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other run is in a block of this function for the folder, then run the block.

    On a system or a file system without locks, the function does not wait.
    """
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
    """Lock an open file, and return True on success.

    If another run has locked the file, the function waits for the lock if `wait` is True, and
    returns False if not. On a file system without locks, it returns `wait`. So a run can work there
    without locks, but deletes no temporary files there, because other runs may use them. On Windows
    the function does nothing and returns True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return wait
    return True
