"""The devices: which array module holds the arrays, and which code runs the kernels.

    contract        what every backend promises (`Backend`), and the constants that all kernels share
    choice          the names of devices, and `get_backend`
    cpu             the CPU backend: NumPy, with the Numba kernels of `kernels` and `seam_kernels`
    argument_types  the types of these kernels' arguments
    compiled        loads these kernels, and keeps them in files as machine code
    machine_code    makes the machine code, by Numba and LLVM
    cuda            the CUDA backend: CuPy, with the kernels of `kernels.cu` and `seams.cu`
    cuda_launch     compiles the CUDA kernels, packs their arguments, and launches them
    cuda_queue      the one CUDA stream that all work on a device goes through
    multigrid       the multigrid kernels of both backends
    probes          checks of what a GPU needs before it is trusted
    selftest        the report about a GPU
    runtime         loads ONNX Runtime
    host            cores and free memory of the host; `containers` reads the bounds of a container
    interrupts      keeps Ctrl-C working while CUDA's compiler runs

This module only re-exports names for the rest of the package; no module of `backends` imports it.

May import: `files`, `progress`, `errors`. Numba, CuPy and ONNX Runtime are imported only when a
backend is asked for.
"""

from .choice import CHOICES, DEVICES, MOST_THREADS, Device, check_device, get_backend
from .contract import HALF, MOST_PATCH, ONE, Array, Backend, Pass, Passes, Size
from .multigrid import coarse_sides

__all__ = [
    "CHOICES",
    "DEVICES",
    "HALF",
    "MOST_PATCH",
    "MOST_THREADS",
    "ONE",
    "Array",
    "Backend",
    "Device",
    "Pass",
    "Passes",
    "Size",
    "check_device",
    "coarse_sides",
    "get_backend",
]
