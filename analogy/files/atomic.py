"""Files that appear whole or not at all, and the paths that callers name for them."""

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
    """A new binary file, open for writing. It becomes `path` when the block ends, and vanishes if the block raises.

    It is written beside `path` under a temporary name, then renamed, so that nobody sees half of it, and an older `path`
    stays until the new one is complete.

    Raises `OutputError` if the folder does not exist, there is no permission, or the disk is full; also in place of an
    `OSError` or `ValueError` of the block. An `AnalogyError` of the block passes through.
    """
    path = Path(path)
    made: Path | None = None
    lock: int | None = None
    try:
        file, made, lock = temporary.new_file(path.parent)
        with file:
            yield file
        made.replace(path)
    except AnalogyError:
        raise
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist; make it first") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write there; choose another folder") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written ({reason(error)})") from error
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink()
        if lock is not None:
            os.close(lock)


def as_path(target: object) -> Path:
    """The path that a caller names. Raises `OutputError` if it is none, empty, no name a file can have, or an address."""
    try:
        name = os.fsdecode(target)  # type: ignore[arg-type]
        os.fsencode(name)
    except (TypeError, UnicodeError) as error:
        raise OutputError(
            f"cannot write to {shown(target)}; give the path of a folder or a picture, or an open file"
        ) from error
    if isinstance(target, bytes) or not name or "\0" in name:
        raise OutputError(f"cannot write to {shown(target)}; that is no path")
    if is_address(name):
        raise OutputError(f"cannot write to {shown(name)}; that is an address, give the path of a folder or a picture")
    return Path(name)
