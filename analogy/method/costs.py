"""Estimates of how long the parts of a transfer take, for the progress bar: seconds on two cores of a server.

Only their proportions count. Another machine, or a GPU, has others, but a bar that follows these
never stands still.
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
"""Seconds per multiplication in one search iteration."""
_MULTIPLICATION, _ELEMENT = 5e-12, 1.2e-9
"""Seconds per multiplication of a network's convolutions, and per element of its feature maps."""
_CONVOLUTIONS = {1: 1, 2: 2, 3: 2, 4: 4, 5: 4}
"""Number of convolutions of VGG-19 that lead from relu(L-1)_1 to relu(L)_1, by L; all but the last
run at the resolution of level L - 1."""
_READING, _LOADING = 3e-8, 0.1
"""Seconds per pixel to read a picture, and seconds to load the model."""

VOTE, SEAMS, REFINEMENT = 2.5e-8, 1.5e-7, 2.3e-7
"""Seconds per pixel of a result: to enlarge its field and vote, to remove seams, and to refine an enlarged field."""
ROUNDING, PHOTO, COLOURS = 1e-8, 2.8e-7, 7e-8
"""Seconds per pixel of a result: to round it, to refine it as a photograph, and to keep its colours."""


def estimate(
    widths: Sequence[int], search_widths: Mapping[int, int], pair: Pair, settings: Settings, levels: bool
) -> Costs:
    """Return the seconds that a transfer takes, by the stages and parts that it reports.

    widths, search_widths   channels of relu1_1 .. relu5_1, and those that the search sees at each level
    levels                  whether the picture of each level is painted too
    """
    made = pair.ways(settings)
    sought = [pair.ab] if pair.b else [pair.ab, *pair.ba]
    vote = VOTE + SEAMS * (settings.painting == "gradients")
    seen = [(side.name, _area(side.working)) for side in pair.sides]
    seen += [(name, _area(side.working)) for name, (_, side) in pair.known.items()]
    whole = _network(widths, (1, 2, 3, 4, 5))
    costs = {
        "reading": {side.name: _READING * _area(side.size) for side in pair.sides},
        "features": {name: _LOADING / 2 + whole * area for name, area in seen},
    }
    for level in LEVELS:
        products = PATCH_SIZE[level] ** 2 * 2 * search_widths[level] / 4 ** (level - 1)
        spreading = uniformity.PASSES * (settings.uniformity > 0 and level in uniformity.LEVELS)
        search = _PRODUCT * (settings.search_iterations + spreading) * products
        parts = {f"search {w.key}": search * _area(w.content.working) for w in sought if level > 1 or w in made}
        if level > 1:
            inversion = _inversion(widths, level, settings)
            parts |= {f"inversion {way.key}": inversion * _area(way.content.working) for way in sought}
        if levels:
            parts["picture"] = vote * _area(made[0].content.size)
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
    """Return the seconds per pixel of a result for its photo refinement and for keeping its colours."""
    return PHOTO * settings.photo, COLOURS * settings.keep_colors


def _inversion(widths: Sequence[int], level: int, settings: Settings) -> float:
    """Return the seconds to reconstruct level L - 1 from level L, per pixel that the network sees."""
    forward, last = _network(widths, (level - 1, level)), _network(widths, (level - 1,))
    return {
        "vote": 0.0,
        "step": 2 * forward + last,
        "deconvolution": 2 * forward * (settings.inversion_steps + 1),
    }[settings.inversion]


def _network(widths: Sequence[int], levels: Sequence[int]) -> float:
    """Return the seconds of the layers that lead to each of `levels` from the level before, per pixel of the picture."""
    total = 0.0
    for level in levels:
        before, width = (3, *widths)[level - 1 : level + 1]
        finer, here = 4.0 ** -max(level - 2, 0), 4.0 ** -(level - 1)
        inner = _CONVOLUTIONS[level] - 1
        total += _MULTIPLICATION * 9 * (inner * before * before * finer + before * width * here)
        total += _ELEMENT * ((inner + 1) * before * finer + width * here)
    return total
