"""Compiled CPU kernels in files, which later runs load without Numba.

Importing Numba takes a third of a second, and loading its own compiled code takes another third. So
the first run writes the machine code of the kernels to files in a format of this package (see
`machine_code`). Later runs load a file in some hundredths of a second. Each module of kernels has
its own file, so that a run without photo refinement compiles no multigrid kernels.

The name of a file contains a checksum of the sources of `backends`, the versions of Numba and
llvmlite, and the processor. A file begins with a checksum of its content, and a damaged file is
compiled again. If another release of Numba breaks this way, Numba compiles the kernels by itself.
The results then are the same except for the last bit of sums that LLVM may reorder.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from ..errors import is_shortage
from ..files.atomic import atomic
from ..files.folders import make_folder
from ..files.user_cache import user_cache
from . import machine_code
from .machine_code import Kernels

_log = logging.getLogger("analogy")

KERNELS = {
    "kernels": (
        "distance", "propagate", "random_search", "vote", "channels_last", "join", "pixel_vectors", "resample",
    ),
    "multigrid.kernels": (
        "coarsen", "factor_rows", "factor_columns", "relax_rows", "relax_columns", "residual", "restriction",
        "prolongation", "combine",
    ),
    "seam_kernels": ("gradient", "widest", "seams", "keep_edges", "divergence", "solve_columns", "correct"),
}  # fmt: skip
"""Module -> the names of its kernels."""

_lock = threading.Lock()


def load(module: str = "kernels") -> Kernels:
    """Return the kernels of a module by name, as functions that take addresses as int.

    If there is no file with their machine code, they are compiled. Further calls are cheap, and
    several threads may call the function.
    """
    with _lock:  # LLVM's loader is not safe in several threads
        return _load(module)


@functools.cache
def _load(module: str) -> Kernels:
    try:
        name = f"{module}-{_key()}.o"
        kept = next((code for folder in _folders() if (code := _read(folder / name))), None)
        return machine_code.link(kept or _compile_and_keep(module, name))
    except Exception as error:  # another release of Numba or llvmlite may fail anywhere in its internals
        if is_shortage(error):
            raise
        _log.warning(
            "the machine code of the kernels cannot be stored with Numba %s (%s: %s); Numba compiles them by itself, "
            "which gives the same results up to rounding, and a slower start",
            version("numba"),
            type(error).__name__,
            error,
        )
        return machine_code.by_numba_alone(module, KERNELS[module], _folder_of_numba())


def _compile_and_keep(module: str, name: str) -> bytes:
    code = machine_code.compile_kernels(module, KERNELS[module])
    for folder in _folders():
        try:
            _write(folder / name, code)
        except OSError:
            continue
        _log.info("compiled the kernels for this CPU; later runs load them")
        return code
    _log.info("compiled the kernels, as at each start; set NUMBA_CACHE_DIR to a writable folder to compile them once")
    return code


def _folders() -> Iterator[Path]:
    """Yield the folders for compiled kernels, in the order in which they are tried.

    If NUMBA_CACHE_DIR is set, it is the only one. Otherwise the package's folder comes first, then
    the user's cache.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
        return
    yield Path(__file__).with_name("__pycache__")
    if folder := user_cache():
        yield folder


def _folder_of_numba() -> Path | None:
    """Return a folder for the code that Numba compiles by itself; None if no folder is writable.

    Numba compares only the time of the file that contains a kernel. So the name of the folder
    contains the checksum of all sources, and code from other sources is never loaded.
    """
    for folder in _folders():
        own = folder / f"numba-{_checksum_of_sources()}"
        with suppress(OSError):
            own.mkdir(parents=True, exist_ok=True)
            return own
    return None


def _read(path: Path) -> bytes | None:
    """Return the code in a file; None if the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() == checksum:
        return code
    _log.info("%s is damaged; the kernels are compiled again", path)
    return None


def _write(path: Path, code: bytes) -> None:
    make_folder(path.parent)
    with atomic(path) as file:  # the file is readable for other users, for instance those of a container image
        file.write(hashlib.sha256(code).digest() + code)


def _key() -> str:
    """Return a checksum of everything that the machine code depends on."""
    parts = _checksum_of_sources(), version("numba"), version("llvmlite"), *machine_code.processor()
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _checksum_of_sources(package: Path = Path(__file__).parent) -> str:
    """Return a checksum of all Python files of `backends`, since a kernel may use any of them."""
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sources.update(f"\0{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return sources.hexdigest()[:24]
