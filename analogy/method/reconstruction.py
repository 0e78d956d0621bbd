"""Latent image reconstruction (section 4.3): the features of A' and of B one level finer, from the field of a level.

The features of a latent picture are a blend of its content's own features with those that its field
promises.
"""

from __future__ import annotations

import numpy as np

from ..backends import Array, Backend, Size
from ..progress import Tick, ignore
from ..settings import ALPHA, KAPPA, PATCH_SIZE, TAU, Settings
from .features import Features, level_size, nchw
from .inversion import minimise
from .sheets import SourceFeatures


def reconstruct(
    network: Features,
    level: int,
    field: Array,
    finer: Array,
    source: SourceFeatures,
    size: Size,
    settings: Settings,
    tick: Tick = ignore,
) -> Array:
    """Return R, the features of level L - 1 of a picture whose level L is `source` warped by `field` (section 4.3).

    level   L, from 5 to 2
    field   (h, w, 2) int32, the nearest-neighbour field of level L into `source`
    finer   (h', w', 2) int32, the same field upsampled to level L - 1
    source  the features of the sources
    size    rows and columns of the picture to reconstruct, as the network sees it
    tick    is called after each run of the network

    Returns (h', w', C) float32. Raises `ModelError` if the network gives values that are not
    finite.

    With `inversion="vote"` R is the source's own level L - 1, warped. Otherwise R are the features
    of an x two levels finer than L, as in the authors' program, which constrains R more than the
    paper's one level does. x starts as the source's features there, warped. (The paper starts from
    random values.) With "deconvolution" x is optimised by L-BFGS, so that its level L comes close
    to the warped one. With "step" it takes one gradient step towards that: what counts is that R
    are features which some picture could have, more than how small the objective gets.
    """
    backend, xp = network.backend, network.backend.xp
    finer_size: Size = finer.shape[:2]
    if settings.inversion == "vote":
        return source.vote(finer, level - 1, PATCH_SIZE[level])
    target = source.vote(field, level, PATCH_SIZE[level])
    if level > 2:
        finest = source.sheet.at(level - 1).upsample(
            backend, finer, level_size(size, level - 2), source.sheet.at(level - 2)
        )
        start = source.vote(finest, level - 2, PATCH_SIZE[level])
    else:
        start = source.vote(finer, 0, PATCH_SIZE[level])
    if settings.inversion == "step":
        reconstruction = network.step(level, start, target, finer_size)
        tick(1)
        return reconstruction
    objective = network.objective(level, nchw(xp, target), finer_size)
    minimise(backend, objective, nchw(xp, start), settings.inversion_steps, tick, objective.on_loss)
    network.require_finite(objective.graph, objective.between)
    return backend.channels_last(objective.between)


def content_weight(backend: Backend, content: Array, level: int, settings: Settings) -> Array:
    """Return W (h, w, 1) float32: how much of the content's own features (h, w, C) to keep at each position (section 4.3).

    W = alpha * sigmoid(kappa * (M - tau)), where M (h, w) is the squared norm of `content` over its
    channels, scaled to 0..1 over the picture, and alpha is that of the level and the weight.
    """
    xp = backend.xp
    energy = xp.square(content).sum(axis=2, keepdims=True)
    low, high = energy.min(), energy.max()
    m = (energy - low) / xp.maximum(high - low, np.float32(1e-12))
    return np.float32(ALPHA[settings.weight][level]) / (1 + xp.exp(np.float32(-KAPPA) * (m - np.float32(TAU))))


def blend(content: Array, reconstruction: Array, w: Array) -> Array:
    """Return content * W + reconstruction * (1 - W): keep the content's structure where its features are strong (section 4.3).

    Both maps are (h, w, C) float32, W is (h, w, 1). A projection for the search is linear, so that
    blending what it makes of both is the same as blending them, and takes half the work.
    """
    blended = content - reconstruction
    blended *= w
    blended += reconstruction
    return blended
