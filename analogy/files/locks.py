"""Locks by which one run at a time works in a folder. The system lets go of them when a process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import OutputError, reason

if sys.platform == "win32":
    import msvcrt

    def _hold(file: int) -> None:
        os.lseek(file, 1 << 40, os.SEEK_SET)  # far beyond its end: others may not even read what is locked
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _hold(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: int, path: Path, held: str) -> None:
    """Lock the open file at `path` until it is closed. `held`: what is said where another run holds it.

    Raises `OutputError` if another run holds the lock, or nobody can tell.
    """
    try:
        _hold(file)
    except (BlockingIOError, PermissionError) as error:
        raise OutputError(f"{path}: {held}; wait for its end, or name another") from error
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be locked against a second run ({reason(error)}); name a folder on another disk"
        ) from error
