"""Gradient-domain painting: the seams between the pieces of a voted picture are solved away.

Where two neighbouring pieces come from different places of the source, their colours jump, and the
jump is in neither piece. So the forward differences d of the source are voted through the field as
its pixels are. The picture u is near the voted picture v, and its gradients are near d, but for the
share k (0 to 1) of a jump that is an edge:

    minimise  sum_p  epsilon |u - v|^2  +  |grad u - (d + k (grad v - d))|^2

over u with free borders (screened Poisson equation; Perez et al. 2003, "Poisson Image Editing";
Darabi et al. 2012, "Image Melding"). The correction w = u - v solves

    (epsilon - Laplace) w  =  - div g,    g = (1 - k) (d - grad v)

where g is zero but at joints, so that a piece whose joints fit keeps its own pixels.

A jump is an edge where the content has one, or where it is large: a large one is an outline, a
small one is a seam. At the threshold half of it stays. Where two labels meet, all of it stays, and
each of their regions is solved for by itself.

Departure from the paper, whose result is the voted picture (`painting="pixels"`).
"""

from __future__ import annotations

import math

import numpy as np

from ..backends import Array, Backend
from ..progress import Tick, split
from ..settings import PIXEL_PATCH_SIZE
from .bands import in_bands

EPSILON = 0.0075
"""Weight of the voted pixels beside the voted gradients, in 1 / pixel^2 of the size that the
network sees. A jump is spread over about 1 / sqrt(EPSILON) of these pixels."""
EDGE = 0.25
"""Gradient of the content (0 to 1 a pixel of the size that the network sees, over three channels)
at which half of a jump stays."""
JUMP = 0.2
"""Jump from one pixel of the result to the next (0 to 1, over three channels) of which half stays."""


def remove_seams(
    backend: Backend,
    field: Array,
    source: Array,
    voted: Array,
    steepness: Array,
    labels: Array | None = None,
    tick: Tick | None = None,
    frames: Array | None = None,
) -> Array:
    """Return the picture `voted` without the seams between its pieces: (H, W, 3) float32 in 0..1.

    field       (H, W, 2) int32, the field through which `voted` was voted
    source      (HB, WB, 3) float32 in 0..1, the picture that it was voted from
    voted       (H, W, 3) float32 in 0..1
    steepness   (h, w) float32, of the content in the size that the network sees (see `Backend.steepness`). This size is also
                the unit of `EPSILON`, so that a picture looks the same at every size
    labels      (H, W) int32, of the content (see `Backend.keep_edges`)
    tick        called after each band of rows
    frames      of `source`, where it holds several pictures (see `Backend`)
    """
    height, width = voted.shape[:2]
    of_seams, of_edges, of_solution = split(tick, 2, 1, 2)
    seams = backend.seams(field, source, voted, PIXEL_PATCH_SIZE, frames, of_seams)
    backend.keep_edges(steepness, seams, EDGE**2, JUMP**2, labels, of_edges)
    divergence = backend.divergence(seams)
    del seams
    epsilon = EPSILON * steepness.size / (height * width)
    if labels is None:
        return subtract_solution(backend, voted, divergence, epsilon, of_solution)
    return _solve_regions(backend, voted, divergence, epsilon, labels, of_solution)


def _solve_regions(
    backend: Backend, voted: Array, divergence: Array, epsilon: float, labels: Array, tick: Tick
) -> Array:
    """Return `voted` corrected in each region of equal labels by itself, so that no colour gets into another region."""
    picture, on_host = voted.copy(), backend.to_host(labels)
    regions = np.unique(on_host)
    for label, of_region in zip(regions, split(tick, *[1.0] * len(regions)), strict=True):
        inside = on_host == label
        box = tuple(slice(*np.flatnonzero(inside.any(axis=axis))[[0, -1]] + [0, 1]) for axis in (1, 0))
        mask = backend.asarray(inside[box])[..., None]
        part = backend.asarray(voted[box])
        solved = subtract_solution(backend, part, divergence[box] * mask, epsilon, of_region)
        picture[box] = backend.xp.where(mask, solved, picture[box])
    return picture


def subtract_solution(backend: Backend, picture: Array, f: Array, epsilon: float, tick: Tick | None = None) -> Array:
    """Return `picture` minus the w with (epsilon - Laplace) w = f, within 0..1. All are (H, W, 3) float32; `f` is overwritten.

    A cosine transform along the rows makes Laplace's second difference in this direction a factor,
    -4 sin(pi k / 2 W)^2 for the frequency k. What is left is one system of equations with three
    diagonals for each column, solved directly.
    """
    xp, (height, width) = backend.xp, f.shape[:2]
    of_transform, of_columns, of_inverse, of_sum = split(tick, 3, 2, 3, 1)
    # The cosine transform of a row is the real part of the Fourier transform of its even columns,
    # followed by its odd ones backwards, turned by `phase`; and minus the imaginary part is that of
    # the frequency W - k (Makhoul 1980).
    order = np.concatenate([np.arange(0, width, 2), np.arange(1, width, 2)[::-1]])
    frequency = np.arange(width // 2 + 1)
    turns = np.exp(-0.5j * math.pi / width * frequency).astype(np.complex64)[:, None]
    phase, back = backend.asarray(turns), backend.asarray(-turns.conj())  # minus, to subtract by an addition
    factors = [4 * np.sin(0.5 * math.pi / width * k) ** 2 for k in (frequency, width - frequency)]
    shifts = epsilon + np.repeat(np.stack(factors, axis=1)[:, None], 3, axis=1)  # frequency, channel, part
    columns = backend.asarray(order)
    spectrum = xp.empty((height, len(frequency), 3), np.complex64)

    def transform(rows: slice) -> None:
        spectrum[rows] = xp.fft.rfft(xp.take(f[rows], columns, axis=1), axis=1) * phase

    def invert(rows: slice) -> None:
        f[rows] = xp.fft.irfft(spectrum[rows] * back, width, axis=1)

    in_bands(backend, height, width, transform, of_transform)
    backend.solve_columns(
        backend.asarray(shifts.astype(np.float32).ravel()), spectrum.view(np.float32).reshape(height, -1)
    )
    of_columns(1)
    in_bands(backend, height, width, invert, of_inverse)
    corrected = backend.correct(picture, f, backend.asarray(np.argsort(order).astype(np.int32)))
    of_sum(1)
    return corrected
