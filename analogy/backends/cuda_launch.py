"""Launcher of the CUDA kernels: it compiles them, packs their arguments, and launches them.

NVRTC compiles all `.cu` files as one source, in two forms. One form reads the channels of a
position one by one, the other reads four at a time (`Unit`). Constants that the kernels share with
Python are written only in Python; the compiler gets them as preprocessor definitions.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import contract
from .contract import HALF, ONE, ROUNDING
from .interrupts import kept_interrupts
from .multigrid import TINY

WARP = 32
"""Number of threads in a warp, the group of threads that CUDA runs together."""
THREADS_PER_BLOCK = 256
"""Number of threads in a block that works on a rectangular tile of positions."""

_FILES = "kernels.cu", "seams.cu", "multigrid/kernels.cu"
"""Source files in the order in which they are joined; the others use definitions of the first."""
_FLOATS = {"ONE": ONE, "HALF": HALF, "ROUNDING": ROUNDING, "TINY": TINY}
"""Name of a constant that the compiler gets as a float definition -> its value."""
_HASHES = "HASH_SEED", "HASH_ITERATION", "HASH_PIXEL", "HASH_STEP", "HASH_FIRST_MIX", "HASH_SECOND_MIX"
"""Names of the uint32 constants of `contract` that the compiler gets as definitions."""
_NULL = np.uintp(0)
"""Null pointer."""
_PACK: dict[type, Callable[[Any], Any]] = {
    bool: np.int32,
    int: np.int32,
    np.int64: np.int32,
    float: np.float32,
    type(None): lambda none: _NULL,
}
"""Type of an argument -> function that converts it to the type of the kernel's parameter.

