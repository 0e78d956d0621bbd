"""The host: the cores that this process may use, and the memory that it may still take."""

from __future__ import annotations

import os
from contextlib import suppress

from . import containers

_RESERVED_FOR_THREADS = 600_000_000
"""Bytes of addresses that the C library sets aside for the stacks and the heaps of threads, ours and ONNX Runtime's. They are
not used, but count where a process has a bound on its addresses."""


def available_cores() -> int:
    """Cores that this process may use."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(machine, containers.cores() or machine)


def free_memory() -> int:
    """In bytes: what the system has available, or what is left of the container's bound, or of this process's bound on its
    addresses (`ulimit -v`)."""
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
