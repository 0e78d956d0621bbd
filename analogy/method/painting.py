"""From fields to pictures: a result is the vote of the source's pixels through the field, at full size (section 4.5).

The network sees pictures shrunken, but results have the full size. The field is enlarged, and where that changed its size
it is refined on the pixels, so that the blocks of the enlarged field do not show as seams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, Backend, Size, Tick
from ..settings import PIXEL_PATCH_SIZE
from . import nnf
from .progress import split

PIXEL_REFINEMENT: dict[str, Any] = {
    "patch": PIXEL_PATCH_SIZE,
    "search_radius": 2,
    "iterations": 1,
    "seed": 0,
    "most": 0.0,
}
"""How an enlarged field is refined on the pixels: by one round with small steps, so that it stays coherent."""

PIXEL_HALF = 104
"""Half of the range of pixels in whole numbers: three channels, squared and added, still fit into 16 bits."""
_PRODUCT_CHANNELS = 8
"""Five are used. With eight each position has its own 16 bytes."""

_STRIP = 256
"""Rows to work on at a time, where arrays of the whole picture in between would be large."""


def paint(
    backend: Backend,
    field: Array,
    working_b: Size,
    size: Size,
    source: Array,
    labels: tuple[Array, Array] | None = None,
    tick: Tick | None = None,
) -> Array:
    """The picture (*size, 3) float32 that `field` votes from the pixels of `source` (HB, WB, 3) float32 0..1.

    `field` lies between the pictures as the network saw them: its own shape, and `working_b`. `size` and the shape of
    `source` are the full sizes (rows, columns). `labels` (see `Backend.propagate`), at full size, constrain the
    refinement. `tick` is told after each band of rows.
    """
    enlarged = size != field.shape[:2] or source.shape[:2] != working_b
    of_field, of_refinement, of_vote = split(tick, 0.4, 9.0 * enlarged, 0.8)
    full = nnf.enlarge(backend, field, working_b, size, source.shape[:2], of_field)
    if enlarged:
        full = refine_on_pixels(backend, full, source, labels, of_refinement)
    return backend.vote(full, source, PIXEL_PATCH_SIZE, of_vote)


def vote_level(
    backend: Backend, field: Array, working_b: Size, size: Size, source: Array, tick: Tick | None = None
) -> Array:
    """Like `paint`, but with the enlarged field as it is: what the analogy looks like at the field's level."""
    of_field, of_vote = split(tick, 0.4, 0.8)
    full = nnf.enlarge(backend, field, working_b, size, source.shape[:2], of_field)
    return backend.vote(full, source, PIXEL_PATCH_SIZE, of_vote)


def as_pixels(backend: Backend, picture: Array, sixteen_bit: bool = False) -> np.ndarray:
    """A picture (H, W, 3) float32 0..1 as uint8, or as uint16 if `sixteen_bit`, on the host."""
    kind = np.uint16 if sixteen_bit else np.uint8
    return backend.to_host(backend.xp.rint(picture * np.float32(np.iinfo(kind).max)).astype(kind))


def refine_on_pixels(
    backend: Backend, field: Array, source: Array, labels: tuple[Array, Array] | None, tick: Tick | None = None
) -> Array:
    """A full-size field after one PatchMatch round on pixels: the picture that it votes, matched with `source` itself.

    Departure from the paper, whose program shows the enlarged field as it is: blocks of the enlargement's size, with
    seams. The round moves a seam's pixels to the match of the neighbour that fits them best.
    """
    of_vote, of_products, of_search = split(tick, 0.8, 2.0, 6.0)
    voted = backend.vote(field, source, PIXEL_PATCH_SIZE, of_vote)
    query, key = as_products(backend.xp, voted, source, of_products)
    refined, _ = nnf.search(backend, query, key, field, labels=labels, tick=of_search, **PIXEL_REFINEMENT)
    return refined


def as_products(xp: Any, u: Array, v: Array, tick: Tick | None = None) -> tuple[Array, Array]:
    """Arrays int16 whose product at two positions is -|u - v|^2, for kernels that know only products.

    `u` (H, W, 3) and `v` (H', W', 3), 0..1, become whole numbers from -104 to 104, and then maps with 8 channels:
    (2 u, -|u|^2, -1, 0 ..) . (v, 1, |v|^2, 0 ..) = 2 u.v - |u|^2 - |v|^2.
    """

    def stack(x: Array, factor: int, one: int, square: int, sign: int, tick: Tick) -> Array:
        out = xp.zeros((*x.shape[:2], _PRODUCT_CHANNELS), xp.int16)
        for top in range(0, len(x), _STRIP):
            part = xp.rint((x[top : top + _STRIP] - np.float32(0.5)) * np.float32(2 * PIXEL_HALF)).astype(xp.int16)
            into = out[top : top + _STRIP]
            into[..., :3] = part * xp.int16(factor)
            into[..., one] = sign
            into[..., square] = (part * part).sum(axis=2, dtype=xp.int16) * xp.int16(sign)
            tick(min(1.0, (top + _STRIP) / len(x)))
        return out

    of_u, of_v = split(tick, u.shape[0], v.shape[0])
    return stack(u, 2, 4, 3, -1, of_u), stack(v, 1, 3, 4, 1, of_v)