Arguments of other types are passed unchanged.
"""


class Unit(NamedTuple):
    """CUDA type in which a kernel reads features, and the number of its values per position."""

    type: str
    per_position: int


SINGLE = Unit("float", 1)
"""Unit of kernels that do not read features, in which one thread works on each position."""


def unit_of(channels: int, *arrays: Any) -> Unit:
    """Return the widest unit in which a kernel can read arrays with this many channels.

    A kernel can read four channels at once if the number of channels is a multiple of four, and if
    the address of each array is a multiple of the size of four values. Kernels that read joined
    features (int16) use the unit too: with "float4" they read four int16 at once.
    """
    if channels % 4 == 0 and all(array.data.ptr % (4 * array.itemsize) == 0 for array in arrays):
        return Unit("float4", channels // 4)
    return Unit("float", channels)


class Launch(NamedTuple):
    """Launch of a kernel for a pass of a search; launches of two searches may be merged into one.

    Attributes
    ----------
    kind
        Name of the kernel.
    shape
        Rows and columns of the positions that the kernel works on.
    own
        Arguments of this search alone, which the kernel takes first.
    shared
        Arguments that must be equal in two searches whose launches are merged. The kernel takes
        them last.
    unit
        Unit in which the kernel reads features.
    result
        Arrays that the kernel writes.
    """

    kind: str
    shape: tuple[int, int]
    own: tuple[Any, ...]
    shared: tuple[Any, ...]
    unit: Unit
    result: Any

    def fits(self, other: Launch) -> bool:
        """Return True if one merged launch can run both this pass and the pass of `other`."""
        return (self.kind, self.shared, self.unit) == (other.kind, other.shared, other.unit)


class Launcher:
    """Launcher of the kernels on one device, which compiles a form of the kernels on its first use.

    Several threads may use it.

    The arguments of a launch are arrays of the device and numbers, in the order of the kernel's
    parameters. A bool, a Python int and a NumPy int64 are passed as int32, a Python float as
    float32, and None as a null pointer. Other NumPy numbers are passed in their own types.

    Parameters
    ----------
    xp
        The module `cupy`.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._modules: dict[str, Any] = {}
        self._functions: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def compile(self) -> None:
        """Compile both forms of the kernels.

        CuPy stores the compiled kernels on disk, for each device and CUDA version.
        """
        for unit in ("float4", "float"):
            self._function("distance", unit)

    def over_positions(self, name: str, shape: tuple[int, int], *arguments: Any, unit: Unit = SINGLE) -> None:
        """Launch a kernel for all positions of a map of `shape` (rows, columns).

        Each block of threads covers a rectangular tile of positions.
        """
        self._over_positions(name, [shape], arguments, unit)

    def passes(self, launches: Sequence[Launch]) -> None:
        """Launch passes of independent searches.

        Two consecutive launches are merged into one if `Launch.fits` is true for them.
        """
        left = list(launches)
        while left:
            twins = [left.pop(0)]
            if left and twins[0].fits(left[0]):
                twins.append(left.pop(0))
            kind, _, _, shared, unit, _ = twins[0]
            arguments = (*(argument for launch in twins for argument in launch.own), *shared)
            name = f"{kind}_twice" if len(twins) == 2 else kind
            self._over_positions(name, [launch.shape for launch in twins], arguments, unit)

    def _over_positions(
        self, name: str, shapes: Sequence[tuple[int, int]], arguments: Sequence[Any], unit: Unit
    ) -> None:
        grid, block = _tiled(tuple(shapes), unit.per_position)
        self._function(name, unit.type)(grid, block, _packed(arguments))

    def over_lines(self, name: str, lines: int, per_block: int, *arguments: Any, channels: int = 1) -> None:
        """Launch a kernel with `lines` threads for each channel, in blocks of `per_block` threads.

        In most of these kernels, each thread works on one line (row or column). If `per_block` does
        not divide `lines`, the last block is full, too, and its surplus threads do nothing.
        """
        grid = -(-lines // per_block), channels
        self._function(name, SINGLE.type)(grid, (per_block,), _packed(arguments))

    def _function(self, name: str, unit: str) -> Any:
        function = self._functions.get((name, unit))
        return self._compiled(name, unit) if function is None else function

    def _compiled(self, name: str, unit: str) -> Any:
        with self._lock:
            if (name, unit) not in self._functions:
                if unit not in self._modules:
                    self._modules[unit] = self._xp.RawModule(code=source(), options=options(unit))
                with kept_interrupts():
                    self._functions[name, unit] = self._modules[unit].get_function(name)
            return self._functions[name, unit]


@functools.cache
def source() -> str:
    """Return the text of all kernel files.

    `#line` directives make the compiler's messages name the file and the line.
    """
    here = Path(__file__).parent
    return "\n".join(f'#line 1 "{name}"\n{(here / name).read_text(encoding="utf-8")}' for name in _FILES)


def options(unit: str) -> tuple[str, ...]:
    """Return the compiler's options for one form of the kernels, "float4" or "float".

    With `--fmad=false` the compiler fuses a product and a sum into one operation only where the
    source says so. Without this option, results would differ from those of the CPU.
    """
    floats = (f"{name}={float(value)!r}f" for name, value in _FLOATS.items())
    hashes = (f"{name}={getattr(contract, name)}u" for name in _HASHES)
    definitions = f"UNIT={unit}", f"WARP={WARP}", *floats, *hashes
    return "-std=c++17", "--fmad=false", *(f"-D{definition}" for definition in definitions)


def _packed(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """Return arguments in the types of the kernel's parameters.

    CuPy would pass a Python number as 8 bytes, even if the kernel expects 4.
    """
    return tuple([_PACK[kind](value) if (kind := type(value)) in _PACK else value for value in arguments])


@functools.lru_cache(maxsize=256)
def _tiled(shapes: tuple[tuple[int, int], ...], per_position: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the grid and the block for maps of the given shapes, one layer of blocks for each map.

    As many threads (lanes) work on a position as it has values of the unit, rounded up to a power
    of two, but at most a warp.
    """
    lanes = min(WARP, _power_of_two(per_position))
    positions = THREADS_PER_BLOCK // lanes
    tile_h = 1 << (positions.bit_length() - 1) // 2
    tile_w = positions // tile_h
    rows, columns = (max(sizes) for sizes in zip(*shapes, strict=True))
    return (-(-columns // tile_w), -(-rows // tile_h), len(shapes)), (lanes, tile_w, tile_h)


def _power_of_two(n: int) -> int:
    """Return the smallest power of two that is not smaller than `n`."""
    return 1 << (n - 1).bit_length()
