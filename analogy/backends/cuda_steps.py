"""Steps of multigrid on small grids, of which several become one launch.

A launch takes longer than such a step. So `CudaBackend.steps` collects the steps of a thread in a
table, and the kernel `small_steps` does all steps of the table.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .cuda_launch import Launcher

RELAX, RESIDUAL, RESTRICTION, PROLONGATION = range(4)
"""Numbers of the kinds of steps, as in `multigrid/kernels.cu`."""
_THREADS = 512
"""Number of threads of the block that does the steps of one channel."""
STEP = np.dtype([("numbers", np.int32, 8), ("arrays", np.uint64, 4)])
"""Layout of a step in the table.

The numbers are the kind, rows and columns of the fine grid, rows and columns of the coarse grid,
two flags, and a gap. The arrays are addresses.
"""


class SmallSteps(threading.local):
    """Steps of a thread that have been collected and not launched yet, with their arrays.

    Parameters
    ----------
    xp
        The module `cupy`.
    launcher
        The launcher of the kernels.
    longest
        Longest side of a grid whose steps are collected, in positions.
    """

    def __init__(self, xp: Any, launcher: Launcher, longest: int):
        self._xp, self._launcher, self._longest = xp, launcher, longest
        self._open = False
        self._steps: list[tuple[tuple[int, ...], tuple[Any, ...]]] = []

    def begin(self) -> None:
        """Begin to collect steps."""
        self._open = True

    def end(self) -> None:
        """End collecting, and drop the steps that have not been launched."""
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
        """Collect a step, or return False for a step that the caller must launch.

        Such a step lies on a larger grid, or outside of `begin` and `end`. The steps that have been
        collected before are launched first.

        Parameters
        ----------
        kind
            Kind of the step, such as `RELAX`.
        fine, coarse
            Rows and columns of the grids; `coarse` is (0, 0) if there is one grid only.
        arrays
            Three arrays that the step reads, and one that it writes; None for a missing array.
        nine
            True if the form has diagonal couplings.
        after
            See `Backend.relax`.

        Returns
        -------
        collected
            True if the step was collected.
        """
        if not self._open or max(fine) > self._longest:
            self.launch()
            return False
        self._steps.append(((kind, *fine, *coarse, nine, after, 0), arrays))
        return True

    def launch(self) -> None:
        """Launch the collected steps."""
        if not self._steps:
            return
        table = np.zeros(len(self._steps), STEP)
        for step, (numbers, arrays) in zip(table, self._steps, strict=True):
            step["numbers"] = numbers
            step["arrays"] = [0 if array is None else array.data.ptr for array in arrays]
        on_device = self._xp.asarray(table.view(np.int64))
        self._launcher.over_lines("small_steps", _THREADS, _THREADS, on_device, len(table), channels=3)
        self._steps = []
