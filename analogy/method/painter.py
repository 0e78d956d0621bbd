"""The pictures of a transfer: each direction's field becomes a picture, which is then finished as the settings say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..backends import Array, Backend
from ..progress import StageReporter, split
from ..settings import Settings
from . import costs, photo
from .colours import keep_colours
from .features import as_floats, level_size
from .matching import Matches
from .painting import as_pixels, paint, paint_level
from .pair import Way, own_pixels


class Painter:
    """The painting of the results of one transfer. What each direction needs is prepared once, for all of its pictures."""

    def __init__(self, backend: Backend, ways: list[Way], seen: Mapping[str, Array], settings: Settings):
        """Prepare the painting of `ways`. `seen`: what the network sees, as `Pair.seen` returns it."""
        self._backend, self._settings, self.ways = backend, settings, ways
        self.levels: dict[int, np.ndarray] = {}
        """The pictures (H, W, 3) uint8 that `show` has painted, by level, on the host."""
        self._labels = {
            way.key: way.labels.at(way.content.size, way.source.size).on(backend) if way.labels else None
            for way in ways
        }
        self._steepness = {
            way.key: None if settings.painting == "pixels" else backend.steepness(seen[way.content.name])
            for way in ways
        }

    def paint(self, way: Way, field: Array, report: StageReporter) -> Array:
        """Return the picture (H, W, 3) of `way.content` that the field of level 1 paints, uint8 or uint16, on the device."""
        content, source = way.content, way.source
        sixteen_bit = _sixteen_bit(way)
        pixels = source.picture.rgb16 if source.picture.rgb16 is not None else own_pixels(self._backend, source.picture)
        floats = paint(
            self._backend,
            field,
            source.working,
            content.size,
            as_floats(self._backend, pixels),
            self._labels[way.key],
            report.part(f"paint {way.key}"),
            way.pins.at(content.size, source.size) if way.pins else None,
            self._steepness[way.key],
        )
        return as_pixels(self._backend, floats, sixteen_bit)

    def show(self, report: StageReporter, level: int, found: Matches) -> None:
        """Paint the field that the search has found at a level, in the first of the ways, and report the picture."""
        way = self.ways[0]
        picture = paint_level(
            self._backend,
            found[way.key][level].nnf,
            level_size(way.source.working, level),
            way.content.size,
            as_floats(self._backend, own_pixels(self._backend, way.source.picture)),
            self._labels[way.key],
            report.part("picture"),
            self._steepness[way.key],
        )
        self.levels[level] = self._backend.to_host(as_pixels(self._backend, picture))
        report.show(self.levels[level])

    def finish(self, way: Way, painted: Array, report: StageReporter) -> Array:
        """Return a painted picture with the details and the colours of its content, as far as the settings ask for them."""
        settings, backend = self._settings, self._backend
        of_photo, of_colours = split(report.part(f"finish {way.key}"), *costs.finishing(settings))
        if not (settings.photo or settings.keep_colors):
            return painted
        picture = way.content.picture
        own = backend.asarray(picture.pixels(True) if _sixteen_bit(way) else own_pixels(backend, picture))
        if settings.photo:
            painted = photo.refine(backend, own, painted, of_photo)
        if settings.keep_colors:
            painted = keep_colours(backend, painted, own)
            of_colours(1)
        return painted


def _sixteen_bit(way: Way) -> bool:
    """Return whether the result of a direction has 16 bits per channel: if one of its two pictures has."""
    return way.content.picture.rgb16 is not None or way.source.picture.rgb16 is not None
