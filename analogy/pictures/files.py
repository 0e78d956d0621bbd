"""Folders for results, and files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import AnalogyError, OutputError, reason
from ..inputs import is_address


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new binary file, open for writing. It becomes `path` when the block ends, and vanishes if the block raises.

    It is written beside `path` under another name, then renamed, so that nobody sees half of it, and an older `path` stays
    until the new one is complete.

    Raises `OutputError` if the folder does not exist, there is no permission, or the disk is full; also in place of an
    `OSError` or `ValueError` of the block. An `AnalogyError` of the block passes through.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # not tempfile: its files are closed to other users
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    except AnalogyError:
        raise
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist; make it first") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write there; choose another folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def as_path(target: object) -> Path:
    """The path that a caller names. Raises `OutputError` if it is none, empty, has a NUL, or is an address."""
    if not isinstance(target, (str, os.PathLike)):
        raise OutputError(f"cannot write to {target!r:.100}; give the path of a folder or a picture, or an open file")
    name = os.fsdecode(target)
    if not name or "\0" in name:
        raise OutputError(f"cannot write to {name!r:.100}; that is no path")
    if is_address(name):
        raise OutputError(f"cannot write to {name!r:.100}; that is an address, give the path of a folder or a picture")
    return Path(name)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for results, if it is not there. Raises `OutputError` if that fails, or it cannot be written to."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write to the folder {folder}; choose another")
    return folder
