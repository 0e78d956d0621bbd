"""The types of the kernels' arguments, by which the kernels of the CPU annotate them.

`compiled` reads the annotations, and derives from them how a kernel is compiled and how it is
called. Numba is not needed for that, and the type checker takes these names for anything.
"""

from __future__ import annotations

from typing import Any

Int64 = Any
"""A whole number of 64 bits; also a bool."""
UInt64 = Any
"""A whole number of 64 bits, not negative."""
Float32 = Any
"""A number in single precision."""
Float64 = Any
"""A number in double precision."""
Int16s = Any
"""The address of a C-contiguous int16 array, which the kernel indexes as if it were flat."""
Int32s = Any
"""The address of a C-contiguous int32 array, likewise."""
Float32s = Any
"""The address of a C-contiguous float32 array, likewise."""
