"""Multigrid kernels of the CPU backend, with the same algorithm as `kernels.cu` in this folder.

The array of a form holds the planes of the form one after the other; a comment before
`Backend.coarsen` in `contract.py` defines the planes and the form's matrix A, and `Backend.coarsen`
defines the interpolation P. The plane "right" holds the coupling of each position to its right
neighbour, and "down" the coupling to its lower neighbour. "Falling" holds the coupling to the
diagonal neighbour at the lower right, and "rising" the coupling between the right and the lower
neighbour.

LLVM can vectorise a loop along a row that reads one neighbour of each position. So most loops have
this form. Several loops then read the same row, which is still in the first-level cache. All
columns of a range are solved together, row after row. Rows are solved one by one (`Line`).

The first two arguments of a kernel are the limits of the rows or columns that it works on: the
first one, and the one after the last. In relaxation, which solves either the even or the odd rows
or columns, only these are counted. `h` and `w` are the sides of the grid, and `hc` and `wc` are the
sides of the coarser grid. `nine` is 1 for a form with diagonal couplings, otherwise 0. An array of
three channels counts as 3 h rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..argument_types import Float32, Float32s, Int64
from ..machine_code import REORDERING
from . import TINY

_inline = njit(error_model="numpy")
"""Decorator for functions that kernels call, which Numba compiles together with the kernels."""
_reordering = njit(error_model="numpy", fastmath=REORDERING)
"""Decorator like `_inline`, for functions whose sums LLVM may reorder."""

_TINY = np.float32(TINY)
"""The constant `TINY` as float32."""


class Form(NamedTuple):
    """Quadratic form on a grid.

    `planes` is the array of its planes, `size` is the number of positions of the grid, and `w` its
    number of columns. The plane of the masses begins at index 0 of the array, and the planes of the
    couplings begin at the indices `right`, `down`, `falling` and `rising` (the comment on
    multigrid in `contract.Backend` defines them). The last two planes exist only if
    `nine` is true. A row of the form's matrix A has at most nine numbers other than zero
    if `nine` is true, and at most five otherwise.
    """

    planes: Float32s
    nine: Int64
    size: Int64
    w: Int64
    right: Int64
    down: Int64
    falling: Int64
    rising: Int64


class Cell(NamedTuple):
    """Square whose corners are four neighbouring positions of the coarser grid.

    `nw`, `ne`, `sw` and `se` are the weights of the corners in the interpolation of the centre. The
    names stand for north-west and so on, with north at the top. The other numbers are the couplings
    that the cell adds between its corners, along its upper, lower, left and right side, and along
    its falling and its rising diagonal.
    """

    nw: Float32
    ne: Float32
    sw: Float32
    se: Float32
    top: Float32
    low: Float32
    left: Float32
    right: Float32
    fall: Float32
    rise: Float32


class Line(NamedTuple):
    """Row that relaxation solves in all three channels: index of its first position, and length."""

    begin: Int64
    count: Int64


@_inline
def _form(planes, nine, h, w):
    """Return the `Form` of an array of planes."""
    n = h * w
    return Form(planes, nine, n, w, n, 2 * n, 3 * n, 4 * n)


@_inline
def _gain(out, o, k, t, u, b, n, stride):
    """Add k * u to `out`, for `n` positions.

    `o`, `t` and `b` are the indices of the first position in `out`, `k` and `u`. From one position
    to the next, the index into `u` grows by `stride`, and the other two by 1.
    """
    for i in range(n):
        out[o + i] += k[t + i] * u[b + stride * i]


@_inline
def _lose(out, o, k, t, u, a, b, n):
    """Subtract k * (u[a] - u[b]) from `out`, for `n` positions.

    `o` and `t` are the indices of the first position in `out` and `k`. From one position to the
    next, all four indices `o`, `t`, `a` and `b` grow by 1.
    """
    for i in range(n):
        out[o + i] -= k[t + i] * (u[a + i] - u[b + i])


def residual(
    r0: Int64, r1: Int64, planes: Float32s, nine: Int64, f: Float32s, given: Int64, u: Float32s, h: Int64, w: Int64,
    out: Float32s,
) -> None:  # fmt: skip
    """Write f - A u to `out`, or - A u if `given` is 0 (see `Backend.residual`)."""
    form = _form(planes, nine, h, w)
    for r in range(r0, r1):
        y, q = r % h, r * w
        p = y * w
        above, below = y > 0, y < h - 1
        if above and below:
            for x in range(w):
                value = u[q + x]
                down_here, down_there = planes[form.down + p - w + x], planes[form.down + p + x]
                lost = down_here * (value - u[q - w + x]) + down_there * (value - u[q + w + x])
                out[q + x] = -(planes[p + x] * value + lost)
        else:
            for x in range(w):
                out[q + x] = -(planes[p + x] * u[q + x])
            if above:
                _lose(out, q, planes, form.down + p - w, u, q, q - w, w)
            if below:
                _lose(out, q, planes, form.down + p, u, q, q + w, w)
        _lose(out, q, planes, form.right + p, u, q, q + 1, w - 1)
        _lose(out, q + 1, planes, form.right + p, u, q + 1, q, w - 1)
        if nine and above:
            _lose(out, q + 1, planes, form.falling + p - w, u, q + 1, q - w, w - 1)
            _lose(out, q, planes, form.rising + p - w, u, q, q - w + 1, w - 1)
        if nine and below:
            _lose(out, q, planes, form.falling + p, u, q, q + w + 1, w - 1)
            _lose(out, q + 1, planes, form.rising + p, u, q + 1, q + w, w - 1)
        if given:
            for x in range(w):
                out[q + x] += f[q + x]


@_reordering
def _solve(form, inverses, u, line):
    """Solve the system of a row in place, by elimination forwards and substitution backwards.

    The three channels are solved together. In one channel, each value depends on the previous
    value, so the processor has to wait for it. Meanwhile it can compute the values of the other
    channels.
    """
    planes = form.planes
    p, n = line.begin, form.size
    a, b, c = p, p + n, p + 2 * n
    va, vb, vc, k = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for x in range(line.count):
        va, vb, vc = u[a + x] + k * va, u[b + x] + k * vb, u[c + x] + k * vc
        u[a + x], u[b + x], u[c + x] = va, vb, vc
        k = planes[form.right + p + x] * inverses[p + x]
    va, vb, vc = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for x in range(line.count - 1, -1, -1):
        inverse = inverses[p + x]
        k = planes[form.right + p + x] * inverse  # 0 at the last position, which has no right neighbour
        va, vb, vc = u[a + x] * inverse + k * va, u[b + x] * inverse + k * vb, u[c + x] * inverse + k * vc
        u[a + x], u[b + x], u[c + x] = va, vb, vc


def relax_rows(
    i0: Int64, i1: Int64, planes: Float32s, nine: Int64, inverses: Float32s, f: Float32s, u: Float32s, h: Int64,
    w: Int64, odd: Int64, fresh: Int64,
) -> None:  # fmt: skip
    """Solve even rows, or odd rows if `odd` is 1; the other rows count as zero if `fresh` is 1."""
    n = h * w
    form = _form(planes, nine, h, w)
    for i in range(i0, i1):
        y = 2 * i + odd
        p = y * w
        above, below = y > 0 and not fresh, y < h - 1 and not fresh
        for c in range(3):
            q = c * n + p
            if above and below:
                for x in range(w):
                    beside = planes[form.down + p - w + x] * u[q - w + x] + planes[form.down + p + x] * u[q + w + x]
                    u[q + x] = f[q + x] + beside
            else:
                for x in range(w):
                    u[q + x] = f[q + x]
                if above:
                    _gain(u, q, planes, form.down + p - w, u, q - w, w, 1)
                if below:
                    _gain(u, q, planes, form.down + p, u, q + w, w, 1)
            if nine and above:
                _gain(u, q + 1, planes, form.falling + p - w, u, q - w, w - 1, 1)
                _gain(u, q, planes, form.rising + p - w, u, q - w + 1, w - 1, 1)
            if nine and below:
                _gain(u, q, planes, form.falling + p, u, q + w + 1, w - 1, 1)
                _gain(u, q + 1, planes, form.rising + p, u, q + w, w - 1, 1)
        _solve(form, inverses, u, Line(p, w))


@_inline
def _keep(u, q, row, lo, hi):
    """Copy `row` at `lo`, `lo + 2`, .. below `hi` to the row of `u` that begins at index `q`."""
    for i in range(hi - lo):
        u[q + lo + i] = u[q + lo + i] if i & 1 else row[lo + i]


def relax_columns(
    i0: Int64, i1: Int64, planes: Float32s, nine: Int64, inverses: Float32s, f: Float32s, u: Float32s, h: Int64,
    w: Int64, odd: Int64, row: Float32s,
) -> None:  # fmt: skip
    """Solve even columns, or odd columns if `odd` is 1; `row` is working memory for one row."""
    n = h * w
    form = _form(planes, nine, h, w)
    # LLVM can vectorise a loop over all columns, but not over every second column. So all columns
    # of the range are computed, and only every second one is stored.
    lo, hi = 2 * i0 + odd, 2 * i1 + odd - 1
    first, last = max(lo, 1), min(hi, w - 1)
    for y in range(h):
        p = y * w
        for c in range(3):
            q = c * n + p
            for x in range(first, last):
                beside = planes[form.right + p + x - 1] * u[q + x - 1] + planes[form.right + p + x] * u[q + x + 1]
                row[x] = f[q + x] + beside
            if lo == 0:
                row[0] = f[q] + planes[form.right + p] * u[q + 1]
            if hi == w:
                row[w - 1] = f[q + w - 1] + planes[form.right + p + w - 2] * u[q + w - 2]
            if nine and y > 0:
                _gain(row, first, planes, form.falling + p - w + first - 1, u, q - w + first - 1, hi - first, 1)
                _gain(row, lo, planes, form.rising + p - w + lo, u, q - w + lo + 1, last - lo, 1)
            if nine and y < h - 1:
                _gain(row, first, planes, form.rising + p + first - 1, u, q + w + first - 1, hi - first, 1)
                _gain(row, lo, planes, form.falling + p + lo, u, q + w + lo + 1, last - lo, 1)
            if y > 0:
                for x in range(lo, hi):
                    row[x] += planes[form.down + p - w + x] * inverses[n + p - w + x] * u[q - w + x]
            _keep(u, q, row, lo, hi)
    for y in range(h - 1, -1, -1):
        p = y * w
        for c in range(3):
            q = c * n + p
            if y < h - 1:
                for x in range(lo, hi):
                    row[x] = (u[q + x] + planes[form.down + p + x] * u[q + w + x]) * inverses[n + p + x]
            else:
                for x in range(lo, hi):
                    row[x] = u[q + x] * inverses[n + p + x]
            _keep(u, q, row, lo, hi)


@_inline
def _add(out, o, k, t, n):
    """Add `n` couplings, which begin at index `t` of `k`, to `out` from index `o` on."""
    for i in range(n):
        out[o + i] += k[t + i]


@_inline
def _diagonal(form, y, x0, x1, out, o):
    """Write the diagonal of A for the positions x0 <= x < x1 of a row to `out` from index `o` on.

    The element of a position is its mass plus all of its couplings.
    """
    planes, w = form.planes, form.w
    t, count = y * w + x0, x1 - x0
    first = x0 == 0  # the first position has no left neighbour
    for i in range(count):
        out[o + i] = planes[t + i] + planes[form.right + t + i] + planes[form.down + t + i]
    _add(out, o + first, planes, form.right + t + first - 1, count - first)
    if y > 0:
        _add(out, o, planes, form.down + t - w, count)
    if form.nine:
        _add(out, o, planes, form.falling + t, count)
        _add(out, o + first, planes, form.rising + t + first - 1, count - first)
        if y > 0:
            _add(out, o, planes, form.rising + t - w, count)
            _add(out, o + first, planes, form.falling + t - w + first - 1, count - first)


def factor_rows(y0: Int64, y1: Int64, planes: Float32s, nine: Int64, h: Int64, w: Int64, inverses: Float32s) -> None:
    """Write the first plane of the result of `Backend.factor`, which is for the systems of rows."""
    form = _form(planes, nine, h, w)
    for y in range(y0, y1):
        p = y * w
        _diagonal(form, y, np.int64(0), w, inverses, p)  # for a literal 0, Numba would compile `_diagonal` twice
        lost = np.float32(0.0)
        for x in range(w):
            inverse = np.float32(1.0) / (inverses[p + x] - lost)
            inverses[p + x] = inverse
            coupling = planes[form.right + p + x]
            lost = coupling * (coupling * inverse)


def factor_columns(x0: Int64, x1: Int64, planes: Float32s, nine: Int64, h: Int64, w: Int64, inverses: Float32s) -> None:
    """Write the second plane of the result of `Backend.factor`, for the systems of columns."""
    form = _form(planes, nine, h, w)
    n = h * w
    for y in range(h):
        p = y * w
        q = n + p
        _diagonal(form, y, x0, x1, inverses, q + x0)
        for x in range(x0, x1):
            coupling = planes[form.down + p - w + x] if y > 0 else np.float32(0.0)
            lost = coupling * (coupling * inverses[q - w + x])
            inverses[q + x] = np.float32(1.0) / (inverses[q + x] - lost)


@_inline
def _halves(form, i, j, along):
    """Return the weights of two coarse positions in the interpolation of the position between them.

    The first coarse position is (i, j). The second is its right neighbour on the coarse grid if
    `along` is true, and otherwise its lower neighbour.
    """
    planes, w = form.planes, form.w
    t = 2 * i * w + 2 * j
    if along:
        one, other = planes[form.right + t], planes[form.right + t + 1]
        if form.nine:
            one += planes[form.rising + t]
            other += planes[form.falling + t + 1]
            if i > 0:
                one += planes[form.falling + t - w]
                other += planes[form.rising + t - w + 1]
    else:
        one, other = planes[form.down + t], planes[form.down + t + w]
        if form.nine:
            one += planes[form.rising + t]
            other += planes[form.falling + t + w]
            if j > 0:
                one += planes[form.falling + t - 1]
                other += planes[form.rising + t + w - 1]
    one, other = max(one, _TINY), max(other, _TINY)
    return one / (one + other), other / (one + other)


@_inline
def _cell(form, i, j):
    """Return the `Cell` whose upper left corner is the coarse position (i, j)."""
    zero, one = np.float32(0.0), np.float32(1.0)
    planes, w = form.planes, form.w
    t = 2 * i * w + 2 * j
    west, east = planes[form.right + t + w], planes[form.right + t + w + 1]
    north, south = planes[form.down + t + 1], planes[form.down + t + w + 1]
    top_w, top_e = _halves(form, i, j, True)
    low_w, low_e = _halves(form, i + 1, j, True)
    left_n, left_s = _halves(form, i, j, False)
    right_n, right_s = _halves(form, i, j + 1, False)
    nw, ne = north * top_w + west * left_n, north * top_e + east * right_n
    sw, se = south * low_w + west * left_s, south * low_e + east * right_s
    inner_nw = inner_ne = inner_sw = inner_se = zero
    if form.nine:
        inner_nw, inner_ne = planes[form.falling + t], planes[form.rising + t + 1]
        inner_sw, inner_se = planes[form.rising + t + w], planes[form.falling + t + w + 1]
        nw, ne, sw, se = nw + inner_nw, ne + inner_ne, sw + inner_sw, se + inner_se
    nw, ne, sw, se = max(nw, _TINY), max(ne, _TINY), max(sw, _TINY), max(se, _TINY)
    total = nw + ne + sw + se
    nw, ne, sw, se = nw / total, ne / total, sw / total, se / total

    top = low = left = right = fall = rise = zero
    count = 12 if form.nine else 4
    for pair in range(count):
        if pair == 0:
            k, a, b, c, d = north, top_w - nw, top_e - ne, -sw, -se
        elif pair == 1:
            k, a, b, c, d = south, -nw, -ne, low_w - sw, low_e - se
        elif pair == 2:
            k, a, b, c, d = west, left_n - nw, -ne, left_s - sw, -se
        elif pair == 3:
            k, a, b, c, d = east, -nw, right_n - ne, -sw, right_s - se
        elif pair == 4:
            k, a, b, c, d = inner_nw, one - nw, -ne, -sw, -se
        elif pair == 5:
            k, a, b, c, d = inner_ne, -nw, one - ne, -sw, -se
        elif pair == 6:
            k, a, b, c, d = inner_sw, -nw, -ne, one - sw, -se
        elif pair == 7:
            k, a, b, c, d = inner_se, -nw, -ne, -sw, one - se
        elif pair == 8:
            k, a, b, c, d = planes[form.rising + t], top_w - left_n, top_e, -left_s, zero
        elif pair == 9:
            k, a, b, c, d = planes[form.falling + t + 1], top_w, top_e - right_n, zero, -right_s
        elif pair == 10:
            k, a, b, c, d = planes[form.falling + t + w], left_n, zero, left_s - low_w, -low_e
        else:
            k, a, b, c, d = planes[form.rising + t + w + 1], zero, right_n, -low_w, right_s - low_e
        top, low = top - k * a * b, low - k * c * d
        left, right = left - k * a * c, right - k * b * d
        fall, rise = fall - k * a * d, rise - k * b * c
    return Cell(nw, ne, sw, se, top, low, left, right, fall, rise)


def coarsen(
    i0: Int64, i1: Int64, planes: Float32s, nine: Int64, h: Int64, w: Int64, weights: Float32s, out: Float32s,
    hc: Int64, wc: Int64,
) -> None:  # fmt: skip
    """Write the weights and couplings of the coarser grid (see `Backend.coarsen`), not its mass."""
    form = _form(planes, nine, h, w)
    m = hc * wc
    rows, columns = h // 2, w // 2  # numbers of rows and of columns of cells (see `Cell`)
    zero = np.float32(0.0)
    for i in range(i0, i1):
        right_of_last = zero  # what the cell on the left adds to the coupling along its right side
        for j in range(wc):
            o = i * wc + j
            for plane in range(8):
                weights[plane * m + o] = zero
            for plane in range(1, 5):
                out[plane * m + o] = zero
            if i > rows or j > columns:
                continue
            t = 2 * i * w + 2 * j
            right = down = zero
            if j < columns:
                west, east = _halves(form, i, j, True)
                weights[o], weights[m + o] = west, east
                right += planes[form.right + t] * east * east + planes[form.right + t + 1] * west * west
                if i > 0:
                    right += _cell(form, i - 1, j).low
            if i < rows:
                north, south = _halves(form, i, j, False)
                weights[2 * m + o], weights[3 * m + o] = north, south
                upper, lower = planes[form.down + t], planes[form.down + t + w]
                down += upper * south * south + lower * north * north + right_of_last
            if i < rows and j < columns:
                cell = _cell(form, i, j)
                weights[4 * m + o], weights[5 * m + o] = cell.nw, cell.ne
                weights[6 * m + o], weights[7 * m + o] = cell.sw, cell.se
                right, down, right_of_last = right + cell.top, down + cell.left, cell.right
                out[3 * m + o], out[4 * m + o] = cell.fall, cell.rise
            out[m + o], out[2 * m + o] = right, down


def restriction(
    r0: Int64, r1: Int64, weights: Float32s, r: Float32s, h: Int64, w: Int64, out: Float32s, hc: Int64, wc: Int64,
    outside: Float32,
) -> None:  # fmt: skip
    """Write P^T r to `out`, and `outside` to a row or column that was added to make a side odd."""
    m = hc * wc
    rows, columns = h // 2, w // 2
    for line in range(r0, r1):
        i, o = line % hc, line * wc
        for j in range(wc):
            out[o + j] = outside
        if i > rows:
            continue
        p = i * wc
        q = (line // hc * h + 2 * i) * w
        for j in range(columns + 1):
            out[o + j] = r[q + 2 * j]
        _gain(out, o, weights, p, r, q + 1, columns, 2)
        _gain(out, o + 1, weights, m + p, r, q + 1, columns, 2)
        if i < rows:
            _gain(out, o, weights, 2 * m + p, r, q + w, columns + 1, 2)
            _gain(out, o, weights, 4 * m + p, r, q + w + 1, columns, 2)
            _gain(out, o + 1, weights, 5 * m + p, r, q + w + 1, columns, 2)
        if i > 0:
            p -= wc
            _gain(out, o, weights, 3 * m + p, r, q - w, columns + 1, 2)
            _gain(out, o, weights, 6 * m + p, r, q - w + 1, columns, 2)
            _gain(out, o + 1, weights, 7 * m + p, r, q - w + 1, columns, 2)


def prolongation(
    r0: Int64, r1: Int64, weights: Float32s, c: Float32s, hc: Int64, wc: Int64, u: Float32s, h: Int64, w: Int64,
) -> None:  # fmt: skip
    """Add P c to `u` in place."""
    m = hc * wc
    columns = w // 2
    for line in range(r0, r1):
        y, q = line % h, line * w
        p = y // 2 * wc
        a = line // h * m + p
        if y % 2 == 0:
            for j in range(columns + 1):
                u[q + 2 * j] += c[a + j]
            for j in range(columns):
                u[q + 2 * j + 1] += weights[p + j] * c[a + j] + weights[m + p + j] * c[a + j + 1]
            continue
        b = a + wc
        for j in range(columns + 1):
            u[q + 2 * j] += weights[2 * m + p + j] * c[a + j] + weights[3 * m + p + j] * c[b + j]
        for j in range(columns):
            above = weights[4 * m + p + j] * c[a + j] + weights[5 * m + p + j] * c[a + j + 1]
            below = weights[6 * m + p + j] * c[b + j] + weights[7 * m + p + j] * c[b + j + 1]
            u[q + 2 * j + 1] += above + below


def combine(r0: Int64, r1: Int64, a: Float32, x: Float32s, b: Float32, y: Float32s, w: Int64) -> None:
    """Replace `y` by a x + b y in the rows from `r0` to `r1` - 1."""
    for i in range(r0 * w, r1 * w):
        y[i] = a * x[i] + b * y[i]
