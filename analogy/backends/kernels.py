"""CPU kernels of the search, of votes and of features, with the same algorithm as `kernels.cu`.

Numba compiles these functions. `Backend` in `contract.py` defines their results. A kernel computes
the rows `y0 <= y < y1` of its output; `cpu.py` runs bands of rows in a pool of threads. Kernels get
the addresses of arrays, and index them as flat arrays. The annotations give the types of the
arguments (see `argument_types`). Kernels do not check their arguments.

This module is imported only to compile the kernels, because it imports Numba, which takes a third
of a second.

In the inner loop, one row of a patch is one contiguous run of numbers (channels last). The indices
there are unsigned: Numba would test whether signed indices are negative, and LLVM would not
vectorise the loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from .argument_types import Float32, Float32s, Float64, Int16s, Int32s, Int64, UInt64
from .contract import (
    HALF,
    HASH_FIRST_MIX,
    HASH_ITERATION,
    HASH_PIXEL,
    HASH_SECOND_MIX,
    HASH_SEED,
    HASH_STEP,
    ONE,
    ROUNDING,
)
from .frames import frame_of

_ONE_SQUARED = np.float32(ONE * ONE)
"""Number that stands for 1.0 in a product of two joined features: `ONE` squared, as float32."""
_ROUNDING = np.float32(ROUNDING)
"""The constant `ROUNDING` as float32."""

_NONE = np.int64(-1)
"""Number that stands for no candidate."""

_inline = njit(error_model="numpy", forceinline=True)
"""Decorator for functions that Numba inlines into the kernels that call them."""


@_inline
def hash32(seed, iteration, pixel, step):
    """Return a random number from 0 to 2^32 - 1, the hash of four numbers.

    Two rounds of multiplication and xor-shift mix the bits of the four numbers.
    """
    mask = np.uint64(0xFFFFFFFF)
    h = (np.uint64(seed) * np.uint64(HASH_SEED)) & mask
    h ^= (np.uint64(iteration) * np.uint64(HASH_ITERATION)) & mask
    h ^= (np.uint64(pixel) * np.uint64(HASH_PIXEL)) & mask
    h ^= (np.uint64(step) * np.uint64(HASH_STEP)) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(HASH_FIRST_MIX)) & mask
    h ^= h >> np.uint64(12)
    h = (h * np.uint64(HASH_SECOND_MIX)) & mask
    h ^= h >> np.uint64(15)
    return h


@_inline
def _within(radius, hash):
    """Return a hash (0 to 2^32 - 1) scaled to a whole number from -radius to radius."""
    return np.int64(hash * np.uint64(2 * radius + 1) >> np.uint64(32)) - radius


def _product_of(rows: int, length: int) -> Any:
    """Return a function that computes the dot product of two patches.

    A patch is `rows` runs of `length` numbers. The function takes, for each of the two arrays, the
    array, the index of the first number of the patch, and the step from one run to the next. The
    LLVM instructions are built here one by one. From a loop in Python, LLVM would make vectors of
    half the width of AVX2's registers, and would add up the numbers of a vector after every run.
    """
    lanes = 16 if length % 16 == 0 else 8
    numbers, products = (ir.VectorType(ir.IntType(bits), lanes) for bits in (16, 32))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total = ir.Constant(products, [0] * lanes)
        for row in range(rows):
            for first in range(0, length, lanes):
                factors = []
                for array, start, step in (arguments[:3], arguments[3:]):
                    run = builder.add(start, builder.mul(step, step.type(row)))
                    place = builder.gep(array, [builder.add(run, run.type(first))])
                    vector = builder.load(builder.bitcast(place, numbers.as_pointer()), align=2)
                    factors.append(builder.sext(vector, products))
                total = builder.add(total, builder.mul(*factors))
        name, kind = f"llvm.vector.reduce.add.v{lanes}i32", ir.FunctionType(products.element, [products])
        return builder.call(builder.module.declare_intrinsic(name, fnty=kind), [total])

    @intrinsic
    def product(context, a, i, step_a, b, j, step_b):
        return types.int32(a, i, step_a, b, j, step_b), generate

    return product


# A search spends nearly all of its time on patches of three sizes, which have their own functions.
# Patches of 5 x 5 positions with 16 or 32 channels occur at the finest levels of the compact model.
# Patches of 3 x 3 positions with 8 channels occur in the search that compares pixels (see
# `pixel_vectors`).
_product_5_80, _product_5_160, _product_3_24 = _product_of(5, 80), _product_of(5, 160), _product_of(3, 24)


@_inline
def _patch_distance(a, b, ha, wa, frame, wb, c, ya, xa, yb, xb, patch_radius, best, max_product):
    """Return the distance of two patches, or perhaps infinity if it is not smaller than `best`."""
    first, end, columns = frame
    top = min(patch_radius, ya, yb - first)
    bottom = min(patch_radius, ha - 1 - ya, end - 1 - yb)
    left = min(patch_radius, xa, xb)
    right = min(patch_radius, wa - 1 - xa, columns - 1 - xb)
    rows, width = top + bottom + 1, left + right + 1
    positions, length = np.float32(rows * width), np.uint64(width * c)
    i, step_a = np.uint64(((ya - top) * wa + xa - left) * c), np.uint64(wa * c)
    j, step_b = np.uint64(((yb - top) * wb + xb - left) * c), np.uint64(wb * c)
    if rows == 5 and length == 80:
        return -np.float32(_product_5_80(a, i, step_a, b, j, step_b)) / positions / _ONE_SQUARED
    if rows == 5 and length == 160:
        return -np.float32(_product_5_160(a, i, step_a, b, j, step_b)) / positions / _ONE_SQUARED
    if rows == 3 and length == 24:
        return -np.float32(_product_3_24(a, i, step_a, b, j, step_b)) / positions / _ONE_SQUARED
    must_exceed = -best * (positions * _ONE_SQUARED)
    # With this margin, rounding errors never lead to the rejection of a better candidate.
    must_exceed -= _ROUNDING * (abs(must_exceed) + abs(max_product * positions))
    total = np.int32(0)
    for row in range(rows):
        for k in range(length):
            total = np.int32(total + np.int32(a[i + k]) * np.int32(b[j + k]))
        remaining = np.float32((rows - 1 - row) * width)
        if np.float32(total) + max_product * remaining <= must_exceed:
            return np.float32(np.inf)
        i += step_a
        j += step_b
    return -np.float32(total) / positions / _ONE_SQUARED


@_inline
def _allowed(labelled, la, lb, p, q):
    """Return True if the labels allow position `q` as the match of position `p`."""
    return not labelled or la[p] == lb[q] or la[p] < 0 or lb[q] < 0


def distance(
    y0: Int64, y1: Int64, a: Int16s, b: Int16s, ha: Int64, wa: Int64, hb: Int64, wb: Int64, c: Int64, nnf: Int32s,
    frames: Int32s, count: Int64, patch_radius: Int64, out: Float32s,
) -> None:  # fmt: skip
    """Write the patch distance of each match (see `Backend.distance`)."""
    infinity = np.float32(np.inf)
    for y in range(y0, y1):
        for x in range(wa):
            p = y * wa + x
            my, mx = np.int64(nnf[2 * p]), np.int64(nnf[2 * p + 1])
            frame = frame_of(frames, count, my, hb, wb)
            out[p] = _patch_distance(a, b, ha, wa, frame, wb, c, y, x, my, mx, patch_radius, infinity, infinity)


@_inline
def _candidate(y, x, oy, ox, ha, wa, fields, other, labels):
    """Return the candidate for (y, x) that the match of the neighbour at (y + oy, x + ox) gives.

    The result is the row, shifted left by 32 bits, plus the column. It is `_NONE` if there is no
    such neighbour, if its match has not changed since `previous_field`, or if the candidate is not
    allowed.
    """
    nnf, has_previous, previous_field = fields
    frames, count, hb, wb = other
    labelled, la, lb = labels
    if y + oy < 0 or y + oy >= ha or x + ox < 0 or x + ox >= wa:
        return _NONE
    p = y * wa + x
    n = 2 * (p + oy * wa + ox)
    if has_previous and previous_field[n] == nnf[n] and previous_field[n + 1] == nnf[n + 1]:
        return _NONE
    cy, cx = np.int64(nnf[n]) - oy, np.int64(nnf[n + 1]) - ox
    first, end, columns = frame_of(frames, count, cy + oy, hb, wb)
    if cy < first or cy >= end or cx < 0 or cx >= columns or not _allowed(labelled, la, lb, p, cy * wb + cx):
        return _NONE
    return cy << np.int64(32) | cx


def propagate(
    y0: Int64, y1: Int64, a: Int16s, b: Int16s, ha: Int64, wa: Int64, hb: Int64, wb: Int64, c: Int64, nnf: Int32s,
    distance: Float32s, frames: Int32s, count: Int64, patch_radius: Int64, labelled: Int64, la: Int32s, lb: Int32s,
    has_previous: Int64, previous_field: Int32s, jump: Int64, max_product: Float32, nnf_out: Int32s,
    distance_out: Float32s,
) -> None:  # fmt: skip
    """Run one propagation pass (see `Backend.propagate`)."""
    fields, other, labels = (nnf, has_previous, previous_field), (frames, count, hb, wb), (labelled, la, lb)
    for y in range(y0, y1):
        for x in range(wa):
            p = y * wa + x
            best_y, best_x, best = np.int64(nnf[2 * p]), np.int64(nnf[2 * p + 1]), distance[p]
            start = best_y << np.int64(32) | best_x
            first = _candidate(y, x, -jump, 0, ha, wa, fields, other, labels)
            second = _candidate(y, x, jump, 0, ha, wa, fields, other, labels)
            third = _candidate(y, x, 0, -jump, ha, wa, fields, other, labels)
            fourth = _candidate(y, x, 0, jump, ha, wa, fields, other, labels)
            # In a coherent field several neighbours give the same candidate, which is tried only
            # once.
            fourth = _NONE if fourth in (start, first, second, third) else fourth
            third = _NONE if third in (start, first, second) else third
            second = _NONE if second in (start, first) else second
            first = _NONE if first == start else first
            # The candidates move up to the places that are free, in the same order. The loop below
            # then has one condition, so that the processor seldom mispredicts it.
            third, fourth = (third, fourth) if third != _NONE else (fourth, _NONE)
            second, third, fourth = (second, third, fourth) if second != _NONE else (third, fourth, _NONE)
            first, second, third, fourth = (
                (first, second, third, fourth) if first != _NONE else (second, third, fourth, _NONE)
            )
            while first != _NONE:
                cy, cx = first >> np.int64(32), first & np.int64(0xFFFFFFFF)
                frame = frame_of(frames, count, cy, hb, wb)
                d = _patch_distance(a, b, ha, wa, frame, wb, c, y, x, cy, cx, patch_radius, best, max_product)
                if d < best:
                    best_y, best_x, best = cy, cx, d
                first, second, third, fourth = second, third, fourth, _NONE
            nnf_out[2 * p], nnf_out[2 * p + 1], distance_out[p] = best_y, best_x, best


def random_search(
    y0: Int64, y1: Int64, a: Int16s, b: Int16s, ha: Int64, wa: Int64, hb: Int64, wb: Int64, c: Int64, nnf: Int32s,
    distance: Float32s, frames: Int32s, count: Int64, patch_radius: Int64, labelled: Int64, la: Int32s, lb: Int32s,
    search_radius: Int64, seed: UInt64, iteration: UInt64, max_product: Float32, nnf_out: Int32s,
    distance_out: Float32s,
) -> None:  # fmt: skip
    """Run one pass of the random search (see `Backend.random_search`)."""
    for y in range(y0, y1):
        for x in range(wa):
            p = y * wa + x
            best_y, best_x, best = np.int64(nnf[2 * p]), np.int64(nnf[2 * p + 1]), distance[p]
            first, end, columns = frame = frame_of(frames, count, best_y, hb, wb)
            r, k = search_radius, 0
            while r >= 1:
                oy = _within(r, hash32(seed, iteration, p, 2 * k))
                ox = _within(r, hash32(seed, iteration, p, 2 * k + 1))
                cy = min(max(best_y + oy, first), end - 1)
                cx = min(max(best_x + ox, 0), columns - 1)
                if (cy != best_y or cx != best_x) and _allowed(labelled, la, lb, p, cy * wb + cx):
                    d = _patch_distance(a, b, ha, wa, frame, wb, c, y, x, cy, cx, patch_radius, best, max_product)
                    if d < best:
                        best_y, best_x, best = cy, cx, d
                r //= 2
                k += 1
            nnf_out[2 * p], nnf_out[2 * p + 1], distance_out[p] = best_y, best_x, best


def vote(
    y0: Int64, y1: Int64, nnf: Int32s, b_at: Float32s, ha: Int64, wa: Int64, hb: Int64, wb: Int64, c: Int64,
    frames: Int32s, frame_count: Int64, patch_radius: Int64, out_at: Float32s,
) -> None:  # fmt: skip
    """Write the vote of `b` through a field (see `Backend.vote`)."""
    b, out = carray(b_at, (hb, wb, c)), carray(out_at, (ha, wa, c))
    for y in range(y0, y1):
        for x in range(wa):
            count = 0
            red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for k in range(c):
                out[y, x, k] = 0.0
            for oy in range(-min(patch_radius, y), min(patch_radius, ha - 1 - y) + 1):
                for ox in range(-min(patch_radius, x), min(patch_radius, wa - 1 - x) + 1):
                    n = 2 * ((y + oy) * wa + x + ox)
                    by, bx = np.int64(nnf[n]) - oy, np.int64(nnf[n + 1]) - ox
                    first, end, columns = frame_of(frames, frame_count, by + oy, hb, wb)
                    if by < first or by >= end or bx < 0 or bx >= columns:
                        continue
                    count += 1
                    if c == 3:  # for pixels, keeping the three sums in registers halves the time
                        i = 3 * (by * wb + bx)
                        red, green, blue = red + b_at[i], green + b_at[i + 1], blue + b_at[i + 2]
                        continue
                    for k in range(c):
                        out[y, x, k] += b[np.uint64(by), np.uint64(bx), np.uint64(k)]
            scale = np.float32(1.0) / np.float32(count)
            if c == 3:
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = red, green, blue
            for k in range(c):
                out[y, x, k] *= scale


def channels_last(y0: Int64, y1: Int64, maps: Float32s, h: Int64, w: Int64, c: Int64, out: Float32s) -> None:
    """Write maps (1, C, H, W) as (H, W, C)."""
    for y in range(y0, y1):
        # A block of 16 positions x 16 channels is read and written in whole cache lines.
        for x0 in range(0, w, 16):
            for k0 in range(0, c, 16):
                for k in range(k0, min(k0 + 16, c)):
                    for x in range(x0, min(x0 + 16, w)):
                        out[(y * w + x) * c + k] = maps[(k * h + y) * w + x]


def join(y0: Int64, y1: Int64, f_at: Float32s, g_at: Float32s, ha: Int64, wa: Int64, c: Int64, out_at: Int16s) -> None:
    """Write joined features (see `Backend.join`)."""
    f, g, out = carray(f_at, (ha, wa, c)), carray(g_at, (ha, wa, c)), carray(out_at, (ha, wa, 2 * c))
    one = np.float32(ONE)
    for y in range(y0, y1):
        for x in range(wa):
            ff, gg = np.float32(0.0), np.float32(0.0)
            for k in range(c):
                ff += f[y, x, k] * f[y, x, k]
                gg += g[y, x, k] * g[y, x, k]
            sf = one / np.sqrt(ff) if ff > 0 else np.float32(0.0)
            sg = one / np.sqrt(gg) if gg > 0 else np.float32(0.0)
            for k in range(c):
                out[y, x, k] = np.int16(np.rint(f[y, x, k] * sf))
                out[y, x, c + k] = np.int16(np.rint(g[y, x, k] * sg))


def pixel_vectors(y0: Int64, y1: Int64, pixels: Float32s, h: Int64, w: Int64, key: Int64, out: Int16s) -> None:
    """Write vectors of pixels (see `Backend.pixel_vectors`)."""
    half = np.float32(HALF)
    sign = np.int64(1) if key else np.int64(-1)
    one, square = (3, 4) if key else (4, 3)
    for p in range(y0 * w, y1 * w):
        length = np.int64(0)
        for k in range(3):
            u = np.int64(np.rint((pixels[3 * p + k] - np.float32(0.5)) * (2 * half)))
            out[8 * p + k] = u if key else 2 * u
            length += u * u
        out[8 * p + one], out[8 * p + square] = sign, sign * length
        for k in range(5, 8):
            out[8 * p + k] = 0


def resample(
    y0: Int64, y1: Int64, nnf_at: Int32s, hc: Int64, wc: Int64, wa: Int64, hb: Int64, wb: Int64, say: Float64,
    sax: Float64, sby: Float64, sbx: Float64, out: Int32s,
) -> None:  # fmt: skip
    """Write a resampled field (see `Backend.resample`)."""
    nnf = carray(nnf_at, (hc, wc, 2))
    for y in range(y0, y1):
        py = (y + 0.5) / say
        cy = min(np.int64(np.floor(py)), hc - 1)
        ry = py - cy - 0.5
        for x in range(wa):
            px = (x + 0.5) / sax
            cx = min(np.int64(np.floor(px)), wc - 1)
            rx = px - cx - 0.5
            my = np.int64(np.floor((nnf[cy, cx, 0] + 0.5 + ry) * sby))
            mx = np.int64(np.floor((nnf[cy, cx, 1] + 0.5 + rx) * sbx))
            out[2 * (y * wa + x)] = min(max(my, 0), hb - 1)
            out[2 * (y * wa + x) + 1] = min(max(mx, 0), wb - 1)
