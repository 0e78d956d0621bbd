"""Uniformity: a search that uses the whole example, and not the same small part over and over.

A flat sky matches the flattest part of a painting best, and would be painted with that part alone.
Here the cost of a match grows with the number of matches around it, as in StyLit (Fiser et al.
2016, "StyLit: Illumination-Guided Example-Based Stylization of 3D Renderings") and in Kaspar et al.
2015 ("Self Tuning Texture Optimization"):

    E(p -> q) = d(p, q) + weight * mean_o min(u(q + o), MOST)

The mean is over the offsets o of a patch, d is the patch distance, and the weight is `WEIGHT` times
the setting `uniformity`. The use u(q) is the number of matches in the patch around q, divided by
the number that there would be if all positions of the example were used equally (an even use). Liao
et al. 2017 do not have the second term.

The cost is stored in an additional channel of the joined features, so the kernels need no code for
it. The matches are counted before each search iteration, in whole numbers, so that every device
finds the same field. u is computed from the mean of all counts so far. With the latest count alone,
all positions would leave a crowded region in the same iteration, and return together in the next
iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import ONE, Array, Backend, Pass, Passes, Size
from ..progress import Tick, split
from . import nnf
from .sheets import Sheet

LEVELS = (5, 4)
"""Levels at which a field is spread over more of the source.

At finer levels, spreading would break pieces up. The vote would then be a mean over many small
pieces, and as flat as without spreading.
"""
PASSES = 6
"""Number of search iterations that spread a field, after the usual search of a level."""
WEIGHT = 0.3
"""Cost of an even use (u = 1) if `uniformity` is 1, in units of patch distance."""
MOST = 6.0
"""Use u above which the cost of a match no longer grows; an even use has u = 1."""
_CHANNELS = 4
"""Number of channels that are added to the joined features.

One of the channels holds the cost. The others are zero; they are added because a GPU reads four
channels at a time.
"""


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
    """Yield passes for `Backend.run_together` that spread a field over more of the source.

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    a, b
        (HA, WA, C) and (HB, WB, C) int16, joined features of the content and of the sheet.
    field
        (HA, WA, 2) int32, the field of the usual search.
    sheet
        Layout of `b`.
    uniformity
        The setting `uniformity`, 0 to 1.
    tick
        Called with the share of the work that is done.
    **options
        The other arguments of `nnf.passes`, without `iterations`, `first_jumps` and `most`.

    Returns
    -------
    nnf, distance
        (HA, WA, 2) int32 and (HA, WA) float32. The distances do not include the second term of the
        cost.
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
    """Return joined features (H, W, C) with `_CHANNELS` more channels, which are zero."""
    wide = xp.zeros((*joined.shape[:2], joined.shape[2] + _CHANNELS), np.int16)
    wide[..., :-_CHANNELS] = joined
    return wide


def _uses(xp: Any, field: Array, size: Size, patch: int) -> Array:
    """Return the number of matches in the patch around each position of a sheet, (*size,) int64."""
    rows, columns = size
    index = field[..., 0].astype(np.int64) * columns + field[..., 1]
    counts = xp.pad(xp.bincount(index.ravel(), minlength=rows * columns).reshape(size), patch // 2)
    around = xp.zeros(size, np.int64)
    for y in range(patch):
        for x in range(patch):
            around += counts[y : y + rows, x : x + columns]
    return around
