"""Steps of multigrid on small grids: several of them become one launch.

A launch takes longer than such a step. So the steps that a thread asks for within `CudaBackend.steps` wait in a table, which
the kernel `small_steps` works through.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .cuda_launch import Launcher

RELAX, RESIDUAL, RESTRICTION, PROLONGATION = range(4)
"""Numbers of the kinds of steps, as in `multigrid/kernels.cu`."""
_THREADS = 512
"""Threads of the block that does the steps of one channel."""
STEP = np.dtype([("numbers", np.int32, 8), ("arrays", np.uint64, 4)])
"""Layout of a step: kind, rows and columns of the fine and of the coarse grid, two flags and a gap; then addresses."""


class SmallSteps(threading.local):
    """The steps that a thread has asked for and that are not launched yet. Arrays are held until then."""

    def __init__(self, xp: Any, launcher: Launcher, longest: int):
        """Prepare to collect steps on grids whose longer side is at most `longest`."""
        self._xp, self._launcher, self._longest = xp, launcher, longest
        self._open = False
        self._steps: list[tuple[tuple[int, ...], tuple[Any, ...]]] = []

    def begin(self) -> None:
        """Begin to collect steps."""
        self._open = True

    def end(self) -> None:
        """End collecting, and forget the steps that were not launched."""
        self._open, self._steps = False, []

    def add(
        self,
        kind: int,
        fine: tuple[int, int],
        coarse: tuple[int, int],
        arrays: tuple[Any, ...],
        nine: bool = False,
        after: bool = False,
    ) -> bool:
        """Collect a step, and return True. Return False for one that has to be launched by itself, now that the others are.

        fine, coarse  sizes of the grids; `coarse` is (0, 0) where there is one grid
        arrays        three that it reads, and the one that it writes; None for what is not given
        """
        if not self._open or max(fine) > self._longest:
            self.launch()
            return False
        self._steps.append(((kind, *fine, *coarse, nine, after, 0), arrays))
        return True

    def launch(self) -> None:
        """Launch the steps that are collected."""
        if not self._steps:
            return
        table = np.zeros(len(self._steps), STEP)
        for step, (numbers, arrays) in zip(table, self._steps, strict=True):
            step["numbers"] = numbers
            step["arrays"] = [0 if array is None else array.data.ptr for array in arrays]
        on_device = self._xp.asarray(table.view(np.int64))
        self._launcher.over_lines("small_steps", _THREADS, _THREADS, on_device, len(table), channels=3)
        self._steps = []
