"""The kernels of the CPU backend, compiled by Numba: the counterpart of `kernels.cu` on the GPU.

Each kernel of the contract (`distance`, `propagate`, `random_search`, `vote`, `join`, `resample`) works on the rows
`y0 <= y < y1` of its output and releases the GIL; `cpu.py` runs the bands of rows on a pool of threads. Compiled code is
cached on disk by Numba, so only the first run on a machine compiles.

In the inner loop one patch row is one contiguous run of floats (channels last). The indices are unsigned: otherwise Numba
keeps its wrap-around test for negative indices, and does not vectorise. The kernels trust their arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def _compile(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile when first called, or load what an earlier run compiled."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(nogil=True, error_model="numpy", cache=True, **options)(function)
        except RuntimeError:  # no folder can be written to, as in some services: compile at each start
            return njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


# Sums may be reordered, which lets them be vectorised. Infinities stay exact.
_kernel = _compile(fastmath={"reassoc", "contract", "arcp", "nsz"})
# For positions: a quotient that is a whole number must not become a product that lies just below it.
_exact = _compile()


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
def _patch_distance(a, b, ha, wa, hb, wb, c, ya, xa, yb, xb, patch_radius, best, max_product):
    """Distance of two patches, or infinity as soon as it cannot be smaller than `best`. `a` and `b` are flat."""
    top = min(patch_radius, ya, yb)
    bottom = min(patch_radius, ha - 1 - ya, hb - 1 - yb)
    left = min(patch_radius, xa, xb)
    right = min(patch_radius, wa - 1 - xa, wb - 1 - xb)
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
        if total + max_product * np.float32(remaining) <= must_exceed:
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
def distance(y0, y1, a, b, ha, wa, hb, wb, c, nnf, patch_radius, out):
    infinity = np.float32(np.inf)
    for y in range(y0, y1):
        for x in range(wa):
            out[y, x] = _patch_distance(
                a,
                b,
                ha,
                wa,
                hb,
                wb,
                c,
                y,
                x,
                np.int64(nnf[y, x, 0]),
                np.int64(nnf[y, x, 1]),
                patch_radius,
                infinity,
                infinity,
            )


@_kernel
def propagate(
    y0,
    y1,
    a,
    b,
    ha,
    wa,
    hb,
    wb,
    c,
    nnf,
    distance,
    patch_radius,
    la,
    lb,
    offered,
    jump,
    max_product,
    nnf_out,
    distance_out,
):
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
                if offered.size and offered[ny, nx, 0] == nnf[ny, nx, 0] and offered[ny, nx, 1] == nnf[ny, nx, 1]:
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
                d = _patch_distance(a, b, ha, wa, hb, wb, c, y, x, cy, cx, patch_radius, best, max_product)
                if d < best:
                    best_y, best_x, best = cy, cx, d
            nnf_out[y, x, 0], nnf_out[y, x, 1], distance_out[y, x] = best_y, best_x, best


@_kernel
def random_search(
    y0,
    y1,
    a,
    b,
    ha,
    wa,
    hb,
    wb,
    c,
    nnf,
    distance,
    patch_radius,
    la,
    lb,
    search_radius,
    seed,
    iteration,
    max_product,
    nnf_out,
    distance_out,
):
    for y in range(y0, y1):
        for x in range(wa):
            best_y, best_x, best = np.int64(nnf[y, x, 0]), np.int64(nnf[y, x, 1]), distance[y, x]
            r, k = search_radius, 0
            while r >= 1:
                span = np.uint64(2 * r + 1)
                oy = np.int64(hash32(seed, iteration, y * wa + x, 2 * k) % span) - r
                ox = np.int64(hash32(seed, iteration, y * wa + x, 2 * k + 1) % span) - r
                cy = min(max(best_y + oy, 0), hb - 1)
                cx = min(max(best_x + ox, 0), wb - 1)
                if (cy != best_y or cx != best_x) and _allowed(la, lb, y, x, cy, cx):
                    d = _patch_distance(a, b, ha, wa, hb, wb, c, y, x, cy, cx, patch_radius, best, max_product)
                    if d < best:
                        best_y, best_x, best = cy, cx, d
                r //= 2
                k += 1
            nnf_out[y, x, 0], nnf_out[y, x, 1], distance_out[y, x] = best_y, best_x, best


@_kernel
def vote(y0, y1, nnf, b, ha, wa, hb, wb, c, patch_radius, out):
    for y in range(y0, y1):
        for x in range(wa):
            for k in range(c):
                out[y, x, k] = 0.0
            count = 0
            for oy in range(-patch_radius, patch_radius + 1):
                for ox in range(-patch_radius, patch_radius + 1):
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
def join(y0, y1, f, g, wa, c, out):
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
def resample(y0, y1, nnf, hb, wb, say, sax, sby, sbx, out):
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
