"""Division of the work on a picture into bands of rows for the threads of the CPU backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..backends import Backend
from ..progress import Tick, side_by_side

_BAND = 1 << 16
"""Maximum number of pixels of a band of several rows on the CPU.

A band of this size fits into the caches. A single row may have more pixels.
"""


def in_bands(backend: Backend, height: int, width: int, work: Callable[[slice], None], tick: Tick) -> None:
    """Call `work` once for each band of a picture of `height` x `width` pixels.

    `work` gets the slice of the band's rows. On the CPU a band is small enough for the caches, and
    the bands are divided among threads, of which there are at most as many as the backend uses. On
    a GPU one band has all rows. `tick` is called with the finished share of the bands.
    """
    threads = getattr(backend, "threads", None)
    step = height if threads is None else max(1, _BAND // width)
    bands = [slice(y, min(y + step, height)) for y in range(0, height, step)]

    def share(own: list[slice], tick: Tick) -> None:
        for done, rows in enumerate(own, 1):
            work(rows)
            tick(done / len(own))

    workers = min(threads or 1, len(bands))
    side_by_side(workers, [partial(share, bands[i::workers]) for i in range(workers)], tick)
