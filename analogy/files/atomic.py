"""Files and folders that appear whole or not at all, and the check of paths for results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import AnalogyError, OutputError, reason, shown
from . import temporary
from .inputs import is_address


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yield a new binary file, open for writing, that becomes `path` when the block ends.

    The file is written beside `path` under a temporary name, then renamed. So no program sees a
    partly written file, and an older `path` stays until the new one is complete. If the block
    raises, the file is deleted. Its permissions follow the user's umask. It is not flushed to the
    disk (fsync).

    Raises `OutputError` if the folder does not exist, there is no permission, or the disk is full.
    An OSError or ValueError of the block becomes an `OutputError`; an `AnalogyError` of the block
    passes through.
    """
    path = Path(path)
    made: Path | None = None
    lock: int | None = None
    try:
        with _as_output_error(path):
            file, made, lock = temporary.new_file(path.parent)
            with file:
                yield file
            made.replace(path)
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink()
        if lock is not None:
            os.close(lock)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill, which becomes `path` when the block ends.

    Before the block, `path` must not exist, or must be an empty folder. If the block raises, the
    new folder is deleted. Permissions follow the user's umask.

    Raises `OutputError` as `atomic` does, and if something else is at `path` when the block ends.
    """
    with _as_output_error(path), temporary.scratch_folder(path.parent) as scratch:
        new = scratch / "new"
        new.mkdir()
        yield new
        if path.is_dir():
            path.rmdir()  # on Windows, a folder cannot replace even an empty one
        new.replace(path)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    """Turn an OSError or ValueError of the block into an `OutputError` that names `path`."""
    try:
        yield
    except AnalogyError:
        raise
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist; make it first") from error
    except PermissionError as error:
        raise OutputError(f"{path}: there is no permission to write there; choose another folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({reason(error)}); choose another place") from error


def as_path(target: object) -> Path:
    """Return the path of a result that a user gives.

    Raises `OutputError` if `target` is not a path, is empty, cannot be the name of a file, or is an
    address.
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
