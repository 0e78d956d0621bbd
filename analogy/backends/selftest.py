"""Self-test of the CUDA backend on the user's GPU, which `analogy info --selftest` runs.

The steps up to "backend" build on each other: if one of them fails, no later step is tried. The
tests of the kernels and all later steps are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import MemoryLimitError, enough_memory, first_line
from . import cuda, probes
from .choice import Device
from .contract import ONE, Pass, Passes
from .cpu import CpuBackend

SAME_MATCHES = 0.99
"""Smallest accepted share (0 to 1) of the matches that are equal on the GPU and on the CPU.

Where two matches are equally good up to rounding, the devices may choose different ones.
"""
SAME_PIXELS = 0.97
"""Smallest accepted share (0 to 1) of the pixels of A' that are equal on the GPU and on the CPU.

It is smaller than `SAME_MATCHES`, because each level starts from the field of the previous level,
so that the number of matches that differ between the devices grows from level to level.
"""

KERNELS = (
    "project", "products", "mixture", "channels_last", "join", "blend", "pixel_vectors", "resample", "distance",
    "propagate", "random_search", "vote", "steepness", "seams", "keep_edges", "divergence", "solve_columns", "correct",
    "coarsen", "factor", "relax", "residual", "restriction", "prolongation", "combine",
)  # fmt: skip
"""Names of the methods of `Backend` whose results are compared with those of the CPU backend."""

NO_GPU = ("CuPy", "driver")
"""Names of the steps whose failure means that the program cannot reach a GPU on this machine."""


@dataclass(frozen=True)
class Check:
    """Result of one step of the self-test, which the report shows as one line.

    Attributes
    ----------
    name
        The name of the step.
    ok
        True if the step has passed.
    detail
        What the step found, or the message of its error.
    """

    name: str
    ok: bool
    detail: str


def selftest(transfer: Callable[[Device], np.ndarray] | None = None) -> list[Check]:
    """Test the CUDA backend and everything that it needs, and return the report.

    Parameters
    ----------
    transfer
        Function that takes the name of a device and returns A' (H, W, 3) uint8 of a small pair that
        is always the same. All of its calls for a device must use the same `Engine`. If it is None,
        the steps that need a whole transfer are left out.

    Returns
    -------
    checks
        One `Check` for each step.
    """
    run = _Run()
    run.step("CuPy", run.cupy)
    run.step("driver", run.driver)
    run.step("compiler", run.compiler)
    run.step("ONNX Runtime", run.runtime)
    run.step("backend", run.make_backend)
    for name in KERNELS:
        run.step(f"kernel {name}", partial(run.kernel, name), needed=False)
    run.step("both directions", run.both_directions, needed=False)
    run.step("other devices", run.other_devices, needed=False)
    run.step("memory", run.memory, needed=False)
    if transfer:
        run.step("transfer", partial(run.transfer, transfer), needed=False)
        run.step("two at once", partial(run.two_at_once, transfer), needed=False)
        run.step("caller's stream", partial(run.callers_stream, transfer), needed=False)
    return run.checks


class _Run:
    """Run of the self-test, with a method for each step.

    The method of a step returns what it found, in words, or raises an error. The first steps store
    CuPy and the backend as attributes for later steps.
    """

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.failed = ""
        self.cp: Any = None
        self.backend: Any = None

    def step(self, name: str, function: Callable[[], str], needed: bool = True) -> None:
        """Run a step, and add its result to `checks`.

        If a step with `needed` fails, later steps are not run, and their checks name the failed
        step.
        """
        if self.failed:
            self.checks.append(Check(name, False, f"not tried, since this step failed: {self.failed}"))
            return
        try:
            self.checks.append(Check(name, True, function()))
        except Exception as error:  # any error becomes a line of the report
            self.checks.append(Check(name, False, first_line(error)))
            self.failed = name if needed else ""

    def cupy(self) -> str:
        """Import CuPy."""
        self.cp = probes.import_cupy()
        return f"{self.cp.__version__}, for CUDA {probes.version(self.cp.cuda.runtime.runtimeGetVersion())}"

    def driver(self) -> str:
        """Check that an NVIDIA driver and a CUDA device are available."""
        probes.check_driver(self.cp)
        return f"supports CUDA {probes.version(self.cp.cuda.runtime.driverGetVersion())}"

    def compiler(self) -> str:
        """Compile a kernel and run it."""
        probes.check_compiler(self.cp)
        return "a kernel was compiled and ran"

    def runtime(self) -> str:
        """Check that exactly one package of ONNX Runtime is installed, and is built for CUDA."""
        return probes.check_runtime(self.cp)

    def make_backend(self) -> str:
        """Make the backend, compile all kernels, and run a convolution."""
        self.backend = cuda.CudaBackend()
        self.backend.prepare()
        return f"{self.backend.describe()}; {probes.check_provider(self.backend)} ran a convolution"

    def kernel(self, name: str, backend: Any = None) -> str:
        """Compare the result of one kernel on both backends."""
        backend = backend or self.backend
        cpu = CpuBackend(1)
        args = _arguments(cpu)[name]
        there = [backend.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        last = max(i for i, arg in enumerate(args) if isinstance(arg, np.ndarray))
        actual, expected = getattr(backend, name)(*there), getattr(cpu, name)(*args)
        if expected is None:  # this kernel writes its result to its last array
            actual, expected = there[last], args[last]
        if not isinstance(expected, tuple):
            actual, expected = (actual,), (expected,)
        return ", ".join(_compare(backend.to_host(x), y) for x, y in zip(actual, expected, strict=True))

    def both_directions(self) -> str:
        """Check propagation passes of both directions, which share launches, against the CPU."""
        cpu = CpuBackend(1)
        arguments = _arguments(cpu)["propagate"]
        a, b, nnf, d = arguments[:4]
        swapped = b, a, np.zeros((*b.shape[:2], 2), np.int32), np.zeros(b.shape[:2], np.float32)
        found, expected = (
            backend.run_together([_propagated(*map(backend.asarray, way)) for way in ((a, b, nnf, d), swapped)])
            for backend in (self.backend, cpu)
        )
        return ", ".join(
            _compare(self.backend.to_host(one[0]), other[0]) for one, other in zip(found, expected, strict=True)
        )

    def other_devices(self) -> str:
        """Compare the result of one kernel on each further CUDA device with that on the CPU."""
        count = self.cp.cuda.runtime.getDeviceCount()
        for index in range(1, count):
            self.kernel("propagate", cuda.CudaBackend(index))
        return f"{count - 1} more, which find the same field as the CPU" if count > 1 else "none"

    def memory(self) -> str:
        """Check that a request for too much memory raises `MemoryLimitError` and uses no memory."""
        free = self.backend.free_memory()
        try:
            with self.backend.active(), enough_memory("test it", "this is right"):
                self.cp.empty(4 * free, np.uint8)
        except MemoryLimitError:
            left = self.backend.free_memory()
            if left < 0.9 * free:
                raise RuntimeError(
                    f"{free / 2**30:.1f} GiB were free before a refused request, and {left / 2**30:.1f} after it"
                ) from None
            return f"{free / 2**30:.1f} GiB are free; a request for four times as much is refused"
        raise RuntimeError(f"{free / 2**30:.1f} GiB are free, but a request for four times as much succeeds")

    def transfer(self, transfer: Callable[[Device], np.ndarray]) -> str:
        """Compare a whole transfer with the same transfer on the CPU."""
        same = float((transfer("cuda") == transfer("cpu")).all(axis=2).mean())
        if same < SAME_PIXELS:
            raise RuntimeError(f"only {same:.1%} of the pixels are the same as on the CPU")
        return f"{same:.1%} of the pixels are the same as on the CPU"

    def two_at_once(self, transfer: Callable[[Device], np.ndarray]) -> str:
        """Compare transfers in two concurrent threads with a transfer in one thread."""
        alone = transfer("cuda")
        with ThreadPoolExecutor(2) as pool:
            different = sum(bool((found != alone).any()) for found in pool.map(transfer, ["cuda"] * 6))
        if different:
            raise RuntimeError(f"{different} of 6 results of two threads differ from the result of one thread")
        return "two threads at the same time get the same results as one"

    def callers_stream(self, transfer: Callable[[Device], np.ndarray]) -> str:
        """Check that a transfer leaves the caller's current device and stream unchanged."""
        runtime = self.cp.cuda
        before, device, stream = runtime.get_current_stream(), runtime.Device().id, runtime.Stream(non_blocking=True)
        stream.use()
        try:
            transfer("cuda")
            found = runtime.Device().id, runtime.get_current_stream()
        finally:
            before.use()
        if found != (device, stream):
            raise RuntimeError("a transfer changes the current device or the current stream of the caller's thread")
        return "the current device and stream stay the same"


