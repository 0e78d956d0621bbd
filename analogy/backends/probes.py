"""Checks of everything that the CUDA backend needs, one at a time; an error names what is missing, and the cure.

CuPy's own `cuda.is_available()` is not enough: it hides the reason, and does not look for the
compiler. Where ONNX Runtime cannot start the CUDA provider that it was asked for, it only logs
that, and goes on with the CPU.
"""

from __future__ import annotations

import base64
import importlib
import os
import tempfile
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import DeviceError, MemoryLimitError, first_line, is_shortage
from .contract import Backend
from .runtime import ERROR, conflict, first_provider, import_runtime

_INSTALL = "pip install 'deep-image-analogy[cuda12]' (or [cuda13]) in an environment without the extra [cpu]"
_NO_DEVICE = 100
"""CUDA's error cudaErrorNoDevice: there is a driver, but no device."""

# y = Conv(x (1, 64, 32, 32), w (64, 64, 3, 3)), opset 13, as ONNX. ONNX Runtime needs cuDNN for
# this operator, and with so many channels cuDNN takes TensorFloat-32's units if it may.
_CONVOLUTION = base64.b64decode(
    "CAc6awoPCgF4CgF3EgF5IgRDb252EgFnWhsKAXgSFgoUCAESEAoCCAEKAghACgIIIAoCCCBaGwoBdxIWChQIARIQCgIIQAoCCEAKAggDCgIIA2Ib"
    "CgF5EhYKFAgBEhAKAggBCgIIQAoCCB4KAggeQgQKABAN"
)
_X, _W, _Y = (1, 64, 32, 32), (64, 64, 3, 3), (1, 64, 30, 30)
_BEYOND_TF32 = 0.4 / 2**10
"""Amount that is too small for TensorFloat-32: added to a number from 1 to 2 that this format holds, it is rounded away."""
_ROUNDING = 1e-4
"""Largest relative error of a result in float32, in whatever order it is summed. With TensorFloat-32 it is 5e-4."""


def import_cupy() -> Any:
    """Return the module `cupy`. Raises `DeviceError` if it cannot be imported.

    For a user without a home, CuPy would make a folder called "~" in the current one. In that case
    this function makes it keep its kernels in memory.
    """
    if os.path.expanduser("~") == "~" and "CUPY_CACHE_DIR" not in os.environ:  # noqa: PTH111 (`Path` raises)
        os.environ |= {"CUPY_CACHE_IN_MEMORY": "1", "CUPY_CACHE_DIR": tempfile.gettempdir()}
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"CuPy cannot be imported ({first_line(error)}); {_INSTALL}") from error


def check_driver(cp: Any, index: int = 0) -> Any:
    """Return CUDA's device of that number. Raises `DeviceError` if there is no driver, no device, or not so many."""
    needed = version(cp.cuda.runtime.runtimeGetVersion())
    try:
        count = cp.cuda.runtime.getDeviceCount()
    except cp.cuda.runtime.CUDARuntimeError as error:
        if cp.cuda.runtime.driverGetVersion() == 0:
            raise DeviceError("there is no NVIDIA driver; install one, and see that nvidia-smi works") from error
        if error.status != _NO_DEVICE:
            raise DeviceError(
                f"no usable NVIDIA driver: it is too old for CUDA {needed} ({first_line(error)}); "
                "update the driver, and see that nvidia-smi works"
            ) from error
        count = 0
    if count == 0:
        raise DeviceError("no NVIDIA GPU is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if index >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise DeviceError(
            f"there is no device cuda:{index}; CUDA sees {there} (see nvidia-smi and CUDA_VISIBLE_DEVICES)"
        )
    return cp.cuda.Device(index)


def check_compiler(cp: Any) -> None:
    """Compile and run a kernel of one line. Raises `DeviceError` if that fails."""
    line = 'extern "C" __global__ void probe(int* out) { out[0] = 42; }'
    try:
        out = cp.zeros(1, np.int32)
        cp.RawModule(code=line, options=("-std=c++17",)).get_function("probe")((1,), (1,), (out,))
        answer = int(out[0])
    except Exception as error:  # CuPy, NVRTC and the loader of libraries raise many classes
        raise DeviceError(
            f"CuPy cannot compile and run a kernel ({first_line(error)}); "
            f"the CUDA headers or NVRTC may be missing: {_INSTALL}"
        ) from error
    if answer != 42:
        raise DeviceError("a CUDA kernel ran but left no result; the driver or the device is faulty")


