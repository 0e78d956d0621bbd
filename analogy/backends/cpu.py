"""CPU backend: NumPy arrays, compiled kernels, and a pool of threads.

A call of a kernel on a large array splits the rows or the columns into bands, and the threads of
the pool run the kernel on these bands. `compiled` loads the kernels. Numba's parallel loops are not
used, because they take long to compile, and are not safe in a server, which calls kernels from
several threads.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import counted
from ..progress import Tick
from . import compiled, host
from .contract import Passes, Steps, T
from .multigrid import coarse_sides

_log = logging.getLogger("analogy")

_COMPILE_NOTICE_SECONDS = 1.0
"""Time in seconds after which a log line says that the kernels are being compiled.

There is no line if the kernels are loaded by then.
"""
_MODULE_OF = {kernel: module for module, kernels in compiled.KERNELS.items() for kernel in kernels}
"""Name of a kernel -> name of the module that contains it."""
_SERIAL_PRODUCT = 1 << 18
"""Largest number of multiplications in a matrix product for which OpenBLAS starts no threads."""
_BLENDED = 1 << 18
"""Number of values in a band of `blend`.

With smaller bands, NumPy's calls would take longer than its loops.
"""
_CACHE_LINE = 64
"""Size of a cache line, in bytes."""
_SHARED_SIZE = 1 << 15
"""Smallest number of values for which a kernel runs faster with two threads than with one."""


class CpuBackend:
    """Implementation of `Backend` on NumPy arrays.

    Parameters
    ----------
    threads
        Number of threads; None for one per core that this process may use.
    """

    name = "cpu"
    index = 0
    xp = np
    sessions_per_graph = 1

    def __init__(self, threads: int | None = None):
        self.threads = threads or host.available_cores()
        self.providers: list[Any] = ["CPUExecutionProvider"]
        self._loaded: dict[str, Any] = {}
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="analogy")

    def describe(self) -> str:
        return f"CPU, {counted(self.threads, 'thread')}"

    def prepare(self) -> None:
        self._load("kernels")

    def asarray(self, array):
        return np.ascontiguousarray(array)

    def to_host(self, array):
        return np.asarray(array)

    def pointer(self, array) -> int:
        return array.ctypes.data

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()

    def require_finite(self, maps: Sequence[Any], failure: Exception) -> None:
        # If a value is NaN, the minimum and the maximum are NaN.
        extremes = [extreme for array in maps for extreme in (array.min(), array.max())]
        if not np.isfinite(extremes).all():
            raise failure

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        session.run_with_iobinding(binding, options)

    def reclaim(self) -> None:
        pass

    def free_memory(self) -> int:
        return host.free_memory()

    def project(self, f, matrix):
        rows = f.reshape(-1, f.shape[2])
        out = np.empty((len(rows), matrix.shape[1]), np.float32)
        # OpenBLAS multiplies a small number of rows in the calling thread. For larger products it
        # would start its own threads, which afterwards wait in a loop and use cores that the
        # network and the kernels need: a transfer would take a sixth longer.
        step = max(1, _SERIAL_PRODUCT // matrix.size)

        def share(own: int) -> None:
            for first in range(own * step, len(rows), self.threads * step):
                np.matmul(rows[first : first + step], matrix, out=out[first : first + step])

        list(self._pool.map(share, range(self.threads)))
        return out.reshape(*f.shape[:2], -1)

    def products(self, rows, vector):
        # OpenBLAS computes a product of two vectors in the calling thread, without its own threads.
        return np.array(list(self._pool.map(partial(np.vdot, vector), rows)))

    def mixture(self, weights, rows):
        out = np.empty(rows.shape[1], rows.dtype)

        def band(first: int) -> None:
            part = slice(first, first + _SHARED_SIZE)
            np.einsum("i,ij->j", weights, rows[:, part], out=out[part])

        list(self._pool.map(band, range(0, len(out), _SHARED_SIZE)))
        return out

    def channels_last(self, maps):
        _, c, h, w = maps.shape
        out = np.empty((h, w, c), np.float32)
        self._bands(h, "channels_last", maps, h, w, c, out)
        return out

    def join(self, f, g):
        h, w, c = f.shape
        out = _aligned((h, w, 2 * c), np.int16)
        self._bands(h, "join", f, g, h, w, c, out)
        return out

    def blend(self, content, f, g, alpha, steepness, threshold):
        energy, out = np.empty(f.shape[:2] + (1,), np.float32), np.empty_like(f)
        step = max(1, _BLENDED // f[0].size)
        bands = [slice(y, y + step) for y in range(0, len(f), step)]

        def measure(rows: slice) -> None:
            np.square(content[rows]).sum(axis=2, keepdims=True, out=energy[rows])

        def mix(rows: slice) -> None:
            m = (energy[rows] - low) / np.maximum(high - low, np.float32(1e-12))
            blended = np.subtract(f[rows], g[rows], out=out[rows])
            blended *= np.float32(alpha) / (1 + np.exp(np.float32(-steepness) * (m - np.float32(threshold))))
            blended += g[rows]

        list(self._pool.map(measure, bands))
        low, high = energy.min(), energy.max()
        list(self._pool.map(mix, bands))
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

    def distance(self, a, b, nnf, patch, frames=None, tick=None):
        out = np.empty(a.shape[:2], np.float32)
        args = a, b, *_sizes(a, b), nnf, *_frames(frames), patch // 2, out
        self._bands(a.shape[0], "distance", *args, tick=tick)
        return out

    def propagate(
        self, a, b, nnf, distance, patch, jump, max_product, labels=None, frames=None, previous_field=None, tick=None
    ):
        has_previous = previous_field is not None
        rest = *_labels(labels), has_previous, previous_field if has_previous else nnf, jump, max_product
        return self._improve("propagate", a, b, nnf, distance, frames, patch, rest, tick)

    def random_search(
        self,
        a,
        b,
        nnf,
        distance,
        patch,
        search_radius,
        seed,
        iteration,
        max_product,
        labels=None,
        frames=None,
        tick=None,
    ):
        rest = *_labels(labels), search_radius, seed % 2**32, iteration, max_product
        return self._improve("random_search", a, b, nnf, distance, frames, patch, rest, tick)

    def run_together(self, searches: Sequence[Passes[T]]) -> list[T]:
        return [self._search(search) for search in searches]

    def _search(self, search: Passes[T]) -> T:
        """Run the passes of one search, and return its result."""
        result = None
        while True:
            try:
                kind, arguments = search.send(result)
            except StopIteration as end:
                return end.value
            result = getattr(self, kind)(**arguments)

    def vote(self, nnf, b, patch, frames=None, tick=None):
        out = np.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        args = nnf, b, *nnf.shape[:2], *b.shape, *_frames(frames), patch // 2, out
        self._bands(nnf.shape[0], "vote", *args, tick=tick)
        return out

    def steepness(self, pixels):
        h, w = pixels.shape[:2]
        squares, out = np.empty((2, h, w), np.float32)
        self._bands(h, "gradient", pixels, h, w, squares)
        self._bands(h, "widest", squares, h, w, out)
        return out

    def seams(self, nnf, b, picture, patch, frames=None, tick=None):
        out = np.empty((*nnf.shape[:2], 8), np.float32)
        args = nnf, b, picture, *nnf.shape[:2], *b.shape[:2], *_frames(frames), patch // 2, out
        self._bands(nnf.shape[0], "seams", *args, tick=tick)
        return out

    def keep_edges(self, steepness, seams, edge, jump, labels=None, tick=None):
        h, w = seams.shape[:2]
        labelled = (False, 0) if labels is None else (True, labels)
        self._bands(h, "keep_edges", steepness, *steepness.shape, *labelled, h, w, edge, jump, seams, tick=tick)

    def divergence(self, seams):
        h, w = seams.shape[:2]
        out = np.empty((h, w, 3), np.float32)
        self._bands(h, "divergence", seams, h, w, out)
        return out

    def solve_columns(self, shifts, f):
        h, w = f.shape
        excess = np.empty_like(f)
        self._bands(w, "solve_columns", shifts, f, excess, h, w, size=f.size, bands=self.threads)

    def correct(self, picture, correction, columns):
        h, w = picture.shape[:2]
        out = np.empty((h, w, 3), np.float32)
        self._bands(h, "correct", picture, correction, columns, w, out)
        return out

    def coarsen(self, form):
        nine, h, w = _form(form)
        hc, wc = coarse_sides(h, w)
        weights, out = np.empty((8, hc, wc), np.float32), np.empty((5, hc, wc), np.float32)
        self._bands(hc, "coarsen", form, nine, h, w, weights, out, hc, wc, size=8 * out[0].size)
        self._bands(hc, "restriction", weights, form, h, w, out, hc, wc, 1.0, size=out[0].size)
        return weights, out

    def factor(self, form):
        nine, h, w = _form(form)
        out = np.empty((2, h, w), np.float32)
        self._bands(h, "factor_rows", form, nine, h, w, out, size=h * w)
        self._bands(w, "factor_columns", form, nine, h, w, out, size=h * w, bands=self.threads)
        return out

    def steps(self) -> AbstractContextManager[Steps]:
        return nullcontext(self)

    def relax(self, form, inverses, f, u, after):
        nine, h, w = _form(form)
        args = form, nine, inverses, f, u, h, w

        def rows(odd: int) -> None:
            self._bands((h + 1 - odd) // 2, "relax_rows", *args, odd, not (odd or after), size=f.size)

        def columns(odd: int) -> None:
            row = np.empty(w, np.float32)
            self._bands((w + 1 - odd) // 2, "relax_columns", *args, odd, row, size=f.size, bands=self.threads)

        half_sweeps = [(rows, 0), (rows, 1), (columns, 0), (columns, 1)]
        for solve, odd in reversed(half_sweeps) if after else half_sweeps:
            solve(odd)

    def residual(self, form, f, u, out):
        given = f is not None
        nine, h, w = _form(form)
        self._bands(3 * h, "residual", form, nine, f if given else 0, given, u, h, w, out, size=u.size)

    def restriction(self, weights, r, out):
        sizes = out.shape[1:]
        self._bands(3 * sizes[0], "restriction", weights, r, *r.shape[1:], out, *sizes, 0.0, size=r.size)

    def prolongation(self, weights, c, u):
        h, w = u.shape[1:]
        self._bands(3 * h, "prolongation", weights, c, *c.shape[1:], u, h, w, size=u.size)

    def combine(self, a, x, b, y):
        self._bands(y.shape[0] * y.shape[1], "combine", a, x, b, y, y.shape[2], size=y.size)

    def _load(self, module: str) -> Any:
        """Return the kernels of a module, and log one line if this takes long."""
        if module not in self._loaded:
            notice = threading.Timer(
                _COMPILE_NOTICE_SECONDS, _log.info, ["compiling the kernels for this CPU, which takes some seconds"]
            )
            notice.daemon = True
            notice.start()
            try:
                self._loaded[module] = compiled.load(module)
            finally:
                notice.cancel()
        return self._loaded[module]

    def _improve(
        self, kernel: str, a: Any, b: Any, nnf: Any, distance: Any, frames: Any, patch: int, rest: Any, tick: Any
    ) -> Any:
        """Run one pass of a search, and return a new field and its distances."""
        out = np.empty_like(nnf), np.empty_like(distance)
        args = a, b, *_sizes(a, b), nnf, distance, *_frames(frames), patch // 2, *rest, *out
        self._bands(a.shape[0], kernel, *args, tick=tick)
        return out

    def _bands(
        self,
        rows: int,
        kernel: str,
        *args: Any,
        tick: Tick | None = None,
        size: int = _SHARED_SIZE,
        bands: int | None = None,
    ) -> None:
        """Run a kernel on all rows, in bands that the threads of the pool run.

        Parameters
        ----------
        rows
            Number of rows, or of columns for a kernel whose bands are columns.
        kernel
            Name of the kernel.
        *args
            Arguments of the kernel after the first two, which are the limits of a band.
        tick
            Function that is called after each band with the share (0 to 1) of bands that are done.
        size
            Number of values that the kernel works on. If it is less than `_SHARED_SIZE`, the
            calling thread runs the kernel on all rows, and `tick` is not called.
        bands
            Number of bands. None means four per thread, or one per 32 rows if that is more, but at
            most one per row. With so many bands every thread stays busy, and an interrupt ends the
            work soon. A kernel whose bands are columns is faster with few bands: the narrower a
            band, the shorter the piece of each row that it reads in one run.
        """
        run = self._load(_MODULE_OF[kernel])[kernel]
        plain = [arg.ctypes.data if isinstance(arg, np.ndarray) else arg for arg in args]
        if size < _SHARED_SIZE:
            run(0, rows, *plain)
            return
        count = min(rows, bands or max(4 * self.threads, rows // 32))
        edges = [rows * i // count for i in range(count + 1)]

        def band(y0: int, y1: int, arrays: Any = args) -> None:
            """Run the kernel on one band.

            The kernel gets only the addresses of the arrays. The argument `arrays` refers to them,
            so that they exist until the band ends, even if an interrupt has ended `_bands`.
            """
            run(y0, y1, *plain)

        futures = [self._pool.submit(band, y0, y1) for y0, y1 in pairwise(edges)]
        try:
            for done, future in enumerate(futures, 1):
                future.result()
                if tick:
                    tick(done / count)
        finally:
            for future in futures:  # after an interrupt, bands that have not begun are not run
                future.cancel()


def _aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a new array whose first number lies at the start of a cache line of the processor.

    A search is about a sixth faster on such arrays: the vectors that its inner loop loads then lie
    in one cache line each.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % _CACHE_LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def _sizes(a: Any, b: Any) -> tuple[int, ...]:
    """Return the rows and columns of both maps, and the number of their channels."""
    return *a.shape[:2], *b.shape


def _form(form: Any) -> tuple[bool, int, int]:
    """Return three values: True if a form has diagonal couplings, its rows, and its columns."""
    planes, h, w = form.shape
    return planes == 5, h, w


def _labels(labels: Any) -> tuple[Any, ...]:
    """Return the kernel arguments for labels: True and both arrays, or False and null pointers."""
    return (True, *labels) if labels else (False, 0, 0)


def _frames(frames: Any) -> tuple[Any, int]:
    """Return the kernel arguments for frames: the array and its length, or a null pointer and 0."""
    return (0, 0) if frames is None else (frames, len(frames))
