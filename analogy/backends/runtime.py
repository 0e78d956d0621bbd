"""ONNX Runtime: this module alone loads it, keeps it silent, and says what to do where it is missing or installed twice."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..errors import DeviceError, MemoryLimitError, first_line, is_shortage
from . import host

INSTALL = (
    'pip install "deep-image-analogy[cpu]", or [cuda12] or [cuda13] for an NVIDIA GPU: one of the three, never two'
)
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-migraphx",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-training",
)
"""Packages that all install the module `onnxruntime`, each over the others."""

ERROR, FATAL = 3, 4
"""ONNX Runtime's levels of messages on standard error. Its errors also come as exceptions."""
_TOO_LITTLE = "there is not enough memory to load ONNX Runtime; close other programs, or raise the limit (`ulimit -v`)"
_AS_REQUESTED = 1
"""ONNX Runtime's number for an arena that grows by as much as is asked for."""

_log = logging.getLogger("analogy")


def installed() -> dict[str, str]:
    """Return the version of each package of ONNX Runtime in this environment by its name; there should be exactly one."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def conflict() -> str:
    """Return what is wrong, and the cure, where several packages share the module; empty where they do not."""
    names = list(installed())
    if len(names) < 2:
        return ""
    return f"{' and '.join(names)} overwrite each other; pip uninstall -y {' '.join(names)}, then {INSTALL}"


def import_runtime() -> Any:
    """Return the module `onnxruntime`, with its telemetry off.

    Where two packages share the module, one logged line of the process says so. Raises
    `DeviceError` if the module is missing or cannot be loaded, and `MemoryLimitError` if there is
    too little memory to load it.
    """
    runtime = _load()
    _warn_of_conflict()
    return runtime


def problem() -> str:
    """Return why no network can or may be run here, and the cure; empty if networks can be run."""
    try:
        _load()
    except DeviceError as error:
        return str(error)
    return conflict()


def _load() -> Any:
    if "onnxruntime" not in sys.modules and not host.free_memory():
        # Where an allocation fails, the library may end the process without a message.
        raise MemoryLimitError(_TOO_LITTLE)
    try:
        runtime = import_module("onnxruntime")
        # The environment variable that `analogy/__init__.py` sets keeps releases from 1.29 on from
        # opening their database of events and their connections. This call is for older releases,
        # which do not know the variable (on Windows they hand events to the system), and for a
        # process that had loaded the library before this package.
        runtime.disable_telemetry_events()
    except (ImportError, AttributeError, OSError) as error:
        if is_shortage(error):
            raise MemoryLimitError(_TOO_LITTLE) from error
        names = installed()
        if not names:
            raise DeviceError(f"ONNX Runtime is not installed; {INSTALL}") from error
        raise DeviceError(
            f"ONNX Runtime cannot be loaded, though {' and '.join(names)} is installed ({first_line(error)}); "
            f"pip uninstall -y {' '.join(names)}, then {INSTALL}"
        ) from error
    return runtime


@lru_cache(maxsize=1)
def _warn_of_conflict() -> None:
    if words := conflict():
        _log.warning("%s", words)


@lru_cache(maxsize=1)
def share_memory() -> None:
    """Give the sessions of this process one memory on the CPU to share, once.

    Sessions share it whose options say "session.use_env_allocators".
    """
    runtime = import_runtime()
    with suppress(Exception):  # other code in this process has done so already: its memory serves as well
        runtime.create_and_register_allocator(_arena(runtime, "Cpu", 0), _sizes(runtime, 0))


@cache
def share_device_memory(index: int, most: int) -> None:
    """Give the sessions on CUDA's device `index` one memory of at most `most` bytes to share, once; see `share_memory`.

    That is safe since all of them use one stream.
    """
    runtime = import_runtime()
    try:
        runtime.create_and_register_allocator_v2(
            "CUDAExecutionProvider", _arena(runtime, "Cuda", index), {}, _sizes(runtime, most)
        )
    except Exception as error:  # then each session keeps a memory of its own
        _log.debug("the sessions on CUDA's device %d share no memory: %s", index, first_line(error))


def _arena(runtime: Any, kind: str, index: int) -> Any:
    return runtime.OrtMemoryInfo(kind, runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, index, runtime.OrtMemType.DEFAULT)


def _sizes(runtime: Any, most: int) -> Any:
    """Return the settings of an arena of at most so many bytes; 0 is no limit.

    It grows by as much as is asked for; if it doubled instead, it could hold twice as much as is
    used.
    """
    return runtime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": _AS_REQUESTED})


def first_provider(providers: Sequence[Any]) -> str:
    """Return the name of the provider that is to run the networks; each provider is a name, or a name with options."""
    name: str = providers[0] if isinstance(providers[0], str) else providers[0][0]
    return name
