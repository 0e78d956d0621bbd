"""The report of `analogy info --selftest`: which checks a GPU passes, and how fast it is."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from ..backends import Device
from ..backends.selftest import NO_GPU, Check, selftest
from ..errors import first_line
from ..settings import Settings
from ..version import __version__
from .run import EXAMPLE_PAIR

if TYPE_CHECKING:
    from ..engine import Engine
    from ..progress import Progress

PACKAGES = ("numpy", "numba", "pillow", "onnxruntime", "onnxruntime-gpu", "cupy-cuda12x", "cupy-cuda13x")
"""Packages whose versions the report states."""
SIZE = 448
"""Side of the square pictures of the measured transfers, in pixels."""
RUNS = 3
"""Number of measured runs of a transfer. One more run, which is not measured, precedes them."""
_DEFAULTS = Settings.preset("photo-to-style")
MEASURED = {
    "defaults": _DEFAULTS,
    "--preset fast": Settings.preset("fast"),
    "--preset paper": Settings.preset("paper"),
    "--photo": replace(_DEFAULTS, photo=True),
}
"""Name of a measured transfer in the report -> its settings."""


def installed() -> Iterator[tuple[str, str]]:
    """Yield each of `PACKAGES` and its version, or "-" if it is not installed."""
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "-"


def report() -> tuple[list[str], bool]:
    """Check the GPU, and measure transfers if all checks pass.

    Returns
    -------
    lines : list of str
        The report; a single line if there is no GPU.
    well : bool
        True if all checks and transfers succeeded.
    """
    checks = selftest(small_transfer)
    failed = [check for check in checks if not check.ok]
    if failed and failed[0].name in NO_GPU:
        return [f"selftest: there is no GPU to test, since {failed[0].detail}"], False
    if not failed:
        checks += [_figures(name, settings) for name, settings in MEASURED.items()]
        failed = [check for check in checks if not check.ok]
    result = f"FAILED: {', '.join(check.name for check in failed)}" if failed else f"all {len(checks)} passed"
    packages = ", ".join(f"{package} {found}" for package, found in installed() if found != "-")
    lines = [
        "----- if you file an issue, paste all lines from here -----",
        f"analogy {__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
        packages,
        *(f"{'ok    ' if check.ok else 'FAILED'} {check.name:22} {check.detail}" for check in checks),
        f"----- to here: {result} -----",
    ]
    return lines, not failed


@cache
def engine(device: Device) -> Engine:
    """Return the engine of a device, which all steps of the report share."""
    from ..engine import Engine

    return Engine(device=device)


def small_transfer(device: Device) -> np.ndarray:
    """Return A' of the example pair, made on a device with a small working size, for `selftest`."""
    result: np.ndarray = engine(device).transfer(*EXAMPLE_PAIR, max_pixels=10_000).a_prime
    return result


def _figures(name: str, settings: Settings) -> Check:
    """Measure a transfer on the GPU, and return a check, which states the times or the error."""
    try:
        found = seconds("cuda", settings)
    except Exception as error:  # whatever the error is, the report states it
        return Check(name, False, first_line(error))
    stages = ", ".join(f"{stage} {1000 * each:.0f}" for stage, each in found.items())
    return Check(name, True, f"{SIZE} x {SIZE}: {1000 * sum(found.values()):.0f} ms ({stages})")


def seconds(device: Device, settings: Settings) -> dict[str, float]:
    """Return the median seconds of each stage of a transfer on a device: stage -> seconds.

    The median is over `RUNS` runs. At the end of each stage the clock stops only when the device
    has finished all work of the stage.
    """
    from ..pictures.images import resize
    from ..pictures.reading import read_picture

    a, b_prime = (resize(read_picture(path).rgb, SIZE, SIZE) for path in EXAMPLE_PAIR)
    backend = engine(device).backend

    def once() -> dict[str, float]:
        took: dict[str, float] = {}
        stage, since = "", time.perf_counter()

        def on_progress(progress: Progress) -> None:
            nonlocal stage, since
            if progress.stage != stage:
                backend.to_host(backend.asarray(np.zeros(1, np.float32)))  # waits until the GPU has finished the stage
                now = time.perf_counter()
                if stage:
                    took[stage] = now - since
                stage, since = progress.stage, now

        engine(device).transfer(a, b_prime, settings, progress=on_progress)
        return took

    runs = [once() for _ in range(RUNS + 1)]
    return {stage: statistics.median(run[stage] for run in runs[1:]) for stage in runs[1]}
