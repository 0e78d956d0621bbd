"""Simulator of CUDA without a GPU: g++ compiles the unchanged `.cu` files for the CPU.

`standin` replaces the module `cupy`; its documentation and its messages call it the simulated CuPy.
`launch` compiles and launches kernels, and `device` has arrays and streams. `cuda.h` defines CUDA's
functions, and `scheduler.h` runs the threads. `SimulatedCudaBackend` is the project's CUDA backend
on this simulator.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from analogy.backends.cuda import CudaBackend

from . import launch, standin
from .launch import SimulatorError, missing

__all__ = ["SimulatedCudaBackend", "SimulatorError", "missing", "only_block", "planted", "schedule", "standin"]


class SimulatedCudaBackend(CudaBackend):
    """The project's CUDA backend with the simulated CuPy.

    ONNX Runtime runs on the CPU, and gets the addresses of the arrays, which are in host memory.
    """

    name = "cpu"
    index = property(lambda self: 0, lambda self, number: None)  # ONNX Runtime knows the CPU only as device 0

    def _import_cupy(self):
        return standin

    def _find_providers(self):
        return ["CPUExecutionProvider"]


@contextmanager
def schedule(seed: int):
    """Run kernels, during the context, in an order of threads, warps and blocks given by `seed`."""
    before, launch.seed = launch.seed, seed
    try:
        yield
    finally:
        launch.seed = before


@contextmanager
def only_block(x: int, y: int):
    """Run, during the context, only the block (x, y) of each launch.

    So tests can launch grids that are too large to run completely.
    """
    launch.only = x, y, 0
    try:
        yield
    finally:
        launch.only = None


def planted() -> launch.RawModule:
    """Return the kernels of `planted.cu`, most of which have a fault on purpose."""
    path = Path(__file__).with_name("planted.cu")
    return launch.RawModule(code=f'#line 1 "{path.name}"\n{path.read_text()}')
