"""ONNX Runtime: the one place that loads it, keeps it silent, and says what to do where it is missing or there twice."""

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
"""Packages that all install the module `onnxruntime`, over each other."""

ERROR, FATAL = 3, 4
"""ONNX Runtime's levels of messages on standard error. What it says of an error comes as an exception, too."""
_TOO_LITTLE = "there is not enough memory to load ONNX Runtime; close other programs, or raise the limit (`ulimit -v`)"
_AS_REQUESTED = 1
"""How an arena of ONNX Runtime grows."""

_log = logging.getLogger("analogy")


def installed() -> dict[str, str]:
    """Name -> version of each package of ONNX Runtime in this environment; there should be exactly one."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def conflict() -> str:
    """What is wrong, and the cure, where several packages share the module; empty where they do not."""
    names = list(installed())
    if len(names) < 2:
        return ""
    return f"{' and '.join(names)} overwrite each other; pip uninstall -y {' '.join(names)}, then {INSTALL}"


def import_runtime() -> Any:
    """The module `onnxruntime`, with its telemetry off. Once, a logged line says so where two packages share it.

    Raises `DeviceError` if it is missing or cannot be loaded, `MemoryLimitError` if the memory does not suffice for it.
    """
    runtime = _load()
    _warn_of_conflict()
    return runtime


def problem() -> str:
    """Why no network can be run here, or may not, and the cure; empty if all is well."""
    try:
        _load()
    except DeviceError as error:
        return str(error)
    return conflict()


def _load() -> Any:
    if "onnxruntime" not in sys.modules and not host.free_memory():
        # Where an allocation fails, the library may end the process without a word.
        raise MemoryLimitError(_TOO_LITTLE)
    try:
        runtime = import_module("onnxruntime")
        # The environment variable that `analogy/__init__.py` sets keeps releases from 1.29 on from opening their database
        # of events and their connections. This call is for those that do not know it (on Windows they hand events to the
        # system), and for a process that had loaded the library before this package.
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
    """Give the sessions of this process that ask for it ("session.use_env_allocators") one memory on the CPU, once."""
    runtime = import_runtime()
    with suppress(Exception):  # somebody else in this process has done so: that memory serves as well
        runtime.create_and_register_allocator(_arena(runtime, "Cpu", 0), _sizes(runtime, 0))


@cache
def share_device_memory(index: int, most: int) -> None:
    """Like `share_memory`, for CUDA's device `index`: one memory of at most `most` bytes. All its sessions use one stream."""
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
    """At most so many bytes (0 is no bound). It grows by what is asked for, so that it never holds twice of that."""
    return runtime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": _AS_REQUESTED})


def first_provider(providers: Sequence[Any]) -> str:
    """The name of the provider that is to run the networks; each is a name, or a name and options."""
    name: str = providers[0] if isinstance(providers[0], str) else providers[0][0]
    return name
