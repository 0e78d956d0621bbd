"""Estimates of the memory that a transfer takes, so that one that does not fit is refused before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import Backend, Size
from ..backends.host import free_memory
from ..errors import MemoryLimitError
from ..settings import Settings

_FIXED = 250e6
"""Memory of the interpreter, its libraries and the model, in bytes."""
_MATCHING = 45
"""Bytes per (pixel x relu1_1 channel), over both pictures as the network sees them, with the
reconstruction. Measured: 38 at 2048 x 2048, 43 at 448 x 448."""
_PAINTING = 60
"""Bytes per pixel of both results while they are painted: pixels as floats and as vectors, fields
and distances, each twice. Measured at 12 megapixels: 54."""
_PICTURES, _PHOTO = 8, 140
"""Bytes per pixel of both results while one of them is refined, and per pixel of that one. Measured
at 12 megapixels: 139 in all per pixel of one of two results of the same size."""
_SHEET_CHANNEL, _SHEET_PIXEL = 6, 40
"""Bytes per position of a sheet on which no example lies: while the examples are matched, for each
relu1_1 channel; and while the result is painted. Measured: 4 and 24."""
_READING = 70
"""Bytes per pixel of a picture while it is decoded: most for RGBA of 16 bits, which Pillow decodes twice."""


def estimate(
    widths: Sequence[int],
    working: Sequence[Size],
    full: Sequence[Size],
    photo: bool = False,
    spare: tuple[int, int] = (0, 0),
) -> float:
    """Return the bytes of memory that a transfer takes.

    widths   channels of relu1_1 .. relu5_1 of the model
    working  the sizes (rows, columns) in which the network sees the pictures
    full     their own sizes
    photo    whether the results are refined as photographs
    spare    the positions of the sheet of several examples on which none of them lies (`Sheet.spare`), as the network sees
             them and at their own sizes
    """
    matching = _matching(widths, working) + _SHEET_CHANNEL * widths[0] * spare[0]
    painting = _painting(full, photo) + _SHEET_PIXEL * spare[1]
    return _FIXED + max(matching, painting, _READING * max(h * w for h, w in full))


def check(
    backend: Backend,
    widths: Sequence[int],
    working: Sequence[Size],
    full: Sequence[Size],
    settings: Settings,
    label: str = "the pictures",
    spare: tuple[int, int] = (0, 0),
) -> None:
    """Raise `MemoryLimitError` if the estimate is above the memory that is free on the device.

    label  what the message calls the first of the pictures, for which the question is asked
    spare  as `estimate` takes it
    """
    need, free = estimate(widths, working, full, settings.photo, spare), backend.free_memory()
    if need > free:
        backend.reclaim()
        free = backend.free_memory()
    if need > free:
        cure = "make the pictures smaller"
        if sum(spare):
            cure = "make the pictures smaller, or give examples of similar shapes"
        elif _matching(widths, working) > _painting(full, settings.photo):
            cure = f"lower max_pixels (now {settings.max_pixels})"
        raise _too_little(f"{label}: with {full[0][0] * full[0][1] / 1e6:.4g} megapixels", need, free, cure)


def check_host(need: float, label: str, cure: str) -> None:
    """Raise `MemoryLimitError` if `need` bytes are not free on the host. `label`: what takes them."""
    free = free_memory()
    if need > free:
        raise _too_little(label, need, free, cure)


def _too_little(label: str, need: float, free: float, cure: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"{label} this takes about {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; {cure}, or close other "
        "programs"
    )


def _matching(widths: Sequence[int], working: Sequence[Size]) -> float:
    return _MATCHING * widths[0] * sum(h * w for h, w in working)


def _painting(full: Sequence[Size], photo: bool) -> float:
    pixels = [h * w for h, w in full]
    refining = _PICTURES * sum(pixels) + _PHOTO * max(pixels)
    return max(_PAINTING * sum(pixels), refining if photo else 0)
