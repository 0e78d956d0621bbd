"""Deep image analogy: the coarse-to-fine loop of Liao et al. 2017 ("Visual Attribute Transfer through Deep Image Analogy").

Given A and B', find A' (A in the looks of B') and B (B' in the looks of A). `match` is the paper's algorithm: at each level
it searches the nearest-neighbour fields between A and B', and from them reconstructs the features of A' and of B one level
finer. Where B is known, as in Hertzmann et al. 2001 ("Image Analogies"), only A' is sought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..backends import Array, Size
from ..progress import StageReporter
from ..settings import PATCH_SIZE, SEARCH_RADIUS, Settings
from . import nnf
from .features import LEVELS, Features, level_size
from .guidance import constrain_to_labels
from .holding import REACH
from .pair import Pair, Side, Way
from .reconstruction import blend, content_weight, reconstruct


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

    Both directions are searched down to level 2, since the features of A' and of B need both; at level 1 only those that
    `settings.direction` asks for. Where B is known, its features are its own at every level, and only the field from A to B'
    is searched.
    """
    # Preprocessing (section 4.1): at the coarsest level A' is taken to look like A, and B like B'.
    a = Half(network, pair.ab.content, seen, report)
    b = Half(network, pair.ab.source, seen, report, partner="B" if pair.b else None)
    searches = [Search(network, pair.ab, a, b)]
    if not pair.b:
        searches.append(Search(network, pair.ba, b, a))
    made = [way.key for way in pair.ways(settings)]
    found: Matches = {search.way.key: {} for search in searches}

    for level in LEVELS:
        report.begin(f"level {level}")

        # Nearest-neighbour field search (section 4.2).
        joined = {a: network.backend.join(a.given, a.latent), b: network.backend.join(b.latent, b.given)}
        for search in searches:
            key = search.way.key
            if level > 1 or key in made:
                found[key][level] = search.run(level, joined, settings, report)
        if on_level:
            on_level(level, found)
        if level == 1:
            break

        # Latent image reconstruction (section 4.3) and nearest-neighbour field upsampling (section 4.4).
        for half in (a, b):
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
        partner: str | None = None,
    ):
        """Compute the features. `partner` is the key in `seen` of a partner that is known."""
        self._network, self.side, self.pixels = network, side, seen[side.name]
        self.pyramid = network.pyramid(self.pixels)
        report.part(side.name)(1)
        self._known_partner = None
        if partner:
            self._known_partner = network.pyramid(seen[partner])
            report.part(partner)(1)
        self.given: Array = None
        self.latent: Array = None
        self.descend(LEVELS[0])
        if not partner:
            self.latent = self.given

    def descend(self, level: int) -> None:
        """Go to `level` with what is known there; the features of a latent partner are reconstructed by `Search.descend`."""
        self.given = self._network.for_search(level, self.pyramid[level])
        if self._known_partner:
            self.latent = self._network.for_search(level, self._known_partner[level])


class Search:
    """The search in one direction, from the coarsest level to the finest.

    way              the direction
    content, source  the half that is matched, and the half in which its matches lie
    """

    def __init__(self, network: Features, way: Way, content: Half, source: Half):
        self._network, self.way, self.content, self.source = network, way, content, source
        self._field = nnf.identity(network.backend, *self._sizes(LEVELS[0]))
        """The nearest-neighbour field of the present level: where its search starts, and then what it has found."""

    def run(self, level: int, joined: Mapping[Half, Array], settings: Settings, report: StageReporter) -> Match:
        """Search the field of a level by PatchMatch, with the constants of the level. `joined`: see `Backend.join`."""
        backend, way = self._network.backend, self.way
        labels = None
        if way.labels:
            maps = way.labels.at(*self._sizes(level))
            labels = maps.on(backend)
            self._field = constrain_to_labels(backend, self._field, maps, labels)
        self._field, distance = nnf.search(
            backend,
            joined[self.content],
            joined[self.source],
            self._field,
            patch=PATCH_SIZE[level],
            search_radius=SEARCH_RADIUS.get(level),
            iterations=settings.search_iterations,
            seed=(settings.seed * 8 + level) % 2**32,
            labels=labels,
            pins=way.pins.at(way.content.working, way.source.working, level) if way.pins else None,
            reach=REACH * 2 ** (5 - level),
            tick=report.part(f"search {way.key}"),
        )
        return Match(self._field, distance)

    def descend(self, level: int, settings: Settings, report: StageReporter) -> None:
        """Go to `level`, one finer than before: upsample the field, and reconstruct the features of the content's partner."""
        network, content, source = self._network, self.content, self.source
        coarser, self._field = self._field, nnf.upsample(network.backend, self._field, *self._sizes(level))
        features = reconstruct(
            network,
            level + 1,
            coarser,
            self._field,
            source.pyramid,
            source.pixels,
            self.way.content.working,
            settings,
            report.part(f"inversion {self.way.key}"),
        )
        weight = content_weight(network.backend, content.pyramid[level], level, settings)
        content.latent = blend(content.given, network.for_search(level, features), weight)

    def _sizes(self, level: int) -> tuple[Size, Size]:
        """Return rows and columns of the maps of a level: the content's, and the source's."""
        return level_size(self.way.content.working, level), level_size(self.way.source.working, level)
