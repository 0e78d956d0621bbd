"""The kernel contract of `analogy.backends` as plain NumPy code.

Every backend is tested against these functions, which have the names and arguments of a backend's
methods. They are written to be checked by reading, not to be fast: they operate on whole pictures,
their sums are exact or float64, and they neither stop early nor skip candidates.
"""

from __future__ import annotations

import numpy as np

_MASK = np.uint64(0xFFFFFFFF)


def hash32(seed, iteration, pixel, step):
    """Return counter-based random numbers, uint32 stored in uint64. The arguments broadcast."""
    h = np.zeros((), np.uint64)
    multipliers = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)
    for value, multiplier in zip((seed, iteration, pixel, step), multipliers, strict=True):
        h = h ^ (np.asarray(value).astype(np.uint64) * np.uint64(multiplier) & _MASK)
    h = (h ^ h >> np.uint64(15)) * np.uint64(0x2C1B3C6D) & _MASK
    h = (h ^ h >> np.uint64(12)) * np.uint64(0x297A2D39) & _MASK
    return h ^ h >> np.uint64(15)


def join(f, g):
    """Return the joined features of two maps, (H, W, 2C) int16 in units of 1 / 4096.

    Each map is divided by its L2 norm at each position; a zero vector stays zero.
    """
    halves = []
    for features in (f.astype(np.float64), g.astype(np.float64)):
        norm = np.sqrt((features**2).sum(axis=2, keepdims=True))
        halves.append(features / np.where(norm > 0, norm, 1))
    return np.rint(4096 * np.concatenate(halves, axis=2)).astype(np.int16)


def blend(content, f, g, alpha, steepness, threshold):
    """Return f and g blended with weights: `weight` f + (1 - `weight`) g, (H, W, k) float32.

    `weight` grows with the norm of `content` at a position, and is below `alpha`.
    """
    energy = (content.astype(np.float64) ** 2).sum(axis=2, keepdims=True)
    m = (energy - energy.min()) / max(np.ptp(energy), 1e-12)
    weight = alpha / (1 + np.exp(-steepness * (m - threshold)))
    return (f * weight + g * (1 - weight)).astype(np.float32)


def pixel_vectors(pixels, key):
    """Return the vectors (H, W, 8) int16 of pixels in 0..1, as keys or else as queries.

    The product of a query and a key is minus the squared difference of the two pixels, times 208^2.
    """
    u = np.rint((pixels - np.float32(0.5)) * np.float32(208)).astype(int)
    one, square, nothing = np.ones_like(u[..., :1]), (u**2).sum(axis=2, keepdims=True), np.zeros_like(u)
    parts = (u, one, square, nothing) if key else (2 * u, -square, -one, nothing)
    return np.concatenate(parts, axis=2).astype(np.int16)


def resample(nnf, shape_a, shape_b, scale_a, scale_b):
    """Return a field resampled for pictures that are `scale_a` and `scale_b` times as large."""
    coarse, rest = [], []
    for axis in range(2):
        p = (np.arange(shape_a[axis]) + 0.5) / scale_a[axis]
        c = np.minimum(np.floor(p), nnf.shape[axis] - 1)
        coarse.append(c.astype(int))
        rest.append(p - c - 0.5)
    match = nnf[np.ix_(*coarse)]
    rows = np.floor((match[..., 0] + 0.5 + rest[0][:, None]) * scale_b[0])
    columns = np.floor((match[..., 1] + 0.5 + rest[1][None, :]) * scale_b[1])
    return np.stack([rows.clip(0, shape_b[0] - 1), columns.clip(0, shape_b[1] - 1)], axis=2).astype(np.int32)


def distance(a, b, nnf, patch, frames=None):
    """Return the patch distance of each position p and its match, (H, W) float32.

    It is minus the mean product over the positions of the patch that exist both in A around p and
    in B around the match. In B only positions in the match's frame exist.
    """
    y, x = np.mgrid[: a.shape[0], : a.shape[1]]
    total, count = np.zeros(y.shape, np.int64), np.zeros(y.shape, np.int64)
    for oy, ox in _offsets(patch):
        ay, ax, by, bx = y + oy, x + ox, nnf[..., 0] + oy, nnf[..., 1] + ox
        exists = _inside(a, ay, ax) & _inside_frame(b, frames, nnf, by, bx)
        dot = (_at(a, ay, ax).astype(np.int64) * _at(b, by, bx)).sum(axis=2)
        total += np.where(exists, dot, 0)
        count += exists
    return -total.astype(np.float32) / count.astype(np.float32) / np.float32(4096**2)


