"""Pins in a search: matches that are fixed, with surroundings that prefer the same offset.

The kernels need not know of it. A kernel compares the patch distance of a candidate with the one
that is stored for the match so far, and takes what is strictly less. So a fixed match is stored
with a distance that no candidate can reach; and around it, the match with the pin's offset is
stored with its own distance less a bonus. A search that begins like this is exactly the search by a
distance that includes the bonus, and everything stays whole numbers, the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends import Array, Backend, Size

REACH = 8
"""Radius, in positions of the coarsest level, in which the surroundings of a pin prefer its offset;
as many pixels at each level."""
NEAR, FAR = np.float32(0.25), np.float32(0.02)
"""Bonus, in units of patch distance (-2 to 0), for a match with the offset of the nearest pin.
`NEAR` counts right beside the pin and falls to 0 within `REACH` positions of any level, so that
what is pinned becomes more than a speck. `FAR` falls to 0 over the whole radius; it decides between
matches that are as good as each other, and hardly anything else."""
_FIXED = np.float32(-1e3)
"""The distance that a fixed match is stored with: less than any patch distance."""


@dataclass(frozen=True)
class Held:
    """The matches of a field that are stored with another distance than their own, as arrays of the backend.

    index     (n,) positions in reading order
    matches   (n, 2) int32
    distance  (n,) float32, their own patch distances
    """

    index: Array
    matches: Array
    distance: Array

    def restore(self, backend: Backend, nnf: Array, distance: Array) -> Array:
        """Return the distances (H, W) of a searched field, with the own distances of the matches that the search kept."""
        found, stored = nnf.reshape(-1, 2)[self.index], distance.reshape(-1)
        kept = (found == self.matches).all(axis=1)
        stored[self.index] = backend.xp.where(kept, self.distance, stored[self.index])
        return stored.reshape(distance.shape)


def hold(
    backend: Backend,
    a: Array,
    b: Array,
    start: Array,
    distance: Array,
    patch: int,
    pins: np.ndarray,
    reach: int,
    labels: tuple[Array, Array] | None,
    frames: Array | None = None,
) -> tuple[Array, Array, Held]:
    """Return a field and its distances as `start` and `distance`, but with `pins` fixed and their offset spread around them.

    a, b, patch, labels, frames   as in `nnf.search`
    pins                  (n, 4) whole numbers, one for each position at most: row and column, and those of the match
    reach                 radius, in positions, in which the surroundings of a pin get its offset; 0 for the pin alone

    A position gets the offset of its nearest pin where that match is at most the bonus worse than
    the match in `start`.
    """
    xp = backend.xp
    index, proposed, bonus = _placed(backend, pins, a.shape[:2], b.shape[:2], reach, frames)
    fixed = bonus < 0
    nnf = start.copy()
    nnf.reshape(-1, 2)[index] = proposed
    own = backend.distance(a, b, nnf, patch, frames).reshape(-1)[index]
    discounted = xp.where(fixed, _FIXED, own - bonus)
    taken = discounted <= distance.reshape(-1)[index]
    if labels:
        one, other = labels[0].reshape(-1)[index], labels[1][proposed[:, 0], proposed[:, 1]]
        taken &= fixed | (one == other) | (one < 0) | (other < 0)
    nnf.reshape(-1, 2)[index] = xp.where(taken[:, None], proposed, start.reshape(-1, 2)[index])
    distance.reshape(-1)[index] = xp.where(taken, discounted, distance.reshape(-1)[index])
    return nnf, distance, Held(index, proposed, own)


def draw_along(
    backend: Backend, field: Array, size_b: Size, pins: np.ndarray, reach: int, within: int, frames: Array | None = None
) -> Array:
    """Return `field` (H, W, 2) into a picture of `size_b` with `pins` fixed, and their offset spread around them.

    A position up to `reach` from a pin takes the pin's offset if its match is at most `within` rows
    and columns from there.
    """
    index, proposed, bonus = _placed(backend, pins, field.shape[:2], size_b, reach, frames)
    drawn = field.copy()
    found = drawn.reshape(-1, 2)[index]
    taken = (backend.xp.abs(found - proposed).max(axis=1) <= within) | (bonus < 0)
    drawn.reshape(-1, 2)[index] = backend.xp.where(taken[:, None], proposed, found)
    return drawn


def _placed(
    backend: Backend, pins: np.ndarray, size_a: Size, size_b: Size, reach: int, frames: Array | None
) -> tuple[Array, Array, Array]:
    """Return what `_proposals` returns as arrays of the backend, with the positions in reading order."""
    bounds = np.array([[0, *size_b]]) if frames is None else backend.to_host(frames)
    positions, matches, bonus = _proposals(pins, size_a, bounds, reach)
    index = positions[:, 0] * size_a[1] + positions[:, 1]
    return backend.asarray(index), backend.asarray(matches.astype(np.int32)), backend.asarray(bonus)


def _proposals(
    pins: np.ndarray, size_a: Size, frames: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions up to `reach` around the pins, and what the nearest pin proposes for each.

    frames  (K, 3), as `Backend` takes them; a single one for one picture

    Returns positions (n, 2); their matches (n, 2) by the pin's offset; and the bonus (n,) float32,
    negative for the pins themselves.
    """
    away, nearest = np.full(size_a, np.inf, np.float32), np.zeros(size_a, np.int32)
    for index, (y, x) in enumerate(pins[:, :2].tolist()):
        window = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        rows, columns = np.arange(size_a[0])[window[0]] - y, np.arange(size_a[1])[window[1]] - x
        distance = np.hypot(rows[:, None], columns)
        nearer = (distance <= reach) & (distance < away[window])
        away[window][nearer], nearest[window][nearer] = distance[nearer], index
    positions = np.argwhere(away <= reach)
    pin = pins[nearest[tuple(positions.T)]]
    matches = positions - pin[:, :2] + pin[:, 2:]
    first, end, columns = frames[np.searchsorted(frames[:, 0], pin[:, 2], side="right") - 1].T
    rows, across = matches.T
    exists = (rows >= first) & (rows < end) & (across >= 0) & (across < columns)
    positions, matches = positions[exists], matches[exists]
    far = away[tuple(positions.T)]
    bonus = NEAR * np.square(np.maximum(1 - far / (REACH + 1), 0)) + FAR * (1 - far / (reach + 1))
    return positions, matches, np.where(far > 0, bonus, -1).astype(np.float32)
