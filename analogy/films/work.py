"""What a killed run on a film leaves for the next: how far each key was carried, so that it need not begin again.

Each state has a checksum in it, and each array of a store one before it. What is damaged counts as if it were not there: then
the stretch begins anew.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError, reason
from ..files.atomic import atomic
from ..files.folders import make_folder
from ..files.inputs import read_regular
from ..files.locks import lock

EVERY = 5.0
"""Seconds after which a state is kept again."""
_LOCK = "lock"
_NAME = re.compile(r"[0-9a-f]{64}-\w+\.(npz|raw)")
"""Of what is kept in the folder."""
_CHECKSUM = "checksum"
"""The name of the checksum among the arrays of a state."""
_DIGEST = 32
"""Bytes of a SHA-256."""
_MOST_BYTES = 1 << 32


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other run is in this block with the same folder for what is kept. It is made if need be, and goes if it is empty.

    Raises `OutputError` if another run is, or there cannot be such a folder.
    """
    file = _locked(folder)
    path = folder / _LOCK
    try:
        yield
    finally:
        with suppress(OSError):  # while it is locked: whoever waits for it sees that it is another one
            path.unlink()
        os.close(file)
        with suppress(OSError):
            path.unlink()  # Windows keeps what is open
        with suppress(OSError):
            folder.rmdir()


def _locked(folder: Path) -> int:
    path = folder / _LOCK
    while True:
        try:
            folder.mkdir(exist_ok=True)
            if folder.is_symlink():
                raise NotADirectoryError("it is a link")
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # a run that has ended has taken the folder away in between
            if not folder.parent.is_dir():
                raise
            continue
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot keep how far the film is ({reason(error)}); remove that, or name another folder"
            ) from error
        try:
            lock(file, folder.parent, "another run writes into this folder")
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    make_folder(folder)  # and clear what a killed run left half
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


class Store:
    """Arrays uint8 of one shape in an open file, by their number. None of them stays in memory."""

    def __init__(self, file: Any, shape: tuple[int, ...]):
        self._file, self._shape = file, shape
        self._bytes = _DIGEST + int(np.prod(shape))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __setitem__(self, index: int, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).data
        try:
            self._file.seek(index * self._bytes)
            self._file.write(hashlib.sha256(content).digest())
            self._file.write(content)
            self._file.flush()  # before a state says that it is there
        except OSError as error:
            raise OutputError(f"what a film needs between two keys cannot be written ({reason(error)})") from error

    def __getitem__(self, index: int) -> np.ndarray:
        """Raises `OutputError` for an array that is not there as it was written."""
        array = np.empty(self._shape, np.uint8)
        content = array.data.cast("B")
        try:
            self._file.seek(index * self._bytes)
            checksum = self._file.read(_DIGEST)
            whole = self._file.readinto(content) == len(content)
        except OSError as error:
            raise OutputError(f"what a film needs between two keys cannot be read ({reason(error)})") from error
        if not whole or hashlib.sha256(content).digest() != checksum:
            raise OutputError("what a film needs between two keys was changed while it was painted; run it again")
        return array

    def holds(self, indices: Iterable[int]) -> bool:
        """Whether all these arrays are there as they were written."""
        try:
            for index in indices:
                self[index]
        except OutputError:
            return False
        return True


class Work:
    """Files of one stretch of a film in a folder, or, without a folder, nothing that outlives the run.

    name  tells the stretch from others, and from what it was before something changed
    """

    def __init__(self, folder: Path | None, name: str):
        self._folder, self._name = folder, name
        self._kept = time.monotonic()

    def state(self, what: str, like: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]] | None:
        """The frame and the arrays that `keep` was last given for `what`.

        None if there are none that are whole, and have the shapes and the types of those in `like`.
        """
        if self._folder is None:
            return None
        try:
            content = read_regular(self._path(what, "npz"), _MOST_BYTES)
            with np.load(io.BytesIO(content)) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except Exception:  # a damaged archive makes `zipfile` raise nearly anything
            return None
        checksum, index = found.pop(_CHECKSUM, None), found.pop("index", None)
        if index is None or checksum is None or checksum.tobytes() != _checksum(index, found):
            return None
        if _kinds(found) != _kinds(like) or not all(np.isfinite(array).all() for array in found.values()):
            return None
        return int(index), found

    def keep(self, what: str, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the state of a frame, in place of that of an earlier one, if that was some time ago."""
        if self._folder is not None and time.monotonic() >= self._kept + EVERY:
            self._folder.mkdir(exist_ok=True)
            place = np.int64(index)
            checksum = np.frombuffer(_checksum(place, arrays), np.uint8)
            with atomic(self._path(what, "npz")) as file:
                np.savez(file, index=place, **{_CHECKSUM: checksum}, **arrays)  # type: ignore[arg-type]
            self._kept = time.monotonic()

    def store(self, what: str, shape: tuple[int, ...]) -> Store:
        """Arrays of a shape in a file, as an earlier run has left it, or a new one.

        Raises `OutputError` if there cannot be such a file.
        """
        if self._folder is None:
            return Store(tempfile.TemporaryFile(), shape)
        path = self._path(what, "raw")
        try:
            self._folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # none that a run has made
                    path.unlink()
            path.touch()
            return Store(path.open("r+b"), shape)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written to ({reason(error)}); remove it") from error

    def clear(self) -> None:
        """Delete the files of this stretch."""
        if self._folder is not None:
            _delete(self._folder, f"{self._name}-")

    def _path(self, what: str, suffix: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}-{what}.{suffix}"


def clear(folder: Path) -> None:
    """Delete all that runs have kept in a folder, also for stretches that have changed since."""
    _delete(folder, "")


def _checksum(index: np.ndarray | np.int64, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The SHA-256 of a state: of the frame, and of the arrays with their names."""
    digest = hashlib.sha256(str(index).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _kinds(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The shape and the type of each array."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _delete(folder: Path, beginning: str) -> None:
    with suppress(OSError):  # what is open elsewhere stays, and so does the folder then
        for path in list(folder.iterdir()):
            if path.name.startswith(beginning) and _NAME.fullmatch(path.name):
                path.unlink()
        folder.rmdir()
