"""CUDA without a GPU: the unchanged `.cu` files, compiled by g++ and run on the CPU under strict rules.

`standin` replaces the module `cupy`, `launch` compiles and launches, `device` holds arrays and
streams, and the two headers hold CUDA's words and the scheduler of its threads.
`SimulatedCudaBackend` is the project's CUDA backend on top.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from analogy.backends.cuda import CudaBackend

from . import launch, standin
from .launch import SimulatorError, missing

__all__ = ["SimulatedCudaBackend", "SimulatorError", "missing", "only_block", "planted", "schedule", "standin"]


class SimulatedCudaBackend(CudaBackend):
    """The CUDA backend with the stand-in for CuPy; ONNX Runtime finds the arrays in the memory of the CPU."""

    name = "cpu"
    index = property(lambda self: 0, lambda self, number: None)  # of the CPU, whichever device is simulated

    def _import_cupy(self):
        return standin

    def _find_providers(self):
        return ["CPUExecutionProvider"]


@contextmanager
def schedule(seed: int):
    """Run kernels in another order of threads, warps and blocks."""
    before, launch.seed = launch.seed, seed
    try:
        yield
    finally:
        launch.seed = before


@contextmanager
def only_block(x: int, y: int):
    """Run one block of each launch, so that a grid may be larger than anyone would wait for."""
    launch.only = x, y, 0
    try:
        yield
    finally:
        launch.only = None


def planted() -> launch.RawModule:
    """The kernels of `planted.cu`."""
    path = Path(__file__).with_name("planted.cu")
    return launch.RawModule(code=f'#line 1 "{path.name}"\n{path.read_text()}')
