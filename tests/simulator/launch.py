"""Compiler and launcher of the project's CUDA source on the CPU, with strict checks.

CuPy accepts arguments that do not fit a kernel: it passes a Python number as 8 bytes, an array of a
wrong type as its address, and a view as if it had no gaps. Here the arguments of a launch must fit
the kernel's signature, which the compiled library reports.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import device

_HERE = Path(__file__).parent
_HEADERS = [_HERE / "cuda.h", _HERE / "scheduler.h"]
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(')
"""Pattern of the head of a kernel in a source; its group is the name of the kernel."""
# Contraction of products and sums is off, since NVRTC compiles the same source with --fmad=false.
# The target is x86-64-v3 rather than native, since the cache may be used on another machine.
_FLAGS = (
    "-std=c++17", "-O2", "-march=x86-64-v3", "-ffp-contract=off", "-fno-strict-aliasing",
    "-fPIC", "-shared", "-fvisibility=hidden",
    "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function",
)  # fmt: skip
_SANITIZE = ("-O0", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
_CACHE = _HERE / "__pycache__"
_MAX_THREADS = 1024

sanitize = False
"""True to compile with the address and undefined-behaviour sanitisers.

The libraries of the sanitisers must be preloaded into the process.
"""
seed = 0
"""Seed of the order in which threads and blocks run; 0 is the natural order."""
only: tuple[int, int, int] | None = None
"""The only block to run in a grid that is too large to run completely; None to run all blocks."""
launched: set[str] = set()
"""Names of the kernels that this process has launched."""
exchanges = 0
"""Number of values that lanes exchanged in the last launch, as a measure of its work."""
_lock = threading.Lock()  # a library runs one launch at a time


class SimulatorError(RuntimeError):
    """Error about a source that does not compile, or a kernel that broke a rule of CUDA."""


def missing() -> str:
    """Return why this machine cannot simulate kernels, or an empty string if it can."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "the simulator of CUDA needs Linux on x86-64"
    return "" if shutil.which("g++") else "the simulator of CUDA needs the compiler g++"


class Parameter(NamedTuple):
    """A parameter of a kernel.

    `access` is "r" for an array that is read, "w" for one that is written, and "=" for a number.
    `code` is NumPy's code of the type of an element, and `size` and `alignment` are in bytes.
    """

    access: str
    code: str
    size: int
    alignment: int


class RawModule:
    """Replacement for `cupy.RawModule`, which compiles the kernels of a source on first use."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()):
        self._code, self._options = code, options
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> Kernel:
        if self._library is None:
            self._library = ctypes.CDLL(str(_compile(self._code, self._options)))
            self._library.simulator_error.restype = ctypes.c_char_p
            self._library.simulator_exchanges.restype = ctypes.c_uint64
        return Kernel(self._library, name)


class Kernel:
    def __init__(self, library: ctypes.CDLL, name: str):
        self.name, self._library = name, library
        describe = library[f"simulator_signature_{name}"]
        describe.restype = ctypes.c_char_p
        rows = (line.split() for line in describe().decode().splitlines())
        self.parameters = [Parameter(access, code, int(size), int(align)) for access, code, size, align in rows]
        self._launch = library[f"simulator_launch_{name}"]
        self._launch.restype = ctypes.c_bool

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple) -> None:
        """Run every thread of a launch, or only those of the block `only`.

        Raises `TypeError` if the arguments do not fit the signature, and `SimulatorError` if the
        kernel breaks a rule of CUDA.
        """
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(args)} arguments for {len(self.parameters)} parameters")
        values = [self._value(i, p, arg) for i, (p, arg) in enumerate(zip(self.parameters, args, strict=True))]
        self._check_overlap(args)
        grid, block = _three(grid), _three(block)
        if min(*grid, *block) < 1 or max(grid[1:]) > 65535 or np.prod(block) > _MAX_THREADS or block[2] > 64:
            raise SimulatorError(f"{self.name}: no device takes a grid of {grid} blocks of {block} threads")
        if only and any(index >= size for index, size in zip(only, grid, strict=True)):
            raise SimulatorError(f"{self.name}: there is no block {only} in a grid of {grid} blocks")
        device.touch(*(arg for arg in args if isinstance(arg, device.ndarray)))
        addresses = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        sizes = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
        block_index = (ctypes.c_uint * 3)(*only) if only else None
        launched.add(self.name)
        with _lock:
            if not self._launch(addresses, *sizes, ctypes.c_uint64(seed), block_index):
                raise SimulatorError(f"{self.name}: {self._library.simulator_error().decode()}")
            global exchanges
            exchanges = self._library.simulator_exchanges()

    def _value(self, index: int, parameter: Parameter, arg) -> np.ndarray:
        """Return an argument as an array of one element, a number or an address."""
        where = f"{self.name}, argument {index}"
        if parameter.access == "=":
            if not isinstance(arg, np.generic):
                raise TypeError(f"{where}: a NumPy scalar is needed; CuPy guesses the size of {type(arg).__name__}")
            if arg.dtype != np.dtype(parameter.code):
                raise TypeError(f"{where}: {arg.dtype} for a parameter of type {np.dtype(parameter.code)}")
            return np.array([arg])
        if parameter.access == "r" and isinstance(arg, np.uintp) and arg == 0:
            return np.array([arg])  # a null pointer; the kernel must check for it
        if not isinstance(arg, device.ndarray):
            raise TypeError(f"{where}: an array of the device is needed, not {type(arg).__name__}")
        if arg.dtype != np.dtype(parameter.code):
            raise TypeError(f"{where}: {arg.dtype} for a pointer to {np.dtype(parameter.code)}")
        if not arg.flags.c_contiguous:
            raise TypeError(f"{where}: the array is not contiguous")
        if arg.data.ptr % parameter.alignment or arg.nbytes % parameter.size:
            raise TypeError(f"{where}: the array is not made of aligned elements of {parameter.size} bytes")
        return np.array([arg.data.ptr], np.uintp)

    def _check_overlap(self, args: tuple) -> None:
        """Raise TypeError if an argument overlaps an array that the kernel writes.

        The compiler assumes that there is no overlap, since the pointers are declared __restrict__.
        """
        arrays = [(p, arg) for p, arg in zip(self.parameters, args, strict=True) if isinstance(arg, device.ndarray)]
        for i, (p, one) in enumerate(arrays):
            for _, other in arrays[:i] + arrays[i + 1 :]:
                if p.access == "w" and np.may_share_memory(device.unwrap(one), device.unwrap(other)):
                    raise TypeError(f"{self.name}: an array that is written is also another argument")


def _three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes, 1, 1)[:3]


def _compile(code: str, options: tuple[str, ...]) -> Path:
    """Return the path of a source's shared library, and compile it unless it is in the cache."""
    exports = "".join(f"SIMULATOR_EXPORT({name})\n" for name in KERNEL.findall(code))
    flags = [*_FLAGS, *(_SANITIZE if sanitize else ()), *(o for o in options if o.startswith("-D"))]
    text = f"{code}\n{exports}"
    parts = [text, *flags, *(header.read_text() for header in _HEADERS)]
    library = _CACHE / f"kernels-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}.so"
    if library.exists():
        return library
    _CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
        made = Path(folder) / "kernels.so"
        command = ["g++", *flags, "-include", str(_HEADERS[0]), "-x", "c++", "-", "-o", str(made)]
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise SimulatorError(f"the kernels do not compile for the simulator:\n{done.stderr}")
        made.replace(library)
    return library
