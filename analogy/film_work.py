"""What a killed run on a film leaves for the next: how far each key was carried, so that it need not begin again."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from .pictures.files import atomic

EVERY = 10
"""Frames after which a state is kept."""


class Work:
    """Files of one stretch of a film in a folder, or, without a folder, nothing that outlives the run.

    name  tells the stretch from others, and from what it was before something changed
    """

    def __init__(self, folder: Path | None, name: str):
        self._folder, self._name = folder, name

    def state(self, what: str) -> tuple[int, dict[str, np.ndarray]] | None:
        """The frame and the arrays that `keep` was last given for `what`; None if there are none."""
        if self._folder is None:
            return None
        with suppress(OSError, ValueError, KeyError, EOFError), np.load(self._path(what, "npz")) as arrays:
            found = {name: arrays[name] for name in arrays.files}
            return int(found.pop("index")), found
        return None

    def keep(self, what: str, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the state of a frame, in place of that of an earlier one."""
        if self._folder is not None and index % EVERY == 0:
            self._folder.mkdir(exist_ok=True)
            with atomic(self._path(what, "npz")) as file:
                np.savez(file, allow_pickle=False, index=np.int64(index), **arrays)

    def array(self, what: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array uint8 in a file, to which the state of `what` belongs: as an earlier run has left both, or anew."""
        if self._folder is None:
            with tempfile.TemporaryFile() as file:
                return np.memmap(file, np.uint8, "w+", shape=shape)
        self._folder.mkdir(exist_ok=True)
        path = self._path(what, "raw")
        there = path.is_file() and path.stat().st_size == np.prod(shape, dtype=np.int64)
        if not there:
            self._path(what, "npz").unlink(missing_ok=True)
        return np.memmap(path, np.uint8, "r+" if there else "w+", shape=shape)

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