def check_runtime(cp: Any) -> str:
    """Return the version of ONNX Runtime.

    Raises `DeviceError` unless exactly one package of it is installed, and is built for the CUDA
    version of CuPy.
    """
    if problem := conflict():
        raise DeviceError(problem)
    runtime = import_runtime()
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise DeviceError(f"ONNX Runtime {runtime.__version__} is built without CUDA; uninstall it, then {_INSTALL}")
    ours = cp.cuda.runtime.runtimeGetVersion() // 1000
    theirs = str(getattr(runtime, "cuda_version", "") or "").split(".")[0]
    if theirs and theirs != str(ours):
        raise DeviceError(
            f"CuPy is built for CUDA {ours}, ONNX Runtime {runtime.__version__} for CUDA {theirs}; "
            f"install both from one extra: {_INSTALL}"
        )
    # This finds cuDNN and cuBLAS in the packages of the environment; without it only system-wide
    # ones are found.
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    # The log of the process shows errors only, like those of the sessions: for each session,
    # releases from 1.29 on warn that no plug-in offers CUDA, though none is needed.
    runtime.set_default_logger_severity(ERROR)
    return runtime.__version__


def check_provider(backend: Backend) -> str:
    """Return the name of the provider that ran one convolution, with arrays bound by address as `method.features` binds them.

    Raises `DeviceError` if it is not the backend's own provider, or if the result is less exact
    than float32, and `MemoryLimitError` if the device has no memory left.
    """
    wanted = first_provider(backend.providers)
    try:
        used, y = _convolve(backend)
    except Exception as error:  # the exceptions of ONNX Runtime share no public base class
        if is_shortage(error):
            raise MemoryLimitError(
                f"the device has no memory left ({first_line(error)}); close other programs that use it"
            ) from error
        raise DeviceError(f"ONNX Runtime failed on a convolution with {wanted} ({first_line(error)})") from error
    if used != wanted:
        raise DeviceError(
            f"ONNX Runtime could not start {wanted} and offers {used}; cuDNN or cuBLAS may be missing: {_INSTALL}"
        )
    expected = convolution(_beyond_tf32(_X), _beyond_tf32(_W))
    off = float(np.abs(backend.to_host(y) / expected - 1).max())
    if not off <= _ROUNDING:
        raise DeviceError(
            f"ONNX Runtime's result of a convolution with {wanted} is off by {off:.1e} of it, more than float32 is"
        )
    return used


def _beyond_tf32(shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers from 1 to 2 that each need more than TensorFloat-32's 10 bits, in a pattern without a short period."""
    return (1 + np.arange(np.prod(shape)) * 7 % 127 % 16 / 16 + _BEYOND_TF32).astype(np.float32).reshape(shape)


def convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the convolution of `x` (1, C, H, W) with `w` (M, C, 3, 3), without padding: (1, M, H - 2, W - 2) float64."""
    windows = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), (3, 3), (2, 3)
    )  # (1, C, H - 2, W - 2, 3, 3)
    return np.tensordot(w.astype(np.float64), windows, ((1, 2, 3), (1, 4, 5))).transpose(1, 0, 2, 3)


def shrink_arena(backend: Backend) -> None:
    """Make ONNX Runtime give back the unused part of the memory that its sessions share on the device.

    It does so at the end of a run whose options ask for it, whichever session runs.
    """
    kind = "gpu" if backend.name == "cuda" else "cpu"
    with suppress(Exception):  # where this fails, the memory stays in use
        _convolve(backend, ("memory.enable_memory_arena_shrinkage", f"{kind}:{backend.index}"))


def _convolve(backend: Backend, *entries: tuple[str, str]) -> tuple[str, Any]:
    """Return the name of the provider of a session with one convolution, and the result.

    The session runs only if this is the provider that the backend wants.

    entries   keys and values for the options of the run
    """
    runtime = import_runtime()
    x, w = backend.asarray(_beyond_tf32(_X)), backend.asarray(_beyond_tf32(_W))
    y = backend.asarray(backend.xp.empty(_Y, np.float32))
    settings = runtime.SessionOptions()
    settings.add_session_config_entry("session.use_env_allocators", "1")
    session = runtime.InferenceSession(_CONVOLUTION, settings, providers=backend.providers)
    binding = session.io_binding()
    for name, array in (("x", x), ("w", w)):
        binding.bind_input(name, backend.name, backend.index, np.float32, array.shape, backend.pointer(array))
    binding.bind_output("y", backend.name, backend.index, np.float32, y.shape, backend.pointer(y))
    options = runtime.RunOptions()
    for entry in entries:
        options.add_run_config_entry(*entry)
    used: str = session.get_providers()[0]
    if used == first_provider(backend.providers):
        backend.run_network(session, binding, options)
    return used, y


def version(number: int) -> str:
    """Return a version in words, such as "12.9" for 12090, which is how CUDA writes it as one number."""
    return f"{number // 1000}.{number % 1000 // 10}"
