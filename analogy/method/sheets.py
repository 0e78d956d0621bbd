"""Sheets: the sources of a direction below each other in one array, so that one field can lead into all of them.

With one source, which is the usual case, the sheet is that picture. With several (several examples
B', or their feature maps), the row of a match says in which of them it lies. `Backend` calls them
frames: nothing is matched across their borders.
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
"""Rows between two frames. Two positions with the same offset then never have their matches in
different frames, which `Backend.seams` relies on."""
_PINNED = np.float32(4)
"""Amount by which the distance of a pinned match is taken as less where an example is chosen, so
that what is around a pin comes from the pin's example unless it fits far worse: two patch distances
differ by this at most."""
_WINDOW = 1
"""Radius, in positions, of the square over which distances are averaged to choose an example, so that pieces stay whole."""


@dataclass(frozen=True)
class Sheet:
    """The layout of pictures on a sheet, from the top.

    sizes  rows and columns of each picture
    """

    sizes: tuple[Size, ...]

    @cached_property
    def tops(self) -> np.ndarray:
        """The first row of each picture, (K,) int64."""
        heights = [rows + _GAP for rows, _ in self.sizes]
        return np.cumsum([0, *heights[:-1]])

    @property
    def size(self) -> Size:
        """Rows and columns of the array that holds all pictures."""
        return int(self.tops[-1]) + self.sizes[-1][0], max(columns for _, columns in self.sizes)

    @classmethod
    def spare(cls, sizes: Sequence[Size]) -> int:
        """Return the number of positions of a sheet of these sizes on which no picture lies; 0 for one picture or none."""
        if len(sizes) < 2:
            return 0
        rows, columns = cls(tuple(sizes)).size
        return rows * columns - sum(height * width for height, width in sizes)

    def at(self, level: int) -> Sheet:
        """Return the sheet of the feature maps of a level, for pictures of these sizes."""
        return Sheet(tuple(level_size(size, level) for size in self.sizes))

    def frames(self, backend: Backend) -> Array | None:
        """Return the frames, (K, 3) int32 on the device, as `Backend` takes them; None for a single picture."""
        if len(self.sizes) == 1:
            return None
        rows, columns = np.array(self.sizes).T
        return backend.asarray(np.stack([self.tops, self.tops + rows, columns], axis=1).astype(np.int32))

    def lay(self, xp: Any, arrays: Sequence[Array], fill: int = 0) -> Array:
        """Return the arrays (h, w, ...) of all pictures as one, with `fill` around them; a single one as it is.

        xp  the arrays' module, NumPy or CuPy
        """
        if len(arrays) == 1:
            return arrays[0]
        whole = xp.full((*self.size, *arrays[0].shape[2:]), fill, arrays[0].dtype)
        for array, top, (rows, columns) in zip(arrays, self.tops, self.sizes, strict=True):
            whole[top : top + rows, :columns] = array
        return whole

    def picture_of(self, backend: Backend, field: Array) -> Array:
        """Return the index of the picture in which each match of a field lies, (H, W) int32, on the device."""
        index = backend.xp.zeros(field.shape[:2], np.int32)
        for top in self.tops[1:].tolist():
            index += field[..., 0] >= top
        return index

    def apart(self, backend: Backend, field: Array) -> Array:
        """Return a field into the sheet with its matches as picture, row and column: (H, W, 3) int32, on the device."""
        picture = self.picture_of(backend, field)
        rows = field[..., 0] - backend.asarray(self.tops.astype(np.int32))[picture]
        return backend.xp.stack([picture, rows, field[..., 1]], axis=2)

    def upsample(self, backend: Backend, field: Array, size: Size, finer: Sheet) -> Array:
        """Return the field of the next finer level, for a content of `size`, into its sheet `finer` (see `nnf.upsample`)."""
        return self._each(backend, field, finer, lambda part, _, after: nnf.upsample(backend, part, size, after))

    def enlarge(self, backend: Backend, field: Array, size: Size, full: Sheet, tick: Tick | None = None) -> Array:
        """Return the field for a content of `size`, into the sheet `full` of the same pictures (see `nnf.enlarge`)."""
        return self._each(
            backend, field, full, lambda part, before, after: nnf.enlarge(backend, part, before, size, after, tick)
        )

    def _each(
        self, backend: Backend, field: Array, other: Sheet, resample: Callable[[Array, Size, Size], Array]
    ) -> Array:
        """Return a field into the sheet `other`.

        resample  returns a field into one picture in another size, from that field and the picture's sizes before and after
        """
        if len(self.sizes) == 1:
            return resample(field, self.sizes[0], other.sizes[0])
        xp, count = backend.xp, len(self.sizes)
        index = self.picture_of(backend, field)
        # The index of the picture is resampled as a row of a picture of so many rows, and comes out
        # as one of two rows.
        parents = resample(xp.stack([index, xp.zeros_like(index)], axis=2), (count, 1), (2 * count, 2))[..., 0] // 2
        found = xp.zeros((*parents.shape, 2), np.int32)
        for k, (before, after) in enumerate(zip(self.sizes, other.sizes, strict=True)):
            part = resample(field - _down(backend, self.tops[k]), before, after) + _down(backend, other.tops[k])
            found = xp.where((parents == k)[..., None], part, found)
        return found


class SourceFeatures:
    """The features of the sources of a direction, by level; level 0 is their pixels.

    sheet  the layout of the sources as the network sees them
    """

    def __init__(self, backend: Backend, sheet: Sheet, features: Sequence[Mapping[int, Array]]):
        """Take the features of each source: level -> (h, w, C) float32."""
        self._backend, self.sheet, self._features = backend, sheet, features

    def vote(self, field: Array, level: int, patch: int) -> Array:
        """Return the vote (h, w, C) of the features of a level through a field of that level (see `Backend.vote`)."""
        sheet = self.sheet.at(max(level, 1))
        features = sheet.lay(self._backend.xp, [each[level] for each in self._features])
        return self._backend.vote(field, features, patch, sheet.frames(self._backend))


def _down(backend: Backend, rows: int) -> Array:
    """Return the displacement by so many rows, (2,) int32."""
    return backend.asarray(np.array([rows, 0], np.int32))


def choose(
    backend: Backend,
    sheet: Sheet,
    found: Sequence[tuple[Array, Array]],
    labels: tuple[Array, Array] | None = None,
    pins: np.ndarray | None = None,
) -> tuple[Array, Array]:
    """Return one field into the sheet: each position gets its match in the picture whose matches around it are best.

    found   for each picture of the sheet the field into it, (H, W, 2) int32, and the patch distances, (H, W) float32
    labels  of the content and of the sheet (see `Backend.propagate`). A picture that lacks the label of a position was
            searched there without it, and is not chosen
    pins    (n, 4), as `Pins.at` returns them: there the picture of the pin is chosen

    Returns the field and its distances. Distances are averaged over small squares, so that pieces
    stay whole. Of equal pictures the first one is taken.
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
    """Return the sums (H, W) of `values` over small squares, which are continued at the border."""
    height, width = values.shape
    padded = backend.xp.pad(values, _WINDOW, mode="edge")
    total = backend.xp.zeros_like(values)
    for y in range(2 * _WINDOW + 1):
        for x in range(2 * _WINDOW + 1):
            total += padded[y : y + height, x : x + width]
    return total
