"""From pictures to pictures: reading, the working size, matching, painting at full size, finishing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import colour, guidance, images, memory, photo
from .backends import Array, get_backend
from .errors import SettingsError
from .features import Features, level_size
from .flow import consistency
from .matching import Match, Progress, Size, Stages, as_floats, match
from .models import DEFAULT, locate
from .painting import as_pixels, paint, sketch
from .settings import Settings, make


@dataclass(frozen=True, eq=False)
class Result:
    """The analogy, and how it was found. What `settings.direction` leaves out is None.

    `a_prime` has the size of A, `b` that of B': (H, W, 3) RGB, uint8, or uint16 where A or B' has 16 bits. `nnf_ab`
    (hA, wA, 2) int32 and `nnf_ba` lie between the pictures as the network saw them: [y, x] holds the (row, column) of
    the match. `error_ab`, `error_ba` float32: distance of the matched patches, -2 perfect. `levels`, where asked for:
    level -> the picture voted through the field of that level. `seconds`: time per stage.
    """

    a: images.Picture
    b_prime: images.Picture
    a_prime: np.ndarray | None
    b: np.ndarray | None
    nnf_ab: np.ndarray | None
    nnf_ba: np.ndarray | None
    error_ab: np.ndarray | None
    error_ba: np.ndarray | None
    settings: Settings
    model: str
    model_sha256: str
    device: str
    levels: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def consistency(self) -> np.ndarray:
        """(hA, wA) float32: how far, in positions, each comes back from itself through both fields; 0 is perfect.

        Raises `SettingsError` where only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with {self.settings.direction!r}"
            )
        return consistency(self.nnf_ab, self.nnf_ba)

    def save(self, folder: str | Path, *, flow: bool = False) -> None:
        """Write the pictures and `settings.json` into `folder` (see `output.save`). Raises `OutputError`."""
        from .output import save

        save(self, folder, flow=flow)


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

        `a`, `b_prime`: a path, a PIL image, or an array (see `images.read`). `settings`, or single ones by name.
        `mask_a`, `mask_b`: label pictures of the same sizes (see `guidance`). `levels`: also paint each level's field.
        `progress` is called at each stage; what it raises ends the run. Raises `ImageError`, `SettingsError`, and
        `MemoryLimitError` before any work where the memory cannot suffice.
        """
        settings = settings or make(changes)
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
        stages.begin("pictures", 0.92)
        full = labels.at(self.backend, size_a, size_b) if labels else None
        a_prime = b = None
        if 1 in found.ab:
            a_prime = self._finish(found.ab[1], seen_b, picture_a, picture_b1, full, settings)
        if 1 in found.ba:
            b = self._finish(found.ba[1], seen_a, picture_b1, picture_a, full and full[::-1], settings)
        steps = self._paint_levels(found, picture_a, picture_b1, settings) if levels else {}
        stages.begin("done", 1.0)
        return Result(
            picture_a, picture_b1, a_prime, b,
            self._host(found.ab), self._host(found.ba), self._host(found.error_ab), self._host(found.error_ba),
            settings, self.network.card.name, self.network.card.sha256["features.onnx"], self.backend.describe(),
            steps, stages.seconds,
        )  # fmt: skip

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

    def _host(self, arrays: dict[int, Array]) -> np.ndarray | None:
        return self.backend.to_host(arrays[1]) if 1 in arrays else None


@lru_cache(maxsize=2)
def _engine(model: str, device: str, threads: int | None) -> Engine:
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
    return _engine(str(model), device, threads).transfer(a, b_prime, settings, **options)
