"""CUDA backend: CuPy arrays, CUDA kernels, and ONNX Runtime's CUDA provider, all on one stream.

The constructor checks everything that the backend needs. If something is missing, the error says
what it is, and what to do (see `probes`).

Every method that uses CuPy enters `active` (see `cuda_queue`), so that it works whatever CuPy's
current device and stream are. A caller of many methods enters `active` once around them, because
entering takes time. The host waits for the device only to read results (`to_host`), and to read the
checks of `require_finite` when the outermost `active` ends. It does not wait for ONNX Runtime after
a run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from ..errors import is_shortage
from . import probes
from .contract import Passes, Steps, T
from .cuda_launch import THREADS_PER_BLOCK, WARP, Launch, Launcher, Unit, unit_of
from .cuda_queue import queue
from .cuda_steps import SmallSteps
from .interrupts import kept_interrupts
from .multigrid import coarse_sides
from .runtime import share_device_memory

_LINES_TOGETHER = 64
"""Largest number of lines in a half-sweep for which one launch does the whole relaxation.

A half-sweep solves the even or the odd lines (rows or columns) of a grid. One block of threads per
channel then does the four half-sweeps one after the other.
"""
_LINES_PER_BLOCK = 32
"""Lines per block of threads in half-sweeps of more than `_LINES_TOGETHER` lines.

Small blocks keep more multiprocessors busy.
"""
_CHECKING_THREADS = 1 << 18
"""Largest number of threads in a launch of the kernel that looks for values that are not finite."""
_UNLABELLED = None, None
"""Arguments that a kernel gets in place of two arrays of labels if there are no labels."""
_MOST_FOR_NETWORKS = 0.75
"""Largest share (0 to 1) of the device's memory that ONNX Runtime may reserve."""


