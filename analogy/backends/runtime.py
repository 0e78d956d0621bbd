"""Loader of ONNX Runtime, with advice for broken installations.

No other module imports ONNX Runtime. This module also turns off the library's telemetry, defines
constants for its log levels, and makes its sessions share memory.
"""

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
    'pip install "deep-image-analogy[cpu]" (for an NVIDIA GPU: [cuda12] or [cuda13]); install only one of these extras'
)
"""Advice on how to install ONNX Runtime, for messages."""
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
"""Names of packages that install the module `onnxruntime`; each overwrites the others' files."""

ERROR = 3
"""Log level at which ONNX Runtime writes errors to standard error, but no warnings."""
FATAL = 4
"""Log level at which ONNX Runtime writes only fatal errors; other errors still raise exceptions."""
_TOO_LITTLE = "there is not enough memory to load ONNX Runtime; close other programs, or raise the limit (`ulimit -v`)"
_AS_REQUESTED = 1
"""ONNX Runtime's number for memory pools that grow by exactly the requested size."""

_log = logging.getLogger("analogy")


def installed() -> dict[str, str]:
    """Return a dict from the name of each installed package of ONNX Runtime to its version.

    A working installation has exactly one of these packages.
    """
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def conflict() -> str:
    """Return a message with advice if several packages of ONNX Runtime are installed; else ""."""
    names = list(installed())
    if len(names) < 2:
        return ""
    return f"{' and '.join(names)} overwrite each other; pip uninstall -y {' '.join(names)}, then {INSTALL}"


def import_runtime() -> Any:
    """Return the module `onnxruntime`, with its telemetry off.

    If several packages install the module, the function logs a warning, once per process. Raises
    `DeviceError` if the module is missing or cannot be loaded, and `MemoryLimitError` if there is
    too little memory to load it.
    """
    runtime = _load()
    _warn_of_conflict()
    return runtime


def problem() -> str:
    """Return a message with advice about a faulty installation of ONNX Runtime, or "" if it works.

    The installation is faulty if ONNX Runtime is missing or cannot be loaded, or if several of its
    packages are installed.
    """
    try:
        _load()
    except DeviceError as error:
        return str(error)
    return conflict()


def _load() -> Any:
    if "onnxruntime" not in sys.modules and not host.free_memory():
        # If an allocation failed during the import, ONNX Runtime could end the process without a
        # message.
        raise MemoryLimitError(_TOO_LITTLE)
    try:
        runtime = import_module("onnxruntime")
        # `analogy/__init__.py` sets an environment variable that turns off the telemetry of release
        # 1.29 and later ones. This call turns it off in two other cases. Older releases do not read
        # the variable; on Windows they report events to the system. And a process may have loaded
        # ONNX Runtime before it imported this package.
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
    """Make sessions on the CPU share one pool of memory; only the first call has an effect.

    A session uses the pool if its option "session.use_env_allocators" is set.
    """
    runtime = import_runtime()
    with suppress(Exception):  # if other code in this process has registered a pool, sessions use that one
        runtime.create_and_register_allocator(_arena(runtime, "Cpu", 0), _sizes(runtime, 0))


@cache
def share_device_memory(index: int, most: int) -> None:
    """Make sessions on CUDA's device `index` share one memory pool of at most `most` bytes.

    Only the first call for a device has an effect. A session uses the pool if its option
    "session.use_env_allocators" is set. Sharing is safe, since all sessions on a device run in the
    same stream, and since their weights are not in the pool (see `sessions.load_session`).
    """
    runtime = import_runtime()
    try:
        runtime.create_and_register_allocator_v2(
            "CUDAExecutionProvider", _arena(runtime, "Cuda", index), {}, _sizes(runtime, most)
        )
    except Exception as error:  # without a shared pool, each session uses a separate one
        _log.debug("the sessions on CUDA's device %d do not share memory: %s", index, first_line(error))


def _arena(runtime: Any, kind: str, index: int) -> Any:
    return runtime.OrtMemoryInfo(kind, runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, index, runtime.OrtMemType.DEFAULT)


def _sizes(runtime: Any, most: int) -> Any:
    """Return the settings of a pool of at most `most` bytes; 0 means no limit.

    The pool grows by the requested size. If it doubled instead, it could reserve twice as much
    memory as is used.
    """
    return runtime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": _AS_REQUESTED})


def first_provider(providers: Sequence[Any]) -> str:
    """Return the name of the first of `providers`, each a name or a pair of name and options."""
    name: str = providers[0] if isinstance(providers[0], str) else providers[0][0]
    return name
