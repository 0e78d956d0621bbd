"""Reconstruction of the features of the latent pictures A' and B (section 4.3).

`reconstruct` computes features R of the next finer level from the field of a level. `blend` mixes R
with the features of the content, so that the latent picture keeps the shapes of the content.
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
    """Reconstruct features R of level L - 1 from the field of level L (section 4.3).

    The target is the vote of the sources' features at level L through the field. R should be such
    that the layers of the network from level L - 1 to level L turn R into the target.
    `settings.inversion` says how R is found:

    * "deconvolution" takes up to `settings.inversion_steps` steps of L-BFGS on features x of level
      L - 2 (for L = 2, on a picture x). The steps reduce the distance of the target from the
      network's output at level L for x. R is the network's output at level L - 1 for the best x.
      This departs from the paper in two ways. The paper optimises level L - 1 itself, which
      constrains R less; level L - 2 is the choice of the authors' program. And x starts from the
      vote of the sources' features at its level, not from random values.
    * "step" takes a single gradient step towards the target, from the same vote (see
      `Features.step`). One step is enough. R need not lead exactly to the target; it is more
      important that a picture with the features R could exist.
    * "vote" uses the vote of the sources' features at level L - 1 as R, without the network.

    Parameters
    ----------
    network
        The network.
    level
        L, from 5 to 2.
    field
        (h, w, 2) int32, the field of level L into the sheet of the sources.
    finer
        (h', w', 2) int32, the same field upsampled to level L - 1.
    source
        The features of the sources.
    size
        Working size (rows, columns) of the content.
    settings
        The settings of the transfer.
    tick
        Called after each run of the network, with the share of the work that is done.

    Returns
    -------
    features
        R, (h', w', C) float32.

    Raises
    ------
    ModelError
        If the network gives values that are not finite.
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
    """Return the features of the latent picture: a blend of the content's features and R.

    The blend of section 4.3 is content * W + R * (1 - W), with W = alpha * sigmoid(kappa * (M -
    tau)). M is the squared norm of the content's features, scaled to 0..1 over the picture, and
    alpha depends on the level and on `settings.weight`. So the shapes of the content stay where its
    features have large norms.

    The search uses projected features, and projection is linear. So this function blends projected
    features. The result is the same as the projection of a blend of all channels, and needs half
    the work.

    Parameters
    ----------
    network
        The network.
    level
        The level of the features.
    content
        (h, w, C) float32, the features of the content.
    given
        (h, w, k) float32, the features of the content as the search uses them, possibly projected.
    reconstruction
        (h, w, C) float32, R.
    settings
        The settings of the transfer.

    Returns
    -------
    latent
        (h, w, k) float32, the features of the latent picture as the search uses them.
    """
    projected = network.for_search(level, reconstruction)
    return network.backend.blend(content, given, projected, ALPHA[settings.weight][level], KAPPA, TAU)
