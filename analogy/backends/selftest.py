"""Does the CUDA backend work here? Step by step, for people who have a GPU: `analogy info --selftest`.

Each step needs the ones before it, and after a failure the rest is not tried. Only the kernels do not need each other.
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
from .contract import ONE
from .cpu import CpuBackend

SAME_MATCHES = 0.99
"""Share of a field that must be equal. Rounding decides between two matches that are equally good."""
SAME_PIXELS = 0.97
"""Share of the pixels of a whole transfer that must be equal: later levels build upon what rounding decided."""

KERNELS = (
    "project", "products", "mixture", "channels_last", "join", "pixel_vectors", "resample", "distance", "propagate",
    "random_search", "vote", "steepness", "seams", "keep_edges", "divergence", "solve_columns", "correct",
    "coarsen", "factor", "relax", "residual", "restriction", "prolongation", "combine",
)  # fmt: skip
"""Methods of the backend that are compared with those of the CPU."""

NO_GPU = ("CuPy", "driver")
"""Steps that fail where nobody has set up a GPU: there is nothing to test."""


@dataclass(frozen=True)
class Check:
    """One line of the report: what was tried, whether it works, and what was found or what went wrong."""

    name: str
    ok: bool
    detail: str


def selftest(transfer: Callable[[Device], np.ndarray] | None = None) -> list[Check]:
    """Try everything the CUDA backend needs, and whether it keeps its promises.

    transfer   device name -> A' (H, W, 3) uint8 of a small fixed pair, always by the same `Engine`
    """
    run = _Run()
    run.step("CuPy", run.cupy)
    run.step("driver", run.driver)
    run.step("compiler", run.compiler)
    run.step("ONNX Runtime", run.runtime)
    run.step("backend", run.make_backend)
    for name in KERNELS:
        run.step(f"kernel {name}", partial(run.kernel, name), needed=False)
    run.step("other devices", run.other_devices, needed=False)
    run.step("memory", run.memory, needed=False)
    if transfer:
        run.step("transfer", partial(run.transfer, transfer), needed=False)
        run.step("two at once", partial(run.two_at_once, transfer), needed=False)
        run.step("caller's stream", partial(run.callers_stream, transfer), needed=False)
    return run.checks


class _Run:
    """The steps, and what one hands to the next. A step returns in words what it found, or raises."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.failed = ""
        self.cp: Any = None
        self.backend: Any = None

    def step(self, name: str, function: Callable[[], str], needed: bool = True) -> None:
        """Add a check; a `needed` step that fails keeps the later ones from being tried."""
        if self.failed:
            self.checks.append(Check(name, False, f"not tried, because of: {self.failed}"))
            return
        try:
            self.checks.append(Check(name, True, function()))
        except Exception as error:  # the report is for finding out what can go wrong
            self.checks.append(Check(name, False, first_line(error)))
            self.failed = name if needed else ""

    def cupy(self) -> str:
        self.cp = probes.import_cupy()
        return f"{self.cp.__version__}, for CUDA {probes.version(self.cp.cuda.runtime.runtimeGetVersion())}"

    def driver(self) -> str:
        probes.check_driver(self.cp)
        return f"supports CUDA {probes.version(self.cp.cuda.runtime.driverGetVersion())}"

    def compiler(self) -> str:
        probes.check_compiler(self.cp)
        return "a kernel was compiled and ran"

    def runtime(self) -> str:
        return probes.check_runtime(self.cp)

    def make_backend(self) -> str:
        self.backend = cuda.CudaBackend()
        self.backend.prepare()
        return f"{self.backend.describe()}; {probes.check_provider(self.backend)} ran a convolution"

    def kernel(self, name: str, backend: Any = None) -> str:
        """The same call on both backends."""
        backend = backend or self.backend
        cpu = CpuBackend(1)
        args = _arguments(cpu)[name]
        there = [backend.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        last = max(i for i, arg in enumerate(args) if isinstance(arg, np.ndarray))
        actual, expected = getattr(backend, name)(*there), getattr(cpu, name)(*args)
        if expected is None:  # it has written to the last of its arrays
            actual, expected = there[last], args[last]
        if not isinstance(expected, tuple):
            actual, expected = (actual,), (expected,)
        return ", ".join(_compare(backend.to_host(x), y) for x, y in zip(actual, expected, strict=True))

    def other_devices(self) -> str:
        count = self.cp.cuda.runtime.getDeviceCount()
        for index in range(1, count):
            self.kernel("propagate", cuda.CudaBackend(index))
        return f"{count - 1} more, on which the search is that of the CPU" if count > 1 else "none"

    def memory(self) -> str:
        """What does not fit is this package's error, and takes nothing."""
        free = self.backend.free_memory()
        try:
            with self.backend.active(), enough_memory("test it", "this is right"):
                self.cp.empty(4 * free, np.uint8)
        except MemoryLimitError:
            left = self.backend.free_memory()
            if left < 0.9 * free:
                raise RuntimeError(f"of {free / 2**30:.1f} GiB that were free, {left / 2**30:.1f} are left") from None
            return f"{free / 2**30:.1f} GiB are free; four times as much is refused"
        raise RuntimeError(f"{free / 2**30:.1f} GiB are free, and four times as much is given")

    def transfer(self, transfer: Callable[[Device], np.ndarray]) -> str:
        same = float((transfer("cuda") == transfer("cpu")).all(axis=2).mean())
        if same < SAME_PIXELS:
            raise RuntimeError(f"only {same:.1%} of the pixels are those of the CPU")
        return f"{same:.1%} of the pixels are those of the CPU"

    def two_at_once(self, transfer: Callable[[Device], np.ndarray]) -> str:
        """Two threads, several times each."""
        alone = transfer("cuda")
        with ThreadPoolExecutor(2) as pool:
            different = sum(bool((found != alone).any()) for found in pool.map(transfer, ["cuda"] * 6))
        if different:
            raise RuntimeError(f"{different} of 6 results of two threads differ from that of one")
        return "results of two threads at once are those of one"

    def callers_stream(self, transfer: Callable[[Device], np.ndarray]) -> str:
        """What a caller has made current in its thread stays so."""
        runtime = self.cp.cuda
        before, device, stream = runtime.get_current_stream(), runtime.Device().id, runtime.Stream(non_blocking=True)
        stream.use()
        try:
            transfer("cuda")
            found = runtime.Device().id, runtime.get_current_stream()
        finally:
            before.use()
        if found != (device, stream):
            raise RuntimeError("a transfer leaves another device or another stream current in the caller's thread")
        return "the device and the stream are left as they were"


def _arguments(cpu: CpuBackend) -> dict[str, tuple[Any, ...]]:
    """Arguments for each kernel: small, random but always the same, of odd and different sizes."""
    rng = np.random.default_rng(0)
    size_a, size_b = (19, 23), (17, 29)
    f, g = (rng.standard_normal((*size, 20), np.float32) for size in (size_a, size_b))
    a, b = cpu.join(f, f), cpu.join(g, g)
    nnf = np.stack([rng.integers(0, n, size_a) for n in size_b], axis=2).astype(np.int32)
    d = cpu.distance(a, b, nnf, 3)
    form = rng.random((5, 19, 23), np.float32)
    form[[1, 3, 4], :, -1], form[2:, -1] = 0, 0  # nothing leads out of the picture
    u, v = rng.random((2, 3, 19, 23), np.float32)
    weights, coarse = cpu.coarsen(form)
    below = rng.random((3, *coarse.shape[1:]), np.float32)
    pixels, source = rng.random((*size_a, 3), np.float32), rng.random((*size_b, 3), np.float32)
    steepness, seams = cpu.steepness(pixels), cpu.seams(nnf, source, pixels, 3)
    return {
        "project": (f, rng.standard_normal((20, 7), np.float32)),
        "products": (f[0], f[0, 0]),
        "mixture": (f[0, :, 0], f[0]),
        "channels_last": (f[None],),
        "join": (f, f[::-1].copy()),
        "pixel_vectors": (rng.random((*size_a, 3), np.float32), True),
        "resample": (nnf, (38, 45), (34, 57), (2.0, 1.9), (2.0, 1.9)),
        "distance": (a, b, nnf, 3),
        "propagate": (a, b, nnf, d, 3, 2, 2.02 * ONE**2),
        "random_search": (a, b, nnf, d, 3, 9, 1, 2, 2.02 * ONE**2),
        "vote": (nnf, g, 3),
        "steepness": (pixels,),
        "seams": (nnf, source, pixels, 3),
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
    """The difference in words. Raises `RuntimeError` if it is more than rounding."""
    if actual.dtype == np.int32:
        same = float((actual == expected).all(axis=2).mean())
        if same < SAME_MATCHES:
            raise RuntimeError(f"only {same:.1%} of the field is that of the CPU")
        return f"{same:.1%} of the field is that of the CPU"
    rounding = 1e-5 if actual.dtype == np.float32 else 1  # joined features are whole numbers
    difference = float(np.abs(actual.astype(float) - expected).max())
    if not difference <= rounding:
        raise RuntimeError(f"differs from the CPU by {difference:.1e}")
    return f"differs from the CPU by {difference:.1e}"
