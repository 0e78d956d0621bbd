"""Pins in a search: the pinned matches are fixed, and positions around them prefer the same offset.

Pins need no code in the kernels. A kernel compares the patch distance of a candidate with the
distance that is stored for the present match, and accepts the candidate if its distance is strictly
smaller. `hold` changes the stored distances before the search begins:

* A pinned match is stored with a distance so small that no candidate is accepted, whatever the
  labels are.
* Around a pin, a position may get the match with the pin's offset. This match is stored with its
  patch distance minus a bonus.

The search then behaves as if the bonus were part of the patch distance: a stored distance only
falls during the search, so a match that has been replaced would be rejected later even with its
bonus. `Held.restore` puts the true patch distances back after the search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends import Array, Backend, Size

REACH = 8
"""Radius around a pin in which positions prefer its offset, in positions of the coarsest level.

At finer levels the radius covers the same part of the picture.
"""
NEAR = np.float32(0.25)
"""Upper limit of one of two bonuses for a match with a pin's offset, in units of patch distance.

The bonus is near this limit beside the pin, and falls quadratically with the distance from the pin,
to 0 at REACH + 1 positions of the present level. So at fine levels it acts only close to the pin.
For comparison, a perfect match has the patch distance -2.
"""
FAR = np.float32(0.02)
"""Upper limit of the other bonus for a match with a pin's offset, in units of patch distance.

This bonus is added to that of `NEAR`, and falls linearly with the distance from the pin. It becomes
0 one position beyond the radius in which positions may take the pin's offset. It is small, so it
decides only between matches of nearly equal patch distance.
"""
FIXED = np.float32(-1e3)
"""Stored distance of a match that stays, such as a pinned one; no patch distance is as small."""


@dataclass(frozen=True)
class Held:
    """Proposed matches around pins, with their true patch distances.

    `hold` puts some of these matches into a field, and stores other distances for them. All arrays
    belong to the backend.

    Attributes
    ----------
    index
        (n,) int64, the index of each position, counted row by row.
    matches
        (n, 2) int32, the match that a pin proposes for each position.
    distance
        (n,) float32, the patch distance of each of these matches.
    """

    index: Array
    matches: Array
    distance: Array

    def restore(self, backend: Backend, nnf: Array, distance: Array) -> Array:
        """Return the true patch distances (H, W) of a searched field.

        A position that still has the proposed match gets that match's distance. At other positions
        the search has computed the distance. `distance` is changed in place.
        """
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
    """Fix pinned matches in a field, and spread the offsets of the pins around them.

    A position near a pin takes the match with that pin's offset if the distance of this match,
    minus the bonus, is at most the distance of the position's match in `start`, and if the labels
    allow the match.

    Parameters
    ----------
    backend, a, b, patch, labels, frames
        See `nnf.passes`.
    start
        (HA, WA, 2) int32, the field before the search.
    distance
        (HA, WA) float32, the patch distances of `start`. They are changed in place.
    pins
        (n, 4) int, at most one row for each position: row and column of the position, row and
        column of its match.
    reach
        Radius around a pin in which positions may take its offset, in positions. With 0 only the
        pinned position itself is changed.

    Returns
    -------
    nnf, distance, held
        The field and the distances with which the search begins, and the true distances that
        `Held.restore` needs after it.
    """
    xp = backend.xp
    index, proposed, bonus = _placed(backend, pins, a.shape[:2], b.shape[:2], reach, frames)
    fixed = bonus < 0
    nnf = start.copy()
    nnf.reshape(-1, 2)[index] = proposed
    true = backend.distance(a, b, nnf, patch, frames).reshape(-1)[index]
    discounted = xp.where(fixed, FIXED, true - bonus)
    taken = discounted <= distance.reshape(-1)[index]
    if labels:
        one, other = labels[0].reshape(-1)[index], labels[1][proposed[:, 0], proposed[:, 1]]
        taken &= fixed | (one == other) | (one < 0) | (other < 0)
    nnf.reshape(-1, 2)[index] = xp.where(taken[:, None], proposed, start.reshape(-1, 2)[index])
    distance.reshape(-1)[index] = xp.where(taken, discounted, distance.reshape(-1)[index])
    return nnf, distance, Held(index, proposed, true)


def draw_along(
    backend: Backend, field: Array, size_b: Size, pins: np.ndarray, reach: int, within: int, frames: Array | None = None
) -> Array:
    """Fix pinned matches in an enlarged field, and spread the offsets of the pins around them.

    `painting.paint` calls this function before it refines the enlarged field on the pixels. Each
    position of the smaller field has become a block of pixels of the enlarged field, and a pin is
    one pixel of such a block. So pins have to be fixed again.

    Parameters
    ----------
    backend
        The backend of the field.
    field
        (H, W, 2) int32, a field into a picture of `size_b`.
    size_b
        Rows and columns of that picture.
    pins
        (n, 4) int, as in `hold`.
    reach
        Radius around a pin in which positions may take its offset, in positions.
    within
        Maximum number of rows, and of columns, by which the match of a position may move when the
        position takes a pin's offset. So a position that belongs to another piece keeps its match.
        A pinned match may move farther.
    frames
        (K, 3) int32, see `Backend`, or None for one picture.

    Returns
    -------
    field
        (H, W, 2) int32, the changed field as a new array.
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
    """Return the results of `_proposals` as arrays of the backend, with each position as one index.

    The index counts the positions row by row.
    """
    bounds = np.array([[0, *size_b]]) if frames is None else backend.to_host(frames)
    positions, matches, bonus = _proposals(pins, size_a, bounds, reach)
    index = positions[:, 0] * size_a[1] + positions[:, 1]
    return backend.asarray(index), backend.asarray(matches.astype(np.int32)), backend.asarray(bonus)


def _proposals(
    pins: np.ndarray, size_a: Size, frames: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions within `reach` of a pin, with the match and bonus of the nearest pin.

    `frames` is (K, 3), see `Backend`; one picture has one frame. The results are the positions
    (n, 2); their matches (n, 2), each of which is the position plus the offset of the nearest pin;
    and the bonus (n,) float32. At the pins themselves the bonus is -1, which marks a fixed match.
    Positions whose match would lie outside the pin's frame are left out.
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