def allowed(labels, match):
    """Return whether positions and matches have equal labels, or either label is negative."""
    one, other = labels[0], labels[1][match[..., 0], match[..., 1]]
    return (one == other) | (one < 0) | (other < 0)


def propagate(a, b, nnf, distance, patch, jump, max_product, labels=None, frames=None):
    """Run one propagation pass, without the early stop that `max_product` allows."""
    y, x = np.mgrid[: a.shape[0], : a.shape[1]]
    best, best_distance = nnf.copy(), distance.copy()
    for oy, ox in ((-jump, 0), (jump, 0), (0, -jump), (0, jump)):
        neighbour = _at(nnf, y + oy, x + ox)
        candidate = neighbour - np.array([oy, ox], np.int32)
        inside = _inside_frame(b, frames, neighbour, candidate[..., 0], candidate[..., 1])
        exists = _inside(a, y + oy, x + ox) & inside
        _accept(a, b, candidate, exists, patch, best, best_distance, labels, frames)
    return best, best_distance


def random_search(a, b, nnf, distance, patch, radius, seed, iteration, max_product, labels=None, frames=None):
    """Run one random-search pass, without the early stop that `max_product` allows."""
    y, x = np.mgrid[: a.shape[0], : a.shape[1]]
    everywhere = np.ones(y.shape, bool)
    best, best_distance = nnf.copy(), distance.copy()
    top, end, columns = _frame(b, frames, nnf)
    first, last = np.stack([top, np.zeros_like(top)], axis=2), np.stack([end, columns], axis=2) - 1
    k = 0
    while radius >= 1:
        numbers = [hash32(seed, iteration, y * a.shape[1] + x, 2 * k + axis) for axis in range(2)]
        steps = np.stack(
            [(h * np.uint64(2 * radius + 1) >> np.uint64(32)).astype(np.int64) - radius for h in numbers], axis=2
        )
        candidate = (best + steps).clip(first, last).astype(np.int32)
        _accept(a, b, candidate, everywhere, patch, best, best_distance, labels, frames)
        radius //= 2
        k += 1
    return best, best_distance


def vote(nnf, b, patch, frames=None):
    """Return the vote at each position, (HA, WA, C) float32."""
    y, x = np.mgrid[: nnf.shape[0], : nnf.shape[1]]
    total, count = np.zeros((*nnf.shape[:2], b.shape[2])), np.zeros((*nnf.shape[:2], 1))
    for oy, ox in _offsets(patch):
        neighbour = _at(nnf, y + oy, x + ox)
        match = neighbour - np.array([oy, ox])
        inside = _inside_frame(b, frames, neighbour, match[..., 0], match[..., 1])
        exists = (_inside(nnf, y + oy, x + ox) & inside)[..., None]
        total += np.where(exists, _at(b, match[..., 0], match[..., 1]), 0)
        count += exists
    return (total / count).astype(np.float32)


def _offsets(patch):
    span = range(-(patch // 2), patch // 2 + 1)
    return [(oy, ox) for oy in span for ox in span]


def _inside(picture, y, x):
    return (y >= 0) & (y < picture.shape[0]) & (x >= 0) & (x < picture.shape[1])


def _frame(b, frames, match):
    """Return the frame of B that contains each match: three arrays (H, W).

    They are the first row, the row after the last one, and the number of columns.
    """
    whole = np.array([[0, *b.shape[:2]]]) if frames is None else frames
    return tuple(np.moveaxis(whole[(match[..., :1] >= whole[:, 0]).sum(axis=2) - 1], -1, 0))


def _inside_frame(b, frames, match, y, x):
    """Return whether positions lie in the frame of B that contains the match."""
    top, end, columns = _frame(b, frames, match)
    return (y >= top) & (y < end) & (x >= 0) & (x < columns)


def _at(picture, y, x):
    """Return the values of a map at positions.

    For a position outside of the map this is a value of the border, which callers ignore.
    """
    return picture[y.clip(0, picture.shape[0] - 1), x.clip(0, picture.shape[1] - 1)]


def _accept(a, b, candidate, exists, patch, best, best_distance, labels, frames):
    """Replace, in place, matches by candidates that exist, are allowed and are strictly better."""
    inside = np.where(exists[..., None], candidate, best)
    d = distance(a, b, inside, patch, frames)
    better = exists & (d < best_distance)
    if labels:
        better &= allowed(labels, inside)
    best[better], best_distance[better] = inside[better], d[better]