def _propagated(a: Any, b: Any, nnf: Any, distance: Any) -> Passes[Any]:
    """Yield one propagation pass, and return its result."""
    field = {"a": a, "b": b, "nnf": nnf, "distance": distance}
    return (yield Pass("propagate", field | {"patch": 3, "jump": 1, "max_product": 2.02 * ONE**2}))


def _arguments(cpu: CpuBackend) -> dict[str, tuple[Any, ...]]:
    """Return a dict from the name of each kernel to the arguments with which it is tested.

    The pictures, fields and grids are small, and have different odd numbers of rows and columns.
    The random numbers are the same in every run. The source `b` has two frames.
    """
    rng = np.random.default_rng(0)
    size_a, size_b = (19, 23), (17, 29)
    f, g = (rng.standard_normal((*size, 20), np.float32) for size in (size_a, size_b))
    a, b = cpu.join(f, f), cpu.join(g, g)
    nnf = np.stack([rng.integers(0, n, size_a) for n in size_b], axis=2).astype(np.int32)
    frames = np.array([[0, 8, 29], [8, 17, 20]], np.int32)
    nnf[..., 1] = np.where(nnf[..., 0] < 8, nnf[..., 1], nnf[..., 1] % 20)
    d = cpu.distance(a, b, nnf, 3, frames)
    form = rng.random((5, 19, 23), np.float32)
    form[[1, 3, 4], :, -1], form[2:, -1] = 0, 0  # there are no couplings beyond the border
    u, v = rng.random((2, 3, 19, 23), np.float32)
    weights, coarse = cpu.coarsen(form)
    below = rng.random((3, *coarse.shape[1:]), np.float32)
    pixels, source = rng.random((*size_a, 3), np.float32), rng.random((*size_b, 3), np.float32)
    steepness, seams = cpu.steepness(pixels), cpu.seams(nnf, source, pixels, 3, frames)
    return {
        "project": (f, rng.standard_normal((20, 7), np.float32)),
        "products": (f[0], f[0, 0]),
        "mixture": (f[0, :, 0], f[0]),
        "channels_last": (f[None],),
        "join": (f, f[::-1].copy()),
        "blend": (f, f, f[::-1].copy(), 0.8, 300.0, 0.05),
        "pixel_vectors": (rng.random((*size_a, 3), np.float32), True),
        "resample": (nnf, (38, 45), (34, 57), (2.0, 1.9), (2.0, 1.9)),
        "distance": (a, b, nnf, 3, frames),
        "propagate": (a, b, nnf, d, 3, 2, 2.02 * ONE**2, None, frames),
        "random_search": (a, b, nnf, d, 3, 9, 1, 2, 2.02 * ONE**2, None, frames),
        "vote": (nnf, g, 3, frames),
        "steepness": (pixels,),
        "seams": (nnf, source, pixels, 3, frames),
        "keep_edges": (steepness, seams.copy(), 0.1, 0.5),
        "divergence": (seams,),
        "solve_columns": (rng.random(23, np.float32) + np.float32(0.1), f[..., 0].copy()),
        "correct": (
            pixels,
            source[:, : size_a[1]].repeat(2, axis=0)[: size_a[0]].copy(),
            np.arange(23, dtype=np.int32)[::-1].copy(),
        ),
        "coarsen": (form,),
        "factor": (form,),
        "relax": (form, cpu.factor(form), u, v, True),
        "residual": (form, u, v, np.zeros_like(u)),
        "restriction": (weights, u, below),
        "prolongation": (weights, below, u),
        "combine": (0.5, u, 2.0, v),
    }


def _compare(actual: np.ndarray, expected: np.ndarray) -> str:
    """Return the difference of two results in words, or raise `RuntimeError` if it is too large."""
    if actual.dtype == np.int32:
        same = float((actual == expected).all(axis=2).mean())
        if same < SAME_MATCHES:
            raise RuntimeError(f"only {same:.1%} of the matches are the same as on the CPU")
        return f"{same:.1%} of the matches are the same as on the CPU"
    # Joined features are whole numbers, which the two devices may round in different directions.
    rounding = 1e-5 if actual.dtype == np.float32 else 1
    difference = float(np.abs(actual.astype(float) - expected).max())
    if not difference <= rounding:
        raise RuntimeError(f"differs from the CPU by {difference:.1e}")
    return f"differs from the CPU by {difference:.1e}"
