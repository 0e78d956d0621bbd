"""Choice of a backend: names of devices, the check of a caller's choice, and `get_backend`."""

from __future__ import annotations

import logging
import operator
from importlib.util import find_spec
from typing import Any, TypeAlias

from ..errors import DeviceError, MemoryLimitError, shown
from .contract import Backend

Device: TypeAlias = str
"""Name of a device, one of `DEVICES`.

The type is str, since names come from configurations; `check_device` checks them.
"""
DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(16)))
"""Names of devices.

"auto" is CUDA's first device if it works, else the CPU. "cuda" is CUDA's first device.
"""
CHOICES = "auto, cpu, cuda, or cuda:N, the device of that number"
"""List of the names of devices for messages."""

MOST_THREADS = 256
"""Largest number of threads that a caller may ask for."""

_log = logging.getLogger("analogy")


def check_device(device: Any, threads: Any) -> tuple[Device, int | None]:
    """Return a valid device and number of threads, or raise `DeviceError`."""
    if not isinstance(device, str) or device not in DEVICES:
        raise DeviceError(f"unknown device {shown(device)}; choose one of {CHOICES}")
    if threads is None:
        return device, None
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if isinstance(threads, bool) or not 1 <= count <= MOST_THREADS:
        raise DeviceError(f"threads is {shown(threads)}; give a whole number from 1 to {MOST_THREADS}, or None")
    return device, count


def get_backend(device: Device = "auto", threads: int | None = None) -> Backend:
    """Return the backend of a device.

    If "auto" chooses the CPU although CuPy is installed, one logged line says why.

    Parameters
    ----------
    device
        "cpu"; "cuda", which is CUDA's first device; "cuda:1" and so on; or "auto", which is "cuda"
        if it works, else "cpu".
    threads
        Number of threads of the CPU backend, 1 to `MOST_THREADS`; None for one per available core.

    Returns
    -------
    backend
        A new backend.

    Raises
    ------
    DeviceError
        If the name or the number of threads is not valid, or if a CUDA device is asked for by name
        and cannot be used; the message says why, and what to do.
    MemoryLimitError
        If the memory of that device is full.
    """
    device, threads = check_device(device, threads)
    if device != "cpu":
        try:
            from .cuda import CudaBackend

            return CudaBackend(int(device.partition(":")[2] or 0))
        except (DeviceError, MemoryLimitError) as error:
            if device != "auto":
                raise
            # Without CuPy the user does not expect a GPU.
            level = logging.INFO if find_spec("cupy") else logging.DEBUG
            cause, _, _ = str(error).partition(";")  # `analogy info` and `--device cuda` also say what to do
            _log.log(level, "using the CPU: %s", cause)
    from .cpu import CpuBackend

    return CpuBackend(threads)
