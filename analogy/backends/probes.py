"""Checks of what the CUDA backend needs, one at a time; an error names what is missing, and the cure.

CuPy's own `cuda.is_available()` is not enough: it hides the reason, and does not look for the compiler. ONNX Runtime,
asked for a CUDA provider that it cannot start, only logs that and goes on with the CPU.
"""

from __future__ import annotations

import base64
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DeviceError, first_line
from .runtime import conflict, import_runtime

if TYPE_CHECKING:
    from . import Backend

_INSTALL = "pip install 'deep-image-analogy[cuda12]' (or [cuda13]) in an environment without the extra [cpu]"
_NO_DEVICE = 100
"""cudaErrorNoDevice: there is a driver, but nothing it could drive."""

# y = Conv(x (1, 1, 4, 4), w (1, 1, 3, 3)), opset 13, as ONNX: an operator for which ONNX Runtime needs cuDNN.
_CONVOLUTION = base64.b64decode(
    "CAg6awoPCgF4CgF3EgF5IgRDb252EgFnWhsKAXgSFgoUCAESEAoCCAEKAggBCgIIBAoCCARaGwoBdxIWChQIARIQCgIIAQoCCAEKAggDCgIIA2Ib"
    "CgF5EhYKFAgBEhAKAggBCgIIAQoCCAIKAggCQgQKABAN"
)


def import_cupy() -> Any:
    """The module `cupy`, or `DeviceError`."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"CuPy cannot be imported ({first_line(error)}); {_INSTALL}") from error


def check_driver(cp: Any) -> Any:
    """CUDA's first device, or `DeviceError`."""
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
    return cp.cuda.Device(0)


def check_compiler(cp: Any) -> None:
    """Compile and run a kernel of one line. Raises `DeviceError` if that fails."""
    line = 'extern "C" __global__ void probe(int* out) { out[0] = 42; }'
    try:
        out = cp.zeros(1, np.int32)
        cp.RawModule(code=line, options=("-std=c++17",)).get_function("probe")((1,), (1,), (out,))
        answer = int(out[0])
    except Exception as error:  # whatever CuPy, NVRTC or the loader of libraries may raise
        raise DeviceError(
            f"CuPy cannot compile and run a kernel ({first_line(error)}); "
            f"the CUDA headers or NVRTC may be missing: {_INSTALL}"
        ) from error
    if answer != 42:
        raise DeviceError("a CUDA kernel ran but left no result; the driver or the device is faulty")


def check_runtime(cp: Any) -> str:
    """The version of ONNX Runtime; `DeviceError` unless exactly one is installed, built for CUDA in CuPy's version."""
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
    # Finds cuDNN and cuBLAS in the environment's own packages; without it only system-wide ones are seen.
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    return runtime.__version__


def check_provider(backend: Backend) -> str:
    """The provider that ran one convolution, with arrays bound by address as `method.features` binds them.

    Raises `DeviceError` if it is not the backend's own, or the result is wrong.
    """
    onnxruntime = import_runtime()
    wanted = backend.providers[0]
    wanted = wanted if isinstance(wanted, str) else wanted[0]
    x, w = (backend.asarray(np.arange(n * n, dtype=np.float32).reshape(1, 1, n, n)) for n in (4, 3))
    y = backend.xp.empty((1, 1, 2, 2), np.float32)
    try:
        session = onnxruntime.InferenceSession(_CONVOLUTION, providers=backend.providers)
        used = session.get_providers()[0]
        binding = session.io_binding()
        for name, array in (("x", x), ("w", w)):
            binding.bind_input(name, backend.name, 0, np.float32, array.shape, backend.pointer(array))
        binding.bind_output("y", backend.name, 0, np.float32, y.shape, backend.pointer(y))
        if used == wanted:
            session.run_with_iobinding(binding)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        raise DeviceError(f"ONNX Runtime failed on a convolution with {wanted} ({first_line(error)})") from error
    if used != wanted:
        raise DeviceError(
            f"ONNX Runtime could not start {wanted} and offers {used}; cuDNN or cuBLAS may be missing: {_INSTALL}"
        )
    found = backend.to_host(y).ravel()
    if not np.allclose(found, [258, 294, 402, 438], rtol=1e-6):
        raise DeviceError(f"ONNX Runtime's result of a convolution with {wanted} is wrong: {found}")
    return used


def version(number: int) -> str:
    """CUDA's way to write a version as one number, in words."""
    return f"{number // 1000}.{number % 1000 // 10}"
