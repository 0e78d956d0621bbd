"""Gradient-domain painting, which removes the seams between the pieces of a voted picture.

Where two neighbouring pieces come from different positions of the source, the colours jump from one
piece to the other, and the source contains no such jump. So the forward differences d of the source
are voted through the field, in the same way as its pixels. The result is a picture u that is near
the voted picture v and has gradients near d. Of each jump grad v - d, the share k (0 to 1) is taken
for an edge and stays. So u is the solution of

    minimise  sum_p  epsilon |u - v|^2  +  |grad u - (d + k (grad v - d))|^2

over u with free borders (screened Poisson equation; Perez et al. 2003, "Poisson Image Editing";
Darabi et al. 2012, "Image Melding"). The correction w = u - v solves

    (epsilon - Laplace) w  =  - div g,    g = (1 - k) (d - grad v)

where g is zero except near joints, so that pixels far from all jumps keep their voted colours.

k is large where the content has an edge, and where the jump is large, because a large jump is more
likely an outline than a seam. If the content's gradient equals `EDGE`, or the jump equals `JUMP`,
at least half of the jump stays. Where two labels meet, the whole jump stays, and the regions of the
two labels are solved separately.

This departs from the paper, whose result is the voted picture (`painting="pixels"`).
"""

from __future__ import annotations

import math

import numpy as np

from ..backends import Array, Backend
from ..progress import Tick, split
from ..settings import PIXEL_PATCH_SIZE
from .bands import in_bands

EPSILON = 0.0075
"""Weight epsilon of the voted pixels relative to the voted gradients, in 1 / pixel^2.

The pixels are those of the working size. The correction of a jump extends over about 1 /
sqrt(EPSILON) of these pixels.
"""
EDGE = 0.25
"""Gradient of the content at which at least half of a jump stays, per pixel of the working size.

The gradient is measured as the L2 norm over both axes and the three channels, whose values are in
0..1.
"""
JUMP = 0.2
"""Size of a jump between two voted neighbouring pixels at which at least half of the jump stays.

The size is measured as the L2 norm over the three channels, whose values are in 0..1.
"""


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
    """Return a voted picture without the seams between its pieces.

    Parameters
    ----------
    backend
        The backend that runs the kernels.
    field
        (H, W, 2) int32, the field through which the picture was voted.
    source
        (HB, WB, 3) float32 in 0..1, the picture whose pixels were voted.
    voted
        (H, W, 3) float32 in 0..1, the voted picture.
    steepness
        (h, w) float32, `Backend.steepness` of the content at its working size (h, w). `EPSILON`
        is converted from pixels of this size to pixels of `voted`, so that a picture looks the same
        at every full size.
    labels
        (H, W) int32, the labels of the content (see `Backend.keep_edges`), or None.
    tick
        Called after each band of rows, with the share of the work that is done.
    frames
        The frames of `source` if it holds several pictures (see `Backend`), or None.

    Returns
    -------
    picture
        (H, W, 3) float32 in 0..1.
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
    """Return `voted` without seams; each region of equal labels is solved separately.

    So the colours of a region do not affect other regions.
    """
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
    """Return `picture` minus w, within 0..1, where w solves (epsilon - Laplace) w = f.

    `Backend.correct` adds the correction -w, and reduces it where it would lead beyond 0 or 1. All
    arrays are (H, W, 3) float32, and `f` is overwritten. A cosine transform along the rows turns
    the second difference along a row into a multiplication by -4 sin(pi k / (2 W))^2 at the
    frequency k. There remains one tridiagonal system of equations for each frequency and channel,
    which `Backend.solve_columns` solves directly.
    """
    xp, (height, width) = backend.xp, f.shape[:2]
    of_transform, of_columns, of_inverse, of_sum = split(tick, 3, 2, 3, 1)
    # To transform a row, put its even columns first, and then its odd columns backwards. Take the
    # Fourier transform and multiply it by `phase`. The real part is the cosine transform at the
    # frequency k, and minus the imaginary part is the cosine transform at W - k (Makhoul 1980).
    order = np.concatenate([np.arange(0, width, 2), np.arange(1, width, 2)[::-1]])
    frequency = np.arange(width // 2 + 1)
    turns = np.exp(-0.5j * math.pi / width * frequency).astype(np.complex64)[:, None]
    phase, back = backend.asarray(turns), backend.asarray(-turns.conj())  # minus, because `correct` adds -w
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
