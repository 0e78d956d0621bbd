"""Names of the argument types of the CPU kernels, which annotate the kernels' parameters.

`machine_code` reads the annotations, and derives from them how to compile and call a kernel. This
module does not import Numba. For a type checker all of these names mean `Any`.
"""

from __future__ import annotations

from typing import Any

Int64 = Any
"""Signed integer of 64 bits; a bool is passed as this type, too."""
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
