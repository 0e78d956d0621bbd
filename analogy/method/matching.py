"""Deep image analogy: the coarse-to-fine loop of Liao et al. 2017.

The paper is "Visual Attribute Transfer through Deep Image Analogy". Given A and B', the method
finds A' (A in the looks of B') and B (B' in the looks of A). The function `match` is the paper's
algorithm. From level 5 to level 1, it searches the nearest-neighbour fields between A and B', and
reconstructs the features of A' and of B at the next finer level from these fields. If B is known,
as in Hertzmann et al. 2001 ("Image Analogies"), only A' is made.

A `Way` is a direction, from a content to its sources. Its `Sheet` stacks all sources (several B',
for instance) in one array, and `frames` are the rows and columns of each source on the sheet.
`Features.for_search` projects features onto the channels that the search compares.
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
    """Result of the search in one direction at one level, in arrays of the backend.

    Attributes
    ----------
    nnf
        (h, w, 2) int32, the nearest-neighbour field.
    distance
        (h, w) float32, the patch distance of each match: minus the mean, over the patch, of the
        sum of two cosines. One compares the features of A and B, the other those of A' and B'. A
        perfect match has -2.
    """

    nnf: Array
    distance: Array


Matches: TypeAlias = dict[str, dict[int, Match]]
"""Results of the searches: `Way.key` -> level -> match."""


def match(
    network: Features,
    pair: Pair,
    inputs: Mapping[str, Array],
    settings: Settings,
    report: StageReporter,
    on_level: Callable[[int, Matches], None] | None = None,
) -> Matches:
    """Find the nearest-neighbour fields between A and each B'.

    From level 5 to level 2 both directions are searched, because the features of A' and of B need
    both fields. At level 1 only the directions of `settings.direction` are searched. If B is known,
    the network computes its features at every level, and only the field from A to B' is searched.

    Parameters
    ----------
    network
        The network.
    pair
        The pictures.
    inputs
        The pictures at their working sizes, as `Pair.network_inputs` returns them.
    settings
        The settings of the transfer.
    report
        The reporter of the progress.
    on_level
        Called after each level with the level and all matches so far.

    Returns
    -------
    matches
        The match of each direction at each level that was searched.
    """
    # Preprocessing (section 4.1): at the coarsest level the features of A' are those of A, and the
    # features of B are those of B' unless B is known.
    a = Half(network, pair.ab.content, inputs, report)
    examples = [Half(network, side, inputs, report, partner=known_name(side.name)) for side in pair.ab.sources]
    searches = [Search(network, pair.ab, a, examples)]
    if not pair.b:
        searches += [Search(network, way, example, [a]) for way, example in zip(pair.ba, examples, strict=True)]
    made = [way.key for way in pair.ways(settings)]
    found: Matches = {search.way.key: {} for search in searches}

    for level in LEVELS:
        report.begin(f"level {level}")

        # Search the nearest-neighbour fields (section 4.2). The search compares the joined features
        # of A and A' with those of B and B'.
        joined = {a: network.backend.join(a.given, a.latent)}
        joined |= {example: network.backend.join(example.latent, example.given) for example in examples}
        current = [search for search in searches if level > 1 or search.way.key in made]
        ticks = report.parts(*(f"search {search.way.key}" for search in current))
        passes = [search.run(level, joined, settings, tick) for search, tick in zip(current, ticks, strict=True)]
        for search, result in zip(current, network.backend.run_together(passes), strict=True):
            found[search.way.key][level] = result
        if on_level:
            on_level(level, found)
        if level == 1:
            break

        # Upsample the fields (section 4.4), and reconstruct the latent pictures (section 4.3), at
        # the next finer level.
        for half in (a, *examples):
            half.descend(level - 1)
        for search in searches:
            search.descend(level - 1, settings, report)
    return found


class Half:
    """Half of the analogy: a given picture and its latent partner, A and A', or B' and B.

    Attributes
    ----------
    side
        The given picture.
    pixels
        (h, w, 3) float32 in 0..1, the given picture at its working size.
    pyramid
        Level -> features of the given picture.
    given
        (h, w, k) float32, the features of the given picture at the present level, for the search.
    latent
        (h, w, k) float32, the features of the latent partner at the present level, for the search.
    """

    def __init__(
        self,
        network: Features,
        side: Side,
        inputs: Mapping[str, Array],
        report: StageReporter,
        partner: str = "",
    ):
        """Compute the features of the given picture, and those of the partner if it is known.

        `partner` is the key of a known partner in `inputs`.
        """
        self._network, self.side, self.pixels = network, side, inputs[side.name]
        self.pyramid = network.pyramid(self.pixels)
        report.part(side.name)(1)
        self._known_partner = None
        if partner in inputs:
            self._known_partner = network.pyramid(inputs[partner])
            report.part(partner)(1)
        self.given: Array = None
        self.latent: Array = None
        self.descend(LEVELS[0])
        if not self._known_partner:
            self.latent = self.given

    def descend(self, level: int) -> None:
        """Set `given`, and also `latent` if the partner is known, to the features of `level`.

        `Search.descend` reconstructs the features of a partner that is not known.
        """
        self.given = self._network.for_search(level, self.pyramid[level])
        if self._known_partner:
            self.latent = self._network.for_search(level, self._known_partner[level])


class Search:
    """Search in one direction, from the coarsest level to the finest.

    Attributes
    ----------
    way
        The direction.
    content
        The half that is matched.
    sources
        The halves that contain the matches.
    """

    def __init__(self, network: Features, way: Way, content: Half, sources: Sequence[Half]):
        self._network, self.way, self.content, self.sources = network, way, content, sources
        coarsest = LEVELS[0]
        self._field = nnf.identity(
            network.backend, level_size(way.content.working, coarsest), way.sheet.at(coarsest).size
        )
        """Field at the current level: the initial field before the search, the result after it."""

    def run(self, level: int, joined: Mapping[Half, Array], settings: Settings, tick: Tick) -> Passes[Match]:
        """Search the field of a level by PatchMatch, with the constants of that level.

        The constants are the patch size and the search radius. If `settings.uniformity` is above 0,
        the field is then spread over more of the sources at the levels `uniformity.LEVELS`.
        `joined` holds the joined features of each half (see `Backend.join`). The search is a
        generator of passes for `Backend.run_together`.
        """
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
            "seed": settings.seed * 8 + level,  # another seed at each level
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
        """Bring the field and the features of the latent picture to `level`, the next finer level.

        The field is upsampled, and the features of the latent picture are reconstructed from the
        fields of both levels.
        """
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
        """Search each of several sources separately, and choose the best source for each position.

        At finer levels only propagation can move a position to another source, since the random
        search stays in the source of the present match.
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
        """Return the labels on the host, the labels on the device, and the pins at a level.

        The labels are None without masks, and the pins are None without pins.
        """
        way = self.way
        maps = way.labels.at(level_size(way.content.working, level), way.sheet.at(level)) if way.labels else None
        pins = way.pins.at(way.content.working, way.sheet, level) if way.pins else None
        return maps, maps.on(self._network.backend) if maps else None, pins
