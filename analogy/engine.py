"""From pictures to pictures: read them, match them in the size the network works in, paint the results at full size."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .backends import Array, Size, get_backend
from .errors import DeviceError
from .method import guidance, memory, photo
from .method.features import Features, as_floats, level_size
from .method.matching import Correspondences, match
from .method.painting import as_pixels, paint, vote_level
from .method.progress import Progress, StageReporter
from .networks.models import DEFAULT, locate
from .pictures.colour import keep_colours
from .pictures.images import Picture, resize
from .pictures.reading import read_picture
from .result import Result
from .settings import Settings


def working_size(size: Size, settings: Settings) -> Size:
    """Rows and columns that the network sees: `ratio` times the picture's, at most `max_pixels`, at least 16 each."""
    scale = min(settings.ratio, (settings.max_pixels / (size[0] * size[1])) ** 0.5)
    return max(16, round(size[0] * scale)), max(16, round(size[1] * scale))


class Engine:
    """A model on a device, kept ready for any number of transfers. Calls from several threads are safe.

    model    a name that `analogy models list` shows, or the folder of a model
    device   "auto", "cpu" or "cuda"
    threads  CPU threads; None for one per core

    Raises `ModelError` if the model cannot be used, `DeviceError` if the device cannot.
    """

    def __init__(self, model: str | Path = DEFAULT, device: str = "auto", threads: int | None = None):
        folder = locate(model)
        self.backend = get_backend(device, threads)
        self.network = Features(folder, self.backend)
        self._process = os.getpid()

    def transfer(
        self,
        a: Any,
        b_prime: Any,
        settings: Settings | None = None,
        *,
        mask_a: Any = None,
        mask_b: Any = None,
        levels: bool = False,
        progress: Callable[[Progress], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Find A' and B for A and B'.

        a, b_prime      a path, a PIL image, or an array (see `pictures.reading.read_picture`)
        settings        all settings; `changes` are single ones by name, and override them
        mask_a, mask_b  label pictures of the sizes of A and B' (see `method.guidance`); both or none
        levels          also paint the field of each level
        progress        is called as each stage begins; an exception that it raises ends the run

        Raises `ImageError` for a picture or mask that cannot be used, `SettingsError` for a setting, and
        `MemoryLimitError`, before any work, if the memory cannot suffice.
        """
        if os.getpid() != self._process:
            raise DeviceError(
                "this Engine was made before a fork, and its threads stayed behind; make one in each process"
            )
        settings = Settings.from_dict((asdict(settings) if settings else {}) | changes)
        report = StageReporter(progress)

        report.begin("reading", 0.0)
        picture_a, picture_b_prime = read_picture(a, name="A"), read_picture(b_prime, name="B'")
        size_a, size_b = picture_a.size, picture_b_prime.size
        labels = guidance.read_labels(mask_a, mask_b, size_a, size_b)
        working_a, working_b = working_size(size_a, settings), working_size(size_b, settings)
        memory.check(self.backend, self.network.card.widths, (working_a, working_b), (size_a, size_b), settings)

        report.begin("features", 0.02)
        self.backend.prepare()
        found = match(
            self.network,
            resize(picture_a.rgb, *working_a),
            resize(picture_b_prime.rgb, *working_b),
            settings,
            report,
            labels,
        )

        report.begin("pictures", 0.95)
        labels_full = labels.at(self.backend, size_a, size_b) if labels else None
        labels_full_ba = labels_full and labels_full[::-1]
        a_prime: Array | None = None
        b: Array | None = None
        if 1 in found.nnf_ab:
            a_prime = self._paint(found.nnf_ab[1], working_b, picture_a, picture_b_prime, labels_full, settings)
        if 1 in found.nnf_ba:
            b = self._paint(found.nnf_ba[1], working_a, picture_b_prime, picture_a, labels_full_ba, settings)
        level_pictures = self._paint_levels(found, picture_a, picture_b_prime, settings) if levels else {}
        report.begin("done", 1.0)

        # CuPy arrays in, CuPy arrays out.
        move = self.backend.asarray if isinstance(a, self.backend.xp.ndarray) else self.backend.to_host

        def to_caller(array: Array | None) -> Array | None:
            return None if array is None else move(array)

        return Result(
            a=picture_a,
            b_prime=picture_b_prime,
            a_prime=to_caller(a_prime),
            b=to_caller(b),
            nnf_ab=to_caller(found.nnf_ab.get(1)),
            nnf_ba=to_caller(found.nnf_ba.get(1)),
            error_ab=to_caller(found.error_ab.get(1)),
            error_ba=to_caller(found.error_ba.get(1)),
            settings=settings,
            model=self.network.card.name,
            model_sha256=self.network.card.fingerprint,
            device=self.backend.describe(),
            levels=level_pictures,
            seconds=report.seconds,
        )

    def _paint(
        self,
        field: Array,
        working_source: Size,
        content: Picture,
        source: Picture,
        labels: tuple[Array, Array] | None,
        settings: Settings,
    ) -> np.ndarray:
        """The picture of `content` in the looks of `source`, which the network saw in the size `working_source`."""
        backend = self.backend
        sixteen_bit = content.rgb16 is not None or source.rgb16 is not None
        pixels = as_floats(backend, source.pixels(source.rgb16 is not None))
        painted = as_pixels(backend, paint(backend, field, working_source, content.size, pixels, labels), sixteen_bit)
        if settings.photo:
            painted = photo.refine(backend, content.pixels(sixteen_bit), painted)
        if settings.keep_colors:
            painted = keep_colours(painted, content.pixels(sixteen_bit))
        return painted

    def _paint_levels(
        self, found: Correspondences, a: Picture, b_prime: Picture, settings: Settings
    ) -> dict[int, np.ndarray]:
        """Level -> the picture that its field votes: A', or B if that alone is made."""
        fields, content, source = (
            (found.nnf_ba, b_prime, a) if settings.direction == "ba" else (found.nnf_ab, a, b_prime)
        )
        working_source = working_size(source.size, settings)
        pixels = as_floats(self.backend, source.rgb)
        painted = {
            level: vote_level(self.backend, field, level_size(working_source, level), content.size, pixels)
            for level, field in fields.items()
        }
        return {level: as_pixels(self.backend, picture) for level, picture in painted.items()}


@lru_cache(maxsize=2)
def _engine(model: str, device: str, threads: int | None, process: int) -> Engine:
    return Engine(model, device, threads)


def transfer(
    a: Any,
    b_prime: Any,
    settings: Settings | None = None,
    *,
    model: str | Path = DEFAULT,
    device: str = "auto",
    threads: int | None = None,
    **options: Any,
) -> Result:
    """`Engine(model, device, threads).transfer(a, b_prime, settings, **options)`. Keeps the engine for the next call."""
    return _engine(str(model), device, threads, os.getpid()).transfer(a, b_prime, settings, **options)
