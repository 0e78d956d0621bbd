"""Where the arrays live and who runs the kernels.

Rules of this folder. Algorithms see `backend.xp` (NumPy or CuPy) and the named kernels below, and never ask which device
they are on. A backend imports nothing of this package but `errors`, and nothing heavy before it is asked for. There is
ONE written algorithm for each kernel, implemented twice (`cpu.py` in Numba, `cuda.py` with its `.cu` files): the same
candidates in the same order, double-buffered, with hashed random numbers, so that a run does not depend on the number
of threads and both devices find the same field, float rounding aside.

Arrays. Features (H, W, C) float32, C-contiguous, channels last. NNF (H, W, 2) int32: [y, x] holds the absolute (row,
column) of the match in the other picture. Distance (H, W) float32. Kernels trust their arguments: `nnf.search` checks.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, Protocol

from ..errors import DeviceError

Array = Any
"""A NumPy or a CuPy array; which of the two is the backend's business."""

Size = tuple[int, int]
"""Rows and columns."""

DEVICES = ("auto", "cpu", "cuda")

_log = logging.getLogger("analogy")


class Backend(Protocol):
    """The kernel contract. `a` (HA, WA, C) and `b` (HB, WB, C) are features, joined by `join` where matching is meant.

    Patch distance (section 4.1 of the paper, as one dot product). For the patch of `patch` x `patch` positions around
    p in `a` and q in `b`, over the offsets o for which both p + o and q + o exist:
        d(p, q) = - mean_o  a[p + o] . b[q + o]
    """

    @property
    def name(self) -> str:
        """ "cpu" or "cuda"."""
        ...

    @property
    def xp(self) -> Any:
        """The array module."""
        ...

    @property
    def providers(self) -> list[Any]:
        """ONNX Runtime execution providers, with their options."""
        ...

    def describe(self) -> str:
        """The device in words, for people."""
        ...

    def prepare(self) -> None:
        """Make the kernels ready (compile or load them); called once before the first use, cheap when repeated."""
        ...

    def asarray(self, array: Array) -> Array:
        """The same numbers as a C-contiguous array of this backend."""
        ...

    def to_host(self, array: Array) -> Array:
        """The same numbers as a NumPy array."""
        ...

    def pointer(self, array: Array) -> int:
        """Address of the first element, as ONNX Runtime's IOBinding wants it."""
        ...

    def free_memory(self) -> int:
        """Bytes that can still be had on the device."""
        ...

    def join(self, f: Array, g: Array) -> Array:
        """(H, W, 2C): `f` and `g` (H, W, C), each divided by its L2 norm at each position (zero stays zero)."""
        ...

    def resample(self, nnf: Array, shape_a: tuple[int, int], shape_b: tuple[int, int],
                 scale_a: tuple[float, float], scale_b: tuple[float, float]) -> Array:  # fmt: skip
        """The field between pictures `scale_a` and `scale_b` times as large (rows, columns), sizes as given.

        With p = (y + .5) / scale_a, c = floor(p) and r = p - c - .5, in float64:
            out[y, x] = floor((nnf[c] + .5 + r) * scale_b), clamped to the picture (c likewise)
        """
        ...

    def distance(self, a: Array, b: Array, nnf: Array, patch: int) -> Array:
        """d(p, nnf[p]) for each p: (HA, WA) float32."""
        ...

    def propagate(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, jump: int, peak: float,
                  labels: tuple[Array, Array] | None = None) -> tuple[Array, Array]:  # fmt: skip
        """One propagation pass: a new (nnf, distance); the arguments stay as they were.

        Candidates of p, in this order, from the field as it was before the pass: with o = (-jump, 0), (jump, 0),
        (0, -jump), (0, jump): nnf[p + o] - o, where p + o is in `a` and the candidate is in `b`. Accepted only if
        strictly better. `peak` is an upper bound of a[p] . b[q]: a candidate is left as soon as it cannot win.
        `labels`, (HA, WA) and (HB, WB) int32: positions p and q match only if both labels are equal or one is negative.
        """
        ...

    def random_search(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, radius: int, seed: int,
                      iteration: int, peak: float, labels: tuple[Array, Array] | None = None,
                      ) -> tuple[Array, Array]:  # fmt: skip
        """One random-search pass: a new (nnf, distance); the arguments stay as they were.

        Step k = 0, 1, .. with r = radius, radius // 2, .. while r >= 1: around the best match so far the candidate
        best + (h(2k) % (2r + 1) - r, h(2k + 1) % (2r + 1) - r), clamped to `b`; h(j) = hash of (seed, iteration,
        y * WA + x, j), see `hash32` in `cpu.py`. Accepted only if strictly better. `labels` as in `propagate`.
        """
        ...

    def vote(self, nnf: Array, b: Array, patch: int) -> Array:
        """(HA, WA, C): mean over the patch's offsets o of b[nnf[p + o] - o], where both positions exist."""
        ...


def get_backend(device: str = "auto", threads: int | None = None) -> Backend:
    """The backend for "cpu", "cuda" or "auto" (CUDA where it works, else the CPU with one logged line that says why).

    The line is for who has CuPy, and so meant to use a GPU; without it there is nothing to explain.

    Raises `DeviceError` for an unknown name, and for "cuda" where it cannot be used, with the cause and the cure.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}; choose one of {', '.join(DEVICES)}")
    if device != "cpu":
        try:
            from .cuda import CudaBackend

            return CudaBackend()
        except DeviceError as error:
            if device == "cuda":
                raise
            level = logging.INFO if find_spec("cupy") else logging.DEBUG
            _log.log(level, "using the CPU: %s", error)
    from .cpu import CpuBackend

    return CpuBackend(threads)
