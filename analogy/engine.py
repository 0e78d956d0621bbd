"""From pictures to pictures: reading, the working size, matching, and painting the results at full size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import images, nnf
from .backends import Array, get_backend
from .features import Features
from .matching import Progress, Size, Stages, match
from .models import DEFAULT, locate
from .settings import PIXEL_PATCH, Settings, make


@dataclass(frozen=True)
class Result:
    """The analogy, and how it was found.

    `a_prime` has the size of A, `b` that of B': (H, W, 3) uint8 RGB. `nnf_ab` (hA, wA, 2) int32 and `nnf_ba` lie between
    the pictures as the network saw them (`working_a`, `working_b`: rows, columns): [y, x] holds the (row, column) of the
    match. `error_ab`, `error_ba` float32: distance of the matched patches, -2 perfect. `seconds`: time per stage.
    """

    a: images.Picture
    b_prime: images.Picture
    a_prime: np.ndarray
    b: np.ndarray
    nnf_ab: np.ndarray
    nnf_ba: np.ndarray
    error_ab: np.ndarray
    error_ba: np.ndarray
    settings: Settings
    model: str
    device: str
    seconds: dict[str, float] = field(default_factory=dict)

    def save(self, folder: str | Path) -> None:
        """Write the pictures and `settings.json` into `folder` (see `output.save`). Raises `OutputError`."""
        from .output import save

        save(self, folder)


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
        progress: Callable[[Progress], None] | None = None,
        **changes: Any,
    ) -> Result:
        """Find A' and B for A and B'.

        `a`, `b_prime`: a path, a PIL image, or an array (see `images.read`). `settings` or single ones by name.
        `progress` is called at each stage; what it raises ends the run. Raises `ImageError`, `SettingsError`.
        """
        settings = settings or make(changes)
        stages = Stages(progress)
        stages.begin("reading", 0.0)
        picture_a, picture_b1 = images.read(a, name="A"), images.read(b_prime, name="B'")
        stages.begin("features", 0.02)
        self.backend.prepare()
        seen_a = images.resize(picture_a.rgb, *working_size(picture_a.rgb.shape[:2], settings))
        seen_b1 = images.resize(picture_b1.rgb, *working_size(picture_b1.rgb.shape[:2], settings))
        found = match(self.network, seen_a, seen_b1, settings, stages)
        stages.begin("pictures", 0.95)
        a_prime = self._paint(found.nnf_ab, seen_b1.shape[:2], picture_a.rgb.shape[:2], picture_b1.rgb)
        b = self._paint(found.nnf_ba, seen_a.shape[:2], picture_b1.rgb.shape[:2], picture_a.rgb)
        stages.begin("done", 1.0)
        host = self.backend.to_host
        return Result(
            picture_a, picture_b1, a_prime, b,
            host(found.nnf_ab), host(found.nnf_ba), host(found.error_ab), host(found.error_ba),
            settings, self.network.card.name, self.backend.describe(), stages.seconds,
        )  # fmt: skip

    def _paint(self, field: Array, seen: Size, size: Size, source: np.ndarray) -> np.ndarray:
        """The picture of `size` voted from the full-size pixels of `source`, which the field saw at size `seen`."""
        backend = self.backend
        full = nnf.enlarge(backend, field, seen, size, source.shape[:2])
        pixels = backend.vote(full, backend.asarray(source.astype(np.float32)), PIXEL_PATCH)
        return backend.to_host(backend.xp.rint(pixels).astype(np.uint8))


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
    progress: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> Result:
    """`Engine(model, device, threads).transfer(...)`, with the engine kept for the next call."""
    return _engine(str(model), device, threads).transfer(a, b_prime, settings, progress=progress, **changes)
