"""The kernels of the CPU as machine code: Numba compiles them once, files keep them, and later runs load them without Numba.

Importing Numba takes a third of a second, and loading what it has compiled as long again. So the
first run keeps the machine code in files of this package's own (see `machine_code`), one for each
module of kernels: a run that refines no photograph compiles no multigrid. Later runs load a file in
some hundredths of a second.

The name of a file says what it was made from: the source of the whole wing, the versions of Numba
and llvmlite, and the processor. A file begins with a checksum of the rest, and a damaged one is
compiled anew. Where this way fails, Numba compiles the kernels by itself. The results are the same,
but for the last bit of sums that LLVM may reorder.
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
"""Module -> the names of its kernels. The types of their arguments are the annotations of the kernels themselves."""

_lock = threading.Lock()


def load(module: str = "kernels") -> Kernels:
    """Return the kernels of a module by name, as functions that take addresses as int. Compiles if necessary.

    Calls are cheap when repeated, and safe from several threads.
    """
    with _lock:  # LLVM's loader is not safe in several threads
        return _load(module)


@functools.cache
def _load(module: str) -> Kernels:
    try:
        name = f"{module}-{_key()}.o"
        kept = next((code for folder in _folders() if (code := _read(folder / name))), None)
        return machine_code.link(kept or _compile_and_keep(module, name))
    except Exception as error:  # whatever another release of Numba or llvmlite does where this one's internals are used
        if is_shortage(error):
            raise
        _log.warning(
            "the kernels cannot be kept as machine code with Numba %s (%s: %s); Numba compiles them by itself, "
            "with the same results up to rounding, and a slower start",
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
        _log.info("compiled the kernels for this CPU, once")
        return code
    _log.info("compiled the kernels, as at each start: set NUMBA_CACHE_DIR to a folder that can be written to")
    return code


def _folders() -> Iterator[Path]:
    """Yield the folders for compiled kernels, best first.

    NUMBA_CACHE_DIR is the only one if it is set; else the package's own folder comes first, then
    the user's cache.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
        return
    yield Path(__file__).with_name("__pycache__")
    if folder := user_cache():
        yield folder


def _folder_of_numba() -> Path | None:
    """Return a folder in which Numba may keep what it compiles by itself; None if none can be made.

    Numba looks only at the time of the file in which a kernel is written. So the folder's name has
    the checksum of all sources, and nothing is found again that was compiled from others.
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
    with atomic(path) as file:  # other users can read it, and may load what the one who built an image compiled
        file.write(hashlib.sha256(code).digest() + code)


def _key() -> str:
    """Return a checksum of everything on which the machine code depends."""
    parts = _checksum_of_sources(), version("numba"), version("llvmlite"), *machine_code.processor()
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@functools.cache
def _checksum_of_sources(wing: Path = Path(__file__).parent) -> str:
    """Return a checksum of all Python files of this wing: whichever of them a kernel takes something from, it counts."""
    sources = hashlib.sha256()
    for path in sorted(wing.rglob("*.py")):
        sources.update(f"\0{path.relative_to(wing).as_posix()}\0".encode() + path.read_bytes())
    return sources.hexdigest()[:24]
