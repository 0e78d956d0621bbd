"""Reading of files that users give, of which only plain files are opened.

A pipe, a socket or a device is refused, because reading it may wait for ever, or never end.
"""

from __future__ import annotations

import errno
import hashlib
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
"""Type of a file that is not a plain file (see `stat`) -> name of the type in messages."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Pattern of the beginning of an address such as "https://...".

One slash is enough, because `Path` turns two slashes into one. At least two letters must come
before the colon, because a single letter is a drive of Windows.
"""


def is_address(path: str) -> bool:
    """Return True if `path` is an address on a server, such as "https://..." or "s3://..."."""
    return _ADDRESS.match(path) is not None


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open the plain file at `path`, or the plain file to which a link there leads, in binary mode.

    Raises OSError as `open` does, with a `strerror` that can be shown to users. Also raises
    OSError, without waiting, for a pipe, a socket, a device, or a path that no file can have. For a
    folder, the error is IsADirectoryError on every system.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        raise OSError(errno.EINVAL, "the name of a file cannot contain a NUL character")
    try:
        os.fsencode(name)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "no file can have this name") from error
    _check(Path(name).stat())  # checked before opening, because just opening a device can start it
    file = open(name, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    try:
        _check(os.fstat(file.fileno()))  # checked again, because the file may have been replaced in between
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Return the content of a plain file.

    Raises OSError if the file cannot be read, or has more than `max_bytes` bytes.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {max_bytes} bytes")
    return content


def checksum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the plain file at `path`, in hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore all Python warnings during the block.

    Warnings are ignored in all threads until the last thread has left a block of this function.
    Each `warnings.catch_warnings` restores at its end the filters that it found at its beginning.
    So if each thread used a separate one, a thread that began during the block of another thread
    and ended after it would restore that thread's filters, and warnings would be ignored for ever.
    """
    global _threads, _caught
    with _lock:
        _threads += 1
        if _threads == 1:
            _caught = warnings.catch_warnings()
            _caught.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _threads -= 1
            if _threads == 0:
                _caught.__exit__(None, None, None)


_lock = threading.Lock()
"""Lock that a thread holds while it changes `_threads` and `_caught`."""
_threads = 0
"""Number of threads that are inside a block of `without_warnings`."""
_caught: warnings.catch_warnings[None]
"""Saved filters: the first thread in `without_warnings` saves them, the last one restores them."""


def _check(status: os.stat_result) -> None:
    """Raise OSError unless `status` describes a plain file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind:
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file as `os.open` does, but do not wait for another process if it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
