"""Writing of files and folders that appear only when complete, and the check of result paths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import AnalogyError, OutputError, reason, shown
from . import temporary
from .inputs import is_address

_WINDOWS = os.name == "nt"
_PATIENCE_SECONDS = 1.0
"""Longest time for which renaming is tried again on Windows, in seconds."""


@contextmanager
def atomic(path: str | os.PathLike[str], complete: Callable[[Path], None] | None = None) -> Iterator[IO[bytes]]:
    """Yield a new binary file, open for writing, that becomes `path` when the block ends.

    The file is written in the folder of `path` under a temporary name, then renamed. So no program
    sees a partly written file, and an older file at `path` stays until the new one is complete. If
    the block raises an error, the new file is deleted. Its permissions follow the user's umask. The
    function does not wait until the data are on the disk (fsync).

    If `complete` is given, it is called with the temporary path just before the file is renamed. If
    it raises an error, the file is not renamed, but deleted.

    Raises `OutputError` if the folder does not exist, there is no permission, or the disk is full.
    If the block or `complete` raises OSError or ValueError, the function raises `OutputError`
    instead. Errors of the type `AnalogyError` pass through unchanged.
    """
    path = Path(path)
    made: Path | None = None
    lock: int | None = None
    try:
        with _as_output_error(path):
            file, made, lock = temporary.new_file(path.parent)
            with file:
                yield file
            if complete is not None:
                complete(made)
            _replace(made, path)
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink()
        if lock is not None:
            os.close(lock)


def _replace(made: Path, path: Path) -> None:
    """Rename `made` to `path`, and on Windows try for a second.

    There, renaming fails while another program, such as a virus scanner, has the old file open.
    """
    ends = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            made.replace(path)
            return
        except PermissionError:
            if not _WINDOWS or time.monotonic() > ends:
                raise
        time.sleep(0.05)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new empty folder, which becomes `path` when the block ends.

    The folder is made in the folder of `path` under a temporary name, then renamed. If the block
    raises an error, the new folder is deleted. Its permissions follow the user's umask.

    Raises `OutputError` as `atomic` does, and also if, when the block ends, `path` is a file or a
    folder with content.
    """
    with _as_output_error(path), temporary.scratch_folder(path.parent) as scratch:
        new = scratch / "new"
        new.mkdir()
        yield new
        if path.is_dir():
            path.rmdir()  # on Windows, a folder cannot replace another folder, even an empty one
        new.replace(path)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    """Raise `OutputError` about `path` in place of an OSError or ValueError of the block."""
    try:
        yield
    except AnalogyError:
        raise
    except FileNotFoundError as error:
        raise OutputError(
            f"{path} cannot be written: the folder '{path.parent}' does not exist; make it first"
        ) from error
    except PermissionError as error:
        also = ", or another program has the file open" if _WINDOWS else ""
        raise OutputError(f"{path} cannot be written: there is no permission{also}; choose another folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({reason(error)}); choose another place") from error


def as_path(target: object) -> Path:
    """Return `target`, which a user gives as the place of a result, as a path.

    Raises `OutputError` if `target` is not a path, is empty, cannot be the name of a file, or is an
    address such as "https://...".
    """
    try:
        name = os.fsdecode(target)  # type: ignore[arg-type]
        os.fsencode(name)
    except (TypeError, UnicodeError) as error:
        raise OutputError(
            f"cannot write to {shown(target)}; give the path of a folder or a picture, or an open file"
        ) from error
    if isinstance(target, bytes) or not name or "\0" in name:
        raise OutputError(
            f"cannot write to {shown(target)}, which is not a path; give the path of a folder or a picture"
        )
    if is_address(name):
        raise OutputError(f"cannot write to {shown(name)}, which is an address; give the path of a folder or a picture")
    return Path(name)
