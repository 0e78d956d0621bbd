"""CUDA without a GPU: g++ compiles the unchanged `.cu` files for a strict simulator.

`standin` replaces the module `cupy`, `launch` compiles and launches kernels, and `device` has
arrays and streams. The two headers define CUDA's functions and the scheduler of its threads.
`SimulatedCudaBackend` is the project's CUDA backend on top of these.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from analogy.backends.cuda import CudaBackend

from . import launch, standin
from .launch import SimulatorError, missing

__all__ = ["SimulatedCudaBackend", "SimulatorError", "missing", "only_block", "planted", "schedule", "standin"]


class SimulatedCudaBackend(CudaBackend):
    """The CUDA backend with the stand-in for CuPy.

    ONNX Runtime finds the arrays in the memory of the CPU.
    """

    name = "cpu"
    index = property(lambda self: 0, lambda self, number: None)  # the CPU has the index 0, whatever is simulated

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
    """Run only one block of each launch, so that very large grids can be tested."""
    launch.only = x, y, 0
    try:
        yield
    finally:
        launch.only = None


def planted() -> launch.RawModule:
    """Return the kernels of `planted.cu`, which have faults on purpose."""
    path = Path(__file__).with_name("planted.cu")
    return launch.RawModule(code=f'#line 1 "{path.name}"\n{path.read_text()}')
