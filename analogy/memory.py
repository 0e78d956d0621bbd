"""How much memory a transfer takes, so that one that cannot fit is refused before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from .backends import Backend
from .errors import MemoryLimitError
from .settings import Settings

Size = tuple[int, int]

_FIXED = 250e6
"""Bytes for the interpreter, its libraries, and the model."""
_MATCHING = 80
"""Bytes for each pixel that the network sees and each channel of relu1_1, of A and B' together; inversion included."""
_PAINTING = 90
"""Bytes for each pixel of the results: pixels as floats, as products, fields and distances, twice each."""


def estimate(widths: Sequence[int], seen: Sequence[Size], full: Sequence[Size]) -> float:
    """Bytes for a model of `widths` and two pictures, as the network sees them (`seen`) and as they are (`full`)."""
    matching = _MATCHING * widths[0] * sum(h * w for h, w in seen)
    painting = _PAINTING * sum(h * w for h, w in full)
    return _FIXED + max(matching, painting)


def check(
    backend: Backend, widths: Sequence[int], seen: Sequence[Size], full: Sequence[Size], settings: Settings
) -> None:
    """Raise `MemoryLimitError` where the estimate is above what the device has left."""
    need, free = estimate(widths, seen, full), backend.free_memory()
    if need > free:
        shrink = sum(h * w for h, w in seen) * widths[0] * _MATCHING > sum(h * w for h, w in full) * _PAINTING
        cure = f"lower max_pixels (now {settings.max_pixels})" if shrink else "make the pictures smaller"
        raise MemoryLimitError(
            f"this takes about {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; {cure}, or close other programs"
        )
