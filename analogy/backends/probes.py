"""Checks of what the CUDA backend needs, one by one; an error says what is missing and what to do.

`cupy.cuda.is_available()` is not enough: it does not say why CUDA cannot be used, and it does not
check the compiler.
ONNX Runtime only logs that it cannot start the CUDA provider, and then runs on the CPU.
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
"""Advice on how to install the CUDA packages, for messages."""
_NO_DEVICE = 100
"""Number of CUDA's error cudaErrorNoDevice, which means that there is a driver but no device."""

# The following bytes are the ONNX graph y = Conv(x (1, 64, 32, 32), w (64, 64, 3, 3)), opset 13.
# ONNX Runtime needs cuDNN for this operator. With this many channels, cuDNN uses TensorFloat-32 if
# the options of the provider allow TensorFloat-32.
_CONVOLUTION = base64.b64decode(
    "CAc6awoPCgF4CgF3EgF5IgRDb252EgFnWhsKAXgSFgoUCAESEAoCCAEKAghACgIIIAoCCCBaGwoBdxIWChQIARIQCgIIQAoCCEAKAggDCgIIA2Ib"
    "CgF5EhYKFAgBEhAKAggBCgIIQAoCCB4KAggeQgQKABAN"
)
_X, _W, _Y = (1, 64, 32, 32), (64, 64, 3, 3), (1, 64, 30, 30)
_BEYOND_TF32 = 0.4 / 2**10
"""Summand that disappears when its sum with 1, 17/16, .. or 31/16 is rounded to TensorFloat-32."""
_ROUNDING = 1e-4
"""Largest accepted relative error of the convolution.

The error in float32 is smaller, in whatever order the sums are computed. With TensorFloat-32 the
error is about 5e-4.
"""


def import_cupy() -> Any:
    """Return the module `cupy`; raise `DeviceError` if it cannot be imported.

    For a user without a home directory, CuPy would make a folder called "~" in the current folder.
    So this function makes CuPy keep its kernels in memory in that case, unless the user has set
    CUPY_CACHE_DIR.
    """
    if os.path.expanduser("~") == "~" and "CUPY_CACHE_DIR" not in os.environ:  # noqa: PTH111 (`Path` raises)
        os.environ |= {"CUPY_CACHE_IN_MEMORY": "1", "CUPY_CACHE_DIR": tempfile.gettempdir()}
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"CuPy cannot be imported ({first_line(error)}); {_INSTALL}") from error


