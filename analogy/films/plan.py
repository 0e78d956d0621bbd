"""Plan of a painted film: from which keys each frame is painted, and the steps of the progress.

This module neither reads nor paints pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..version import __version__


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames that are painted from the same one or two keys.

    Attributes
    ----------
    first, last : int
        Indices of the first and the last frame of the stretch.
    before : int or None
        Index of the frame whose key is carried forwards through the stretch. It equals `first`, or
        is None if no key is carried forwards.
    after : int or None
        Index of the frame whose key is carried backwards through the stretch. It equals `last` + 1,
        or is None if no key is carried backwards.
    """

    first: int
    last: int
    before: int | None
    after: int | None

    @property
    def frames(self) -> range:
        """Indices of the frames of the stretch."""
        return range(self.first, self.last + 1)

    @property
    def keys(self) -> list[int]:
        """Indices of the one or two frames from whose keys the stretch is painted."""
        return [index for index in (self.before, self.after) if index is not None]

    def time(self, index: int) -> float:
        """Return the position of a frame from 0 (at the earlier key) to 1 (at the later key).

        The stretch must have both keys.
        """
        assert self.before is not None and self.after is not None
        return (index - self.before) / (self.after - self.before)

    def steps(self, wanted: Sequence[int]) -> int:
        """Return the number of steps of the progress while the `wanted` frames are painted.

        There must be at least one wanted frame, and they must be in order. Carrying a key needs
        one step for each frame from the key's own frame to the wanted frame that is farthest from
        it; both of these frames count. If the stretch is painted only from a later key, each wanted
        frame needs another step, in which its stored painting is read.
        """
        forwards = len(wanted) if self.before is None else wanted[-1] - self.before + 1
        backwards = 0 if self.after is None else self.after - wanted[0] + 1
        return forwards + backwards


def plan(cuts: Sequence[bool], keys: Collection[int]) -> list[Stretch]:
    """Divide a film into stretches (see `Stretch`).

    Parameters
    ----------
    cuts : sequence of bool
        For each frame, True if a new shot begins with it.
    keys : collection of int
        Indices of the frames that have a key. If a shot has no key, the plan assumes a key for its
        first frame.

    Returns
    -------
    list of Stretch
        The stretches in order. Each frame is in exactly one of them.
    """
    starts = [index for index, cut in enumerate(cuts) if cut or not index]
    found = []
    for start, end in pairwise([*starts, len(cuts)]):
        of_shot = [index for index in sorted(keys) if start <= index < end] or [start]
        for before, after in pairwise([None, *of_shot, None]):
            first = start if before is None else before
            last = end - 1 if after is None else after - 1
            if first <= last:
                found.append(Stretch(first, last, before, after))
    return found


def nearest(keys: Iterable[int], index: int) -> int:
    """Return the one of `keys` that is nearest to `index`; if two are equally near, the lower."""
    return min(keys, key=lambda key: (abs(key - index), key))


def digest(stretch: Stretch, seed: int, of_frame: Callable[[int], str], of_key: Callable[[int], Sequence[str]]) -> str:
    """Return a checksum, in hexadecimal, of everything that a stretch is painted from.

    The manifest of a painted film records it. A run paints the frames of a stretch again if the
    checksum has changed.

    Parameters
    ----------
    stretch : Stretch
        The stretch.
    seed : int
        Seed of the random search.
    of_frame : callable
        Returns a checksum of the frame with the given index.
    of_key : callable
        Returns checksums of everything, except the frame itself, that the key of the frame with the
        given index is made from.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    last = stretch.last if stretch.after is None else stretch.after
    parts = [__version__, str(seed), str(stretch)]
    parts += [of_frame(index) for index in range(stretch.first, last + 1)]
    parts += [part for index in stretch.keys for part in of_key(index)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
