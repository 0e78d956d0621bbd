"""The CPU backend: NumPy arrays, Numba kernels, a thread pool.

Each kernel releases the GIL and works on a band of rows; bands run on a pool of threads. Numba's own parallel layers
are not used: they are slow to compile, and not safe where a server calls from several threads. Compiled code is cached
on disk by Numba, so only the first run on a machine compiles.

In the inner loop one patch row is one contiguous run of floats (channels last); the indices are unsigned, or Numba
would keep the wrap-around test of negative indices and not vectorise.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

_log = logging.getLogger("analogy")


def _compile(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile when first called, or load what an earlier run compiled."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:  # a service may have no folder to write to: then each start compiles
            return njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


# Sums may be reordered (that is what vectorises them); infinities stay exact.
_kernel = _compile(fastmath={"reassoc", "contract", "arcp", "nsz"})
# Positions: a quotient that lies on a whole number must not become a product that lies just below it.
_exact = _compile()

_COMPILE_NOTICE_SECONDS = 2.0
_UNLABELLED = np.empty((0, 0), np.int32), np.empty((0, 0), np.int32)


@_kernel
def hash32(seed, iteration, pixel, step):
    """Counter-based random number, uint32: two rounds of multiply and xor-shift over the mixed counters."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.uint64(seed) * np.uint64(0x9E3779B1)) & mask
    h ^= (np.uint64(iteration) * np.uint64(0x85EBCA77)) & mask
    h ^= (np.uint64(pixel) * np.uint64(0xC2B2AE3D)) & mask
    h ^= (np.uint64(step) * np.uint64(0x27D4EB2F)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(0x2C1B3C6D)) & mask
    h ^= h >> np.uint64(12)
    h = (h * np.uint64(0x297A2D39)) & mask
    h ^= h >> np.uint64(15)
    return h


@_kernel
def _run_dot(a, i, b, j, length):
    total = np.float32(0.0)
    for k in range(length):
        total += a[i + k] * b[j + k]
    return total


@_kernel
def _patch_distance(a, b, ha, wa, hb, wb, c, ya, xa, yb, xb, radius, best, peak):
    """Distance of two patches, or infinity as soon as it cannot be smaller than `best`. `a` and `b` are flat."""
    top = min(radius, ya, yb)
    bottom = min(radius, ha - 1 - ya, hb - 1 - yb)
    left = min(radius, xa, xb)
    right = min(radius, wa - 1 - xa, wb - 1 - xb)
    width = left + right + 1
    positions = width * (top + bottom + 1)
    must_exceed = -best * np.float32(positions)
    remaining = positions
    length = np.uint64(width * c)
    i = np.uint64(((ya - top) * wa + xa - left) * c)
    j = np.uint64(((yb - top) * wb + xb - left) * c)
    total = np.float32(0.0)
    for _ in range(top + bottom + 1):
        total += _run_dot(a, i, b, j, length)
        remaining -= width
        if total + peak * np.float32(remaining) <= must_exceed:
            return np.float32(np.inf)
        i += np.uint64(wa * c)
        j += np.uint64(wb * c)
    return -total / np.float32(positions)


@_kernel
def _allowed(la, lb, ya, xa, yb, xb):
    """Whether the labels of two positions let them match; no labels at all are an empty array."""
    if la.size == 0:
        return True
    one, other = la[ya, xa], lb[yb, xb]
    return one == other or one < 0 or other < 0


@_kernel
def _distance(y0, y1, a, b, ha, wa, hb, wb, c, nnf, radius, out):
    never = np.float32(np.inf)
    for y in range(y0, y1):
        for x in range(wa):
            out[y, x] = _patch_distance(
                a, b, ha, wa, hb, wb, c, y, x, np.int64(nnf[y, x, 0]), np.int64(nnf[y, x, 1]), radius, never, never
            )


@_kernel
def _propagate(y0, y1, a, b, ha, wa, hb, wb, c, nnf, distance, radius, la, lb, jump, peak, nnf_out, distance_out):
    tried = np.empty((5, 2), np.int64)
    for y in range(y0, y1):
        for x in range(wa):
            best_y, best_x, best = np.int64(nnf[y, x, 0]), np.int64(nnf[y, x, 1]), distance[y, x]
            tried[0, 0], tried[0, 1] = best_y, best_x
            count = 1
            for k in range(4):
                oy = -jump if k == 0 else (jump if k == 1 else 0)
                ox = -jump if k == 2 else (jump if k == 3 else 0)
                ny, nx = y + oy, x + ox
                if ny < 0 or ny >= ha or nx < 0 or nx >= wa:
                    continue
                cy, cx = np.int64(nnf[ny, nx, 0]) - oy, np.int64(nnf[ny, nx, 1]) - ox
                if cy < 0 or cy >= hb or cx < 0 or cx >= wb:
                    continue
                # Neighbours of a coherent field offer the same match: trying it again cannot change the result.
                known = False
                for t in range(count):
                    known |= tried[t, 0] == cy and tried[t, 1] == cx
                if known or not _allowed(la, lb, y, x, cy, cx):
                    continue
                tried[count, 0], tried[count, 1] = cy, cx
                count += 1
                d = _patch_distance(a, b, ha, wa, hb, wb, c, y, x, cy, cx, radius, best, peak)
                if d < best:
                    best_y, best_x, best = cy, cx, d
            nnf_out[y, x, 0], nnf_out[y, x, 1], distance_out[y, x] = best_y, best_x, best


