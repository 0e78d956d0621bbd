"""The CPU backend: NumPy arrays, the kernels of `kernels.py` as machine code, and a pool of threads that share out the rows.

Numba's own parallel layers are not used: they are slow to compile, and not safe when a server calls from several threads.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import pairwise
from typing import Any

import numpy as np

from . import Tick, compiled

_log = logging.getLogger("analogy")

_COMPILE_NOTICE_SECONDS = 1.0
_SERIAL_PRODUCT = 1 << 18
"""Multiplications up to which OpenBLAS starts no threads."""
_RESERVED_FOR_THREADS = 600_000_000
"""Bytes of addresses that the C library sets aside for the stacks and the heaps of threads, ours and ONNX Runtime's. They are
not used, but count where a process has a bound on its addresses."""


class CpuBackend:
    """The kernel contract of `backends` on NumPy arrays. `threads`: how many; None for one per available core."""

    name = "cpu"
    index = 0
    xp = np
    sessions_per_graph = 1

    def __init__(self, threads: int | None = None):
        self.threads = threads or available_cores()
        self.providers: list[Any] = ["CPUExecutionProvider"]
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="analogy")

    def describe(self) -> str:
        return f"CPU, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def prepare(self) -> None:
        notice = threading.Timer(
            _COMPILE_NOTICE_SECONDS, _log.info, ["compiling the kernels for this CPU, some seconds"]
        )
        notice.daemon = True
        notice.start()
        try:
            compiled.load()
        finally:
            notice.cancel()

    def asarray(self, array):
        return np.ascontiguousarray(array)

    def to_host(self, array):
        return np.asarray(array)

    def pointer(self, array) -> int:
        return array.ctypes.data

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()

    def require(self, holds: Any, failure: Exception) -> None:
        if not holds:
            raise failure

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        session.run_with_iobinding(binding, options)

    def reclaim(self) -> None:
        pass

    def free_memory(self) -> int:
        import psutil

        free = psutil.virtual_memory().available
        with suppress(ImportError):  # not on Windows
            import resource

            bound, _ = resource.getrlimit(resource.RLIMIT_AS)  # what `ulimit -v` sets
            if bound != resource.RLIM_INFINITY:
                taken = psutil.Process().memory_info().vms + _RESERVED_FOR_THREADS
                free = min(free, max(0, bound - taken))
        return free

    def project(self, f, matrix):
        rows = f.reshape(-1, f.shape[2])
        out = np.empty((len(rows), matrix.shape[1]), np.float32)
        # So few rows at a time that the linear algebra does it in this thread. Threads of its own would go on spinning beside
        # the network's and the kernels', and a transfer take a sixth longer.
        step = max(1, _SERIAL_PRODUCT // matrix.size)
        for first in range(0, len(rows), step):
            np.matmul(rows[first : first + step], matrix, out=out[first : first + step])
        return out.reshape(*f.shape[:2], -1)

    def join(self, f, g):
        h, w, c = f.shape
        out = np.empty((h, w, 2 * c), np.int16)
        self._bands(h, "join", f, g, h, w, c, out)
        return out

    def pixel_vectors(self, pixels, key):
        h, w = pixels.shape[:2]
        out = np.empty((h, w, 8), np.int16)
        self._bands(h, "pixel_vectors", pixels, h, w, key, out)
        return out

    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b, tick=None):
        out = np.empty((*shape_a, 2), np.int32)
        args = nnf, *nnf.shape[:2], shape_a[1], *shape_b, *map(float, scale_a), *map(float, scale_b), out
        self._bands(shape_a[0], "resample", *args, tick=tick)
        return out

    def distance(self, a, b, nnf, patch, tick=None):
        out = np.empty(a.shape[:2], np.float32)
        self._bands(a.shape[0], "distance", a, b, *_sizes(a, b), nnf, patch // 2, out, tick=tick)
        return out

    def propagate(self, a, b, nnf, distance, patch, jump, max_product, labels=None, offered=None, tick=None):
        again = offered is not None
        rest = *_labels(labels), again, offered if again else nnf, jump, max_product
        return self._improve("propagate", a, b, nnf, distance, patch, rest, tick)

    def random_search(
        self, a, b, nnf, distance, patch, search_radius, seed, iteration, max_product, labels=None, tick=None
    ):
        rest = *_labels(labels), search_radius, seed % 2**32, iteration, max_product
        return self._improve("random_search", a, b, nnf, distance, patch, rest, tick)

    def vote(self, nnf, b, patch, tick=None):
        out = np.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        self._bands(nnf.shape[0], "vote", nnf, b, *nnf.shape[:2], *b.shape, patch // 2, out, tick=tick)
        return out

    def _improve(self, kernel: str, a: Any, b: Any, nnf: Any, distance: Any, patch: int, rest: Any, tick: Any) -> Any:
        """One pass of the search: a new (nnf, distance)."""
        out = np.empty_like(nnf), np.empty_like(distance)
        self._bands(a.shape[0], kernel, a, b, *_sizes(a, b), nnf, distance, patch // 2, *rest, *out, tick=tick)
        return out

    def _bands(self, rows: int, kernel: str, *args: Any, tick: Tick | None = None) -> None:
        """Run a kernel over all rows, in bands: enough to keep every thread busy, small enough to stop soon.

        `tick` is told after each.
        """
        run = compiled.load()[kernel]
        plain = [arg.ctypes.data if isinstance(arg, np.ndarray) else arg for arg in args]
        count = min(rows, max(4 * self.threads, rows // 32))
        edges = [rows * i // count for i in range(count + 1)]

        def band(y0: int, y1: int, arrays: Any = args) -> None:
            """Holds the arrays, of which the kernel has addresses: they live until it ends, whatever else is interrupted."""
            run(y0, y1, *plain)

        futures = [self._pool.submit(band, y0, y1) for y0, y1 in pairwise(edges)]
        try:
            for done, future in enumerate(futures, 1):
                future.result()
                if tick:
                    tick(done / count)
        finally:
            for future in futures:  # after an interrupt, do not begin the rest
                future.cancel()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _sizes(a: Any, b: Any) -> tuple[int, ...]:
    """Rows and columns of both, and their channels."""
    return *a.shape[:2], *b.shape


def _labels(labels: Any) -> tuple[Any, ...]:
    """Whether there are labels, and those of both sides."""
    return (True, *labels) if labels else (False, 0, 0)
