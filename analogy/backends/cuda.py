"""The CUDA backend: CuPy arrays, the kernels of `kernels.cu`, ONNX Runtime's CUDA provider, all on one stream.

The constructor tries in order each thing that it will need. If one is missing, the error says which, and how to get it
(`probes.py`).

The stream. Kernels, CuPy operations and ONNX Runtime share one non-blocking stream, so that each waits only for its
input. CuPy keeps a current stream for each thread. Every method makes this backend's stream the current one of the
calling thread, ordered after what that thread had started before, and leaves it so; CuPy operations that a caller puts
between two methods are then in order too. The device is CUDA's first; CUDA_VISIBLE_DEVICES chooses another.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np

from . import probes

_THREADS_PER_BLOCK = 256
_WARP = 32
_UNLABELLED = np.uintp(0), np.uintp(0)
_NO_FIELD = np.uintp(0)
"""Null pointers."""


class CudaBackend:
    """The kernel contract of `backends` on CuPy arrays.

    Raises `DeviceError` if CuPy, the driver, the compiler or ONNX Runtime's CUDA provider is missing or unfit.
    """

    name = "cuda"

    def __init__(self) -> None:
        self.xp = self._import_cupy()
        self._device = probes.check_driver(self.xp)
        with self._device:
            probes.check_compiler(self.xp)
            self._stream = self.xp.cuda.Stream(non_blocking=True)
        self._modules: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.providers: list[Any] = self._find_providers()
        probes.check_provider(self)

    def _import_cupy(self) -> Any:
        return probes.import_cupy()

    def _find_providers(self) -> list[Any]:
        probes.check_runtime(self.xp)
        options = {
            "device_id": str(self._device.id),
            "user_compute_stream": str(self._stream.ptr),
            # TensorFloat-32 would keep only 10 bits of each factor, which moves the matches.
            "use_tf32": "0",
            # The exhaustive search would run again for each new picture size.
            "cudnn_conv_algo_search": "HEURISTIC",
            # If it doubled at each growth, little would be left for CuPy, which takes from the same memory.
            "arena_extend_strategy": "kSameAsRequested",
        }
        return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]

    def describe(self) -> str:
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self._device.id)
        memory = properties["totalGlobalMem"] / 2**30
        return f"{properties['name'].decode()}, {memory:.0f} GiB, CUDA {probes.version(runtime.runtimeGetVersion())}"

    def prepare(self) -> None:
        """Compile both forms of the kernels. CuPy keeps them on disk: once for each device and CUDA version."""
        self._adopt()
        for unit in ("float4", "float"):
            self._function("distance", unit)

    def asarray(self, array):
        self._adopt()
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def to_host(self, array):
        self._adopt()
        return self.xp.asnumpy(array)

    def pointer(self, array) -> int:
        return array.data.ptr

    def free_memory(self) -> int:
        """Bytes that are free on the device, and those that CuPy holds without using them."""
        with self._device:
            free, _ = self.xp.cuda.runtime.memGetInfo()
        return free + self.xp.get_default_memory_pool().free_bytes()

    def project(self, f, matrix):
        self._adopt()
        return f @ matrix

    def join(self, f, g):
        h, w, c = f.shape
        out = self._empty((h, w, 2 * c), np.int16)
        unit, units = _unit(c, f, g)
        self._launch("join", unit, (h, w), units, f, g, out, _i(h), _i(w), _i(units))
        return out

    def pixel_vectors(self, pixels, key):
        h, w = pixels.shape[:2]
        out = self._empty((h, w, 8), np.int16)
        self._launch("pixel_vectors", "float", (h, w), 1, pixels, out, _i(h), _i(w), _i(key))
        return out

    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b, tick=None):
        out = self._empty((*shape_a, 2), np.int32)
        sizes = map(_i, (*nnf.shape[:2], *shape_a, *shape_b))
        self._launch("resample", "float", shape_a, 1, nnf, out, *sizes, *map(np.float64, (*scale_a, *scale_b)))
        return out

    def distance(self, a, b, nnf, patch, tick=None):
        out = self._empty(a.shape[:2], np.float32)
        unit, units, sizes = _sizes(a, b)
        self._launch("distance", unit, a.shape[:2], units, a, b, nnf, out, *sizes, _i(patch // 2))
        return out

    def propagate(self, a, b, nnf, distance, patch, jump, max_product, labels=None, offered=None, tick=None):
        inputs = nnf, distance, *(labels or _UNLABELLED), _NO_FIELD if offered is None else offered
        return self._improve("propagate", a, b, inputs, _i(patch // 2), _i(jump), np.float32(max_product))

    def random_search(
        self, a, b, nnf, distance, patch, search_radius, seed, iteration, max_product, labels=None, tick=None
    ):
        rest = (
            _i(patch // 2),
            _i(search_radius),
            np.uint32(seed & 0xFFFFFFFF),
            np.uint32(iteration),
            np.float32(max_product),
        )
        return self._improve("random_search", a, b, (nnf, distance, *(labels or _UNLABELLED)), *rest)

    def vote(self, nnf, b, patch, tick=None):
        out = self._empty((*nnf.shape[:2], b.shape[2]), np.float32)
        unit, units = _unit(b.shape[2], b)
        sizes = map(_i, (*nnf.shape[:2], *b.shape[:2], units))
        self._launch("vote", unit, nnf.shape[:2], units, nnf, b, out, *sizes, _i(patch // 2))
        return out

    def _adopt(self) -> None:
        """Make this backend's device and stream the calling thread's current ones, ordered after its earlier work."""
        cuda = self.xp.cuda
        self._device.use()
        current = cuda.get_current_stream()
        if current != self._stream:
            self._stream.wait_event(current.record())
            self._stream.use()

    def _empty(self, shape, dtype):
        self._adopt()
        return self.xp.empty(shape, dtype)

    def _improve(self, name: str, a: Any, b: Any, inputs: tuple[Any, ...], *rest: Any) -> tuple[Any, Any]:
        """One pass of the search, from (nnf, distance, ..): a new (nnf, distance)."""
        out = self._empty(inputs[0].shape, np.int32), self._empty(inputs[1].shape, np.float32)
        unit, units, sizes = _sizes(a, b)
        self._launch(name, unit, a.shape[:2], units, a, b, *inputs, *out, *sizes, *rest)
        return out

    def _launch(self, name: str, unit: str, shape: tuple[int, int], units: int, *args: Any) -> None:
        """Run a kernel over all positions of `shape`, with as many lanes for each position as its `units` can occupy."""
        lanes = min(_WARP, _power_of_two(units))
        positions = _THREADS_PER_BLOCK // lanes
        tile_h = 1 << (positions.bit_length() - 1) // 2
        tile_w = positions // tile_h
        grid = -(-shape[1] // tile_w), -(-shape[0] // tile_h), 1
        self._function(name, unit)(grid, (lanes, tile_w, tile_h), args)

    def _function(self, name: str, unit: str) -> Any:
        with self._lock:
            if unit not in self._modules:
                self._modules[unit] = self.xp.RawModule(code=source(), options=options(unit))
            return self._modules[unit].get_function(name)


@functools.cache
def source() -> str:
    """The text of `kernels.cu`, marked so that the compiler's messages name the file and its lines."""
    path = Path(__file__).with_name("kernels.cu")
    return f'#line 1 "{path.name}"\n{path.read_text(encoding="utf-8")}'


def options(unit: str) -> tuple[str, ...]:
    """Options of the compiler. Products and sums are fused only where the source says so, as on the CPU."""
    return "-std=c++17", "--fmad=false", f"-DUNIT={unit}"


def _unit(channels: int, *arrays: Any) -> tuple[str, int]:
    """The type in which a kernel reads the channels of features, and how many of it there are.

    Joined features are read as "float4" says too: four channels at once, if all `arrays` begin at an address that allows it.
    """
    if channels % 4 == 0 and all(array.data.ptr % (4 * array.itemsize) == 0 for array in arrays):
        return "float4", channels // 4
    return "float", channels


def _sizes(a: Any, b: Any) -> tuple[str, int, list[np.int32]]:
    unit, units = _unit(a.shape[2], a, b)
    return unit, units, [_i(n) for n in (*a.shape[:2], *b.shape[:2], units)]


def _i(value: int) -> np.int32:
    """CuPy passes a Python int as 8 bytes, whatever the kernel expects."""
    return np.int32(value)


def _power_of_two(n: int) -> int:
    """The smallest power of two that is not smaller than `n`."""
    return 1 << (n - 1).bit_length()