def _active(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of `CudaBackend` that runs `method` within `active`."""

    @functools.wraps(method)
    def wrapped(self: CudaBackend, *args: Any, **options: Any) -> Any:
        if self._queue.is_active():  # entering again would take as long as a launch
            return method(self, *args, **options)
        with self.active():
            return method(self, *args, **options)

    return wrapped


class CudaBackend:
    """Implementation of `Backend` on CuPy arrays.

    Parameters
    ----------
    index
        CUDA's number of the device.

    Raises
    ------
    DeviceError
        If CuPy, the driver, the device, the compiler or ONNX Runtime's CUDA provider is missing or
        cannot be used.
    MemoryLimitError
        If the device has no memory left.
    """

    name = "cuda"
    sessions_per_graph = 2
    """Maximum number of sessions of each graph: one for the size of A, and one for that of B'.

    From release 1.20 on, a convolution in ONNX Runtime stores cuDNN's plan only for the latest
    size, and makes a new plan when the size changes.
    """

    def __init__(self, index: int = 0) -> None:
        self.xp = self._import_cupy()
        device = probes.check_driver(self.xp, index)
        self.index: int = device.id
        self._queue = queue(self.xp, device.id)
        self._launcher = Launcher(self.xp)
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
            # TensorFloat-32 rounds the mantissa of each factor to 10 bits, which would change the
            # matches.
            "use_tf32": "0",
            # cuDNN's exhaustive search for a convolution algorithm would run again for each new
            # size.
            "cudnn_conv_algo_search": "HEURISTIC",
            # If ONNX Runtime's memory pool doubled whenever it grows, it would leave little memory
            # for CuPy.
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
        """Description of the device, stored because CUDA takes a millisecond to return it."""
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.index)
        memory = properties["totalGlobalMem"] / 2**30
        return f"{properties['name'].decode()}, {memory:.0f} GiB, CUDA {probes.version(runtime.runtimeGetVersion())}"

    @_active
    def prepare(self) -> None:
        self._launcher.compile()

    @_active
    def asarray(self, array):
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    @_active
    def to_host(self, array):
        return self.xp.asnumpy(array)

    def pointer(self, array) -> int:
        return array.data.ptr

    @_active
    def require_finite(self, maps: Sequence[Any], failure: Exception) -> None:
        if not maps:
            return
        flag = self._queue.flag(failure)
        for values in maps:
            rows = values.size // values.shape[-1]
            threads = min(values.size, _CHECKING_THREADS)
            self._launcher.over_lines("find_infinite", threads, THREADS_PER_BLOCK, values, flag, rows, values.shape[-1])

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        # The outputs are read in the same stream, so the host need not wait for the end of the run.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        with self._queue.network_lock:
            try:
                session.run_with_iobinding(binding, options)
            except Exception as error:  # the exceptions of ONNX Runtime share no public base class
                if not is_shortage(error):
                    raise
                with self.active():  # with the memory that CuPy frees here, the next run may succeed
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
        # CuPy would multiply a map of three axes as a stack of matrices, one for each row, with
        # three launches before the products.
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
        unit = unit_of(c, f, g)
        self._launcher.over_positions("join", (h, w), f, g, out, h, w, unit.per_position, unit=unit)
        return out

    @_active
    def blend(self, content, f, g, alpha, steepness, threshold):
        h, w, channels = content.shape
        energy, extremes = self.xp.empty((h, w), np.float32), self._empty_range.copy()
        unit = unit_of(channels, content)
        self._launcher.over_positions("energy", (h, w), content, energy, extremes, h, w, unit.per_position, unit=unit)
        out = self.xp.empty(f.shape, np.float32)
        unit = unit_of(f.shape[2], f, g, out)
        weight = float(alpha), float(steepness), float(threshold)
        self._launcher.over_positions(
            "blend", (h, w), f, g, energy, extremes, out, h, w, unit.per_position, *weight, unit=unit
        )
        return out

    @functools.cached_property
    def _empty_range(self) -> Any:
        """Start values of the minimum and the maximum in the kernel `energy`, as bits of floats."""
        return self.xp.asarray(np.array([np.inf, 0], np.float32).view(np.uint32))

    @_active
    def pixel_vectors(self, pixels, key):
        h, w = pixels.shape[:2]
        out = self.xp.empty((h, w, 8), np.int16)
        self._launcher.over_positions("pixel_vectors", (h, w), pixels, out, h, w, key)
        return out

    @_active
    def resample(self, nnf, shape_a, shape_b, scale_a, scale_b, tick=None):
        out = self.xp.empty((*shape_a, 2), np.int32)
        sizes = *nnf.shape[:2], *shape_a, *shape_b
        scales = map(np.float64, (*scale_a, *scale_b))
        self._launcher.over_positions("resample", shape_a, nnf, out, *sizes, *scales)
        return out

    @_active
    def distance(self, *arguments, **options):
        return self._run(self._distance_launch(*arguments, **options))

    @_active
    def propagate(self, *arguments, **options):
        return self._run(self._propagate_launch(*arguments, **options))

    @_active
    def random_search(self, *arguments, **options):
        return self._run(self._random_search_launch(*arguments, **options))

    @_active
    def run_together(self, searches: Sequence[Passes[T]]) -> list[T]:
        results: dict[int, T] = {}
        latest: dict[int, Any] = dict.fromkeys(range(len(searches)))
        while latest:
            launches: dict[int, Launch] = {}
            for index, of_pass in latest.items():
                try:
                    kind, arguments = searches[index].send(of_pass)
                except StopIteration as end:
                    results[index] = end.value
                else:
                    launches[index] = getattr(self, f"_{kind}_launch")(**arguments)
            self._launcher.passes(list(launches.values()))
            latest = {index: launch.result for index, launch in launches.items()}
        return [results[index] for index in range(len(searches))]

    def _run(self, launch: Launch) -> Any:
        """Run one pass of a search in a separate launch, and return its result."""
        self._launcher.passes([launch])
        return launch.result

    def _distance_launch(self, a: Any, b: Any, nnf: Any, patch: int, frames: Any = None, tick: Any = None) -> Launch:
        unit, own, shared = self._maps(a, b, nnf, patch, frames)
        out = self.xp.empty(a.shape[:2], np.float32)
        return Launch("distance", a.shape[:2], (*own, out), shared, unit, out)

    def _propagate_launch(
        self,
        a: Any,
        b: Any,
        nnf: Any,
        distance: Any,
        patch: int,
        jump: int,
        max_product: float,
        labels: Any = None,
        frames: Any = None,
        previous_field: Any = None,
        tick: Any = None,
    ) -> Launch:
        unit, own, shared, result = self._field(a, b, nnf, distance, patch, labels, frames)
        own += (previous_field,)
        return Launch("propagate", a.shape[:2], own, (*shared, jump, float(max_product)), unit, result)

    def _random_search_launch(
        self,
        a: Any,
        b: Any,
        nnf: Any,
        distance: Any,
        patch: int,
        search_radius: int,
        seed: int,
        iteration: int,
        max_product: float,
        labels: Any = None,
        frames: Any = None,
        tick: Any = None,
    ) -> Launch:
        unit, own, shared, result = self._field(a, b, nnf, distance, patch, labels, frames)
        own += (search_radius,)
        counters = np.uint32(seed & 0xFFFFFFFF), np.uint32(iteration)
        return Launch("random_search", a.shape[:2], own, (*shared, *counters, float(max_product)), unit, result)

    def _maps(self, a: Any, b: Any, nnf: Any, patch: int, frames: Any) -> tuple[Unit, tuple[Any, ...], tuple[Any, ...]]:
        """Return the unit of a pass, and how its `Launch.own` and its `Launch.shared` begin."""
        unit = unit_of(a.shape[2], a, b)
        own = a, b, nnf, frames, *a.shape[:2], *b.shape[:2], _count(frames)
        return unit, own, (unit.per_position, patch // 2)

    def _field(
        self, a: Any, b: Any, nnf: Any, distance: Any, patch: int, labels: Any, frames: Any
    ) -> tuple[Unit, tuple[Any, ...], tuple[Any, ...], tuple[Any, Any]]:
        """Return the results of `_maps` for a pass that improves a field, and its empty result.

        The new field and its distances are part of `Launch.own`.
        """
        unit, own, shared = self._maps(a, b, nnf, patch, frames)
        result = self.xp.empty(nnf.shape, np.int32), self.xp.empty(a.shape[:2], np.float32)
        return unit, (*own, distance, *(labels or _UNLABELLED), *result), shared, result

    @_active
    def vote(self, nnf, b, patch, frames=None, tick=None):
        out = self.xp.empty((*nnf.shape[:2], b.shape[2]), np.float32)
        unit = unit_of(b.shape[2], b)
        sizes = *nnf.shape[:2], *b.shape[:2], unit.per_position, _count(frames)
        self._launcher.over_positions("vote", nnf.shape[:2], nnf, b, frames, out, *sizes, patch // 2, unit=unit)
        return out

    @_active
    def steepness(self, pixels):
        h, w = pixels.shape[:2]
        squares, out = self.xp.empty((h, w), np.float32), self.xp.empty((h, w), np.float32)
        self._launcher.over_positions("gradient", (h, w), pixels, squares, h, w)
        self._launcher.over_positions("widest", (h, w), squares, out, h, w)
        return out

    @_active
    def seams(self, nnf, b, picture, patch, frames=None, tick=None):
        shape = nnf.shape[:2]
        out = self.xp.empty((*shape, 8), np.float32)
        sizes = *shape, *b.shape[:2], _count(frames)
        self._launcher.over_positions("seams", shape, nnf, b, picture, frames, out, *sizes, patch // 2)
        return out

    @_active
    def keep_edges(self, steepness, seams, edge, jump, labels=None, tick=None):
        shape = seams.shape[:2]
        sizes = *steepness.shape, *shape
        self._launcher.over_positions("keep_edges", shape, steepness, labels, seams, *sizes, float(edge), float(jump))

    @_active
    def divergence(self, seams):
        h, w = seams.shape[:2]
        out = self.xp.empty((h, w, 3), np.float32)
        self._launcher.over_positions("divergence", (h, w), seams, out, h, w)
        return out

    @_active
    def solve_columns(self, shifts, f):
        h, w = f.shape
        excess = self.xp.empty((h, w), np.float32)
        # Small blocks keep more multiprocessors busy.
        self._launcher.over_lines("solve_columns", w, WARP, shifts, f, excess, h, w)

    @_active
    def correct(self, picture, correction, columns):
        h, w = picture.shape[:2]
        out = self.xp.empty((h, w, 3), np.float32)
        self._launcher.over_positions("correct", (h, w), picture, correction, columns, out, h, w)
        return out

    @_active
    def coarsen(self, form):
        h, w = form.shape[1:]
        hc, wc = coarse_sides(h, w)
        weights, out = self.xp.empty((8, hc, wc), np.float32), self.xp.empty((5, hc, wc), np.float32)
        self._launcher.over_positions("coarsen", (hc, wc), form, weights, out, *_form(form), hc, wc)
        self._launcher.over_positions("restriction", (hc, wc), weights, form, out, 1, h, w, hc, wc, 1.0)
        return weights, out

    @_active
    def factor(self, form):
        h, w = form.shape[1:]
        out = self.xp.empty((2, h, w), np.float32)
        self._launcher.over_lines("factor", h + w, THREADS_PER_BLOCK, form, out, *_form(form))
        return out

    @contextmanager
    def steps(self) -> Iterator[Steps]:
        with self.active():
            steps = SmallSteps(self, self._launcher, 2 * _LINES_TOGETHER - 1)
            yield steps
            steps.launch()

    @_active
    def relax(self, form, inverses, f, u, after):
        h, w, nine = _form(form)
        lines = (max(h, w) + 1) // 2  # the number of lines in a half-sweep
        args = form, inverses, f, u, h, w, nine, after
        if lines <= _LINES_TOGETHER:
            self._launcher.over_lines("relax", _LINES_TOGETHER, _LINES_TOGETHER, *args, 0, 4, channels=3)
        else:
            for half_sweep in range(4):
                self._launcher.over_lines("relax", lines, _LINES_PER_BLOCK, *args, half_sweep, 1, channels=3)

    @_active
    def residual(self, form, f, u, out):
        h, w, nine = _form(form)
        self._launcher.over_positions("residual", (3 * h, w), form, f, u, out, h, w, nine)

    @_active
    def restriction(self, weights, r, out):
        _, hc, wc = out.shape
        self._launcher.over_positions("restriction", (3 * hc, wc), weights, r, out, *r.shape, hc, wc, 0.0)

    @_active
    def prolongation(self, weights, c, u):
        _, h, w = u.shape
        self._launcher.over_positions("prolongation", (3 * h, w), weights, c, u, *c.shape[1:], h, w)

    @_active
    def combine(self, a, x, b, y):
        rows, w = y.shape[0] * y.shape[1], y.shape[2]
        self._launcher.over_positions("combine", (rows, w), x, y, rows, w, float(a), float(b))


def _form(form: Any) -> tuple[int, int, bool]:
    """Return the rows and columns of a form, and True if it has diagonal couplings."""
    planes, h, w = form.shape
    return h, w, planes == 5


def _count(frames: Any) -> int:
    """Return the number of frames; 0 for None tells a kernel that `b` is one picture."""
    return 0 if frames is None else len(frames)
