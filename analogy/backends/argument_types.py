"""Names for the argument types of the CPU kernels, used as their annotations.

`compiled` reads the annotations, and derives from them how to compile and call a kernel, without
importing Numba. For a type checker all of them are `Any`.
"""

from __future__ import annotations

from typing import Any

Int64 = Any
"""Signed integer of 64 bits; also a bool."""
UInt64 = Any
"""Unsigned integer of 64 bits."""
Float32 = Any
"""Number in single precision."""
Float64 = Any
"""Number in double precision."""
Int16s = Any
"""Address of a C-contiguous int16 array, which the kernel indexes as a flat array."""
Int32s = Any
"""Address of a C-contiguous int32 array, which the kernel indexes as a flat array."""
Float32s = Any
"""Address of a C-contiguous float32 array, which the kernel indexes as a flat array."""
