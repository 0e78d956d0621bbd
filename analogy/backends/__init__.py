"""Backends: each has an array module and runs the kernels, on the CPU or on an NVIDIA GPU.

    contract        methods of every backend (`Backend`), and constants of the kernels
    choice          names of devices, and `get_backend`
    cpu             CPU backend: NumPy, with the Numba kernels of `kernels` and `seam_kernels`
    frames          frames of a sheet in the CPU kernels
    argument_types  types of the arguments of the CPU kernels
    compiled        loads the CPU kernels, and keeps their machine code in files
    machine_code    makes the machine code, by Numba and LLVM
    cuda            CUDA backend: CuPy, with the kernels of `kernels.cu` and `seams.cu`
    cuda_launch     compiles the CUDA kernels, packs their arguments, and launches them
    cuda_queue      CUDA stream that all work on a device goes through
    cuda_steps      common launches of several small multigrid steps
    multigrid       multigrid kernels of both backends
    probes          checks that a GPU and its libraries work
    selftest        report about a GPU
    runtime         loads ONNX Runtime
    host            cores and free memory of the host; `containers` reads the limits of a container
    interrupts      keeps Ctrl-C working while CUDA's compiler runs

This module only re-exports names for the rest of the package; no module of `backends` imports it.

May import: `files`, `progress`, `errors`. Numba, CuPy and ONNX Runtime are imported only when
`get_backend` makes a backend.
"""

from .choice import CHOICES, DEVICES, MOST_THREADS, Device, check_device, get_backend
from .contract import HALF, MOST_PATCH, ONE, Array, Backend, Pass, Passes, Size, Steps
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
    "Steps",
    "check_device",
    "coarse_sides",
    "get_backend",
]
