"""One launch for several steps of multigrid on small grids.

A launch takes longer than such a step. So `SmallSteps` collects the steps in a table, and the
kernel `small_steps` does them one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .contract import Backend
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


class SmallSteps:
    """Steps of multigrid that are collected, and launched together by `launch`.

    A step on a large grid is launched at once, after the steps that were collected before. The
    object holds the arrays of the collected steps, so that their memory is not used for anything
    else before the launch.
    """

    def __init__(self, backend: Backend, launcher: Launcher, longest: int):
        """Prepare to collect steps on grids whose longer side is at most `longest` positions."""
        self._backend, self._launcher, self._longest = backend, launcher, longest
        self._steps: list[tuple[tuple[int, ...], tuple[Any, ...]]] = []

    def relax(self, form: Any, inverses: Any, f: Any, u: Any, after: bool) -> None:
        """Do or collect `Backend.relax`."""
        arrays = form, inverses, f, u
        if not self._collect(RELAX, form.shape[1:], (0, 0), arrays, len(form) == 5, after):
            self._backend.relax(form, inverses, f, u, after)

    def residual(self, form: Any, f: Any, u: Any, out: Any) -> None:
        """Do or collect `Backend.residual`."""
        if not self._collect(RESIDUAL, form.shape[1:], (0, 0), (form, f, u, out), len(form) == 5):
            self._backend.residual(form, f, u, out)

    def restriction(self, weights: Any, r: Any, out: Any) -> None:
        """Do or collect `Backend.restriction`."""
        if not self._collect(RESTRICTION, r.shape[1:], out.shape[1:], (weights, r, None, out)):
            self._backend.restriction(weights, r, out)

    def prolongation(self, weights: Any, c: Any, u: Any) -> None:
        """Do or collect `Backend.prolongation`."""
        if not self._collect(PROLONGATION, u.shape[1:], c.shape[1:], (weights, c, None, u)):
            self._backend.prolongation(weights, c, u)

    def launch(self) -> None:
        """Launch the collected steps as one kernel."""
        if not self._steps:
            return
        table = np.zeros(len(self._steps), STEP)
        for step, (numbers, arrays) in zip(table, self._steps, strict=True):
            step["numbers"] = numbers
            step["arrays"] = [0 if array is None else array.data.ptr for array in arrays]
        on_device = self._backend.asarray(table.view(np.int64))
        self._launcher.over_lines("small_steps", _THREADS, _THREADS, on_device, len(table), channels=3)
        self._steps = []

    def _collect(
        self,
        kind: int,
        fine: tuple[int, int],
        coarse: tuple[int, int],
        arrays: tuple[Any, ...],
        nine: bool = False,
        after: bool = False,
    ) -> bool:
        """Collect a step on a small grid; return False for a step on a large grid.

        Before it returns False it launches the collected steps, so that the order is kept.

        Parameters
        ----------
        kind
            One of the numbers of the kinds of steps.
        fine, coarse
            Rows and columns of the grids. `coarse` is (0, 0) for a step on one grid.
        arrays
            Three arrays that the step reads, and the array that it writes; None for an array that
            is not given.
        nine, after
            Whether the form has diagonal couplings, and whether a relaxation goes in the opposite
            order.
        """
        if max(fine) > self._longest:
            self.launch()
            return False
        self._steps.append(((kind, *fine, *coarse, nine, after, 0), arrays))
        return True
