"""Estimates of the memory that a transfer takes, so that it can be refused before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from ..backends import Backend, Size
from ..backends.host import free_memory
from ..errors import MemoryLimitError
from ..settings import Settings
from .inversion import MEMORY

_FIXED = 250e6
"""Memory, in bytes, of the interpreter, its libraries and the model."""
_MATCHING = 45
"""Memory, in bytes, that matching needs per pixel and per channel of relu1_1.

The pixels are those of all pictures at their working sizes. Measured, including the reconstruction
of features: 38 for pictures of 2048 x 2048 pixels, 43 for 448 x 448; rounded up for safety.
"""
_PAIR = 8
"""Memory, in bytes, of a pair of L-BFGS per value of the variable of the inversion."""
_INVERTING = 35
"""Memory, in bytes, that an inversion needs besides the pairs, per value of its variable.

Measured for pictures of 448 x 448 and 900 x 900 pixels: 14 to 31; rounded up for safety.
"""
_PAINTING = 60
"""Memory, in bytes, that painting needs per pixel of all pictures at full size.

The memory holds two arrays of each of these kinds: pixels as floats, pixels as the vectors that the
search compares, fields, and distances. Measured at 12 megapixels: 54; rounded up for safety.
"""
_PICTURES = 8
"""Memory, in bytes, that the pictures take per pixel while photo refinement runs on a result."""
_PHOTO = 140
"""Memory, in bytes, that photo refinement needs per pixel of a result, in addition to `_PICTURES`.

Measured for two results of 12 megapixels each: 139 bytes in all per pixel of one result, including
the pictures.
"""
_LABELS = 20
"""Memory, in bytes, that label pictures need per pixel of all pictures at full size.

Measured for two pictures of 12 megapixels: 15; rounded up for safety.
"""
_LEVELS = 15
"""Memory, in bytes, that the pictures of all levels need per pixel of all pictures at full size.

Each level has a picture with 3 bytes per pixel. Measured for two pictures of 12 megapixels: 8 to
11; rounded up to the sum over the five levels.
"""
_SHEET_CHANNEL = 6
"""Memory, in bytes, that matching needs per empty position of a sheet and per relu1_1 channel.

A position is empty if no source covers it. Measured: 4; rounded up for safety.
"""
_SHEET_PIXEL = 40
"""Memory, in bytes, that painting needs per empty position of a sheet.

Measured: 24; rounded up for safety.
"""
_READING = 70
"""Memory, in bytes, per pixel of a picture while it is decoded.

RGBA with 16 bits per channel needs the most, because Pillow decodes it twice.
"""

_ON_HOST = 12
"""Memory, in bytes, that a picture and its result take on the host per pixel if a GPU computes.

RGB with 16 bits per channel takes 6 bytes for each of the two.
"""


def besides(labels: bool, levels: bool) -> int:
    """Return the bytes per pixel, at full size, of label pictures and of the pictures of levels.

    The arguments are True for a transfer that has them.
    """
    return _LABELS * labels + _LEVELS * levels


def estimate(
    widths: Sequence[int],
    working: Sequence[Size],
    full: Sequence[Size],
    settings: Settings,
    spare: tuple[int, int] = (0, 0),
    besides: int = 0,
) -> float:
    """Return the estimated memory that a transfer on the CPU takes, in bytes.

    Parameters
    ----------
    widths
        Channels of relu1_1 .. relu5_1 of the model.
    working
        Working sizes (rows, columns) of the pictures.
    full
        Full sizes of the pictures.
    settings
        The settings of the transfer.
    spare
        Numbers of empty positions on the sheet of several examples (`Sheet.spare`), at the working
        sizes and at the full sizes.
    besides
        Memory in bytes per pixel of labels and of pictures of levels (`besides`).
    """
    computing = _computing(widths, working, full, settings, spare, besides)
    return _FIXED + max(computing, _READING * max(h * w for h, w in full))


def check(
    backend: Backend,
    widths: Sequence[int],
    working: Sequence[Size],
    full: Sequence[Size],
    settings: Settings,
    label: str = "the pictures",
    spare: tuple[int, int] = (0, 0),
    besides: int = 0,
) -> None:
    """Raise `MemoryLimitError` if a transfer takes more memory than is free on device or host.

    `label` is the name of the first picture of `full` in the message. The other arguments are as in
    `estimate`.
    """
    label = f"{label}: with {full[0][0] * full[0][1] / 1e6:.4g} megapixels"
    arguments = widths, working, full, settings, spare, besides
    if backend.name == "cpu":
        need = estimate(*arguments)
    else:  # the pictures are decoded on the host
        pixels = [h * w for h, w in full]
        check_host(_READING * max(pixels) + _ON_HOST * sum(pixels), label, "make the pictures smaller")
        need = _FIXED + _computing(*arguments)
    free = backend.free_memory()
    if need > free:
        backend.reclaim()
        free = backend.free_memory()
    if need > free:
        cure = "make the pictures smaller"
        if sum(spare):
            cure = "make the pictures smaller, or give examples of similar shapes"
        elif _matching(widths, working, settings) > _painting(full, settings, besides):
            cure = f"lower max_pixels (now {settings.max_pixels})"
        raise _too_little(label, need, free, cure)


def check_host(need: float, label: str, cure: str) -> None:
    """Raise `MemoryLimitError` if less than `need` bytes are free on the host.

    The message begins with `label`, which says what takes the memory. After the figures it gives
    `cure`, which says what the user can do, and suggests closing other programs.
    """
    free = free_memory()
    if need > free:
        raise _too_little(label, need, free, cure)


def _too_little(label: str, need: float, free: float, cure: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"{label} this takes about {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; {cure}, or close "
        "other programs"
    )


def _computing(
    widths: Sequence[int],
    working: Sequence[Size],
    full: Sequence[Size],
    settings: Settings,
    spare: tuple[int, int],
    besides: int,
) -> float:
    """Return the memory that matching and painting need, in bytes.

    The arguments are as in `estimate`.
    """
    matching = _matching(widths, working, settings) + _SHEET_CHANNEL * widths[0] * spare[0]
    return max(matching, _painting(full, settings, besides) + _SHEET_PIXEL * spare[1])


def _matching(widths: Sequence[int], working: Sequence[Size], settings: Settings) -> float:
    pixels = [h * w for h, w in working]
    inverting = 0
    if settings.inversion == "deconvolution":  # its largest variable is relu1_1, at level 3
        pairs = min(MEMORY, settings.inversion_steps - 1) + 1
        inverting = (_PAIR * pairs + _INVERTING) * max(pixels)
    return widths[0] * (_MATCHING * sum(pixels) + inverting)


def _painting(full: Sequence[Size], settings: Settings, besides: int) -> float:
    pixels = [h * w for h, w in full]
    refining = _PICTURES * sum(pixels) + _PHOTO * max(pixels)
    return max(_PAINTING * sum(pixels), refining if settings.photo else 0) + besides * sum(pixels)
