"""Measure how long each stage of painting a frame of a film takes, for `bench.py --film`."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from analogy.backends import get_backend
from analogy.films import carrying, motion
from analogy.pictures.reading import read_picture

SIZE = 540, 960
"""Rows and columns of a frame."""
FRAMES = 9
"""Number of frames of the film. The first is the key's frame, and the second is not measured."""
PAN = 3.3
"""Motion of the camera from frame to frame, in pixels."""


def measure(picture: Path, device: str, threads: int | None) -> dict[str, float]:
    """Return the seconds of each stage of a frame and, as `unit`, those of one optical flow."""
    cv2.setNumThreads(threads or cv2.getNumThreads())
    backend = get_backend(device, threads)
    backend.prepare()
    whole = cv2.resize(
        read_picture(picture).rgb, (SIZE[1] + round(PAN * FRAMES), SIZE[0]), interpolation=cv2.INTER_CUBIC
    )
    shifts = [np.array([[1, 0, -PAN * index], [0, 1, 0]], np.float32) for index in range(FRAMES)]
    film = [cv2.warpAffine(whole, shift, SIZE[::-1]) for shift in shifts]
    stages: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **keywords)
            stages[name] += time.perf_counter() - began
            return result

        return call

    carrier = carrying.Carrier(backend, film[0])
    kept = motion.optical_flow, carrying.nnf.search, carrying.paint
    motion.optical_flow, carrying.nnf.search, carrying.paint = map(timed, ("flows", "search", "painting"), kept)
    try:
        each = []
        for index, frame in enumerate(film[1:]):
            if index == 1:
                stages.clear()
            began = time.perf_counter()
            carrier.advance(frame)
            carrier.paint(film[0].astype(np.float32))
            each.append(time.perf_counter() - began)
    finally:
        motion.optical_flow, carrying.nnf.search, carrying.paint = kept
    units = []
    for _ in range(5):
        began = time.perf_counter()
        motion.optical_flow(film[0], film[1])
        units.append(time.perf_counter() - began)
    found = {name: seconds / (FRAMES - 2) for name, seconds in stages.items()}
    total = sum(each[1:]) / (FRAMES - 2)
    return {**found, "other": total - sum(found.values()), "total": total, "unit": statistics.median(units)}


def lines(found: dict[str, float]) -> list[str]:
    """Return the result of `measure` as lines of text.

    The time of each stage is also given as a multiple of the time of one optical flow. Multiples
    can be compared between runs.
    """
    unit = found["unit"]
    head = (
        f"a frame of a film, {SIZE[1]} x {SIZE[0]}: {found['total']:.2f} s, the time of "
        f"{found['total'] / unit:.1f} optical flows"
    )
    stages = [name for name in found if name not in ("total", "unit")]
    return [head, *(f"  {name:18} {found[name]:7.3f} s   x {found[name] / unit:.2f}" for name in stages)]
