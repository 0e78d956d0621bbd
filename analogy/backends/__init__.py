"""Backends: each has an array module and runs the kernels, on the CPU or on an NVIDIA GPU.

    contract        methods of every backend (`Backend`), and constants of the kernels
    choice          names of devices, and `get_backend`
    cpu             CPU backend: NumPy, with the Numba kernels of `kernels` and `seam_kernels`
    frames          finds the frame of a sheet that contains a row, in the CPU kernels
    argument_types  types of the arguments of the CPU kernels
    compiled        loads the CPU kernels, and stores their machine code in files
    machine_code    compiles the CPU kernels to machine code, with Numba and LLVM
    cuda            CUDA backend: CuPy, with the kernels of `kernels.cu` and `seams.cu`
    cuda_launch     compiles the CUDA kernels, packs their arguments, and launches them
    cuda_queue      owns the CUDA stream that all work on a device goes through
    cuda_steps      runs several small multigrid steps in one launch
    multigrid       multigrid kernels of both backends
    probes          checks that a GPU and its libraries work
    selftest        tests a GPU step by step, and returns a report
    runtime         loads ONNX Runtime
    host            finds the cores and the free memory that this process may use
    containers      reads the limits that a container sets on cores and memory
    interrupts      keeps Ctrl-C working while CUDA's compiler runs

This module only re-exports names for the rest of the package; no module of `backends` imports it.

These modules may import `files`, `progress` and `errors`. Importing this package imports neither
Numba, nor CuPy, nor ONNX Runtime.
"""

from .choice import CHOICES, DEVICES, MOST_THREADS, Device, check_device, get_backend, threads_of_each
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
    "threads_of_each",
]
