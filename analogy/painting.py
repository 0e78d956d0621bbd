"""From fields to pictures: the voted pixels at full size.

The network sees pictures shrunken; the results keep their size. A field is taken to full size and, where that enlarges
it, smoothed into place on the pixels: each block of pixels that moved as one finds its neighbours' match if that is
seamless.
"""

from __future__ import annotations

import numpy as np

from . import nnf
from .backends import Array, Backend
from .settings import PIXEL_PATCH

Size = tuple[int, int]

SETTLE = {"patch": PIXEL_PATCH, "reach": 2, "iterations": 1}
"""How the enlarged field is settled on the pixels: near, and coherent before all."""


def paint(backend: Backend, field: Array, seen: Size, size: Size, source: Array) -> Array:
    """The picture of `size` (rows, columns) in the pixels of `source` (HB, WB, 3) float32 0..1: (*size, 3) float32.

    `field` maps the picture as the network saw it (its own shape) to `source` as the network saw it (`seen`).
    """
    full = nnf.enlarge(backend, field, seen, size, source.shape[:2])
    if size > field.shape[:2] or source.shape[:2] > seen:
        full = settle(backend, full, source)
    return backend.vote(full, source, PIXEL_PATCH)


def settle(backend: Backend, field: Array, source: Array) -> Array:
    """The full-size field, moved to where the picture it votes is found in `source` itself.

    Not in the paper, whose program shows the enlarged field as it is: blocks of the factor's size, with seams. A search
    with small steps, on the pixels (the picture as voted against `source`), gives the seams to whichever side fits.
    """
    xp = backend.xp
    query, key = as_products(xp, backend.vote(field, source, PIXEL_PATCH), source)
    settled, _ = nnf.search(backend, query, key, field, seed=0, peak=1e-6, **SETTLE)
    return settled


def as_products(xp, u: Array, v: Array) -> tuple[Array, Array]:
    """Arrays whose product at two positions is -|u - v|^2: the squared difference, for kernels that know products only.

    (sqrt(2) u, -|u|^2, -1) . (sqrt(2) v, 1, |v|^2) = 2 u.v - |u|^2 - |v|^2; never above 0.
    """
    root = np.float32(2**0.5)
    uu, vv = (u * u).sum(axis=2, keepdims=True), (v * v).sum(axis=2, keepdims=True)
    query = xp.concatenate([root * u, -uu, -xp.ones_like(uu)], axis=2)
    key = xp.concatenate([root * v, xp.ones_like(vv), vv], axis=2)
    return query, key
