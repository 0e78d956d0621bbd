"""Locks that let one run at a time work in a folder; the system releases them with the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import OutputError, reason

if sys.platform == "win32":
    import msvcrt

    def _hold(file: int) -> None:
        os.lseek(file, 1 << 40, os.SEEK_SET)  # beyond the end, because others cannot read a locked part
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _hold(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: int, path: Path, if_held: str) -> None:
    """Lock an open file until it is closed.

    Raises `OutputError`, which names `path`, if another run holds the lock (`if_held` is the
    sentence for that), or if the file system has no locks.
    """
    try:
        _hold(file)
    except (BlockingIOError, PermissionError) as error:
        raise OutputError(f"{path}: {if_held}; wait until it ends, or name another folder") from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be locked against a second run ({reason(error)}); name a folder on another disk"
        ) from error
