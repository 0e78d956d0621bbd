"""Locks that let only one run at a time work in a folder.

When a process ends in any way, the system releases its locks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import OutputError, reason

if sys.platform == "win32":
    import msvcrt

    def _hold(file: int) -> None:
        os.lseek(file, 1 << 40, os.SEEK_SET)  # beyond the end, as no other process can read a locked byte
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _hold(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(file: int, path: Path, if_held: str) -> None:
    """Lock an open file until it is closed.

    Raises `OutputError`, which names `path`, if another run has locked the file, or if the file
    system does not support locks. In the first case, the message gives `if_held` as the reason.
    """
    try:
        _hold(file)
    except (BlockingIOError, PermissionError) as error:
        raise OutputError(f"{path}: {if_held}; wait until it ends, or name another folder") from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be locked to exclude other runs ({reason(error)}); choose a folder on another disk"
        ) from error
