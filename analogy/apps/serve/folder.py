"""The folder of a service for uploads and results, which no other user of the machine can read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ...errors import OutputError, reason
from ...files import temporary
from ...files.folders import make_folder

PREFIX = "analogy-serve-"
"""Prefix of the names of service folders, which are in the folder for temporary files."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a new folder that no other user can read, and delete it after the block.

    The folder is inside another new folder, which has mode 0700 and a random name, so that no other
    user can make a folder of this name in advance. The function also deletes the folders that
    killed services of this user have left.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    for left in _own_folders(parent):
        with suppress(OSError):  # raised if a running service uses the folder
            make_folder(left)  # this deletes temporary folders in it that no process has locked
            left.rmdir()
    try:
        own, folder, lock = _new_folder(parent)
    except OSError as error:
        raise OutputError(f"{parent} cannot be written to ({reason(error)}); set TMPDIR to another folder") from error
    try:
        yield folder
    finally:
        temporary.remove_folder(folder, lock)
        with suppress(OSError):
            own.rmdir()


def keep_alive(folder: Path) -> None:
    """Mark the folder of a service as used, so that no cleaner deletes it as old.

    Many systems delete files that have not been used for some days from the folder for temporary
    files.
    """
    for path in (folder.parent, folder, folder / temporary.LOCK):
        with suppress(OSError):
            os.utime(path)


def _new_folder(parent: Path) -> tuple[Path, Path, IO[bytes]]:
    """Return a new folder, a folder in it that this process has locked, and the lock."""
    while True:
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another service, which was starting, has deleted the folder
            return own, *temporary.new_folder(own)


def _own_folders(parent: Path) -> list[Path]:
    """Return the service folders in `parent` that belong to this user. Leave out symbolic links."""
    found = []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_ours(entry):
                found.append(Path(entry))
    return found


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder belongs to this user. On Windows, always return True."""
    return not hasattr(os, "geteuid") or entry.stat(follow_symlinks=False).st_uid == os.geteuid()
