"""Store of compiled CPU kernels in files, which later runs load without importing Numba.

Importing Numba takes a third of a second, and loading the code from Numba's own cache takes
another third. So the first run writes the machine code of the kernels to files in a format of this
package (see `machine_code`). Later runs load a file in a few hundredths of a second. Each module of
kernels has its own file, so that a run without photo refinement does not compile the multigrid
kernels.

The name of a file contains one checksum of all that the machine code depends on: the source code of
`backends`, the versions of Numba and llvmlite, and the processor. A file begins with a checksum of
its content, and the kernels of a damaged file are compiled again. If the package cannot make or
load such a file with the installed release of Numba, Numba compiles, stores and loads the kernels
itself. The results are then the same, except for rounding in the kernels whose sums LLVM may
reorder.
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
"""Name of a module in `backends` -> the names of its kernels."""

_lock = threading.Lock()


def load(module: str = "kernels") -> Kernels:
    """Return a dict from the name of each kernel of a module to a function that runs it.

    The returned functions take the addresses of arrays as int. If no file has the machine code of
    the kernels, `load` compiles them. Further calls for the same module are cheap. Several threads
    may call `load`.
    """
    with _lock:  # several threads must not use LLVM's loader at once
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
            "this package cannot make or load the machine code of its kernels with Numba %s (%s: %s); Numba now does "
            "both itself, so the start is slower, and results may differ in rounding",
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
    _log.info("the kernels cannot be stored, so each start compiles them; set NUMBA_CACHE_DIR to a writable folder")
    return code


def _folders() -> Iterator[Path]:
    """Yield the folders in which compiled kernels may be stored, in the order in which to try them.

    If the environment variable NUMBA_CACHE_DIR is set, it names the only folder. Otherwise the
    `__pycache__` of `backends` comes first, then the user's cache folder.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
        return
    yield Path(__file__).with_name("__pycache__")
    if folder := user_cache():
        yield folder


def _folder_of_numba() -> Path | None:
    """Return a folder in which Numba itself stores compiled code; None if no folder is writable.

    Numba loads stored code if the file that contains the kernel has not changed. It does not check
    the files that this file imports. So the name of the folder contains a checksum of all sources,
    and code that was compiled from other sources is never loaded.
    """
    for folder in _folders():
        own = folder / f"numba-{_checksum_of_sources()}"
        with suppress(OSError):
            own.mkdir(parents=True, exist_ok=True)
            return own
    return None


def _read(path: Path) -> bytes | None:
    """Return the machine code in a file; None if the file is damaged or cannot be read."""
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
    # All users may read the file, because one user may build a container, and another may run it.
    with atomic(path) as file:
        file.write(hashlib.sha256(code).digest() + code)


def _key() -> str:
    """Return a checksum of everything that the machine code depends on."""
    parts = _checksum_of_sources(), version("numba"), version("llvmlite"), *machine_code.processor()
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _checksum_of_sources(package: Path = Path(__file__).parent) -> str:
    """Return a checksum of all Python files in `backends`, since a kernel may use any of them."""
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sources.update(f"\0{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes())
    return sources.hexdigest()[:24]
