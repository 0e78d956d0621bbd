"""Simulated CuPy: a replacement for the module `cupy`, with the names that this project uses.

Kernels run on the simulator. The module is stricter than CuPy: only `asarray` accepts a NumPy
array, new memory contains NaN, and races between streams are errors.
"""

from __future__ import annotations

import math
import mmap
from types import SimpleNamespace

import numpy as np

from . import device
from .device import ndarray
from .launch import RawModule  # noqa: F401

_NO_RESERVE = 0x4000
"""Flag MAP_NORESERVE of Linux's `mmap`, which reserves addresses but no memory."""
_MEMORY = 1 << 30
"""Memory of a simulated device, in bytes; all of it always counts as free."""

float32, float64, int16, int32, uint8, newaxis = np.float32, np.float64, np.int16, np.int32, np.uint8, None


class CUDARuntimeError(RuntimeError):
    status = 0


__version__ = "stand-in"
cuda = SimpleNamespace(
    Device=device.Device,
    Stream=device.Stream,
    get_current_stream=device.get_current_stream,
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: device.COUNT,
        getDeviceProperties=lambda id: {"name": b"simulator", "totalGlobalMem": _MEMORY},
        driverGetVersion=lambda: 12090,
        memGetInfo=lambda: (_MEMORY, _MEMORY),
        runtimeGetVersion=lambda: 12090,
    ),
)


fft = SimpleNamespace(
    rfft=lambda array, **options: device.run(np.fft.rfft, array, **options),
    irfft=lambda array, *size, **options: device.run(np.fft.irfft, array, *size, **options),
)


class _MemoryPool:
    """The memory pool of the simulated CuPy, with no unused bytes unless a test sets `free`."""

    free = 0

    def free_bytes(self) -> int:
        return self.free

    def free_all_blocks(self) -> None:
        self.free = 0


_pool = _MemoryPool()


def get_default_memory_pool() -> _MemoryPool:
    return _pool


def empty(shape, dtype=np.float64):
    """Return an array of NaN, or of integers whose bytes are all 0x81."""
    if np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize > _MEMORY:
        raise MemoryError("Out of memory allocating all that")  # CuPy's error is a subclass of MemoryError
    host = np.empty(shape, dtype)
    host.reshape(-1).view(np.uint8)[:] = 0xFF if host.dtype.kind == "f" else 0x81
    return ndarray(host)


def reserved(shape, dtype=np.float64):
    """Return an array of zeros, which takes memory only where it is written.

    It may have 2^40 bytes. As many addresses are reserved before it, and as many after it. So a
    kernel whose offset overflows reads zeros and does not crash, and the test sees the wrong
    result.
    """
    count, dtype = math.prod(shape), np.dtype(dtype)
    length = -(-count * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    around = mmap.mmap(-1, 3 * length, flags=flags)
    return ndarray(np.frombuffer(around, dtype, count, length).reshape(shape))


def empty_like(array):
    return empty(array.shape, array.dtype)


def zeros(shape, dtype=np.float64):
    return ndarray(np.zeros(shape, dtype))


def asarray(array, dtype=None):
    """Return a device array, or a device copy of a NumPy array, with `dtype` if it is given."""
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    return ndarray(np.array(array, dtype, order="C"))


def asnumpy(array):
    return device.to_host(array) if isinstance(array, ndarray) else np.asarray(array)


def __getattr__(name: str):
    if name not in _FUNCTIONS:
        raise AttributeError(f"the simulated CuPy has no {name!r}: add it to standin.py if CuPy has it")
    return lambda *args, **kwargs: device.run(getattr(np, name), *args, **kwargs)


_FUNCTIONS = frozenset((
    "abs", "arange", "ascontiguousarray", "bincount", "clip", "concatenate", "copyto", "divide", "exp",
    "floor", "full", "isfinite", "maximum", "mean", "minimum", "multiply", "ones", "pad", "rint", "sqrt", "square",
    "stack", "subtract", "sum", "take", "transpose", "vdot", "where", "zeros_like",
))  # fmt: skip
