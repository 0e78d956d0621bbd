"""The memory of the host: how much of it this process may still take."""

from __future__ import annotations

from contextlib import suppress

_RESERVED_FOR_THREADS = 600_000_000
"""Bytes of addresses that the C library sets aside for the stacks and the heaps of threads, ours and ONNX Runtime's. They are
not used, but count where a process has a bound on its addresses."""


def free_memory() -> int:
    """In bytes: what the system has available, or what is left of this process's bound on its addresses (`ulimit -v`)."""
    import psutil

    free = psutil.virtual_memory().available
    with suppress(ImportError):  # not on Windows
        import resource

        bound, _ = resource.getrlimit(resource.RLIMIT_AS)
        if bound != resource.RLIM_INFINITY:
            taken = psutil.Process().memory_info().vms + _RESERVED_FOR_THREADS
            free = min(free, max(0, bound - taken))
    return free
