"""What a killed run on a film leaves for the next: how far each key was carried, so that it need not begin again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError, reason
from .pictures.files import atomic

EVERY = 5.0
"""Seconds after which a state is kept again."""


class Store:
    """Arrays uint8 of one shape in an open file, by their number. None of them stays in memory."""

    def __init__(self, file: Any, shape: tuple[int, ...]):
        self._file, self._shape = file, shape

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __setitem__(self, index: int, array: np.ndarray) -> None:
        try:
            self._file.seek(index * array.nbytes)
            self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()  # before a state says that it is there
        except OSError as error:
            raise OutputError(f"what a film needs between two keys cannot be written ({reason(error)})") from error

    def __getitem__(self, index: int) -> np.ndarray:
        array = np.empty(self._shape, np.uint8)
        self._file.seek(index * array.nbytes)
        self._file.readinto(array.data.cast("B"))
        return array


class Work:
    """Files of one stretch of a film in a folder, or, without a folder, nothing that outlives the run.

    name  tells the stretch from others, and from what it was before something changed
    """

    def __init__(self, folder: Path | None, name: str):
        self._folder, self._name = folder, name
        self._kept = time.monotonic()

    def state(self, what: str) -> tuple[int, dict[str, np.ndarray]] | None:
        """The frame and the arrays that `keep` was last given for `what`; None if there are none."""
        if self._folder is None:
            return None
        with suppress(OSError, ValueError, KeyError, EOFError), np.load(self._path(what, "npz")) as arrays:
            found = {name: arrays[name] for name in arrays.files}
            return int(found.pop("index")), found
        return None

    def keep(self, what: str, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the state of a frame, in place of that of an earlier one, if that was some time ago."""
        if self._folder is not None and time.monotonic() >= self._kept + EVERY:
            self._folder.mkdir(exist_ok=True)
            with atomic(self._path(what, "npz")) as file:
                np.savez(file, allow_pickle=False, index=np.int64(index), **arrays)
            self._kept = time.monotonic()

    def store(self, what: str, shape: tuple[int, ...]) -> Store:
        """Arrays of a shape in a file, to which the state of `what` belongs: as an earlier run has left both, or anew."""
        if self._folder is None:
            return Store(tempfile.TemporaryFile(), shape)
        self._folder.mkdir(exist_ok=True)
        path = self._path(what, "raw")
        if not path.is_file():
            self._path(what, "npz").unlink(missing_ok=True)
            path.touch()
        return Store(path.open("r+b"), shape)

    def clear(self) -> None:
        """Delete the files of this stretch."""
        if self._folder is not None:
            _delete(self._folder, f"{self._name}-*")

    def _path(self, what: str, suffix: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}-{what}.{suffix}"


def clear(folder: Path) -> None:
    """Delete all that runs have kept in a folder, also for stretches that have changed since."""
    _delete(folder, "*-*")


def _delete(folder: Path, names: str) -> None:
    with suppress(OSError):  # what is open elsewhere stays, and so does the folder then
        for path in [*folder.glob(f"{names}.npz"), *folder.glob(f"{names}.raw")]:
            path.unlink()
        folder.rmdir()
