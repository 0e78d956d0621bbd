"""Choice of a backend by the name of a device."""

from __future__ import annotations

import logging
import operator
from importlib.util import find_spec
from typing import Any, TypeAlias

from ..errors import DeviceError, MemoryLimitError, shown
from .contract import Backend

Device: TypeAlias = str
"""Name of a device, one of `DEVICES`.

The type is str, because callers read the names from configuration files. `check_device` checks
them.
"""
DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(16)))
"""Names of devices.

"auto" stands for CUDA's first device if it works, and otherwise for the CPU. "cuda" stands for
CUDA's first device, and "cuda:1" for the second.
"""
CHOICES = "auto, cpu, cuda, or cuda:N for CUDA's device number N"
"""The names in `DEVICES`, as messages and help texts list them."""

MOST_THREADS = 256
"""Largest number of threads of the CPU backend that a caller may ask for."""

_log = logging.getLogger("analogy")


def threads_of_each(workers: int, cores: int) -> int:
    """Return the number of CPU threads for each of several workers that share the cores."""
    return min(MOST_THREADS, max(1, cores // workers))


def check_device(device: Any, threads: Any) -> tuple[Device, int | None]:
    """Return `device`, and `threads` as an int or None; raise `DeviceError` if one is not valid."""
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

    If "auto" chooses the CPU although CuPy is installed, the function logs why, in one line.

    Parameters
    ----------
    device
        One of `DEVICES`.
    threads
        Number of threads of the CPU backend, 1 to `MOST_THREADS`; None for one thread per core that
        this process may use. The CUDA backend ignores it.

    Returns
    -------
    backend
        A new backend.

    Raises
    ------
    DeviceError
        If the name or the number of threads is not valid, or if `device` names a CUDA device that
        cannot be used. The message says why, and what to do.
    MemoryLimitError
        If `device` names a CUDA device whose memory is full.
    """
    device, threads = check_device(device, threads)
    if device != "cpu":
        try:
            from .cuda import CudaBackend

            return CudaBackend(int(device.partition(":")[2] or 0))
        except (DeviceError, MemoryLimitError) as error:
            if device != "auto":
                raise
            # A user without CuPy does not expect to use a GPU, so this user's line has the level
            # DEBUG.
            level = logging.INFO if find_spec("cupy") else logging.DEBUG
            cause, _, _ = str(error).partition(";")  # the rest of the message says what to do; `analogy info` shows it
            _log.log(level, "using the CPU: %s", cause)
    from .cpu import CpuBackend

    return CpuBackend(threads)
