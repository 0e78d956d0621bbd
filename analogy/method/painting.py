"""Pictures from fields: a result is the vote of the source's pixels at full size (section 4.5).

A field is found at the working size, and a result has the full size. So the field is enlarged. If
the two sizes differ, the field is refined on the pixels, so that the blocks of the enlargement do
not show. With `painting="gradients"`, the remaining seams between the pieces of the voted picture
are removed (see `seams`).
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
from .guidance import LabelMaps, constrain_to_labels
from .holding import draw_along
from .seams import remove_seams
from .sheets import Sheet

REFINING = 9.0
"""Time to refine an enlarged field, in the same arbitrary unit as `VOTING` and `SEAMS`."""
VOTING = 0.8
"""Time to vote, in the same arbitrary unit as `REFINING` and `SEAMS`."""
SEAMS = 5.0
"""Time to remove seams, in the same arbitrary unit as `REFINING` and `VOTING`."""
PIXEL_REFINEMENT: dict[str, Any] = {
    "patch": PIXEL_PATCH_SIZE,
    "first_jumps": (),
    "search_radius": 2,
    "iterations": 1,
    "seed": 0,
    "most": 0.0,
}
"""Arguments of `nnf.search` that refine an enlarged field on the pixels.

So that pieces stay whole, the random search has a small radius, and the propagation follows it
instead of preceding it (`first_jumps` is empty).
"""


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
    """Paint a picture at full size: enlarge the field, refine it on the pixels, vote, remove seams.

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    field
        (h, w, 2) int32, the field from the content at its working size into `sheet`.
    sheet
        Layout of the sources at their working sizes.
    size
        Full size (rows, columns) of the content, and so of the result.
    full_sheet
        Layout of the sources at their full sizes.
    source
        (HB, WB, 3) float32 in 0..1, the pixels of the sources on `full_sheet`.
    labels
        Labels of the content and of the sources at full size, which limit the matches in the
        refinement (see `Backend.propagate`) and the removal of seams, or None.
    tick
        Called with the share of the work that is done.
    pins
        (n, 4) int, the pinned matches at full size (see `holding.hold`), or None.
    steepness
        Steepness of the content (see `remove_seams`). If it is None, no seams are removed, and
        the picture is the vote alone, as in the paper.

    Returns
    -------
    picture
        (*size, 3) float32 in 0..1.
    """
    enlarged = size != field.shape[:2] or full_sheet != sheet
    of_field, of_refinement, of_vote = split(tick, 0.1, REFINING * enlarged, VOTING + SEAMS * (steepness is not None))
    full, frames = sheet.enlarge(backend, field, size, full_sheet, of_field), full_sheet.frames(backend)
    if enlarged:
        block = _block([size], [field.shape[:2]])  # each position is now a block of pixels
        if pins is not None:  # a pin is one pixel
            full = draw_along(
                backend, full, full_sheet.size, pins, block, _block(full_sheet.sizes, sheet.sizes), frames
            )
        full = refine_on_pixels(backend, full, source, labels, of_refinement, pins, frames, block)
    return _vote(backend, full, source, labels, steepness, of_vote, frames)


def _block(full: Sequence[Size], working: Sequence[Size]) -> int:
    """Return the largest side of a block of pixels at full size that one position covers."""
    return max(math.ceil(max(of[0] / by[0], of[1] / by[1])) for of, by in zip(full, working, strict=True))


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
    """Paint the picture of a level: like `paint`, but without refinement of the enlarged field."""
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
    """Return the vote of a full-size field, without its seams if `steepness` is given."""
    if steepness is None:
        return backend.vote(field, source, PIXEL_PATCH_SIZE, frames, tick)
    of_vote, of_seams = split(tick, VOTING, SEAMS)
    voted = backend.vote(field, source, PIXEL_PATCH_SIZE, frames, of_vote)
    return remove_seams(backend, field, source, voted, steepness, labels[0] if labels else None, of_seams, frames)


def as_pixels(backend: Backend, picture: Array, sixteen_bit: bool = False) -> Array:
    """Return a picture (H, W, 3) float32 in 0..1 as uint8, or as uint16 if `sixteen_bit`."""
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
    block: int = 1,
) -> Array:
    """Return a full-size field improved by one iteration of PatchMatch on pixels.

    The picture reconstructed from the field by voting is matched with `source`. The authors'
    program does not refine the field, and its results show the blocks of the enlarged field and
    their seams. In the iteration, a pixel at the border of a block takes the offset of a neighbour
    if this offset fits the pixel better than its own. The border of two labels may cross a block,
    whose side is `block` pixels. There, pixels first take the offset of an allowed match near them.
    """
    of_vote, of_search = split(tick, 0.8, 5.0)
    query = backend.pixel_vectors(backend.vote(field, source, PIXEL_PATCH_SIZE, frames, of_vote), key=False)
    key = backend.pixel_vectors(source, key=True)
    if labels is not None:
        field = _allowed(backend, query, key, field, labels, frames, block)
    refined, _ = nnf.search(
        backend, query, key, field, labels=labels, pins=pins, frames=frames, tick=of_search, **PIXEL_REFINEMENT
    )
    return refined


def _allowed(
    backend: Backend,
    query: Array,
    key: Array,
    field: Array,
    labels: tuple[Array, Array],
    frames: Array | None,
    reach: int,
) -> Array:
    """Return a field with another match where the labels forbid the match; no other match changes.

    A pixel gets the offset of an allowed match that is at most `reach` pixels away. If there is
    none, it gets the nearest position of its label (see `constrain_to_labels`).
    """
    wrong = nnf.forbidden(field, labels)
    if not wrong.any():
        return field
    jumps = [1 << power for power in reversed(range((reach - 1).bit_length() + 1))]
    options = PIXEL_REFINEMENT | {"first_jumps": jumps, "iterations": 0}
    field, _ = nnf.search(backend, query, key, field, labels=labels, frames=frames, only=wrong, **options)
    return constrain_to_labels(backend, field, LabelMaps(*map(backend.to_host, labels)), labels)
