"""Latent image reconstruction (section 4.3): the features of A' and of B one level finer, from the field of a level.

The features of a latent picture are a blend of its content's own features with those that its field
promises.
"""

from __future__ import annotations

from ..backends import Array, Size
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


def blend(
    network: Features, level: int, content: Array, given: Array, reconstruction: Array, settings: Settings
) -> Array:
    """Return the latent picture's features: content * W + R * (1 - W), as the search sees them (section 4.3).

    content         (h, w, C) float32, the features of the content at `level`
    given           (h, w, k) float32, the same as the search sees them
    reconstruction  (h, w, C) float32, R

    W = alpha * sigmoid(kappa * (M - tau)) keeps the content's structure where its features are strong: M is the squared norm
    of `content`, scaled to 0..1 over the picture, and alpha is that of the level and the weight.

    A projection for the search is linear, so that blending what it makes of both is the same as blending them, and takes
    half the work.
    """
    seen = network.for_search(level, reconstruction)
    return network.backend.blend(content, given, seen, ALPHA[settings.weight][level], KAPPA, TAU)
