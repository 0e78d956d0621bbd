"""The CUDA backend: CuPy arrays, the kernels of `kernels.cu`, ONNX Runtime's CUDA provider, all on one stream.

The constructor tries in order each thing that it will need. If one is missing, the error says which, and how to get it
(`probes.py`).

Every method is in `active` (see `cuda_queue.py`) by itself, so that nothing depends on who calls it; who calls many puts
them into one. The host waits for the device only to read results (`to_host`), and to read checks of values (`require`) when
the outermost `active` ends. ONNX Runtime is told not to wait after a run.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import is_shortage
from . import probes
from .cuda_queue import queue
from .interrupts import kept_interrupts
from .multigrid import coarse_sides
from .runtime import share_device_memory

_THREADS_PER_BLOCK = 256
_WARP = 32
_LINES_TOGETHER, _LINES_PER_BLOCK = 64, 32
"""Of a turn of relaxation: up to so many are solved by one block, more by blocks of so few, for many multiprocessors."""
_UNLABELLED = np.uintp(0), np.uintp(0)
_NO_FIELD = np.uintp(0)
"""Null pointers."""
_MOST_FOR_NETWORKS = 0.75
"""Share of the device's memory that ONNX Runtime may hold."""


def _active(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `CudaBackend` that runs in `active`."""

    @functools.wraps(method)
    def wrapped(self: CudaBackend, *args: Any, **options: Any) -> Any:
        with self.active():
            return method(self, *args, **options)

    return wrapped


class CudaBackend:
    """The kernel contract of `backends` on CuPy arrays. `index`: CUDA's number of the device.

    Raises `DeviceError` if CuPy, the driver, the device, the compiler or ONNX Runtime's CUDA provider is missing or unfit.
    """

    name = "cuda"
    sessions_per_graph = 2
    """One for the size of A and one for that of B'. A convolution of ONNX Runtime, from release 1.20 on, keeps cuDNN's plan
    for the last size alone: whenever the size changes, it is made anew."""

    def __init__(self, index: int = 0) -> None:
        self.xp = self._import_cupy()
        device = probes.check_driver(self.xp, index)
        self.index: int = device.id
        self._queue = queue(self.xp, device.id)
        self._modules: dict[str, Any] = {}
        self._functions: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        with self.active():
            with kept_interrupts():
                probes.check_compiler(self.xp)
            self.providers: list[Any] = self._find_providers()
            probes.check_provider(self)

    def _import_cupy(self) -> Any:
        return probes.import_cupy()

    def _find_providers(self) -> list[Any]:
        probes.check_runtime(self.xp)
        options = {
            "device_id": str(self.index),
            "user_compute_stream": str(self._queue.stream.ptr),
            # TensorFloat-32 would keep only 10 bits of each factor, which moves the matches.
            "use_tf32": "0",
            # The exhaustive search would run again for each new picture size.
            "cudnn_conv_algo_search": "HEURISTIC",
            # If it doubled at each growth, little would be left for CuPy, which takes from the same memory.
            "arena_extend_strategy": "kSameAsRequested",
        }
        _, total = self.xp.cuda.runtime.memGetInfo()
        share_device_memory(self.index, int(total * _MOST_FOR_NETWORKS))
        return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]

    def active(self) -> AbstractContextManager[None]:
        return self._queue.active()

    def describe(self) -> str:
        return self._description

    @functools.cached_property
    def _description(self) -> str:
        """Asking takes a millisecond, and every result tells it."""
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.index)
        memory = properties["totalGlobalMem"] / 2**30
        return f"{properties['name'].decode()}, {memory:.0f} GiB, CUDA {probes.version(runtime.runtimeGetVersion())}"

    @_active
    def prepare(self) -> None:
        """Compile both forms of the kernels. CuPy keeps them on disk: once for each device and CUDA version."""
        for unit in ("float4", "float"):
            self._function("distance", unit)

    @_active
    def asarray(self, array):
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    @_active
    def to_host(self, array):
        return self.xp.asnumpy(array)

    def pointer(self, array) -> int:
        return array.data.ptr

    @_active
    def require(self, holds: Any, failure: Exception) -> None:
        self._queue.require(holds, failure)

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        # Whoever reads the outputs does so in the stream, after the run.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        with self._queue.turn:
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:  # ONNX Runtime's own exceptions share no public base class
                if not is_shortage(error):
                    raise
                with self.active():  # what CuPy holds without using it may suffice
                    self.xp.get_default_memory_pool().free_all_blocks()
                session.run_with_iobinding(binding, options)

    @_active
    def free_memory(self) -> int:
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return free + self.xp.get_default_memory_pool().free_bytes()

    @_active
    def reclaim(self) -> None:
        self.xp.get_default_memory_pool().free_all_blocks()
        probes.shrink_arena(self)

    @_active
    def project(self, f, matrix):
        # CuPy takes a map for a stack of matrices, one for each row: many products, and three launches ahead of them.
        return (f.reshape(-1, f.shape[-1]) @ matrix).reshape(*f.shape[:-1], -1)

    @_active
    def products(self, rows, vector):
        return rows @ vector

    @_active
    def mixture(self, weights, rows):
        return weights @ rows

    @_active
    def channels_last(self, maps):
        return self.xp.ascontiguousarray(maps[0].transpose(1, 2, 0))

    @_active
    def join(self, f, g):
        h, w, c = f.shape
        out = self.xp.empty((h, w, 2 * c), np.int16)
        unit, units = _unit(c, f, g)
        self._launch("join", unit, (h, w), units, f, g, out, _i(h), _i(w), _i(units))
        return out

    @_active
    def pixel_vectors(self, pixels, key):
        h, w = pixels.shape[:2]
        out = self.xp.empty((h, w, 8), np.int16)
        self._launch("pixel_vectors", "float", (h, w), 1, pixels, out, _i(h), _i(w), _i(key))
        return out

    @_active
    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b, tick=None):
        out = self.xp.empty((*shape_a, 2), np.int32)
        sizes = map(_i, (*nnf.shape[:2], *shape_a, *shape_b))
        self._launch("resample", "float", shape_a, 1, nnf, out, *sizes, *map(np.float64, (*scale_a, *scale_b)))
        return out

    @_active
    def distance(self, a, b, nnf, patch, tick=None):
        out = self.xp.empty(a.shape[:2], np.float32)
        unit, units, sizes = _sizes(a, b)
        self._launch("distance", unit, a.shape[:2], units, a, b, nnf, out, *sizes, _i(patch // 2))
        return out

    @_active
    def propagate(self, a, b, nnf, distance, patch, jump, max_product, labels=None, offered=None, tick=None):
        inputs = nnf, distance, *(labels or _UNLABELLED), _NO_FIELD if offered is None else offered
        return self._improve("propagate", a, b, inputs, _i(patch // 2), _i(jump), np.float32(max_product))

    @_active
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

    @_active
    def vote(self, nnf, b, patch, tick=None):
        out = self.xp.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        unit, units = _unit(b.shape[2], b)
        sizes = map(_i, (*nnf.shape[:2], *b.shape[:2], units))
        self._launch("vote", unit, nnf.shape[:2], units, nnf, b, out, *sizes, _i(patch // 2))
        return out

    @_active
    def steepness(self, pixels):
        h, w = pixels.shape[:2]
        squares, out = self.xp.empty((h, w), np.float32), self.xp.empty((h, w), np.float32)
        self._launch("gradient", "float", (h, w), 1, pixels, squares, _i(h), _i(w))
        self._launch("widest", "float", (h, w), 1, squares, out, _i(h), _i(w))
        return out

    @_active
    def seams(self, nnf, b, picture, patch, tick=None):
        shape = nnf.shape[:2]
        out = self.xp.empty((*shape, 8), np.float32)
        sizes = map(_i, (*shape, *b.shape[:2], patch // 2))
        self._launch("seams", "float", shape, 1, nnf, b, picture, out, *sizes)
        return out

    @_active
    def keep_edges(self, steepness, seams, edge, jump, labels=None, tick=None):
        shape = seams.shape[:2]
        labels = _UNLABELLED[0] if labels is None else labels
        sizes = map(_i, (*steepness.shape, *shape))
        limits = np.float32(edge), np.float32(jump)
        self._launch("keep_edges", "float", shape, 1, steepness, labels, seams, *sizes, *limits)

    @_active
    def divergence(self, seams):
        h, w = seams.shape[:2]
        out = self.xp.empty((h, w, 3), np.float32)
        self._launch("divergence", "float", (h, w), 1, seams, out, _i(h), _i(w))
        return out

    @_active
    def solve_columns(self, shifts, f):
        h, w = f.shape
        blocks = -(-w // _WARP)  # small ones, for many multiprocessors
        args = shifts, f, self.xp.empty((h, w), np.float32), _i(h), _i(w)
        self._function("solve_columns", "float")((blocks,), (_WARP,), args)

    @_active
    def correct(self, picture, correction, columns):
        h, w = picture.shape[:2]
        out = self.xp.empty((h, w, 3), np.float32)
        self._launch("correct", "float", (h, w), 1, picture, correction, columns, out, _i(h), _i(w))
        return out

    @_active
    def coarsen(self, form):
        h, w = form.shape[1:]
        hc, wc = coarse_sides(h, w)
        weights, out = self.xp.empty((8, hc, wc), np.float32), self.xp.empty((5, hc, wc), np.float32)
        self._launch("coarsen", "float", (hc, wc), 1, form, weights, out, *_form(form), _i(hc), _i(wc))
        sizes = map(_i, (1, h, w, hc, wc))
        self._launch("restriction", "float", (hc, wc), 1, weights, form, out, *sizes, np.float32(1))
        return weights, out

    @_active
    def factor(self, form):
        h, w = form.shape[1:]
        out = self.xp.empty((2, h, w), np.float32)
        blocks = -(-(h + w) // _THREADS_PER_BLOCK)
        self._function("factor", "float")((blocks,), (_THREADS_PER_BLOCK,), (form, out, *_form(form)))
        return out

    @_active
    def relax(self, form, inverses, f, u, after):
        lines = (max(u.shape[1:]) + 1) // 2  # of a turn
        args = form, inverses, f, u, *_form(form), _i(after)
        function = self._function("relax", "float")
        if lines <= _LINES_TOGETHER:
            function((1, 3), (_LINES_TOGETHER,), (*args, _i(0), _i(4)))
        else:
            for turn in range(4):
                function((-(-lines // _LINES_PER_BLOCK), 3), (_LINES_PER_BLOCK,), (*args, _i(turn), _i(1)))

    @_active
    def residual(self, form, f, u, out):
        _, h, w = u.shape
        f = _NO_FIELD if f is None else f
        self._launch("residual", "float", (3 * h, w), 1, form, f, u, out, *_form(form))

    @_active
    def restriction(self, weights, r, out):
        _, hc, wc = out.shape
        sizes = map(_i, (*r.shape, hc, wc))
        self._launch("restriction", "float", (3 * hc, wc), 1, weights, r, out, *sizes, np.float32(0))

    @_active
    def prolongation(self, weights, c, u):
        _, h, w = u.shape
        self._launch("prolongation", "float", (3 * h, w), 1, weights, c, u, *map(_i, (*c.shape[1:], h, w)))

    @_active
    def combine(self, a, x, b, y):
        rows, w = y.shape[0] * y.shape[1], y.shape[2]
        self._launch("combine", "float", (rows, w), 1, x, y, _i(rows), _i(w), np.float32(a), np.float32(b))

    def _improve(self, name: str, a: Any, b: Any, inputs: tuple[Any, ...], *rest: Any) -> tuple[Any, Any]:
        """One pass of the search, from (nnf, distance, ..): a new (nnf, distance)."""
        out = self.xp.empty(inputs[0].shape, np.int32), self.xp.empty(inputs[1].shape, np.float32)
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
            if (name, unit) not in self._functions:
                if unit not in self._modules:
                    self._modules[unit] = self.xp.RawModule(code=source(), options=options(unit))
                with kept_interrupts():
                    self._functions[name, unit] = self._modules[unit].get_function(name)
            return self._functions[name, unit]


@functools.cache
def source() -> str:
    """Return the text of the kernels' files, marked so that the compiler's messages name the file and its lines."""
    here, names = Path(__file__).parent, ("kernels.cu", "seams.cu", "multigrid/kernels.cu")
    return "\n".join(f'#line 1 "{name}"\n{(here / name).read_text(encoding="utf-8")}' for name in names)


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


def _form(form: Any) -> tuple[np.int32, ...]:
    """The sides of a form, and whether it has diagonals."""
    planes, h, w = form.shape
    return _i(h), _i(w), _i(planes == 5)


def _i(value: int) -> np.int32:
    """CuPy passes a Python int as 8 bytes, whatever the kernel expects."""
    return np.int32(value)


def _power_of_two(n: int) -> int:
    """The smallest power of two that is not smaller than `n`."""
    return 1 << (n - 1).bit_length()
