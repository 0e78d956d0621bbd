"""Multigrid on either device: the kernels that smooth, coarsen and interpolate a quadratic form on a grid.

    kernels.py    the kernels of the CPU backend
    kernels.cu    the same algorithm in CUDA C++

Both are written with the same three names. A `Form` is a quadratic form on a grid. A `Cell` is a
square of four coarse positions. A `Line` is one row or column that relaxation solves. The contract
is the last part of `Backend` in `contract.py`; `method.multigrid` calls the kernels.

May import: `argument_types` and `machine_code` of `backends`. Numba is imported only to compile the
kernels.
"""

from __future__ import annotations

TINY = 1e-12
"""Least coupling in the weights of the interpolation: far below any real one, and none divides by zero."""


def coarse_sides(h: int, w: int) -> tuple[int, int]:
    """Return the rows and columns of the grid that holds every second position of an (h, w) grid, both made odd."""
    return h // 2 + 1 | 1, w // 2 + 1 | 1
