"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import AnalogyError, OutputError, reason


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new binary file, open for writing; it becomes `path` when the block ends, and vanishes if the block raises.

    It is written beside `path` under another name, then renamed: nobody finds half of it, and an older `path` stays
    until the new one is complete. Raises `OutputError`: no such folder, no permission, disk full; also for an `OSError`
    or `ValueError` of the block, whose own `AnalogyError`s pass.
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
