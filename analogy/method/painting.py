"""From fields to pictures: a result is the vote of the source's pixels through the field, at full size (section 4.5).

The network sees pictures shrunken, but results have the full size. The field is enlarged, and where
that changed its size it is refined on the pixels, so that the blocks of the enlarged field do not
show. The seams that are left between the pieces of the voted picture are removed (see `seams`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array, Backend, Size
from ..progress import Tick, split
from ..settings import PIXEL_PATCH_SIZE
from . import nnf
from .holding import draw_along
from .seams import remove_seams
from .sheets import Sheet

REFINING, VOTING, SEAMS = 9.0, 0.8, 5.0
"""Shares of the time that painting takes: to refine an enlarged field, to vote, and to remove seams."""
PIXEL_REFINEMENT: dict[str, Any] = {
    "patch": PIXEL_PATCH_SIZE,
    "first_jumps": (),
    "search_radius": 2,
    "iterations": 1,
    "seed": 0,
    "most": 0.0,
}
"""Arguments of the search that refines an enlarged field on the pixels: small random steps and
their propagation, so that it stays coherent."""


def paint(
    backend: Backend,
    field: Array,
    sheet: Sheet,
    size: Size,
    full_sheet: Sheet,
    source: Array,
    labels: tuple[Array, Array] | None = None,
    tick: Tick | None = None,
    pins: np.ndarray | None = None,
    steepness: Array | None = None,
) -> Array:
    """Return the picture (*size, 3) float32 0..1 that `field` votes from the pixels of `source` (HB, WB, 3) float32 0..1.

    `field` lies between the pictures as the network saw them: its own shape, and `sheet`. `size`
    and `full_sheet`, on which `source` lies, are the full sizes (rows, columns). `labels` (see
    `Backend.propagate`), at full size, constrain the refinement; `pins` (see `holding.hold`), at
    full size, are held. `steepness` (see `remove_seams`) is that of the content; without it the
    picture is the mean of pixels, as in the paper. `tick` is called after each band of rows.
    """
    enlarged = size != field.shape[:2] or full_sheet != sheet
    of_field, of_refinement, of_vote = split(tick, 0.1, REFINING * enlarged, VOTING + SEAMS * (steepness is not None))
    full, frames = sheet.enlarge(backend, field, size, full_sheet, of_field), full_sheet.frames(backend)
    if enlarged:
        if pins is not None:  # the enlarged field holds them but for what is lost between its positions
            reach = _block([size], [field.shape[:2]])
            full = draw_along(
                backend, full, full_sheet.size, pins, reach, _block(full_sheet.sizes, sheet.sizes), frames
            )
        full = refine_on_pixels(backend, full, source, labels, of_refinement, pins, frames)
    return _vote(backend, full, source, labels, steepness, of_vote, frames)


def _block(full: Sequence[Size], seen: Sequence[Size]) -> int:
    """Return how many pixels of the full sizes, at most, one pixel covers that the network sees."""
    return max(math.ceil(max(of[0] / by[0], of[1] / by[1])) for of, by in zip(full, seen, strict=True))


def paint_level(
    backend: Backend,
    field: Array,
    sheet: Sheet,
    size: Size,
    full_sheet: Sheet,
    source: Array,
    labels: tuple[Array, Array] | None = None,
    tick: Tick | None = None,
    steepness: Array | None = None,
) -> Array:
    """Return what the analogy looks like at the level of `field`: like `paint`, but with the enlarged field as it is."""
    of_field, of_vote = split(tick, 0.1, VOTING + SEAMS * (steepness is not None))
    full = sheet.enlarge(backend, field, size, full_sheet, of_field)
    return _vote(backend, full, source, labels, steepness, of_vote, full_sheet.frames(backend))


def _vote(
    backend: Backend,
    field: Array,
    source: Array,
    labels: tuple[Array, Array] | None,
    steepness: Array | None,
    tick: Tick,
    frames: Array | None,
) -> Array:
    """Return the picture that a full-size field votes, without seams where `steepness` is given."""
    if steepness is None:
        return backend.vote(field, source, PIXEL_PATCH_SIZE, frames, tick)
    of_vote, of_seams = split(tick, VOTING, SEAMS)
    voted = backend.vote(field, source, PIXEL_PATCH_SIZE, frames, of_vote)
    return remove_seams(backend, field, source, voted, steepness, labels[0] if labels else None, of_seams, frames)


def as_pixels(backend: Backend, picture: Array, sixteen_bit: bool = False) -> Array:
    """Return a picture (H, W, 3) float32 0..1 as uint8, or as uint16 if `sixteen_bit`."""
    kind = np.uint16 if sixteen_bit else np.uint8
    levels = picture * np.float32(np.iinfo(kind).max)
    return backend.xp.rint(levels, out=levels).astype(kind)


def refine_on_pixels(
    backend: Backend,
    field: Array,
    source: Array,
    labels: tuple[Array, Array] | None,
    tick: Tick | None = None,
    pins: np.ndarray | None = None,
    frames: Array | None = None,
) -> Array:
    """Return a full-size field after one PatchMatch iteration on pixels: the picture that it votes, matched with `source`.

    Departure from the paper, whose program shows the enlarged field as it is: blocks of the
    enlargement's size, with seams. The iteration moves a seam's pixels to the match of the
    neighbour that fits them best.
    """
    of_vote, of_search = split(tick, 0.8, 5.0)
    query = backend.pixel_vectors(backend.vote(field, source, PIXEL_PATCH_SIZE, frames, of_vote), key=False)
    key = backend.pixel_vectors(source, key=True)
    refined, _ = nnf.search(
        backend, query, key, field, labels=labels, pins=pins, frames=frames, tick=of_search, **PIXEL_REFINEMENT
    )
    return refined
