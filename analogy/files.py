"""Writing a file so that it appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A scratch path beside `path`: what the block has written there becomes `path` at its end, or vanishes on an error.

    Raises `OutputError` for a folder that does not exist or cannot be written, and for a full disk.
    """
    path = Path(path)
    # Not tempfile: its files are closed to other users. The suffix stays, for writers that go by it.
    scratch = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield scratch
        os.replace(scratch, path)
    except FileNotFoundError as error:
        raise OutputError(f"{path}: the folder {path.parent} does not exist; make it first") from error
    except PermissionError as error:
        raise OutputError(f"{path}: no permission to write there; choose another folder") from error
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            scratch.unlink()
