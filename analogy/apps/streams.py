"""The standard streams of the command: closed, full, given up by their reader, and written to by libraries."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def prepare() -> None:
    """Put the null device in the place of standard streams that were closed when the program began,
    and let those that cannot hold a character of a file name write an escape for it.

    Otherwise the next file that is opened gets the number of standard error, and what a library
    writes there goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (for the rest of the run)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def give_up(stream: Any) -> None:
    """Let nothing more be written to a standard stream that failed: neither now nor when the program ends."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(line: str) -> None:
    """Write a line to standard error, if that can be written to."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        give_up(sys.stderr)


@contextmanager
def libraries_kept_silent() -> Iterator[None]:
    """Drop what libraries in C write to standard error, while what Python writes there arrives.

    Their lines (libtiff's on a damaged picture, say) tell in their own words what an error of ours
    tells as well.
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
