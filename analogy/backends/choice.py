"""The choice of a backend: the names of devices, the check of what a caller asks for, and `get_backend`."""

from __future__ import annotations

import logging
import operator
from importlib.util import find_spec
from typing import Any, TypeAlias

from ..errors import DeviceError, MemoryLimitError, shown
from .contract import Backend

Device: TypeAlias = str
"""One of `DEVICES`. Type checkers take any text, since a device comes from a configuration; `check_device` looks at it."""
DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(16)))
"""All names of devices: the best one that works, the CPU, CUDA's first device, and CUDA's device of each number."""
CHOICES = "auto, cpu, cuda, or cuda:N, the device of that number"
"""The names of devices as messages list them."""

MOST_THREADS = 256
"""Largest number of threads that a caller may ask for: more than a machine has cores, and few enough to start."""

_log = logging.getLogger("analogy")


def check_device(device: Any, threads: Any) -> tuple[Device, int | None]:
    """Return a device and a number of threads as a caller gave them, once both are known to be valid.

    Raises `DeviceError` for what `get_backend` does not take.
    """
    if not isinstance(device, str) or device not in DEVICES:
        raise DeviceError(f"unknown device {shown(device)}; choose one of {CHOICES}")
    if threads is None:
        return device, None
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if isinstance(threads, bool) or not 1 <= count <= MOST_THREADS:
        raise DeviceError(f"threads is {shown(threads)}; it takes a whole number from 1 to {MOST_THREADS}, or None")
    return device, count


def get_backend(device: Device = "auto", threads: int | None = None) -> Backend:
    """Return the backend of a device.

    device    "cpu"; "cuda", which is CUDA's first device; "cuda:1" and so on; or "auto", which is "cuda" if it works, else
              "cpu"
    threads   how many threads the CPU backend starts, 1 to `MOST_THREADS`; None for one per available core

    If "auto" falls back to the CPU although CuPy is installed, one logged line says why. Without
    CuPy nobody meant to use a GPU, and there is nothing to explain.

    Raises `DeviceError` for an unknown name or another number of threads, and where "cuda" was
    asked for and cannot be used: the message then names the cause and the cure. Raises
    `MemoryLimitError` where the memory of that device is full.
    """
    device, threads = check_device(device, threads)
    if device != "cpu":
        try:
            from .cuda import CudaBackend

            return CudaBackend(int(device.partition(":")[2] or 0))
        except (DeviceError, MemoryLimitError) as error:
            if device != "auto":
                raise
            level = logging.INFO if find_spec("cupy") else logging.DEBUG
            cause, _, _ = str(error).partition(";")  # the cure is for those who ask: `info` and `--device cuda` give it
            _log.log(level, "using the CPU: %s", cause)
    from .cpu import CpuBackend

    return CpuBackend(threads)
