"""Files that save the state of a run that paints a film, so that the next run can continue from it.

For each stretch of the film (see `plan.Stretch`), a state says to which frame a key was carried,
and a store contains the frames that were painted from the later key. States and stored frames have
checksums. If a state or a stored frame that it needs is damaged, the next run ignores the state,
and carries the key again from the key's own frame.
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
"""Shortest time between two writings of a state, in seconds."""
_LOCK = "lock"
"""Name of the file that a run locks, to keep other runs out of its folder."""
_MOST_TRIES = 100
"""Number of times that a run tries to make its folder of states.

The folder may vanish while other runs end. In a current folder that has been deleted, no try
succeeds.
"""
_NAME = re.compile(r"[0-9a-f]{64}-\w+\.(npz|raw)")
"""Pattern of the names of states and stores."""
_CHECKSUM = "checksum"
"""Name of the checksum among the arrays of a state."""
_DIGEST = 32
"""Length of a SHA-256, in bytes."""
_MAX_BYTES = 1 << 32
"""Maximum size of a file that is read as a state, in bytes."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder of states during the block.

    The folder is made before the block. After the block, the folder is deleted if it is empty.
    Raises `OutputError` if another run uses the folder, or if the folder cannot be made.
    """
    file = _locked(folder)
    path = folder / _LOCK
    try:
        yield
    finally:
        # The file is deleted while it is locked. So if another run has opened it and gets the
        # lock next, that run finds the file gone, and makes a new one.
        try:
            path.unlink(missing_ok=True)
            is_deleted = True
        except OSError:  # Windows deletes a file only after it is closed
            is_deleted = False
        os.close(file)
        with suppress(OSError):
            if not is_deleted:  # if it is, a file of this name is that of the next run
                path.unlink()
            folder.rmdir()


def _locked(folder: Path) -> int:
    """Make the folder of states, lock its lock file, and return the descriptor of that file.

    Raises `OutputError` if another run holds the lock, or the folder or the file cannot be made.
    """
    path = folder / _LOCK
    tries = 0
    while True:
        tries += 1
        try:
            folder.mkdir(exist_ok=True)
            if folder.is_symlink():
                raise NotADirectoryError("it is a link")
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and folder.parent.is_dir() and tries < _MOST_TRIES:
                continue  # a run that ended has just deleted the folder
            raise _not_saved(folder, error) from error
        try:
            lock(file, folder.parent, "another run writes into this folder")
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    make_folder(folder)  # this deletes the temporary files of a killed run
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _not_saved(folder: Path, error: OSError) -> OutputError:
    """Return the error that is raised if the folder of states cannot be made or used."""
    return OutputError(
        f"{folder}: the progress of the film cannot be saved there ({reason(error)}); remove the file or link of this "
        "name, or name another folder for the results"
    )


class Store:
    """File of numbered uint8 arrays of one shape, which are in memory only while they are used."""

    def __init__(self, file: Any, shape: tuple[int, ...]):
        """Use `file`, which is open for reading and writing. The store's `with` block closes it."""
        self._file, self._shape = file, shape
        self._bytes = _DIGEST + int(np.prod(shape))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # after a failed writing, whose error passes through the block, closing fails, too
            self._file.close()

    def __setitem__(self, index: int, array: np.ndarray) -> None:
        content = np.ascontiguousarray(array).data
        try:
            self._file.seek(index * self._bytes)
            self._file.write(hashlib.sha256(content).digest())
            self._file.write(content)
            self._file.flush()  # a state that refers to this array may be saved next
        except OSError as error:
            raise OutputError(
                f"the frames painted from the later key cannot be stored ({reason(error)}); "
                "free some disk space, and run the command again"
            ) from error

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the array `index`. Raises `OutputError` if the array is missing or damaged."""
        array = np.empty(self._shape, np.uint8)
        content = array.data.cast("B")
        try:
            self._file.seek(index * self._bytes)
            checksum = self._file.read(_DIGEST)
            whole = self._file.readinto(content) == len(content)
        except OSError as error:
            raise OutputError(
                f"the stored frames painted from the later key cannot be read ({reason(error)}); run the command again"
            ) from error
        if not whole or hashlib.sha256(content).digest() != checksum:
            raise OutputError("the stored frames painted from the later key are damaged; run the command again")
        return array

    def holds(self, indices: Iterable[int]) -> bool:
        """Return whether all arrays with these `indices` exist and are undamaged."""
        try:
            for index in indices:
                self[index]
        except OutputError:
            return False
        return True


class Work:
    """Saved progress of one stretch of a film (frames painted from the same keys)."""

    def __init__(self, folder: Path | None, name: str):
        """Use files in `folder`, or save nothing for the next run if `folder` is None.

        The names of the files begin with `name`, a checksum of everything that the painted frames
        of the stretch depend on (see `plan.digest`). So if one of these things changes, the files
        that were saved before are not used.
        """
        self._folder, self._name = folder, name
        self._kept = time.monotonic()

    def state(self, what: str, like: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]] | None:
        """Return the index and the arrays of the state that `keep` last wrote under a name.

        `what` is the name, and the index is that of the frame that `keep` got. Returns None if
        there is no such state, if it is damaged, if its arrays differ from those of `like` in name,
        shape or dtype, or if a value in them is not finite.
        """
        if self._folder is None:
            return None
        try:
            content = read_regular(self._path(what, "npz"), _MAX_BYTES)
            with np.load(io.BytesIO(content)) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except Exception:  # `zipfile` raises errors of many types for a damaged archive
            return None
        checksum, index = found.pop(_CHECKSUM, None), found.pop("index", None)
        if index is None or checksum is None or checksum.tobytes() != _checksum(index, found):
            return None
        if _kinds(found) != _kinds(like) or not all(np.isfinite(array).all() for array in found.values()):
            return None
        return int(index), found

    def keep(self, what: str, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the state at the frame `index` under the name `what`.

        The method does nothing if the folder is None, or if less than `EVERY` seconds have passed
        since it last wrote a state or, before the first state, since this object was made.

        Raises `OutputError` if the state cannot be written.
        """
        if self._folder is not None and time.monotonic() >= self._kept + EVERY:
            self._make_folder()
            place = np.int64(index)
            checksum = np.frombuffer(_checksum(place, arrays), np.uint8)
            with atomic(self._path(what, "npz")) as file:
                np.savez(file, index=place, **{_CHECKSUM: checksum}, **arrays)  # type: ignore[arg-type]
            self._kept = time.monotonic()

    def store(self, what: str, shape: tuple[int, ...]) -> Store:
        """Open the store with the name `what` that an earlier run left, or make a new store.

        The arrays of the store have the given `shape`. Raises `OutputError` if its file cannot be
        opened.
        """
        if self._folder is None:
            try:
                return Store(tempfile.TemporaryFile(), shape)
            except OSError as error:
                raise OutputError(
                    f"no temporary file can be made ({reason(error)}); set TMPDIR to a folder with free space"
                ) from error
        path = self._path(what, "raw")
        self._make_folder()
        try:
            with suppress(FileNotFoundError):
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a link or a device, which no run makes
                    path.unlink()
            path.touch()
            return Store(path.open("r+b"), shape)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written to ({reason(error)}); remove it, and run the command again"
            ) from error

    def clear(self) -> None:
        """Delete the files of this stretch."""
        if self._folder is not None:
            _delete(self._folder, f"{self._name}-")

    def _make_folder(self) -> None:
        """Make the folder unless it exists. Raises `OutputError` if it cannot be made."""
        assert self._folder is not None
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _not_saved(self._folder, error) from error

    def _path(self, what: str, suffix: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}-{what}.{suffix}"


def clear(folder: Path) -> None:
    """Delete all states and stores in a folder, including those of stretches that have changed."""
    _delete(folder, "")


def _checksum(index: np.ndarray | np.int64, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the SHA-256 of a state, which covers the frame's index, the arrays and their names."""
    digest = hashlib.sha256(str(index).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _kinds(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return the shape and the dtype of each array."""
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _delete(folder: Path, beginning: str) -> None:
    """Delete the states and stores whose names start with `beginning`.

    The folder is deleted, too, if it is then empty. If a file cannot be deleted, the function stops
    without an error.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name.startswith(beginning) and _NAME.fullmatch(path.name):
                path.unlink()
        folder.rmdir()
