"""The host: the cores that this process may use, and the memory that it may still take."""

from __future__ import annotations

import os
from contextlib import suppress

from . import containers

_RESERVED_FOR_THREADS = 600_000_000
"""Bytes of addresses that the C library reserves for the stacks and heaps of threads, this
package's and ONNX Runtime's. They are not used, but count where the addresses of a process are
limited."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(machine, containers.cores() or machine)


def free_memory() -> int:
    """Return how many bytes of memory this process may still take.

    It is the least of three: the memory that the system has available, what is left of the
    container's limit, and what is left of this process's limit on addresses (`ulimit -v`).
    """
    import psutil

    free: int = psutil.virtual_memory().available
    contained = containers.free_memory()
    if contained is not None:
        free = min(free, contained)
    with suppress(ImportError):  # not on Windows
        import resource

        bound, _ = resource.getrlimit(resource.RLIMIT_AS)
        if bound != resource.RLIM_INFINITY:
            taken = psutil.Process().memory_info().vms + _RESERVED_FOR_THREADS
            free = min(free, max(0, bound - taken))
    return free
