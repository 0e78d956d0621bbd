"""The CPU backend: NumPy arrays, the Numba kernels of `kernels.py`, and a pool of threads that share out the rows.

Numba's own parallel layers are not used: they are slow to compile, and not safe when a server calls from several threads.
"""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from . import Tick, kernels

_log = logging.getLogger("analogy")

_COMPILE_NOTICE_SECONDS = 2.0
_UNLABELLED = np.empty((0, 0), np.int32), np.empty((0, 0), np.int32)
_NO_FIELD = np.empty((0, 0, 2), np.int32)


class CpuBackend:
    """The kernel contract of `backends` on NumPy arrays. `threads`: how many; None for one per available core."""

    name = "cpu"
    xp = np

    def __init__(self, threads: int | None = None):
        self.threads = threads or _cores()
        self.providers: list[Any] = ["CPUExecutionProvider"]
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="analogy")

    def describe(self) -> str:
        return f"CPU, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def prepare(self) -> None:
        notice = threading.Timer(
            _COMPILE_NOTICE_SECONDS, _log.info, ["compiling the kernels for this CPU: once, some seconds"]
        )
        notice.daemon = True
        notice.start()
        try:
            f = np.ones((2, 2, 2), np.float32)
            nnf = self.resample(np.zeros((1, 1, 2), np.int32), (2, 2), (2, 2), (2.0, 2.0), (2.0, 2.0))
            joined = self.join(f, f)
            d = self.distance(joined, joined, nnf, 3)
            self.propagate(joined, joined, nnf, d, 3, 1, 2.0)
            self.random_search(joined, joined, nnf, d, 3, 1, 0, 0, 2.0)
            self.vote(nnf, f, 3)
        finally:
            notice.cancel()

    def asarray(self, array):
        return np.ascontiguousarray(array)

    def to_host(self, array):
        return np.asarray(array)

    def pointer(self, array) -> int:
        return array.ctypes.data

    def free_memory(self) -> int:
        import psutil

        return psutil.virtual_memory().available

    def join(self, f, g):
        h, w, c = f.shape
        out = np.empty((h, w, 2 * c), np.float32)
        self._bands(h, kernels.join, f, g, w, c, out)
        return out

    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b, tick=None):
        out = np.empty((*shape_a, 2), np.int32)
        args = nnf, *shape_b, *map(float, scale_a), *map(float, scale_b), out
        self._bands(shape_a[0], kernels.resample, *args, tick=tick)
        return out

    def distance(self, a, b, nnf, patch, tick=None):
        out = np.empty(a.shape[:2], np.float32)
        self._bands(a.shape[0], kernels.distance, *_flat(a, b), nnf, patch // 2, out, tick=tick)
        return out

    def propagate(self, a, b, nnf, distance, patch, jump, max_product, labels=None, offered=None, tick=None):
        out = np.empty_like(nnf), np.empty_like(distance)
        labels, offered = labels or _UNLABELLED, _NO_FIELD if offered is None else offered
        args = *_flat(a, b), nnf, distance, patch // 2, *labels, offered, jump, np.float32(max_product), *out
        self._bands(a.shape[0], kernels.propagate, *args, tick=tick)
        return out

    def random_search(
        self, a, b, nnf, distance, patch, search_radius, seed, iteration, max_product, labels=None, tick=None
    ):
        out = np.empty_like(nnf), np.empty_like(distance)
        labels = labels or _UNLABELLED
        args = (
            *_flat(a, b),
            nnf,
            distance,
            patch // 2,
            *labels,
            search_radius,
            seed,
            iteration,
            np.float32(max_product),
            *out,
        )
        self._bands(a.shape[0], kernels.random_search, *args, tick=tick)
        return out

    def vote(self, nnf, b, patch, tick=None):
        out = np.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        self._bands(nnf.shape[0], kernels.vote, nnf, b, *nnf.shape[:2], *b.shape, patch // 2, out, tick=tick)
        return out

    def _bands(self, rows: int, kernel, *args, tick: Tick | None = None) -> None:
        """Run `kernel(y0, y1, *args)` over all rows, in bands: enough to keep every thread busy, small enough to stop soon.

        `tick` is told after each.
        """
        count = min(rows, max(4 * self.threads, rows // 32))
        edges = [rows * i // count for i in range(count + 1)]
        futures = [self._pool.submit(kernel, y0, y1, *args) for y0, y1 in pairwise(edges)]
        try:
            for done, future in enumerate(futures, 1):
                future.result()
                if tick:
                    tick(done / count)
        finally:
            for future in futures:  # after an interrupt, do not begin the rest
                future.cancel()


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flat(a, b):
    """Both feature maps as flat arrays, followed by their sizes, as the kernels take them."""
    return a.reshape(-1), b.reshape(-1), *a.shape[:2], *b.shape
