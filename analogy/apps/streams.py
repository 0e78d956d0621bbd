"""The standard streams of the command, which can be closed, full, or written to by libraries."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any


def prepare() -> None:
    """Open the null device for closed standard streams, and let standard output print any text.

    If standard error were closed, the next file that is opened would get the descriptor 2, the
    number of standard error, and the messages of libraries would go into that file. Standard output
    escapes characters that its encoding lacks, which can occur in file names.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # `open` takes the lowest free number, which is `number`
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (stays open for the rest of the run)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def give_up(stream: Any) -> None:
    """Let the null device replace a standard stream that failed, so that later writes succeed."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(line: str) -> None:
    """Write a line to standard error. If that fails, drop the line."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        give_up(sys.stderr)


@cache
def bars() -> Any:
    """Return tqdm's class of progress bars, whose lock is one for the threads of this process.

    The usual lock is also for processes. Where new processes are not forked, as on macOS, Python
    would report at the end that this lock has leaked.
    """
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())
    return tqdm


@contextmanager
def libraries_kept_silent() -> Iterator[None]:
    """Drop what C libraries write to standard error in the block, but keep what Python writes.

    Some libraries, such as libtiff, report a damaged picture on standard error. This package
    reports the damage in an error of its own.
    """
    stream = sys.stderr
    try:
        ours = stream.fileno() == 2
    except (OSError, ValueError):
        ours = False
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        stream.flush()
        os.dup2(null, 2)
        if ours:
            sys.stderr = open(  # noqa: SIM115 (closed below)
                kept, "w", encoding=stream.encoding, errors=stream.errors, buffering=1, closefd=False
            )
        yield
    finally:
        if ours:
            complaint, sys.stderr = sys.stderr, stream
            with suppress(OSError, ValueError):
                complaint.close()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
