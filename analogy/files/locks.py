"""Locks that let one run at a time work in a folder. The system releases them when a process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import OutputError, reason

if sys.platform == "win32":
    import msvcrt

    def _hold(file: int) -> None:
        os.lseek(file, 1 << 40, os.SEEK_SET)  # far beyond the end, because nobody else may read a locked part
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _hold(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: int, path: Path, if_held: str) -> None:
    """Lock an open file until it is closed.

    path     what errors name
    if_held  what the error says if another run holds the lock

    Raises `OutputError` if another run holds the lock, or the file system has no locks.
    """
    try:
        _hold(file)
    except (BlockingIOError, PermissionError) as error:
        raise OutputError(f"{path}: {if_held}; wait for its end, or name another") from error
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be locked against a second run ({reason(error)}); name a folder on another disk"
        ) from error
