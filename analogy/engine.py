"""From pictures to pictures: reading, the working size, matching, painting at full size, finishing."""

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
from .method.matching import Match, Progress, Stages, match
from .method.painting import as_pixels, paint, sketch
from .networks.models import DEFAULT, locate
from .pictures import colour, images
from .result import Result
from .settings import Settings, make


def working_size(size: Size, settings: Settings) -> Size:
    """Rows and columns that the network sees: `ratio` times the picture's, at most `max_pixels`, at least 16 each."""
    scale = min(settings.ratio, (settings.max_pixels / (size[0] * size[1])) ** 0.5)
    return max(16, round(size[0] * scale)), max(16, round(size[1] * scale))


class Engine:
    """A model on a device, kept ready for any number of transfers; calls from several threads are safe.

    `model`: a name of `analogy models list` or a model's folder. `device`: "auto", "cpu" or "cuda". `threads`: CPU
    threads, None for one per core. Raises `ModelError` or `DeviceError` where they cannot be used.
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

        `a`, `b_prime`: a path, a PIL image, or an array (see `images.read`). `settings`, and single ones by name.
        `mask_a`, `mask_b`: label pictures of the same sizes (see `guidance`). `levels`: also paint each level's field.
        `progress` is called at each stage; what it raises ends the run. Raises `ImageError`, `SettingsError`, and
        `MemoryLimitError` before any work where the memory cannot suffice.
        """
        if os.getpid() != self._process:
            raise DeviceError(
                "this Engine was made before a fork, and its threads stayed behind; make one in each process"
            )
        settings = make(asdict(settings) | changes) if settings else make(changes)
        stages = Stages(progress)
        stages.begin("reading", 0.0)
        picture_a, picture_b1 = images.read(a, name="A"), images.read(b_prime, name="B'")
        size_a, size_b = picture_a.rgb.shape[:2], picture_b1.rgb.shape[:2]
        labels = guidance.read(mask_a, mask_b, size_a, size_b)
        seen_a, seen_b = working_size(size_a, settings), working_size(size_b, settings)
        memory.check(self.backend, self.network.card.widths, (seen_a, seen_b), (size_a, size_b), settings)
        stages.begin("features", 0.02)
        self.backend.prepare()
        found = match(
            self.network, images.resize(picture_a.rgb, *seen_a), images.resize(picture_b1.rgb, *seen_b),
            settings, stages, labels,
        )  # fmt: skip
        stages.begin("pictures", 0.95)
        full = labels.at(self.backend, size_a, size_b) if labels else None
        a_prime: Array | None = None
        b: Array | None = None
        if 1 in found.ab:
            a_prime = self._finish(found.ab[1], seen_b, picture_a, picture_b1, full, settings)
        if 1 in found.ba:
            b = self._finish(found.ba[1], seen_a, picture_b1, picture_a, full and full[::-1], settings)
        steps = self._paint_levels(found, picture_a, picture_b1, settings) if levels else {}
        stages.begin("done", 1.0)
        # CuPy arrays in, CuPy arrays out.
        to = self.backend.asarray if isinstance(a, self.backend.xp.ndarray) else self.backend.to_host

        def give(array: Array | None) -> Array | None:
            return None if array is None else to(array)

        return Result(
            a=picture_a,
            b_prime=picture_b1,
            a_prime=give(a_prime),
            b=give(b),
            nnf_ab=give(found.ab.get(1)),
            nnf_ba=give(found.ba.get(1)),
            error_ab=give(found.error_ab.get(1)),
            error_ba=give(found.error_ba.get(1)),
            settings=settings,
            model=self.network.card.name,
            model_sha256=self.network.card.sha256["features.onnx"],
            device=self.backend.describe(),
            levels=steps,
            seconds=stages.seconds,
        )

    def _finish(
        self, nnf: Array, seen: Size, own: images.Picture, source: images.Picture,
        labels: tuple[Array, Array] | None, settings: Settings,
    ) -> np.ndarray:  # fmt: skip
        """The picture of `own`'s size in the looks of `source`, which the field saw at size `seen`."""
        backend = self.backend
        deep = own.deep is not None or source.deep is not None
        pixels = as_floats(backend, source.pixels(source.deep is not None))
        result = as_pixels(backend, paint(backend, nnf, seen, own.rgb.shape[:2], pixels, labels), deep)
        if settings.photo:
            result = photo.refine(backend, own.pixels(deep), result)
        if settings.keep_colors:
            result = colour.keep_colours(result, own.pixels(deep))
        return result

    def _paint_levels(
        self, found: Match, a: images.Picture, b1: images.Picture, settings: Settings
    ) -> dict[int, np.ndarray]:
        """The picture that each level's field votes: A', or B where that alone is made."""
        fields, own, source = (found.ba, b1, a) if settings.direction == "ba" else (found.ab, a, b1)
        seen = working_size(source.rgb.shape[:2], settings)
        pixels = as_floats(self.backend, source.rgb)
        return {
            level: as_pixels(
                self.backend, sketch(self.backend, field, level_size(seen, level), own.rgb.shape[:2], pixels)
            )
            for level, field in fields.items()
        }


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
    """`Engine(model, device, threads).transfer(a, b_prime, settings, **options)`; the engine is kept for the next call."""
    return _engine(str(model), device, threads, os.getpid()).transfer(a, b_prime, settings, **options)
