"""Sheets: all sources of a direction in one array, so that a field can have matches in all of them.

With one source, which is the usual case, the sheet is that source. With several sources (several
examples B', or their feature maps), the row of a match tells which source the match lies in.
`Backend` calls the pictures on a sheet frames, and ignores the positions of a patch that lie
outside the frame of the patch's centre.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import MOST_PATCH, Array, Backend, Size
from ..progress import Tick
from . import nnf
from .features import level_size

_GAP = MOST_PATCH
"""Number of empty rows between two frames.

`Backend.seams` relies on this gap: two positions within one patch that have the same offset never
have their matches in different frames.
"""
_PINNED = np.float32(4)
"""Amount that is subtracted from the patch distance of a pin's example at the pinned position.

It counts in the sums (see `_WINDOW`) of the positions around the pin. Two patch distances differ by
at most 4. So these positions get the pin's example, unless that example fits far worse there.
"""
_WINDOW = 1
"""Radius of the square whose distances are summed to choose an example, in positions.

With the sum, neighbouring positions mostly get the same example, which keeps pieces whole.
"""


@dataclass(frozen=True)
class Sheet:
    """Layout of pictures on a sheet, one below the other.

    Attributes
    ----------
    sizes
        Rows and columns of each picture, from the top picture to the bottom one.
    """

    sizes: tuple[Size, ...]

    @cached_property
    def tops(self) -> np.ndarray:
        """First row of each picture on the sheet, (K,) int64."""
        heights = [rows + _GAP for rows, _ in self.sizes]
        return np.cumsum([0, *heights[:-1]])

    @property
    def size(self) -> Size:
        """Rows and columns of the whole sheet."""
        return int(self.tops[-1]) + self.sizes[-1][0], max(columns for _, columns in self.sizes)

    @classmethod
    def spare(cls, sizes: Sequence[Size]) -> int:
        """Return the number of empty positions on a sheet of pictures of these sizes.

        For one picture or none the number is 0.
        """
        if len(sizes) < 2:
            return 0
        rows, columns = cls(tuple(sizes)).size
        return rows * columns - sum(height * width for height, width in sizes)

    def at(self, level: int) -> Sheet:
        """Return the sheet of the feature maps of these pictures at a level."""
        return Sheet(tuple(level_size(size, level) for size in self.sizes))

    def frames(self, backend: Backend) -> Array | None:
        """Return the `frames` for `Backend`, (K, 3) int32 on the device; None for one picture."""
        if len(self.sizes) == 1:
            return None
        rows, columns = np.array(self.sizes).T
        return backend.asarray(np.stack([self.tops, self.tops + rows, columns], axis=1).astype(np.int32))

    def lay(self, xp: Any, arrays: Sequence[Array], fill: int = 0) -> Array:
        """Return one array with the arrays (h, w, ...) of all pictures, and `fill` elsewhere.

        `xp` is the module of the arrays, NumPy or CuPy. A single array is returned unchanged.
        """
        if len(arrays) == 1:
            return arrays[0]
        whole = xp.full((*self.size, *arrays[0].shape[2:]), fill, arrays[0].dtype)
        for array, top, (rows, columns) in zip(arrays, self.tops, self.sizes, strict=True):
            whole[top : top + rows, :columns] = array
        return whole

    def picture_of(self, backend: Backend, field: Array) -> Array:
        """Return the index of the picture that each match lies in, (H, W) int32 on the device."""
        index = backend.xp.zeros(field.shape[:2], np.int32)
        for top in self.tops[1:].tolist():
            index += field[..., 0] >= top
        return index

    def apart(self, backend: Backend, field: Array) -> Array:
        """Return the index of the picture, the row and the column of each match, (H, W, 3) int32.

        The row is counted from the top of the picture. The array is on the device.
        """
        picture = self.picture_of(backend, field)
        rows = field[..., 0] - backend.asarray(self.tops.astype(np.int32))[picture]
        return backend.xp.stack([picture, rows, field[..., 1]], axis=2)

    def upsample(self, backend: Backend, field: Array, size: Size, finer: Sheet) -> Array:
        """Return a field upsampled to the next finer level (see `nnf.upsample`).

        `size` is the size of the content's features at that level, and `finer` is the sheet of that
        level.
        """
        return self._each(backend, field, finer, lambda part, _, after: nnf.upsample(backend, part, size, after))

    def enlarge(self, backend: Backend, field: Array, size: Size, full: Sheet, tick: Tick | None = None) -> Array:
        """Return a field enlarged to full size (see `nnf.enlarge`).

        `size` is the full size of the content, and `full` is the layout of the same sources at
        their full sizes.
        """
        return self._each(
            backend, field, full, lambda part, before, after: nnf.enlarge(backend, part, before, size, after, tick)
        )

    def _each(
        self, backend: Backend, field: Array, other: Sheet, resample: Callable[[Array, Size, Size], Array]
    ) -> Array:
        """Resample a field into this sheet, picture by picture, to a field into the sheet `other`.

        `resample` is called with a field into one picture, the size of that picture on this sheet,
        and its size on `other`. It returns the resampled field.
        """
        if len(self.sizes) == 1:
            return resample(field, self.sizes[0], other.sizes[0])
        xp, count = backend.xp, len(self.sizes)
        index = self.picture_of(backend, field)
        # The index of the picture has to be resampled like the field. So it is passed as the row of
        # a match in an imaginary picture. For each index this picture has one row before the
        # resampling, and two rows after it, so half of the resampled row is the index.
        parents = resample(xp.stack([index, xp.zeros_like(index)], axis=2), (count, 1), (2 * count, 2))[..., 0] // 2
        found = xp.zeros((*parents.shape, 2), np.int32)
        for k, (before, after) in enumerate(zip(self.sizes, other.sizes, strict=True)):
            part = resample(field - _down(backend, self.tops[k]), before, after) + _down(backend, other.tops[k])
            found = xp.where((parents == k)[..., None], part, found)
        return found


class SourceFeatures:
    """Features of the sources of a direction at each level; at level 0, their pixels.

    Parameters
    ----------
    backend
        The backend of the arrays.
    sheet
        Layout of the sources at their working sizes.
    features
        For each source, level -> its features (h, w, C) float32.
    """

    def __init__(self, backend: Backend, sheet: Sheet, features: Sequence[Mapping[int, Array]]):
        self._backend, self.sheet, self._features = backend, sheet, features

    def vote(self, field: Array, level: int, patch: int) -> Array:
        """Return the vote (h, w, C) of the sources' features at a level (see `Backend.vote`).

        `field` has the size of that level, and leads into the sheet of that level.
        """
        sheet = self.sheet.at(max(level, 1))
        features = sheet.lay(self._backend.xp, [each[level] for each in self._features])
        return self._backend.vote(field, features, patch, sheet.frames(self._backend))


def _down(backend: Backend, rows: int) -> Array:
    """Return the offset that moves matches down by a number of rows, (2,) int32."""
    return backend.asarray(np.array([rows, 0], np.int32))


def choose(
    backend: Backend,
    sheet: Sheet,
    found: Sequence[tuple[Array, Array]],
    labels: tuple[Array, Array] | None = None,
    pins: np.ndarray | None = None,
) -> tuple[Array, Array]:
    """Choose a picture of the sheet for each position, and join the fields into one.

    A position gets the picture with the smallest sum of patch distances in a square around the
    position. If sums are equal, it gets the first of these pictures.

    Parameters
    ----------
    backend
        The backend of the arrays.
    sheet
        Layout of the pictures.
    found
        The field into each picture, (H, W, 2) int32, and its patch distances, (H, W) float32.
    labels
        Labels of the content and of the sheet (see `Backend.propagate`), or None. A match that they
        forbid is chosen only if they forbid the matches in all pictures. Forbidden matches occur if
        a picture lacks the label of a position.
    pins
        (n, 4), as `Pins.at` returns them. A pinned position gets the picture of its pin.

    Returns
    -------
    field, distances
        The field into the sheet, (H, W, 2) int32, and its patch distances, (H, W) float32.
    """
    xp = backend.xp
    fields = [match + _down(backend, top) for (match, _), top in zip(found, sheet.tops, strict=True)]
    own = xp.stack([distance for _, distance in found])
    preferred, pinned = own.copy(), None
    if pins is not None:
        rows, columns, there, _ = pins.T
        index = np.searchsorted(sheet.tops, there, side="right") - 1
        pinned = tuple(map(backend.asarray, (index, rows, columns)))
        preferred[pinned] -= _PINNED
    sums = xp.stack([_sums(backend, distance) for distance in preferred])
    if labels:
        sums[xp.stack([nnf.forbidden(match, labels) for match in fields])] = np.inf
    if pinned:
        sums[pinned] = -np.inf
    best = sums.argmin(axis=0)
    field, distances = fields[0], own[0]
    for k in range(1, len(found)):
        field = xp.where((best == k)[..., None], fields[k], field)
        distances = xp.where(best == k, own[k], distances)
    return field, distances


def _sums(backend: Backend, values: Array) -> Array:
    """Return the sums (H, W) of `values` (H, W) over the squares of the radius `_WINDOW`.

    At the border the nearest value is repeated.
    """
    height, width = values.shape
    padded = backend.xp.pad(values, _WINDOW, mode="edge")
    total = backend.xp.zeros_like(values)
    for y in range(2 * _WINDOW + 1):
        for x in range(2 * _WINDOW + 1):
            total += padded[y : y + height, x : x + width]
    return total