def check_driver(cp: Any, index: int = 0) -> Any:
    """Return CUDA's device with the number `index`.

    Raises `DeviceError` if there is no usable driver, or no device with this number.
    """
    needed = version(cp.cuda.runtime.runtimeGetVersion())
    try:
        count = cp.cuda.runtime.getDeviceCount()
    except cp.cuda.runtime.CUDARuntimeError as error:
        if cp.cuda.runtime.driverGetVersion() == 0:
            raise DeviceError("there is no NVIDIA driver; install one, and check that nvidia-smi works") from error
        if error.status != _NO_DEVICE:
            raise DeviceError(
                f"the NVIDIA driver does not work, or is too old for CUDA {needed} ({first_line(error)}); "
                "update the driver, and check that nvidia-smi works"
            ) from error
        count = 0
    if count == 0:
        raise DeviceError("no NVIDIA GPU is visible; check that nvidia-smi lists one, and check CUDA_VISIBLE_DEVICES")
    if index >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise DeviceError(
            f"there is no device cuda:{index}; CUDA lists only {there}; check nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    return cp.cuda.Device(index)


def check_compiler(cp: Any) -> None:
    """Compile and run a small kernel; raise `DeviceError` if that fails or its result is wrong."""
    line = 'extern "C" __global__ void probe(int* out) { out[0] = 42; }'
    try:
        out = cp.zeros(1, np.int32)
        cp.RawModule(code=line, options=("-std=c++17",)).get_function("probe")((1,), (1,), (out,))
        answer = int(out[0])
    except Exception as error:  # CuPy, NVRTC and the dynamic linker raise errors of many types
        raise DeviceError(
            f"CuPy cannot compile and run a kernel ({first_line(error)}); "
            f"the CUDA headers or NVRTC may be missing: {_INSTALL}"
        ) from error
    if answer != 42:
        raise DeviceError(f"a CUDA kernel wrote {answer}, not 42; the driver or GPU is faulty; reinstall the driver")


def check_runtime(cp: Any) -> str:
    """Load the libraries with which ONNX Runtime uses CUDA, and return its version.

    The function also makes ONNX Runtime log only errors. It raises `DeviceError` if there is no
    package of ONNX Runtime or more than one, or if the package is built without CUDA or for another
    major version of CUDA than CuPy.
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
            f"CuPy is built for CUDA {ours}, but ONNX Runtime {runtime.__version__} for CUDA {theirs}; "
            f"install both from one extra: {_INSTALL}"
        )
    # This loads cuDNN and cuBLAS from the installed Python packages. Otherwise ONNX Runtime would
    # find only libraries that are installed in the system.
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    # ONNX Runtime's log for the process then contains only errors, as the logs of the sessions do.
    # Otherwise releases from 1.29 on would log, for each new session, the warning that no plug-in
    # provides CUDA. No plug-in is needed.
    runtime.set_default_logger_severity(ERROR)
    return runtime.__version__


def check_provider(backend: Backend) -> str:
    """Run a convolution, and return the name of the provider that ran it.

    ONNX Runtime gets the addresses of the arrays, as in `method.features`. Raises `DeviceError` if
    the convolution fails, if the provider that ran it is not the first in `backend.providers`, or
    if the result is less exact than float32. Raises `MemoryLimitError` if the device has no memory
    left.
    """
    wanted = first_provider(backend.providers)
    try:
        used, y = _convolve(backend)
    except Exception as error:  # the exceptions of ONNX Runtime share no public base class
        if is_shortage(error):
            raise MemoryLimitError(
                f"the device has no memory left ({first_line(error)}); close other programs that use the device"
            ) from error
        raise DeviceError(
            f"ONNX Runtime failed on a convolution with {wanted} ({first_line(error)}); "
            "update the NVIDIA driver and ONNX Runtime"
        ) from error
    if used != wanted:
        raise DeviceError(
            f"ONNX Runtime could not start {wanted} and uses {used}; cuDNN or cuBLAS may be missing: {_INSTALL}"
        )
    expected = convolution(_beyond_tf32(_X), _beyond_tf32(_W))
    off = float(np.abs(backend.to_host(y) / expected - 1).max())
    if not off <= _ROUNDING:
        raise DeviceError(
            f"ONNX Runtime's result of a convolution with {wanted} has a relative error of {off:.1e}, which is too "
            "large for float32; update ONNX Runtime"
        )
    return used


def _beyond_tf32(shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 numbers from 1 to 2 that need more fraction bits than TensorFloat-32 has (10).

    They repeat only after 127 numbers, so that mixed-up positions change the convolution.
    """
    return (1 + np.arange(np.prod(shape)) * 7 % 127 % 16 / 16 + _BEYOND_TF32).astype(np.float32).reshape(shape)


def convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the convolution of `x` (1, C, H, W) with `w` (M, C, 3, 3), without padding.

    The result is (1, M, H - 2, W - 2) float64.
    """
    windows = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), (3, 3), (2, 3)
    )  # (1, C, H - 2, W - 2, 3, 3)
    return np.tensordot(w.astype(np.float64), windows, ((1, 2, 3), (1, 4, 5))).transpose(1, 0, 2, 3)


def shrink_arena(backend: Backend) -> None:
    """Make ONNX Runtime free the unused memory in the pool of its sessions on the device.

    ONNX Runtime does this at the end of a run whose options request it. So the function runs a
    small convolution with this option.
    """
    kind = "gpu" if backend.name == "cuda" else "cpu"
    with suppress(Exception):  # if this fails, the pool stays as large as it is, which does no harm
        _convolve(backend, ("memory.enable_memory_arena_shrinkage", f"{kind}:{backend.index}"))


def _convolve(backend: Backend, *entries: tuple[str, str]) -> tuple[str, Any]:
    """Run a session with one convolution, and return the name of its provider and the result.

    If this provider is not the first in `backend.providers`, the convolution is not run, and the
    result has no meaning. `entries` are pairs of key and value, which become options of the run.
    """
    runtime = import_runtime()
    x, w = backend.asarray(_beyond_tf32(_X)), backend.asarray(_beyond_tf32(_W))
    y = backend.asarray(backend.xp.empty(_Y, np.float32))
    settings = runtime.SessionOptions()
    settings.add_session_config_entry("session.use_env_allocators", "1")
    # Without `enable_fallback=0`, ONNX Runtime would print errors and then use the CPU.
    session = runtime.InferenceSession(_CONVOLUTION, settings, providers=backend.providers, enable_fallback=0)
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
    """Return a version number of CUDA as text, such as "12.9" for 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"
