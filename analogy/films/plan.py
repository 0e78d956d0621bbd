"""The plan of a painted film: which keys decide which frames, and how many steps the painting takes.

Nothing here reads or paints a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..version import __version__


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames, `first` to `last`, that the same keys decide.

    before  index of the frame whose key is carried forwards through the stretch; it is `first`, or None
    after   index of the frame whose key is carried backwards through the stretch; it is `last` + 1, or None
    """

    first: int
    last: int
    before: int | None
    after: int | None

    @property
    def frames(self) -> range:
        """The indices of the frames that belong to the stretch."""
        return range(self.first, self.last + 1)

    @property
    def keys(self) -> list[int]:
        """The indices of the one or two frames whose keys decide the stretch."""
        return [index for index in (self.before, self.after) if index is not None]

    def time(self, index: int) -> float:
        """Return where a frame lies between the two keys, 0 to 1."""
        assert self.before is not None and self.after is not None
        return (index - self.before) / (self.after - self.before)

    def steps(self, wanted: Sequence[int]) -> int:
        """Return how many times painting goes on to a frame for the `wanted` ones (in order, one or more).

        It visits each frame on the way from a key to the last wanted one, and without a key before,
        the wanted ones alone.
        """
        forwards = len(wanted) if self.before is None else wanted[-1] - self.before + 1
        backwards = 0 if self.after is None else self.after - wanted[0] + 1
        return forwards + backwards


def plan(cuts: Sequence[bool], keys: Collection[int]) -> list[Stretch]:
    """Return the stretches of a film, in order.

    cuts  for each frame, whether a new shot begins with it
    keys  indices of the frames that have a key. A shot without one is decided by a key for its first frame
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
    """Return the index among `keys` that is nearest to `index`; of two as near, the earlier one."""
    return min(keys, key=lambda key: (abs(key - index), key))


def digest(stretch: Stretch, seed: int, of_frame: Callable[[int], str], of_key: Callable[[int], Sequence[str]]) -> str:
    """Return a checksum of all that decides the pictures of a stretch, in hexadecimal.

    seed      that of the search for what a key frame does not show
    of_frame  returns a checksum of a frame of the film
    of_key    returns checksums of all that the key of a frame is made from

    The folder of a painted film records these checksums: where they come out otherwise, its frames
    are painted anew.
    """
    last = stretch.last if stretch.after is None else stretch.after
    parts = [__version__, str(seed), str(stretch)]
    parts += [of_frame(index) for index in range(stretch.first, last + 1)]
    parts += [part for index in stretch.keys for part in of_key(index)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
