"""CPU kernels of gradient-domain painting, with the same algorithm as `seams.cu`.

`Backend` defines the result of each kernel. "Right" and "down" are the two axes of a forward
difference: axis 0 leads from (y, x) to (y, x + 1), axis 1 to (y + 1, x). The kernels are compiled
and called like those of `kernels`. The first two arguments of a kernel are the limits of the rows
or columns that it works on.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .argument_types import Float32, Float32s, Int32s, Int64
from .frames import frame_of

_inline = njit(error_model="numpy")
"""Decorator for functions that kernels call, which Numba compiles together with the kernels."""


def gradient(y0: Int64, y1: Int64, pixels: Float32s, h: Int64, w: Int64, out: Float32s) -> None:
    """Write the squared gradient of a picture, as the first step of `Backend.steepness`."""
    for y in range(y0, y1):
        above, row, below = 3 * w * max(y - 1, 0), 3 * w * y, 3 * w * min(y + 1, h - 1)
        for x in range(w):
            left, here, right = 3 * max(x - 1, 0), 3 * x, 3 * min(x + 1, w - 1)
            total = np.float32(0.0)
            for k in range(3):
                nw, ne = pixels[above + left + k], pixels[above + right + k]
                sw, se = pixels[below + left + k], pixels[below + right + k]
                across = ne - nw + 2 * (pixels[row + right + k] - pixels[row + left + k]) + se - sw
                down = sw - nw + 2 * (pixels[below + here + k] - pixels[above + here + k]) + se - ne
                total += across * across + down * down
            out[y * w + x] = total * np.float32(1.0 / 64)


def widest(y0: Int64, y1: Int64, values: Float32s, h: Int64, w: Int64, out: Float32s) -> None:
    """Write the largest value in each 3 x 3 square, as the second step of `Backend.steepness`."""
    for y in range(y0, y1):
        for x in range(w):
            most = values[y * w + x]
            for v in range(max(y - 1, 0), min(y + 2, h)):
                for u in range(max(x - 1, 0), min(x + 2, w)):
                    most = max(most, values[v * w + u])
            out[y * w + x] = most


@_inline
def _coherent(nnf, y, x, ha, wa, patch_radius):
    """Return True if the patches that vote for a position and for two neighbours have one offset.

    The neighbours are the position to the right and the position below. If all these patches have
    the same offset, the voted differences at the position are the differences of the voted pixels.
    """
    n = 2 * (y * wa + x)
    oy, ox = nnf[n] - y, nnf[n + 1] - x
    for v in range(max(y - patch_radius, 0), min(y + 1 + patch_radius, ha - 1) + 1):
        for u in range(max(x - patch_radius, 0), min(x + 1 + patch_radius, wa - 1) + 1):
            n = 2 * (v * wa + u)
            if nnf[n] - v != oy or nnf[n + 1] - u != ox:
                return False
    return True


def seams(
    y0: Int64, y1: Int64, nnf: Int32s, b: Float32s, picture: Float32s, ha: Int64, wa: Int64, hb: Int64, wb: Int64,
    frames: Int32s, frame_count: Int64, patch_radius: Int64, out: Float32s,
) -> None:  # fmt: skip
    """Write voted differences of `b` minus differences of the picture (see `Backend.seams`)."""
    for y in range(y0, y1):
        for x in range(wa):
            p = y * wa + x
            o = 8 * p
            for k in range(8):
                out[o + k] = 0
            if _coherent(nnf, y, x, ha, wa, patch_radius):
                continue
            count = 0
            for oy in range(-min(patch_radius, y), min(patch_radius, ha - 1 - y) + 1):
                for ox in range(-min(patch_radius, x), min(patch_radius, wa - 1 - x) + 1):
                    n = 2 * ((y + oy) * wa + x + ox)
                    by, bx = np.int64(nnf[n]) - oy, np.int64(nnf[n + 1]) - ox
                    first, end, columns = frame_of(frames, frame_count, by + oy, hb, wb)
                    if by < first or by >= end or bx < 0 or bx >= columns:
                        continue
                    count += 1
                    i = 3 * (by * wb + bx)
                    right = i + 3 if bx < columns - 1 else i
                    below = i + 3 * wb if by < end - 1 else i
                    for k in range(3):
                        out[o + k] += b[right + k] - b[i + k]
                        out[o + 3 + k] += b[below + k] - b[i + k]
            scale = np.float32(1.0) / np.float32(count)
            for axis in range(2):
                step = (3 if x < wa - 1 else 0) if axis == 0 else (3 * wa if y < ha - 1 else 0)
                square = np.float32(0.0)
                for k in range(3):
                    i, j = 3 * p + k, o + 3 * axis + k
                    out[j] = out[j] * scale - (picture[i + step] - picture[i]) if step else np.float32(0.0)
                    square += out[j] * out[j]
                out[o + 6 + axis] = square


@_inline
def _coarse(i, n, size):
    """Return the two positions between which position `i` lies after its row is scaled.

    The row has `n` positions before and `size` positions after the scaling. The third result is the
    weight (0 to 1) of the second position in a linear interpolation.
    """
    p = (np.float32(i) + np.float32(0.5)) * np.float32(size) / np.float32(n) - np.float32(0.5)
    p = min(max(p, np.float32(0.0)), np.float32(size - 1))
    before = np.int64(p)
    return before, min(before + 1, size - 1), p - np.float32(before)


@_inline
def _meet(labels, y, x, axis, h, w):
    """Return True if the ends of a forward difference and their neighbours have several labels.

    The neighbours are the positions that touch an end along a side or at a corner.
    """
    own = labels[y * w + x]
    for v in range(max(y - 1, 0), min(y + axis + 1, h - 1) + 1):
        for u in range(max(x - 1, 0), min(x + 2 - axis, w - 1) + 1):
            if labels[v * w + u] != own:
                return True
    return False


@_inline
def _weak(square, threshold):
    """Return a factor that falls from 1 to 0 as `square` grows, and is 1/2 at the threshold.

    Both arguments are squared lengths.
    """
    fourth = square * square
    limit = threshold * threshold
    return limit / (fourth + limit)


def keep_edges(
    y0: Int64, y1: Int64, steepness: Float32s, hs: Int64, ws: Int64, labelled: Int64, labels: Int32s, h: Int64,
    w: Int64, edge: Float32, jump: Float32, seams: Float32s,
) -> None:  # fmt: skip
    """Reduce `seams` in place where a change of colour is an edge (see `Backend.keep_edges`)."""
    for y in range(y0, y1):
        top, low, fy = _coarse(y, h, hs)
        for x in range(w):
            o = 8 * (y * w + x)
            if seams[o + 6] == 0 and seams[o + 7] == 0:
                continue
            left, right, fx = _coarse(x, w, ws)
            above = steepness[top * ws + left] * (1 - fx) + steepness[top * ws + right] * fx
            below = steepness[low * ws + left] * (1 - fx) + steepness[low * ws + right] * fx
            smooth = _weak(above * (1 - fy) + below * fy, edge)
            for axis in range(2):
                most = np.float32(0.0)
                for v in range(max(y - 1, 0), min(y + 2, h)):
                    for u in range(max(x - 1, 0), min(x + 2, w)):
                        most = max(most, seams[8 * (v * w + u) + 6 + axis])
                share = min(smooth, _weak(most, jump))
                if labelled and _meet(labels, y, x, axis, h, w):
                    share = np.float32(0.0)
                for k in range(3):
                    seams[o + 3 * axis + k] *= share


def divergence(y0: Int64, y1: Int64, seams: Float32s, h: Int64, w: Int64, out: Float32s) -> None:
    """Write the divergence of the differences in `seams` (see `Backend.divergence`)."""
    for y in range(y0, y1):
        for x in range(w):
            p = y * w + x
            o = 8 * p
            for k in range(3):
                total = seams[o + k] + seams[o + 3 + k]
                if x > 0:
                    total -= seams[o - 8 + k]
                if y > 0:
                    total -= seams[o - 8 * w + 3 + k]
                out[3 * p + k] = total


def solve_columns(x0: Int64, x1: Int64, shifts: Float32s, f: Float32s, excess: Float32s, h: Int64, w: Int64) -> None:
    """Solve a range of columns in place (see `Backend.solve_columns`).

    `excess` is an array of the size of `f`, in which the function stores intermediate values.
    """
    one = np.float32(1.0)
    for x in range(x0, x1):
        excess[x] = shifts[x]
    for y in range(1, h):
        t = y * w
        for x in range(x0, x1):
            # The pivot of a row is 1 + excess, a sum of positive numbers, so no digits cancel.
            inverse = one / (one + excess[t - w + x])
            excess[t + x] = shifts[x] + excess[t - w + x] * inverse
            f[t + x] += f[t - w + x] * inverse
    t = (h - 1) * w
    for x in range(x0, x1):  # the last row has one neighbour, so its pivot is the excess without the 1
        f[t + x] /= excess[t + x]
    for y in range(h - 2, -1, -1):
        t = y * w
        for x in range(x0, x1):
            f[t + x] = (f[t + x] + f[t + w + x]) / (one + excess[t + x])


def correct(
    y0: Int64, y1: Int64, picture: Float32s, correction: Float32s, columns: Int32s, w: Int64, out: Float32s,
) -> None:  # fmt: skip
    """Write a picture plus a reduced correction (see `Backend.correct`).

    The correction is reduced so that the sum stays within 0..1.
    """
    one = np.float32(1.0)
    for y in range(y0, y1):
        for x in range(w):
            for k in range(3):
                i = 3 * (y * w + x) + k
                value, change = picture[i], correction[3 * (y * w + columns[x]) + k]
                ahead = one - value if change > 0 else value
                room = max(min(ahead, 2 * min(value, one - value)), np.float32(0.0))
                size = abs(change)
                if size > 0:
                    ratio = min(room, size) / max(room, size)
                    ratio *= ratio
                    step = min(room, size) / np.sqrt(np.sqrt(one + ratio * ratio))
                    value += step if change > 0 else -step
                out[i] = value
