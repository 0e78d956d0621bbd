"""Protection of Python's handler of Ctrl-C (SIGINT) while CUDA's compiler runs.

NVRTC sets a handler of its own, and restores the former one when it ends. If two threads compile at
a time, one of them restores the handler of the other instead of Python's, and from then on Ctrl-C
does nothing.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()
_get, _set = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
_get.argtypes, _get.restype = [ctypes.c_int], ctypes.c_void_p
_set.argtypes, _set.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Let one thread at a time compile, and restore the handler of SIGINT afterwards.

    The function works in every thread. `signal.signal` works in the main thread only, and a server
    compiles in other threads.
    """
    with _lock:
        handler = _get(signal.SIGINT)
        try:
            yield
        finally:
            _set(signal.SIGINT, handler)
