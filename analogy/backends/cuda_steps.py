"""Collector of multigrid steps on small grids, which runs several steps in one launch.

On a small grid, launching a kernel takes longer than the step itself. So `SmallSteps` collects
steps in a table, and the kernel `small_steps` runs them one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .contract import Backend
    from .cuda_launch import Launcher

RELAX, RESIDUAL, RESTRICTION, PROLONGATION = range(4)
"""Number that stands for each kind of step, here and in `multigrid/kernels.cu`."""
_THREADS = 512
"""Number of threads in the block that runs the steps of one channel."""
STEP = np.dtype([("numbers", np.int32, 8), ("arrays", np.uint64, 4)])
"""Layout of one step in the table that the kernel `small_steps` reads.

The numbers are the kind, the rows and columns of the fine grid, those of the coarse grid, `nine`
(see `SmallSteps._collect`), `after`, and one that is not used. The addresses of the arrays follow.
"""


class SmallSteps:
    """Collection of multigrid steps on small grids, which `launch` runs in one launch of a kernel.

    A step on a large grid is launched at once, after the steps that were collected before. The
    object refers to the arrays of the collected steps, so that CuPy does not use their memory for
    other arrays before the launch.
    """

    def __init__(self, backend: Backend, launcher: Launcher, longest: int):
        """Prepare to collect steps on grids whose longer side is at most `longest` positions."""
        self._backend, self._launcher, self._longest = backend, launcher, longest
        self._steps: list[tuple[tuple[int, ...], tuple[Any, ...]]] = []

    def relax(self, form: Any, inverses: Any, f: Any, u: Any, after: bool) -> None:
        """Collect a step of `Backend.relax`, or run it at once on a large grid."""
        arrays = form, inverses, f, u
        if not self._collect(RELAX, form.shape[1:], (0, 0), arrays, len(form) == 5, after):
            self._backend.relax(form, inverses, f, u, after)

    def residual(self, form: Any, f: Any, u: Any, out: Any) -> None:
        """Collect a step of `Backend.residual`, or run it at once on a large grid."""
        if not self._collect(RESIDUAL, form.shape[1:], (0, 0), (form, f, u, out), len(form) == 5):
            self._backend.residual(form, f, u, out)

    def restriction(self, weights: Any, r: Any, out: Any) -> None:
        """Collect a step of `Backend.restriction`, or run it at once on a large grid."""
        if not self._collect(RESTRICTION, r.shape[1:], out.shape[1:], (weights, r, None, out)):
            self._backend.restriction(weights, r, out)

    def prolongation(self, weights: Any, c: Any, u: Any) -> None:
        """Collect a step of `Backend.prolongation`, or run it at once on a large grid."""
        if not self._collect(PROLONGATION, u.shape[1:], c.shape[1:], (weights, c, None, u)):
            self._backend.prolongation(weights, c, u)

    def launch(self) -> None:
        """Run the collected steps in one launch of the kernel `small_steps`."""
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
        """Collect a step on a small grid, and return True; return False for a large grid.

        Before the method returns False, it launches the collected steps, so that the order is kept.

        Parameters
        ----------
        kind
            `RELAX`, `RESIDUAL`, `RESTRICTION` or `PROLONGATION`.
        fine, coarse
            Rows and columns of the grids. `coarse` is (0, 0) for a step that has only one grid.
        arrays
            Three arrays that the step reads, and the array that it writes. None stands for an array
            that the step does not have.
        nine
            True if the form has diagonal couplings, so that nine positions are coupled.
        after
            True if a relaxation has the reversed order (see `Backend.relax`).
        """
        if max(fine) > self._longest:
            self.launch()
            return False
        self._steps.append(((kind, *fine, *coarse, nine, after, 0), arrays))
        return True