@_kernel
def _random_search(
    y0, y1, a, b, ha, wa, hb, wb, c, nnf, distance, radius, la, lb, reach, seed, iteration, peak, nnf_out, distance_out
):
    for y in range(y0, y1):
        for x in range(wa):
            best_y, best_x, best = np.int64(nnf[y, x, 0]), np.int64(nnf[y, x, 1]), distance[y, x]
            r, k = reach, 0
            while r >= 1:
                span = np.uint64(2 * r + 1)
                oy = np.int64(hash32(seed, iteration, y * wa + x, 2 * k) % span) - r
                ox = np.int64(hash32(seed, iteration, y * wa + x, 2 * k + 1) % span) - r
                cy = min(max(best_y + oy, 0), hb - 1)
                cx = min(max(best_x + ox, 0), wb - 1)
                if (cy != best_y or cx != best_x) and _allowed(la, lb, y, x, cy, cx):
                    d = _patch_distance(a, b, ha, wa, hb, wb, c, y, x, cy, cx, radius, best, peak)
                    if d < best:
                        best_y, best_x, best = cy, cx, d
                r //= 2
                k += 1
            nnf_out[y, x, 0], nnf_out[y, x, 1], distance_out[y, x] = best_y, best_x, best


@_kernel
def _vote(y0, y1, nnf, b, ha, wa, hb, wb, c, radius, out):
    for y in range(y0, y1):
        for x in range(wa):
            for k in range(c):
                out[y, x, k] = 0.0
            count = 0
            for oy in range(-radius, radius + 1):
                for ox in range(-radius, radius + 1):
                    ny, nx = y + oy, x + ox
                    if ny < 0 or ny >= ha or nx < 0 or nx >= wa:
                        continue
                    by, bx = nnf[ny, nx, 0] - oy, nnf[ny, nx, 1] - ox
                    if by < 0 or by >= hb or bx < 0 or bx >= wb:
                        continue
                    count += 1
                    for k in range(c):
                        out[y, x, k] += b[np.uint64(by), np.uint64(bx), np.uint64(k)]
            scale = np.float32(1.0) / np.float32(count)
            for k in range(c):
                out[y, x, k] *= scale


@_kernel
def _join(y0, y1, f, g, wa, c, out):
    for y in range(y0, y1):
        for x in range(wa):
            ff, gg = np.float32(0.0), np.float32(0.0)
            for k in range(c):
                ff += f[y, x, k] * f[y, x, k]
                gg += g[y, x, k] * g[y, x, k]
            sf = np.float32(1.0) / np.sqrt(ff) if ff > 0 else np.float32(0.0)
            sg = np.float32(1.0) / np.sqrt(gg) if gg > 0 else np.float32(0.0)
            for k in range(c):
                out[y, x, k] = f[y, x, k] * sf
                out[y, x, c + k] = g[y, x, k] * sg


@_exact
def _resample(y0, y1, nnf, hb, wb, say, sax, sby, sbx, out):
    hc, wc = nnf.shape[0], nnf.shape[1]
    for y in range(y0, y1):
        py = (y + 0.5) / say
        cy = min(np.int64(np.floor(py)), hc - 1)
        ry = py - cy - 0.5
        for x in range(out.shape[1]):
            px = (x + 0.5) / sax
            cx = min(np.int64(np.floor(px)), wc - 1)
            rx = px - cx - 0.5
            my = np.int64(np.floor((nnf[cy, cx, 0] + 0.5 + ry) * sby))
            mx = np.int64(np.floor((nnf[cy, cx, 1] + 0.5 + rx) * sbx))
            out[y, x, 0] = min(max(my, 0), hb - 1)
            out[y, x, 1] = min(max(mx, 0), wb - 1)


class CpuBackend:
    """The kernel contract of `backends` on NumPy arrays. `threads`: None for one per available core."""

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
        self._bands(h, _join, f, g, w, c, out)
        return out

    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b):
        out = np.empty((*shape_a, 2), np.int32)
        self._bands(shape_a[0], _resample, nnf, *shape_b, *map(float, scale_a), *map(float, scale_b), out)
        return out

    def distance(self, a, b, nnf, patch):
        out = np.empty(a.shape[:2], np.float32)
        self._bands(a.shape[0], _distance, *_flat(a, b), nnf, patch // 2, out)
        return out

    def propagate(self, a, b, nnf, distance, patch, jump, peak, labels=None):
        out = np.empty_like(nnf), np.empty_like(distance)
        labels = labels or _UNLABELLED
        args = *_flat(a, b), nnf, distance, patch // 2, *labels, jump, np.float32(peak), *out
        self._bands(a.shape[0], _propagate, *args)
        return out

    def random_search(self, a, b, nnf, distance, patch, radius, seed, iteration, peak, labels=None):
        out = np.empty_like(nnf), np.empty_like(distance)
        labels = labels or _UNLABELLED
        args = *_flat(a, b), nnf, distance, patch // 2, *labels, radius, seed, iteration, np.float32(peak), *out
        self._bands(a.shape[0], _random_search, *args)
        return out

    def vote(self, nnf, b, patch):
        out = np.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        self._bands(nnf.shape[0], _vote, nnf, b, *nnf.shape[:2], *b.shape, patch // 2, out)
        return out

    def _bands(self, rows: int, kernel, *args) -> None:
        """Run `kernel(y0, y1, *args)` over all rows, in bands: enough to keep every thread busy, and small enough to stop."""
        count = min(rows, max(4 * self.threads, rows // 32))
        edges = [rows * i // count for i in range(count + 1)]
        futures = [self._pool.submit(kernel, y0, y1, *args) for y0, y1 in pairwise(edges)]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:  # after an interrupt: nobody waits for what has not begun
                future.cancel()


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flat(a, b):
    """Both feature maps as flat arrays, with their sizes: what `_patch_distance` takes."""
    return a.reshape(-1), b.reshape(-1), *a.shape[:2], *b.shape
