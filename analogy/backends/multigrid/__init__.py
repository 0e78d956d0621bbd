"""Multigrid kernels of both backends, for quadratic forms on grids.

    kernels.py    kernels of the CPU backend
    kernels.cu    kernels of the CUDA backend, with the same algorithm

Three names occur in both files. A `Form` is a quadratic form on a grid. A `Cell` is a square whose
corners are four neighbouring positions of the coarser grid. A `Line` is a row that relaxation
solves; in kernels.cu it can also be a column. The methods of `Backend` in `contract.py`, from
`coarsen` on, define the results of these kernels, and `method.multigrid` calls these methods.

These modules may import `argument_types` and `machine_code` of `backends`. Numba is imported only
to compile the kernels.
"""

from __future__ import annotations

TINY = 1e-12
"""Minimum of each sum of couplings that, divided by a total, is a weight of the interpolation.

It replaces smaller sums, and so prevents a division by zero. The positive sums that occur are much
larger.
"""


def coarse_sides(h: int, w: int) -> tuple[int, int]:
    """Return the rows and columns of the next coarser grid of an (h, w) grid.

    The coarser grid takes every second position. If one of its sides would be even, one more row or
    column makes it odd.
    """
    return h // 2 + 1 | 1, w // 2 + 1 | 1
