"""The host: the cores and the free memory that this process may use."""

from __future__ import annotations

import os
from contextlib import suppress

from .containers import SYSTEM, ControlGroups

_RESERVED_FOR_THREADS = 600_000_000
"""Bytes of address space that the C library reserves for threads that have yet to start.

The stacks and heaps of these threads are not used memory, but they count if a limit on the address
space is set.
"""


def available_cores(groups: ControlGroups = SYSTEM) -> int:
    """Return the number of cores that this process may use, within the limits of `groups`."""
    machine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(machine, groups.cores() or machine)


def free_memory(groups: ControlGroups = SYSTEM) -> int:
    """Return the number of bytes of memory that this process may still take.

    It is the least of three numbers: the available memory of the system, the rest of the
    limit of `groups`, and the rest of this process's limit on its address space (`ulimit -v`).
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
