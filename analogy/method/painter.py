"""Painting of a transfer's pictures from their fields, and refinement of the painted pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..backends import Array
from ..progress import StageReporter, split
from ..settings import Settings
from . import costs, photo
from .colours import keep_colours
from .features import as_floats
from .matching import Matches
from .painting import as_pixels, paint, paint_level
from .pair import Uploads, Way


class Painter:
    """Painter of the results of one transfer.

    For each direction, the steepness of the content (see `seams`) is computed once, for all
    pictures of the direction.

    Parameters
    ----------
    uploads
        The pictures of the transfer as arrays of the backend that runs the kernels.
    ways
        The directions whose pictures are painted.
    inputs
        The pictures at their working sizes, as `Pair.network_inputs` returns them.
    settings
        The settings of the transfer.
    """

    def __init__(self, uploads: Uploads, ways: list[Way], inputs: Mapping[str, Array], settings: Settings):
        self._uploads, self._backend, self._settings, self.ways = uploads, uploads.backend, settings, ways
        backend = uploads.backend
        self.levels: dict[int, np.ndarray] = {}
        """Level -> picture (H, W, 3) uint8 on the host that `show` has painted."""
        self._steepness = {
            way.key: None if settings.painting == "pixels" else backend.steepness(inputs[way.content.name])
            for way in ways
        }

    def paint(self, way: Way, field: Array, report: StageReporter) -> Array:
        """Return the picture painted from the field of level 1, (H, W, 3) on the device.

        It is uint16 if a picture of this direction has 16 bits per channel, else uint8.
        """
        content = way.content
        floats = paint(
            self._backend,
            field,
            way.sheet,
            content.size,
            way.full_sheet,
            self._source_pixels(way, sixteen_bit=True),
            self._labels(way),
            report.part(f"paint {way.key}"),
            way.pins.at(content.size, way.full_sheet) if way.pins else None,
            self._steepness[way.key],
        )
        return as_pixels(self._backend, floats, _sixteen_bit(way))

    def show(self, report: StageReporter, level: int, found: Matches) -> None:
        """Paint the picture of a level in the first direction, and report it with the progress."""
        way = self.ways[0]
        picture = paint_level(
            self._backend,
            found[way.key][level].nnf,
            way.sheet.at(level),
            way.content.size,
            way.full_sheet,
            self._source_pixels(way, sixteen_bit=False),
            self._labels_of_levels,
            report.part("picture"),
            self._steepness[way.key],
        )
        self.levels[level] = self._backend.to_host(as_pixels(self._backend, picture))
        report.show(self.levels[level].copy())  # a copy, because the caller may draw into it

    def _labels(self, way: Way) -> tuple[Array, Array] | None:
        """Return the labels of a direction at full size.

        They take much memory, so they exist only while a picture of the direction is painted.
        """
        return way.labels.at(way.content.size, way.full_sheet).on(self._backend) if way.labels else None

    @cached_property
    def _labels_of_levels(self) -> tuple[Array, Array] | None:
        """Labels at full size of the direction whose levels `show` paints."""
        return self._labels(self.ways[0])

    def finish(self, way: Way, painted: Array, report: StageReporter) -> Array:
        """Return a painted picture with the content's details and colours, if the settings say so.

        If `settings.photo` is set, `photo.refine` adds the details. If `settings.keep_colors` is
        set, `keep_colours` then adds the colours.
        """
        settings, backend = self._settings, self._backend
        of_photo, of_colours = split(report.part(f"finish {way.key}"), *costs.finishing(settings))
        if not (settings.photo or settings.keep_colors):
            return painted
        picture = way.content.picture
        own = self._uploads.pixels(picture, _sixteen_bit(way))
        if settings.photo:
            painted = photo.refine(backend, own, painted, of_photo)
        if settings.keep_colors:
            painted = keep_colours(backend, painted, own)
            of_colours(1)
        return painted

    def _source_pixels(self, way: Way, sixteen_bit: bool) -> Array:
        """Return the sheet of the full-size sources of a direction, (H, W, 3) float32 in 0..1.

        With `sixteen_bit`, sources that have 16 bits per channel keep them.
        """
        pictures = [source.picture for source in way.sources]
        floats = [
            as_floats(self._backend, self._uploads.pixels(picture, sixteen_bit and picture.rgb16 is not None))
            for picture in pictures
        ]
        return way.full_sheet.lay(self._backend.xp, floats)


def _sixteen_bit(way: Way) -> bool:
    """Return True if one of the pictures of a direction, and so its result, has 16-bit channels."""
    return any(side.picture.rgb16 is not None for side in (way.content, *way.sources))
