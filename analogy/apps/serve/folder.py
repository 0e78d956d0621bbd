"""The folder of a service for uploads and results, which no other user of the machine can read or put in its place."""

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
"""First characters of the names of the folders of services, in the folder for temporary files."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a new folder for the block, with mode 0700. What killed services of this user left is deleted before.

    Raises `OutputError` if it cannot be made. No name is fixed, so that nobody can have made the
    folder before.
    """
    parent = Path(tempfile.gettempdir())
    for left in _own_folders(parent):
        with suppress(OSError):  # as long as a service runs in it
            make_folder(left)  # which clears what no process holds
            left.rmdir()
    try:
        own, folder, lock = _new_folder(parent)
    except OSError as error:
        raise OutputError(f"{parent}: cannot be written to ({reason(error)})") from error
    try:
        yield folder
    finally:
        temporary.remove_folder(folder, lock)
        with suppress(OSError):
            own.rmdir()


def _new_folder(parent: Path) -> tuple[Path, Path, IO[bytes]]:
    """Return a new folder that this user alone can open, one in it that is locked for this process, and the lock."""
    while True:
        own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another service that starts has taken it for a left-over
            return own, *temporary.new_folder(own)


def _own_folders(parent: Path) -> list[Path]:
    """Return the folders of services that belong to this user; no link, and nothing of another user."""
    found = []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _is_ours(entry):
                found.append(Path(entry))
    return found


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder belongs to this user. On Windows, temporary files are each user's own."""
    return not hasattr(os, "geteuid") or entry.stat(follow_symlinks=False).st_uid == os.geteuid()
