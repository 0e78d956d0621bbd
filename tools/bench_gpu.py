"""Measure whole transfers on a GPU, for several uses and with two callers, for `bench.py`.

The times are shown beside the times that are aimed at for an H100. The pictures and the results of
a transfer are in the host's memory. Before the transfers of a use are counted, two other transfers
with its settings are made.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analogy.settings import PRESETS


@dataclass(frozen=True)
class Case:
    """A kind of transfer that is measured."""

    size: tuple[int, int]
    """Rows and columns of both pictures."""
    settings: Mapping[str, Any]
    """The settings that differ from the defaults."""
    runs: int
    """Number of transfers that are counted."""
    aim: float
    """The time that a transfer should take on an H100, in milliseconds."""


CASES = {
    "defaults": Case((448, 448), {}, 15, 12),
    "preset fast": Case((448, 448), PRESETS["fast"], 15, 7),
    "photo mode": Case((448, 448), {"photo": True}, 15, 20),
    "preset paper": Case((448, 448), PRESETS["paper"], 4, 200),
    "4000 x 3000": Case((3000, 4000), {}, 5, 80),
    "4000 x 3000, photo mode": Case((3000, 4000), {"photo": True}, 5, 250),
}
"""Name of a case -> the case. The aims are for the compact model.

For the model `vgg16`, which has VGG-16's full numbers of channels, the aim with the defaults is 40
ms.
"""
CALLERS = 2
"""Number of threads that call one engine at the same time."""
SECONDS = 4.0
"""Length of each of the two measurements of the transfers per second, in seconds."""
GAIN = 1.7
"""Aim for the ratio of the transfers per second with `CALLERS` callers and with one caller."""


def measure(a: str, b_prime: str, model: str, device: str, cases: Mapping[str, Case], seconds: float) -> dict[str, Any]:
    """Measure the cases, and then the transfers per second with one caller and with `CALLERS`.

    Returns {"ms": {case: [low, median, high]}, "per_second": {callers: transfers}, "device":
    words}. A case that fails has the text of its error in place of the times.
    """
    from analogy.engine import Engine

    engine = Engine(model, device)
    milliseconds: dict[str, list[float] | str] = {}
    for name, case in cases.items():
        try:
            milliseconds[name] = _times(engine, [_resized(path, case.size) for path in (a, b_prime)], case)
        except Exception as error:  # the times of the other cases are not lost
            milliseconds[name] = f"{type(error).__name__}: {error}"
    first = next(iter(cases.values()))
    pictures = [_resized(path, first.size) for path in (a, b_prime)]

    def call(start: threading.Barrier) -> int:
        engine.transfer(*pictures, **first.settings)  # CuPy and ONNX Runtime make handles for each thread
        start.wait()
        until, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            engine.transfer(*pictures, **first.settings)
            count += 1
        return count

    per_second = {}
    for callers in (1, CALLERS):
        with ThreadPoolExecutor(callers) as pool:
            per_second[str(callers)] = sum(pool.map(call, [threading.Barrier(callers)] * callers)) / seconds
    return {"ms": milliseconds, "per_second": per_second, "device": engine.backend.describe()}


def _times(engine: Any, pictures: list[np.ndarray], case: Case) -> list[float]:
    """Return the shortest, the median and the longest time of the transfers of a case, in ms."""
    took = []
    for _ in range(case.runs + 2):
        began = time.perf_counter()
        engine.transfer(*pictures, **case.settings)
        took.append(1000 * (time.perf_counter() - began))
    return [min(took[2:]), statistics.median(took[2:]), max(took[2:])]


def lines(found: Mapping[str, Any], cases: Mapping[str, Case]) -> list[str]:
    """Return the figures of `measure`, and the aims, as lines of text."""
    text = [f"  whole transfers on {found['device']}, median (lowest to highest):"]
    for name, times in found["ms"].items():
        if isinstance(times, str):
            text.append(f"  {name:24} failed: {times}")
            continue
        low, middle, high = times
        text.append(f"  {name:24} {middle:7.1f} ms ({low:.1f} to {high:.1f}); aim on an H100 {cases[name].aim:g} ms")
    one, two = found["per_second"]["1"], found["per_second"][str(CALLERS)]
    text.append(
        f"  {one:.1f} transfers a second for one caller, {two:.1f} for {CALLERS}: x {two / one if one else 0:.2f}; "
        f"aim x {GAIN:g}, or less if one caller uses the device fully"
    )
    return text


def _resized(path: str, size: tuple[int, int]) -> np.ndarray:
    with Image.open(Path(path)) as image:
        return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS))
