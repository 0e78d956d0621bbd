"""The image analogy A : A' :: B : B' (Liao et al. 2017, "Visual Attribute Transfer through Deep Image Analogy").

Given A and B', find A' (A in the looks of B') and B (B' in the looks of A). `match` is the paper's algorithm 1; in names
a prime is written as 1: `f_a1` are the features of A'.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends import Array, Backend, Size
from ..settings import ALPHA, KAPPA, PATCH, REACH, TAU, Settings
from . import nnf
from .features import LEVELS, Features, as_floats, level_size, nchw, nhwc
from .guidance import Labels, within
from .inversion import minimise


@dataclass(frozen=True)
class Progress:
    """What a run is doing: the stage in words, and the share of the whole that is done, 0 to 1."""

    stage: str
    done: float


@dataclass(frozen=True)
class Match:
    """What was found at each level, as the backend's arrays; a direction not asked for has nothing at level 1.

    `ab`: level -> (h, w, 2) int32 field from A to B'; `error_ab`: level -> (h, w) float32 distance; `ba` from B' to A.
    """

    ab: dict[int, Array]
    ba: dict[int, Array]
    error_ab: dict[int, Array]
    error_ba: dict[int, Array]


class Stages:
    """Tells the callback how far a run is, and keeps the time of each stage."""

    def __init__(self, callback: Callable[[Progress], None] | None):
        self.callback = callback or (lambda progress: None)
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def begin(self, stage: str, done: float) -> None:
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(now - self._since, 3)
        self._stage, self._since = stage, now
        self.callback(Progress(stage, done))


_SHARE_DONE = {5: 0.11, 4: 0.24, 3: 0.36, 2: 0.56, 1: 0.77}
"""Share of the time that has passed when a level begins, for the progress bar (measured on two cores)."""


def match(
    network: Features, a: np.ndarray, b1: np.ndarray, settings: Settings, stages: Stages, labels: Labels | None = None
) -> Match:
    """Fields between two pictures (H, W, 3) uint8 RGB, as the network sees them: algorithm 1 of the paper.

    Both directions are needed down to level 2, for the features of A' and of B to form; at level 1 only those that
    `settings.direction` asks for.
    """
    backend = network.backend
    size_a, size_b = a.shape[:2], b1.shape[:2]
    f_a, f_b1 = network.pyramid(a), network.pyramid(b1)
    pixels_a, pixels_b1 = as_floats(backend, a), as_floats(backend, b1)
    f_a1, f_b = f_a[5], f_b1[5]
    nnf_ab = nnf.identity(backend, level_size(size_a, 5), level_size(size_b, 5))
    nnf_ba = nnf.identity(backend, level_size(size_b, 5), level_size(size_a, 5))
    found = Match({}, {}, {}, {})

    for level in LEVELS:
        stages.begin(f"level {level}", _SHARE_DONE[level])
        joined_a, joined_b = backend.join(f_a[level], f_a1), backend.join(f_b, f_b1[level])
        may = labels.at(backend, joined_a.shape[:2], joined_b.shape[:2]) if labels else None
        if level > 1 or settings.direction != "ba":
            nnf_ab, found.error_ab[level] = _search(backend, level, joined_a, joined_b, nnf_ab, may, settings)
            found.ab[level] = nnf_ab
        if level > 1 or settings.direction != "ab":
            nnf_ba, found.error_ba[level] = _search(
                backend, level, joined_b, joined_a, nnf_ba, may and may[::-1], settings
            )
            found.ba[level] = nnf_ba
        if level > 1:
            r_a1 = reconstruct(network, level, nnf_ab, f_b1, pixels_b1, size_a, settings)
            r_b = reconstruct(network, level, nnf_ba, f_a, pixels_a, size_b, settings)
            f_a1 = blend(backend, f_a[level - 1], r_a1, ALPHA[settings.weight][level - 1])
            f_b = blend(backend, f_b1[level - 1], r_b, ALPHA[settings.weight][level - 1])
            finer_a, finer_b = level_size(size_a, level - 1), level_size(size_b, level - 1)
            nnf_ab = nnf.upsample(backend, nnf_ab, finer_a, finer_b)
            nnf_ba = nnf.upsample(backend, nnf_ba, finer_b, finer_a)
    return found


def _search(
    backend: Backend,
    level: int,
    a: Array,
    b: Array,
    start: Array,
    labels: tuple[Array, Array] | None,
    settings: Settings,
) -> tuple[Array, Array]:
    if labels:
        start = within(backend, start, labels)
    return nnf.search(
        backend,
        a,
        b,
        start,
        patch=PATCH[level],
        reach=REACH.get(level),
        iterations=settings.search_iterations,
        seed=(settings.seed * 8 + level) % 2**32,
        labels=labels,
    )


def reconstruct(
    network: Features, level: int, field: Array, source: dict[int, Array], pixels: Array, size: Size, settings: Settings
) -> Array:
    """Features of level L - 1 for a picture of `size` whose level L looks like `source` warped by `field` (section 4.2).

    By optimisation, the free variable is two levels finer, which constrains the solution (as in the authors' program);
    it starts from the source's own features there, warped. By "vote", the warped features of level L - 1 are the answer.
    """
    backend, xp = network.backend, network.backend.xp
    finer = nnf.upsample(backend, field, level_size(size, level - 1), source[level - 1].shape[:2])
    if settings.inversion == "vote":
        return backend.vote(finer, source[level - 1], PATCH[level])
    target = nchw(xp, backend.vote(field, source[level], PATCH[level]))
    below, finest = pixels, finer
    if level > 2:
        below = source[level - 2]
        finest = nnf.upsample(backend, finer, level_size(size, level - 2), below.shape[:2])
    start = nchw(xp, backend.vote(finest, below, PATCH[level]))
    objective = network.objective(level, target, level_size(size, level - 1))
    minimise(xp, objective, start, settings.inversion_steps)
    return nhwc(xp, objective.between)


def blend(backend: Backend, own: Array, found: Array, alpha: float) -> Array:
    """own * W + found * (1 - W): keep the picture's own structure where it is salient (section 4.3, equation 4)."""
    xp = backend.xp
    energy = (own * own).sum(axis=2, keepdims=True)
    low, high = energy.min(), energy.max()
    saliency = (energy - low) / xp.maximum(high - low, np.float32(1e-12))
    w = np.float32(alpha) / (1 + xp.exp(np.float32(-KAPPA) * (saliency - np.float32(TAU))))
    return own * w + found * (1 - w)
