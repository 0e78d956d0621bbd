"""Estimates of the seconds that each part of a transfer takes, for the progress bar.

The constants were measured on two cores of a server. The bar needs only the ratios between them.
The ratios differ on other machines and on a GPU, but so little that the bar still moves steadily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..backends import Size
from ..progress import Costs
from ..settings import PATCH_SIZE, Settings
from . import uniformity
from .features import LEVELS
from .pair import Pair

_PRODUCT = 0.5e-9
"""Seconds of a search iteration, per position and per multiplication in a patch distance."""
_MULTIPLICATION = 5e-12
"""Seconds per multiplication in a network's convolutions."""
_ELEMENT = 1.2e-9
"""Seconds per element of a network's feature maps, in addition to those of the multiplications."""
_CONVOLUTIONS = {1: 1, 2: 2, 3: 2, 4: 4, 5: 4}
"""Level L -> number of convolutions of VGG-19 from relu(L-1)_1 to relu(L)_1.

For L = 1 it is the number from the picture to relu1_1. All of these convolutions but the last run
at the resolution of level L - 1.
"""
_READING = 3e-8
"""Seconds per pixel to read a picture."""
_LOADING = 0.1
"""Seconds to load the model."""

VOTE = 2.5e-8
"""Seconds per pixel of a result to enlarge its field and to vote."""
SEAMS = 1.5e-7
"""Seconds per pixel of a result to remove seams."""
REFINEMENT = 2.3e-7
"""Seconds per pixel of a result to refine an enlarged field."""
ROUNDING = 1e-8
"""Seconds per pixel of a result to round its values to integers."""
PHOTO = 2.8e-7
"""Seconds per pixel of a result for photo refinement (see `photo`)."""
COLOURS = 7e-8
"""Seconds per pixel of a result to keep the colours of its content."""


def estimate(
    widths: Sequence[int], search_widths: Mapping[int, int], pair: Pair, settings: Settings, levels: bool
) -> Costs:
    """Return the estimated seconds of each part of each stage in the progress of a transfer.

    Parameters
    ----------
    widths
        Channels of relu1_1 .. relu5_1.
    search_widths
        Level -> channels of the features that the search compares.
    pair
        The pictures.
    settings
        The settings of the transfer.
    levels
        True if a picture is also painted from the field of each level.

    Returns
    -------
    costs
        Stage -> part -> seconds.
    """
    made = pair.ways(settings)
    sought = [pair.ab] if pair.b else [pair.ab, *pair.ba]
    vote = VOTE + SEAMS * (settings.painting == "gradients")
    areas = [(side.name, _area(side.working)) for side in pair.sides]
    areas += [(name, _area(side.working)) for name, (_, side) in pair.known.items()]
    whole = _network(widths, (1, 2, 3, 4, 5))
    costs = {
        "reading": {side.name: _READING * _area(side.size) for side in pair.sides},
        "features": {name: _LOADING / 2 + whole * area for name, area in areas},
    }
    for level in LEVELS:
        products = PATCH_SIZE[level] ** 2 * 2 * search_widths[level] / 4 ** (level - 1)
        spreading = uniformity.PASSES * (settings.uniformity > 0 and level in uniformity.LEVELS)
        search = _PRODUCT * (settings.search_iterations + spreading) * products
        parts = {f"search {w.key}": search * _area(w.content.working) for w in sought if level > 1 or w in made}
        if levels:
            parts["picture"] = vote * _area(made[0].content.size)
        if level > 1:
            inversion = _inversion(widths, level, settings)
            parts |= {f"inversion {way.key}": inversion * _area(way.content.working) for way in sought}
        costs[f"level {level}"] = parts
    pictures: dict[str, float] = {}
    for way in made:
        per_pixel = vote + REFINEMENT * (way.content.working != way.content.size) + ROUNDING
        pictures[f"paint {way.key}"] = per_pixel * _area(way.content.size)
    for way in made:
        pictures[f"finish {way.key}"] = sum(finishing(settings)) * _area(way.content.size)
    costs["pictures"] = pictures
    return costs


def _area(size: Size) -> int:
    """Return the number of pixels of a size (rows, columns)."""
    return size[0] * size[1]


def finishing(settings: Settings) -> tuple[float, float]:
    """Return the seconds per pixel of a result for photo refinement and for keeping colours.

    A number is 0 if the settings leave that step out.
    """
    return PHOTO * settings.photo, COLOURS * settings.keep_colors


def _inversion(widths: Sequence[int], level: int, settings: Settings) -> float:
    """Return the seconds to reconstruct the features of level `level` - 1 of a latent picture.

    They are given per pixel of the content at its working size.
    """
    forward, last = _network(widths, (level - 1, level)), _network(widths, (level - 1,))
    return {
        "vote": 0.0,
        "step": 2 * forward + last,
        "deconvolution": 2 * forward * (settings.inversion_steps + 1),
    }[settings.inversion]


def _network(widths: Sequence[int], levels: Sequence[int]) -> float:
    """Return the seconds that the layers of `levels` take in a network, per pixel of the picture.

    The layers of level L compute relu(L)_1 from relu(L-1)_1, or from the picture if L = 1.
    """
    total = 0.0
    for level in levels:
        before, width = (3, *widths)[level - 1 : level + 1]
        finer, here = 4.0 ** -max(level - 2, 0), 4.0 ** -(level - 1)
        inner = _CONVOLUTIONS[level] - 1
        total += _MULTIPLICATION * 9 * (inner * before * before * finer + before * width * here)
        total += _ELEMENT * ((inner + 1) * before * finer + width * here)
    return total
