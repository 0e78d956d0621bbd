"""How a search holds pins: matches that are fixed, and whose surroundings prefer to go along.

No kernel knows of it. A kernel compares a candidate with the distance that is noted for the match so far, and takes what is
strictly better. So for a fixed match a distance is noted that no candidate can reach; and around it, for the match that goes
along with the pin, its own distance less a bonus. A search that begins like this is exactly the search by a distance that
has the bonus in it, and everything stays whole numbers, the same on every device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backends import Array, Backend, Size

REACH = 8
"""Positions of the coarsest level up to which a pin's surroundings prefer to go along; as many pixels at each level."""
NEAR, FAR = np.float32(0.25), np.float32(0.02)
"""By how much a match may be worse than another (on the scale from -2 to 0) and go along with the pin. `NEAR`: right beside
it, falling off to 0 in `REACH` positions of any level, so that what is pinned becomes more than a speck. `FAR`: falling off
over the whole reach; it decides between matches that are as good as each other, and hardly anything else."""
_FIXED = np.float32(-1e3)
"""Less than any distance."""


@dataclass(frozen=True)
class Held:
    """What is held in a field, as arrays of the backend: `index` (n,) of positions in reading order, their `matches` (n, 2)
    int32, and `distance` (n,) float32, the true one."""

    index: Array
    matches: Array
    distance: Array

    def restore(self, backend: Backend, nnf: Array, distance: Array) -> Array:
        """The distances of a searched field (H, W), those that were noted for what is held replaced by the true ones."""
        found, noted = nnf.reshape(-1, 2)[self.index], distance.reshape(-1)
        kept = (found == self.matches).all(axis=1)
        noted[self.index] = backend.xp.where(kept, self.distance, noted[self.index])
        return noted.reshape(distance.shape)


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
) -> tuple[Array, Array, Held]:
    """A field and its distances as `start` and `distance`, but with `pins` fixed and their surroundings drawn along.

    a, b, patch, labels   as in `nnf.search`
    pins                  (n, 4) whole numbers, one for each position at most: row and column, and those of the match
    reach                 positions around a pin that are offered the same offset; 0 for the pin alone

    An offer is taken where it is at most the bonus worse than the match in `start`.
    """
    xp = backend.xp
    index, offered, bonus = _placed(backend, pins, a.shape[:2], b.shape[:2], reach)
    fixed = bonus < 0
    nnf = start.copy()
    nnf.reshape(-1, 2)[index] = offered
    true = backend.distance(a, b, nnf, patch).reshape(-1)[index]
    noted = xp.where(fixed, _FIXED, true - bonus)
    taken = noted <= distance.reshape(-1)[index]
    if labels:
        one, other = labels[0].reshape(-1)[index], labels[1][offered[:, 0], offered[:, 1]]
        taken &= fixed | (one == other) | (one < 0) | (other < 0)
    nnf.reshape(-1, 2)[index] = xp.where(taken[:, None], offered, start.reshape(-1, 2)[index])
    distance.reshape(-1)[index] = xp.where(taken, noted, distance.reshape(-1)[index])
    return nnf, distance, Held(index, offered, true)


def draw_along(backend: Backend, field: Array, size_b: Size, pins: np.ndarray, reach: int, within: int) -> Array:
    """`field` (H, W, 2) into a picture of `size_b`, in which pins take their surroundings along.

    Positions up to `reach` from a pin, whose match is up to `within` rows and columns from what goes along with the pin, take
    just that, as does the pin itself, whatever its match.
    """
    index, offered, bonus = _placed(backend, pins, field.shape[:2], size_b, reach)
    drawn = field.copy()
    found = drawn.reshape(-1, 2)[index]
    taken = (backend.xp.abs(found - offered).max(axis=1) <= within) | (bonus < 0)
    drawn.reshape(-1, 2)[index] = backend.xp.where(taken[:, None], offered, found)
    return drawn


def _placed(backend: Backend, pins: np.ndarray, size_a: Size, size_b: Size, reach: int) -> tuple[Array, Array, Array]:
    """`_offers` as arrays of the backend, the positions counted in reading order."""
    positions, matches, bonus = _offers(pins, size_a, size_b, reach)
    index = positions[:, 0] * size_a[1] + positions[:, 1]
    return backend.asarray(index), backend.asarray(matches.astype(np.int32)), backend.asarray(bonus)


def _offers(pins: np.ndarray, size_a: Size, size_b: Size, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (n, 2) up to `reach` around the pins; the match (n, 2) that the nearest pin offers each; and by how much that
    may be worse, (n,) float32, negative for the pins themselves."""
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
    exists = ((matches >= 0) & (matches < size_b)).all(axis=1)
    positions, matches = positions[exists], matches[exists]
    far = away[tuple(positions.T)]
    bonus = NEAR * np.square(np.maximum(1 - far / (REACH + 1), 0)) + FAR * (1 - far / (reach + 1))
    return positions, matches, np.where(far > 0, bonus, -1).astype(np.float32)
