"""Multigrid kernels of both devices: they smooth, coarsen and interpolate a form on a grid.

    kernels.py    kernels of the CPU backend
    kernels.cu    kernels of the CUDA backend, with the same algorithm

Both files use three names. A `Form` is a quadratic form on a grid. A `Cell` is a square of four
coarse positions. A `Line` is one row or column that relaxation solves. The last methods of
`Backend` in `contract.py` define these kernels, and `method.multigrid` calls them.

These modules may import `argument_types` and `machine_code` of `backends`. Numba is imported only
to compile the kernels.
"""

from __future__ import annotations

TINY = 1e-12
"""Smallest value of a coupling in the interpolation's weights; it replaces smaller couplings.

It prevents a division by zero. Positive couplings that occur are much larger.
"""


def coarse_sides(h: int, w: int) -> tuple[int, int]:
    """Return the rows and columns of the next coarser grid of an (h, w) grid.

    The coarser grid takes every second position. If one of its sides would be even, one more row or
    column makes it odd.
    """
    return h // 2 + 1 | 1, w // 2 + 1 | 1
