"""Deep image analogy: the coarse-to-fine loop of Liao et al. 2017 ("Visual Attribute Transfer through Deep Image Analogy").

Given A and B', find A' (A in the looks of B') and B (B' in the looks of A). `match` is the paper's algorithm: at each level
it searches the nearest-neighbour fields between A and B', and from them reconstructs the features of A' and of B one level
finer. Where B is known, as in Hertzmann et al. 2001 ("Image Analogies"), only A' is sought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..backends import Array, Backend, Size, Tick
from ..progress import StageReporter, ignore
from ..settings import ALPHA, KAPPA, PATCH_SIZE, SEARCH_RADIUS, TAU, Settings
from . import nnf
from .features import LEVELS, Features, as_floats, level_size, nchw
from .guidance import Labels, constrain_to_labels
from .holding import REACH
from .inversion import minimise
from .pins import Pins


@dataclass(frozen=True)
class Correspondences:
    """The fields found at each level, as arrays of the backend. A direction not asked for has none at level 1.

    `nnf_ab`: level -> (h, w, 2) int32, the nearest-neighbour field from A to B'; `error_ab`: level -> (h, w) float32, the
    distance of the matched patches. `nnf_ba` and `error_ba`: the same from B' to A.
    """

    nnf_ab: dict[int, Array]
    nnf_ba: dict[int, Array]
    error_ab: dict[int, Array]
    error_ba: dict[int, Array]


def match(
    network: Features,
    a: np.ndarray,
    b_prime: np.ndarray,
    settings: Settings,
    report: StageReporter,
    labels: Labels | None = None,
    b: np.ndarray | None = None,
    pins: Pins | None = None,
    found_level: Callable[[int, Correspondences], None] | None = None,
) -> Correspondences:
    """The nearest-neighbour fields between two pictures (H, W, 3) uint8 RGB, in the size in which the network sees them.

    Both directions are searched down to level 2, since the features of A' and of B need both; at level 1 only the
    directions that `settings.direction` asks for. Given `b`, which lies pixel by pixel on B', the features of B are its
    own at every level, and only the field from A is searched. `labels` and `pins` constrain what may match.
    `found_level` is told of each level whose fields are found.
    """
    backend = network.backend
    size_a, size_b = a.shape[:2], b_prime.shape[:2]
    pixels_a, pixels_b_prime = as_floats(backend, a), as_floats(backend, b_prime)

    # Preprocessing (section 4.1): at the coarsest level A' is taken to look like A, and B like B'.
    f_a = network.pyramid(a)
    report.part("A")(1)
    f_b_prime = network.pyramid(b_prime)
    report.part("B'")(1)
    known_b = None if b is None else network.pyramid(b)
    if known_b:
        report.part("B")(1)
    seen_a, seen_b_prime = network.for_search(5, f_a[5]), network.for_search(5, f_b_prime[5])
    seen_a_prime, seen_b = seen_a, network.for_search(5, known_b[5]) if known_b else seen_b_prime
    nnf_ab = nnf.identity(backend, level_size(size_a, 5), level_size(size_b, 5))
    nnf_ba = nnf.identity(backend, level_size(size_b, 5), level_size(size_a, 5))
    found = Correspondences({}, {}, {}, {})

    for level in LEVELS:
        report.begin(f"level {level}")

        # Nearest-neighbour field search (section 4.2).
        joined_a = backend.join(seen_a, seen_a_prime)
        joined_b = backend.join(seen_b, seen_b_prime)
        sizes = joined_a.shape[:2], joined_b.shape[:2]
        if level > 1 or settings.direction != "ba":
            fixed = pins.at(size_a, size_b, level) if pins else None
            labels_ab = labels.at(backend, *sizes) if labels else None
            nnf_ab, found.error_ab[level] = _search(
                backend, level, joined_a, joined_b, nnf_ab, labels_ab, fixed, settings, report.part("search ab")
            )
            found.nnf_ab[level] = nnf_ab
        if not known_b and (level > 1 or settings.direction != "ab"):
            labels_ba = labels.at(backend, *sizes, inverse=True) if labels else None
            fixed = pins.at(size_a, size_b, level, inverse=True) if pins else None
            nnf_ba, found.error_ba[level] = _search(
                backend, level, joined_b, joined_a, nnf_ba, labels_ba, fixed, settings, report.part("search ba")
            )
            found.nnf_ba[level] = nnf_ba
        if found_level:
            found_level(level, found)

        if level > 1:
            # Latent image reconstruction (section 4.3), as the search will see it.
            tick_ab, tick_ba = report.part("inversion ab"), report.part("inversion ba")
            seen_a = network.for_search(level - 1, f_a[level - 1])
            seen_b_prime = network.for_search(level - 1, f_b_prime[level - 1])
            r_a_prime = reconstruct(network, level, nnf_ab, f_b_prime, pixels_b_prime, size_a, settings, tick_ab)
            w_a = content_weight(backend, f_a[level - 1], level - 1, settings)
            seen_a_prime = blend(seen_a, network.for_search(level - 1, r_a_prime), w_a)
            if known_b:
                seen_b = network.for_search(level - 1, known_b[level - 1])
            else:
                r_b = reconstruct(network, level, nnf_ba, f_a, pixels_a, size_b, settings, tick_ba)
                w_b = content_weight(backend, f_b_prime[level - 1], level - 1, settings)
                seen_b = blend(seen_b_prime, network.for_search(level - 1, r_b), w_b)

            # Nearest-neighbour field upsampling (section 4.4).
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
    pins: np.ndarray | None,
    settings: Settings,
    tick: Tick,
) -> tuple[Array, Array]:
    """PatchMatch with the constants of a level."""
    if labels:
        start = constrain_to_labels(backend, start, labels)
    return nnf.search(
        backend,
        a,
        b,
        start,
        patch=PATCH_SIZE[level],
        search_radius=SEARCH_RADIUS.get(level),
        iterations=settings.search_iterations,
        seed=(settings.seed * 8 + level) % 2**32,
        labels=labels,
        pins=pins,
        reach=REACH * 2 ** (5 - level),
        tick=tick,
    )


def reconstruct(
    network: Features,
    level: int,
    field: Array,
    source: dict[int, Array],
    pixels: Array,
    size: Size,
    settings: Settings,
    tick: Tick = ignore,
) -> Array:
    """R, the features of level L - 1 of a picture whose level L is `source` warped by `field` (section 4.3).

    `field` (h, w, 2): the nearest-neighbour field of level L into `source`; `source`: the feature pyramid; `pixels`
    (H, W, 3) float32 0..1: its picture; `size`: rows and columns of the picture to reconstruct; `tick` is told after each run
    of the network. Returns (h', w', C) float32.

    With `inversion="vote"` R is the source's own level L - 1, warped. Otherwise R are the features of an x two levels finer
    than L, as in the authors' program, which constrains R more than the paper's one level does. x starts as the source's
    features there, warped. (The paper starts from random values.) With "deconvolution" x is optimised by L-BFGS, so that
    its level L comes close to the warped one. With "step" it takes one gradient step towards that: what counts is that R
    are features which some picture could have, more than how small the objective gets.
    """
    backend, xp = network.backend, network.backend.xp
    finer_size = level_size(size, level - 1)
    finer = nnf.upsample(backend, field, finer_size, source[level - 1].shape[:2])
    if settings.inversion == "vote":
        return backend.vote(finer, source[level - 1], PATCH_SIZE[level])
    target = backend.vote(field, source[level], PATCH_SIZE[level])
    free, finest = pixels, finer
    if level > 2:
        free = source[level - 2]
        finest = nnf.upsample(backend, finer, level_size(size, level - 2), free.shape[:2])
    start = backend.vote(finest, free, PATCH_SIZE[level])
    if settings.inversion == "step":
        reconstruction = network.step(level, start, target, finer_size)
        tick(1)
        return reconstruction
    objective = network.objective(level, nchw(xp, target), finer_size)
    minimise(backend, objective, nchw(xp, start), settings.inversion_steps, tick, objective.heard)
    network.require_finite(objective.graph, objective.between)
    return backend.channels_last(objective.between)


def content_weight(backend: Backend, content: Array, level: int, settings: Settings) -> Array:
    """W (h, w, 1) float32: how much of the content's own features (h, w, C) to keep at each position (section 4.3).

    W = alpha * sigmoid(kappa * (M - tau)), where M (h, w) is the squared norm of `content` over its channels, scaled to
    0..1 over the picture, and alpha is that of the level and the weight.
    """
    xp = backend.xp
    energy = xp.square(content).sum(axis=2, keepdims=True)
    low, high = energy.min(), energy.max()
    m = (energy - low) / xp.maximum(high - low, np.float32(1e-12))
    return np.float32(ALPHA[settings.weight][level]) / (1 + xp.exp(np.float32(-KAPPA) * (m - np.float32(TAU))))


def blend(content: Array, reconstruction: Array, w: Array) -> Array:
    """content * W + reconstruction * (1 - W): keep the content's structure where its features are strong (section 4.3).

    Both maps are (h, w, C) float32, W is (h, w, 1). A projection for the search is linear, so that blending what it makes
    of both is the same as blending them, and takes half the work.
    """
    blended = content - reconstruction
    blended *= w
    blended += reconstruction
    return blended
