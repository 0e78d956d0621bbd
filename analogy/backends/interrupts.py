"""Protection of Python's handler of Ctrl-C (SIGINT) while CUDA's compiler runs.

NVRTC installs its own handler when it starts, and restores the previous handler when it ends. If
two threads compile at the same time, the second finds the handler that NVRTC has installed for
the first, and restores that one at its end instead of Python's. From then on Ctrl-C does nothing.
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
    """Let one thread at a time run the block, and restore the handler of SIGINT at its end.

    The handler is restored through Python's C functions, because `signal.signal` works only in the
    main thread, and a server compiles in other threads.
    """
    with _lock:
        handler = _get(signal.SIGINT)
        try:
            yield
        finally:
            _set(signal.SIGINT, handler)
