"""Deep image analogy: the coarse-to-fine loop of Liao et al. 2017 ("Visual Attribute Transfer through Deep Image Analogy").

Given A and B', find A' (A in the looks of B') and B (B' in the looks of A). `match` is the paper's
algorithm: at each level it searches the nearest-neighbour fields between A and B', and from them
reconstructs the features of A' and of B one level finer. Where B is known, as in Hertzmann et al.
2001 ("Image Analogies"), only A' is sought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..backends import Array, Passes
from ..progress import StageReporter, Tick, split
from ..settings import PATCH_SIZE, SEARCH_RADIUS, Settings
from . import nnf, uniformity
from .features import LEVELS, Features, level_size
from .guidance import LabelMaps, constrain_to_labels
from .holding import REACH
from .pair import Pair, Side, Way, known_name
from .reconstruction import blend, reconstruct
from .sheets import SourceFeatures, choose


@dataclass(frozen=True, eq=False)
class Match:
    """The field that the search finds in one direction at one level, with its distances, as arrays of the backend.

    nnf       (h, w, 2) int32, the nearest-neighbour field
    distance  (h, w) float32, the distance of the matched patches; -2 is perfect
    """

    nnf: Array
    distance: Array


Matches: TypeAlias = dict[str, dict[int, Match]]
"""The matches that the search has found: `Way.key` -> level -> match."""


def match(
    network: Features,
    pair: Pair,
    seen: Mapping[str, Array],
    settings: Settings,
    report: StageReporter,
    on_level: Callable[[int, Matches], None] | None = None,
) -> Matches:
    """Find the nearest-neighbour fields between the two pictures of a pair.

    seen      what the network sees, as `Pair.seen` returns it
    on_level  is called after each level with the level and with what has been found so far

    Both directions are searched down to level 2, since the features of A' and of B need both; at
    level 1 only those that `settings.direction` asks for. Where B is known, its features are its
    own at every level, and only the field from A to B' is searched.
    """
    # Preprocessing (section 4.1): at the coarsest level A' is taken to look like A, and B like B'.
    a = Half(network, pair.ab.content, seen, report)
    examples = [Half(network, side, seen, report, partner=known_name(side.name)) for side in pair.ab.sources]
    searches = [Search(network, pair.ab, a, examples)]
    if not pair.b:
        searches += [Search(network, way, example, [a]) for way, example in zip(pair.ba, examples, strict=True)]
    made = [way.key for way in pair.ways(settings)]
    found: Matches = {search.way.key: {} for search in searches}

    for level in LEVELS:
        report.begin(f"level {level}")

        # Nearest-neighbour field search (section 4.2).
        joined = {a: network.backend.join(a.given, a.latent)}
        joined |= {example: network.backend.join(example.latent, example.given) for example in examples}
        wanted = {search.way.key: search for search in searches if level > 1 or search.way.key in made}
        works = [search.run(level, joined, settings, report.part(f"search {key}")) for key, search in wanted.items()]
        for key, of_level in zip(wanted, network.backend.together(works), strict=True):
            found[key][level] = of_level
        if on_level:
            on_level(level, found)
        if level == 1:
            break

        # Latent image reconstruction (section 4.3) and nearest-neighbour field upsampling (section
        # 4.4).
        for half in (a, *examples):
            half.descend(level - 1)
        for search in searches:
            search.descend(level - 1, settings, report)
    return found


class Half:
    """One half of the analogy: a given picture and its latent partner (A and A', or B' and B), as features.

    side     the given picture
    pixels   (h, w, 3) float32 0..1, the given picture as the network sees it
    pyramid  the features of the given picture, by level
    given    (h, w, k) float32, the features of the given picture at the present level, as the search sees them
    latent   the same of the partner
    """

    def __init__(
        self,
        network: Features,
        side: Side,
        seen: Mapping[str, Array],
        report: StageReporter,
        partner: str = "",
    ):
        """Compute the features. `partner` is the key that a partner has in `seen` where it is known."""
        self._network, self.side, self.pixels = network, side, seen[side.name]
        self.pyramid = network.pyramid(self.pixels)
        report.part(side.name)(1)
        self._known_partner = None
        if partner in seen:
            self._known_partner = network.pyramid(seen[partner])
            report.part(partner)(1)
        self.given: Array = None
        self.latent: Array = None
        self.descend(LEVELS[0])
        if not self._known_partner:
            self.latent = self.given

    def descend(self, level: int) -> None:
        """Go to `level` with what is known there; the features of a latent partner are reconstructed by `Search.descend`."""
        self.given = self._network.for_search(level, self.pyramid[level])
        if self._known_partner:
            self.latent = self._network.for_search(level, self._known_partner[level])


class Search:
    """The search in one direction, from the coarsest level to the finest.

    way               the direction
    content, sources  the half that is matched, and the halves in which its matches lie
    """

    def __init__(self, network: Features, way: Way, content: Half, sources: Sequence[Half]):
        self._network, self.way, self.content, self.sources = network, way, content, sources
        coarsest = LEVELS[0]
        self._field = nnf.identity(
            network.backend, level_size(way.content.working, coarsest), way.sheet.at(coarsest).size
        )
        """The nearest-neighbour field of the present level: where its search starts, and then what it has found."""

    def run(self, level: int, joined: Mapping[Half, Array], settings: Settings, tick: Tick) -> Passes[Match]:
        """Search the field of a level by PatchMatch, with the constants of the level. `joined`: see `Backend.join`."""
        if level == LEVELS[0] and len(self.sources) > 1:
            return (yield from self._choose(level, joined, settings, tick))
        backend, sheet = self._network.backend, self.way.sheet.at(level)
        maps, labels, pins = self._guidance(level)
        if maps and labels:
            self._field = constrain_to_labels(backend, self._field, maps, labels)
        a, b = joined[self.content], sheet.lay(backend.xp, [joined[source] for source in self.sources])
        options: dict[str, Any] = {
            "patch": PATCH_SIZE[level],
            "search_radius": SEARCH_RADIUS.get(level),
            "seed": (settings.seed * 8 + level) % 2**32,
            "labels": labels,
            "pins": pins,
            "reach": REACH * 2 ** (5 - level),
            "frames": sheet.frames(backend),
        }
        spread = settings.uniformity > 0 and level in uniformity.LEVELS
        of_search, of_spreading = split(tick, settings.search_iterations, uniformity.PASSES * spread)
        iterations = settings.search_iterations
        found = yield from nnf.passes(backend, a, b, self._field, iterations=iterations, tick=of_search, **options)
        if spread:
            amount = settings.uniformity
            found = yield from uniformity.spread(
                backend, a, b, found[0], sheet, uniformity=amount, tick=of_spreading, **options
            )
        self._field, distance = found
        return Match(self._field, distance)

    def descend(self, level: int, settings: Settings, report: StageReporter) -> None:
        """Go to `level`, one finer than before: upsample the field, and reconstruct the features of the content's partner."""
        network, content, way = self._network, self.content, self.way
        backend, sheet = network.backend, way.sheet
        size = level_size(way.content.working, level)
        coarser, self._field = self._field, sheet.at(level + 1).upsample(backend, self._field, size, sheet.at(level))
        features = reconstruct(
            network,
            level + 1,
            coarser,
            self._field,
            SourceFeatures(backend, sheet, [{0: source.pixels} | source.pyramid for source in self.sources]),
            way.content.working,
            settings,
            report.part(f"inversion {way.key}"),
        )
        content.latent = blend(network, level, content.pyramid[level], content.given, features, settings)

    def _choose(self, level: int, joined: Mapping[Half, Array], settings: Settings, tick: Tick) -> Passes[Match]:
        """Search each of several sources by itself, and let each position begin in the one that fits best.

        At finer levels a piece grows from one source into another by propagation alone: the random
        search stays where it is.
        """
        way = self.way
        ways = [way.to(k) for k in range(len(self.sources))]
        found = []
        for alone, source, part in zip(ways, self.sources, split(tick, *[1.0] * len(ways)), strict=True):
            search = Search(self._network, alone, self.content, [source])
            found.append((yield from search.run(level, joined, settings, part)))
        _, labels, pins = self._guidance(level)
        matches = [(each.nnf, each.distance) for each in found]
        self._field, distance = choose(self._network.backend, way.sheet.at(level), matches, labels, pins)
        return Match(self._field, distance)

    def _guidance(self, level: int) -> tuple[LabelMaps | None, tuple[Array, Array] | None, np.ndarray | None]:
        """Return the labels at a level, on the host and on the device, and the pins there; None for what is not given."""
        way = self.way
        maps = way.labels.at(level_size(way.content.working, level), way.sheet.at(level)) if way.labels else None
        pins = way.pins.at(way.content.working, way.sheet, level) if way.pins else None
        return maps, maps.on(self._network.backend) if maps else None, pins
