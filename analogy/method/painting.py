"""From fields to pictures: the voted pixels at full size.

The network sees pictures shrunken; the results keep their size. A field is taken to full size and, where that enlarges
it, settled on the pixels: blocks of pixels that moved as one give way to a neighbour's match where that fits the seam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import Array, Backend, Size
from ..settings import PIXEL_PATCH
from . import nnf

SETTLE: dict[str, Any] = {"patch": PIXEL_PATCH, "reach": 2, "iterations": 1, "seed": 0, "peak": 1e-6}
"""How the enlarged field is settled on the pixels: near, and coherent before all."""


def paint(
    backend: Backend, field: Array, seen: Size, size: Size, source: Array, labels: tuple[Array, Array] | None = None
) -> Array:
    """The picture of `size` (rows, columns) in the pixels of `source` (HB, WB, 3) float32 0..1: (*size, 3) float32.

    `field` maps the picture as the network saw it (its own shape) to `source` as the network saw it (`seen`). `labels`
    at full size keep the settling within regions.
    """
    full = nnf.enlarge(backend, field, seen, size, source.shape[:2])
    if size != field.shape[:2] or source.shape[:2] != seen:
        full = settle(backend, full, source, labels)
    return backend.vote(full, source, PIXEL_PATCH)


def sketch(backend: Backend, field: Array, seen: Size, size: Size, source: Array) -> Array:
    """Like `paint`, with the enlarged field as it is: what a level of the analogy looks like."""
    return backend.vote(nnf.enlarge(backend, field, seen, size, source.shape[:2]), source, PIXEL_PATCH)


def as_pixels(backend: Backend, picture: Array, deep: bool = False) -> np.ndarray:
    """A picture (H, W, 3) float32 0..1 as uint8, or uint16 where `deep`, on the host."""
    kind = np.uint16 if deep else np.uint8
    return backend.to_host(backend.xp.rint(picture * np.float32(np.iinfo(kind).max)).astype(kind))


def settle(backend: Backend, field: Array, source: Array, labels: tuple[Array, Array] | None) -> Array:
    """The full-size field, moved to where the picture that it votes is found in `source` itself.

    Not in the paper, whose program shows the enlarged field as it is: blocks of the factor's size, with seams. One round
    of search with small steps, on pixels (the picture as voted against `source`), gives the seams to the side that fits.
    """
    query, key = as_products(backend.xp, backend.vote(field, source, PIXEL_PATCH), source)
    settled, _ = nnf.search(backend, query, key, field, labels=labels, **SETTLE)
    return settled


def as_products(xp: Any, u: Array, v: Array) -> tuple[Array, Array]:
    """Arrays whose product at two positions is -|u - v|^2: the squared difference, for kernels that know products only.

    (sqrt(2) u, -|u|^2, -1) . (sqrt(2) v, 1, |v|^2) = 2 u.v - |u|^2 - |v|^2, at most 0. `u` (H, W, C), `v` alike.
    """

    def stack(x: Array, extra: int, constant: float, square: int, sign: float) -> Array:
        out = xp.empty((*x.shape[:2], x.shape[2] + 2), xp.float32)
        xp.multiply(x, np.float32(2**0.5), out=out[..., :-2])
        out[..., extra] = constant
        out[..., square] = (x * x).sum(axis=2)
        out[..., square] *= np.float32(sign)
        return out

    return stack(u, -1, -1.0, -2, -1.0), stack(v, -2, 1.0, -1, 1.0)
