"""The host: the cores and the free memory that this process may use."""

from __future__ import annotations

import os
from contextlib import suppress

from .containers import SYSTEM, ControlGroups

_RESERVED_FOR_THREADS = 600_000_000
"""Estimate of the address space, in bytes, that threads which have not started yet will reserve.

The C library reserves a stack and a heap for each thread. Most of this space is never used as
memory, but all of it counts towards a limit on the address space.
"""


def available_cores(groups: ControlGroups = SYSTEM) -> int:
    """Return the number of cores that this process may use, within the limits of `groups`."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(machine, groups.cores() or machine)


def free_memory(groups: ControlGroups = SYSTEM) -> int:
    """Return the number of bytes of memory that this process may still allocate.

    It is the smallest of three numbers: the available memory of the system, what remains of the
    limit of `groups`, and what remains of this process's limit on its address space (`ulimit -v`).
    """
    import psutil

    free: int = psutil.virtual_memory().available
    contained = groups.free_memory()
    if contained is not None:
        free = min(free, contained)
    with suppress(ImportError):  # not on Windows
        import resource

        bound, _ = resource.getrlimit(resource.RLIMIT_AS)
        if bound != resource.RLIM_INFINITY:
            taken = psutil.Process().memory_info().vms + _RESERVED_FOR_THREADS
            free = min(free, max(0, bound - taken))
    return free
