"""Files from outside: opened only where they are plain files, and read only up to a bound.

A pipe, a socket or a device in the place of a file may block for ever, or never end.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


def is_address(path: str) -> bool:
    """Whether a path is rather an address ("https://..."), of whose two strokes a `Path` may have left one.

    A drive of Windows has one letter.
    """
    return _ADDRESS.match(path) is not None


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """The plain file at `path` (or behind a link there), open for reading in binary mode.

    Raises OSError, whose `strerror` is for people: for a pipe, a socket and a device, none of which is waited for; for a
    path that no file can have; and whatever `open` raises (IsADirectoryError for a folder, on any system).
    """
    name = os.fsdecode(path)
    if "\0" in name:
        raise OSError(errno.EINVAL, "no file has a NUL character in its name")
    try:
        os.fsencode(name)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "no file has such a name") from error
    _check(Path(name).stat())  # before it is opened: to open a device may do something
    file = open(name, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    try:
        _check(os.fstat(file.fileno()))  # again, as it may be another one by now
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of the plain file at `path`, of at most `most` bytes. Raises OSError, also if it has more."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return content


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore what libraries warn of while they read; for all threads, until the last of them has left the block.

    `warnings.catch_warnings` by itself, left by threads in another order than they entered it, would ignore for ever.
    """
    global _blocks, _caught
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _caught = warnings.catch_warnings()
            _caught.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _caught.__exit__(None, None, None)


_lock = threading.Lock()
_blocks = 0
"""How many threads are in `without_warnings`."""
_caught: warnings.catch_warnings[None]


def _check(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
