"""One launch for several steps of multigrid on small grids.

A launch takes longer than such a step. So `CudaBackend.steps` collects the steps of a thread in a
table, and the kernel `small_steps` does them one after the other.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .cuda_launch import Launcher

RELAX, RESIDUAL, RESTRICTION, PROLONGATION = range(4)
"""Number of each kind of step, as in `multigrid/kernels.cu`."""
_THREADS = 512
"""Number of threads in the block that does the steps of one channel."""
STEP = np.dtype([("numbers", np.int32, 8), ("arrays", np.uint64, 4)])
"""Layout of a step in the table.

The numbers are the kind, rows and columns of the fine and of the coarse grid, `nine`, `after`, and
one that is not used. The addresses of the arrays follow.
"""


class SmallSteps(threading.local):
    """Collection of the steps that a thread has asked for and that are not launched yet.

    It holds their arrays, so that their memory is not used for anything else before the launch.
    """

    def __init__(self, xp: Any, launcher: Launcher, longest: int):
        """Prepare to collect steps on grids whose longer side is at most `longest` positions."""
        self._xp, self._launcher, self._longest = xp, launcher, longest
        self._open = False
        self._steps: list[tuple[tuple[int, ...], tuple[Any, ...]]] = []

    def begin(self) -> None:
        """Begin to collect steps."""
        self._open = True

    def end(self) -> None:
        """Stop collecting, and drop the steps that were not launched."""
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
        """Collect a step. Return False for a step that the caller has to launch by itself.

        Before it returns False it launches what was collected, so that the order is kept.

        Parameters
        ----------
        kind
            One of the numbers of the kinds of steps.
        fine, coarse
            Rows and columns of the grids. `coarse` is (0, 0) for a step on one grid.
        arrays
            Three arrays that the step reads, and the one that it writes; None for one that is not
            given.
        nine, after
            Whether the form has diagonal couplings, and whether a relaxation goes in the opposite
            order.
        """
        if not self._open or max(fine) > self._longest:
            self.launch()
            return False
        self._steps.append(((kind, *fine, *coarse, nine, after, 0), arrays))
        return True

    def launch(self) -> None:
        """Launch the collected steps as one kernel."""
        if not self._steps:
            return
        table = np.zeros(len(self._steps), STEP)
        for step, (numbers, arrays) in zip(table, self._steps, strict=True):
            step["numbers"] = numbers
            step["arrays"] = [0 if array is None else array.data.ptr for array in arrays]
        on_device = self._xp.asarray(table.view(np.int64))
        self._launcher.over_lines("small_steps", _THREADS, _THREADS, on_device, len(table), channels=3)
        self._steps = []
