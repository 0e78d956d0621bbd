"""Uniformity: a search that uses the whole example, instead of its flattest piece over and over.

A flat sky fits the flattest piece of a painting best, and so is painted with it alone. Here a match
costs more the more often its surroundings are used already, as in StyLit (Fiser et al. 2016,
"StyLit: Illumination-Guided Example-Based Stylization of 3D Renderings") and in Kaspar et al. 2015
("Self Tuning Texture Optimization"):

    E(p -> q) = d(p, q) + weight * mean_o min(u(q + o), MOST)

over the offsets o of a patch. d is the patch distance, and u(q) how often the positions around q
are matched, in units of an even use of the whole example. Departure from Liao et al. 2017, who have
no such term.

The kernels need not know of it: the cost is one more channel of the joined features. The uses are
counted before each pass, in whole numbers, so that every device finds the same field. u is their
mean over the passes so far: by the latest count alone, all positions would leave what is used much
at once, and come back together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import ONE, Array, Backend, Pass, Passes, Size
from ..progress import Tick, split
from . import nnf
from .sheets import Sheet

LEVELS = (5, 4)
"""Levels whose field is spread: what is painted is decided there. At the finer ones it would tear
pieces apart, and the mean of small pieces is as flat as what it should replace."""
PASSES = 6
"""Passes of the search after the usual one of a level. The uses are counted before each."""
WEIGHT = 0.3
"""Cost of an even use, in units of patch distance, for `uniformity` 1."""
MOST = 6.0
"""Largest use that is told apart, in units of an even use."""
_CHANNELS = 4
"""Channels that are added: one for the cost, and more so that a GPU can still read four at a time."""


def spread(
    backend: Backend,
    a: Array,
    b: Array,
    field: Array,
    sheet: Sheet,
    *,
    uniformity: float,
    tick: Tick,
    **options: Any,
) -> Passes[tuple[Array, Array]]:
    """Find a field that uses more of `b` than `field`, and its patch distances.

    a, b        (HA, WA, C) and (HB, WB, C) int16, joined features
    field       (HA, WA, 2) int32, the field that the usual search has found
    sheet       the layout of `b`
    uniformity  0 to 1, how strongly
    options     the other arguments of `nnf.passes`, but for `iterations`
    """
    xp, patch = backend.xp, options["patch"]
    query, key = _widened(xp, a), _widened(xp, b)
    query[..., -_CHANNELS] = ONE
    even = a.shape[0] * a.shape[1] / sum(rows * columns for rows, columns in sheet.sizes)
    uses = xp.zeros(b.shape[:2], np.int64)
    seed = options.pop("seed")
    for number, of_pass in enumerate(split(tick, *[1.0] * PASSES), 1):
        uses += _uses(xp, field, b.shape[:2], patch)
        share = xp.minimum(uses.astype(np.float32) / np.float32(number * patch**2 * even), np.float32(MOST))
        key[..., -_CHANNELS] = -xp.rint(share * np.float32(ONE * WEIGHT * uniformity)).astype(np.int16)
        field, _ = yield from nnf.passes(
            backend,
            query,
            key,
            field,
            iterations=1,
            first_jumps=(),
            most=nnf.max_product(a.shape[2]),
            seed=(seed + number * 2654435761) % 2**32,
            tick=of_pass,
            **options,
        )
    arguments = {"a": a, "b": b, "nnf": field, "patch": patch, "frames": options["frames"]}
    return field, (yield Pass("distance", arguments))


def _widened(xp: Any, joined: Array) -> Array:
    """Return joined features (H, W, C) with `_CHANNELS` more, which are zero."""
    wide = xp.zeros((*joined.shape[:2], joined.shape[2] + _CHANNELS), np.int16)
    wide[..., :-_CHANNELS] = joined
    return wide


def _uses(xp: Any, field: Array, size: Size, patch: int) -> Array:
    """Return how many matches lie in the patch around each position of a sheet of `size`, (*size,) int64."""
    rows, columns = size
    index = field[..., 0].astype(np.int64) * columns + field[..., 1]
    counts = xp.pad(xp.bincount(index.ravel(), minlength=rows * columns).reshape(size), patch // 2)
    around = xp.zeros(size, np.int64)
    for y in range(patch):
        for x in range(patch):
            around += counts[y : y + rows, x : x + columns]
    return around
