"""Checks of a picture's size, and of the free memory, before the picture is decoded.

A compressed file of a few bytes may decode to gigabytes of pixels.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..backends import Backend, Size
from ..errors import ImageError, PictureTooLargeError, SettingsError
from ..pictures.images import SMALLEST, Admit, fitted_size
from ..settings import Settings
from . import memory
from .sheets import Sheet


def working_size(size: Size, settings: Settings) -> Size:
    """Return the working size (rows, columns) of a picture of `size`.

    A picture with more than `settings.max_pixels` pixels is shrunk to that number. The sides of
    every picture are then multiplied by `settings.ratio`. At a ratio below 1 the method matches
    larger structures. Each side of the result is at least 16. The authors' program has such a
    ratio, but no maximum number of pixels.
    """
    return fitted_size(size, settings.max_pixels, settings.ratio)


def check_limit(most: Any) -> int | None:
    """Check and return the maximum number of pixels that a caller allows for each picture.

    None means no limit. Raises `SettingsError` if `most` is not a whole number, or is below
    `SMALLEST` squared.
    """
    if most is None:
        return None
    try:
        limit = operator.index(most)
    except TypeError:
        limit = 0
    if isinstance(most, bool) or limit < SMALLEST**2:
        raise SettingsError(
            f"max_input_pixels is {most!r:.100}; give a whole number of at least {SMALLEST**2}, or None"
        )
    return limit


def within(most: int | None) -> Admit:
    """Return a check that raises `PictureTooLargeError` if a picture has more than `most` pixels.

    If `most` is None, the check accepts every picture.
    """

    def admit(size: Size, label: str) -> None:
        pixels = size[0] * size[1]
        if most is not None and pixels > most:
            raise PictureTooLargeError(
                f"{label}: {size[1]} x {size[0]} pixels are {pixels / 1e6:.4g} megapixels, and max_input_pixels allows "
                f"{most / 1e6:.4g}; make the picture smaller"
            )

    return admit


class Admission:
    """Checks of the pictures of one transfer: the size of each, and the memory for all of them.

    Parameters
    ----------
    backend
        The backend whose free memory is checked.
    widths
        Number of channels of each layer of the model, relu1_1 to relu5_1.
    settings
        The settings of the transfer.
    most
        Maximum number of pixels of each picture; None for no limit.
    besides
        Memory in bytes per pixel that the transfer takes for other pictures (`memory.besides`).
    """

    def __init__(self, backend: Backend, widths: Sequence[int], settings: Settings, most: int | None, besides: int = 0):
        self._backend, self._widths, self._settings, self._besides = backend, widths, settings, besides
        self._check_size = within(most)
        self._full: dict[str, Size] = {}

    def to(self, name: str) -> Admit:
        """Return the check of the picture called `name`, such as "A" or "B' 2".

        The check raises `PictureTooLargeError` if the picture has more than `most` pixels. It
        raises `MemoryLimitError` if reading, matching or painting all pictures that have been
        checked so far would take more memory than is free. The pictures may be checked in any
        order.
        """

        def admit(size: Size, label: str) -> None:
            self._check_size(size, label)
            self._full[name] = size
            full = [size, *(other for of, other in self._full.items() if of != name)]
            working = [working_size(each, self._settings) for each in full]
            examples = [other for of, other in self._full.items() if of != "A"]
            spare = Sheet.spare([working_size(each, self._settings) for each in examples]), Sheet.spare(examples)
            memory.check(self._backend, self._widths, working, full, self._settings, label, spare, self._besides)

        return admit


def like(size: Size, name: str) -> Admit:
    """Return a check that raises `ImageError` if a picture is not as large as the picture `name`.

    Rows and columns may be swapped, because the check runs before the picture is rotated as its
    EXIF data says.
    """

    def admit(own: Size, label: str) -> None:
        if sorted(own) != sorted(size):
            raise differs(own, label, size, name)

    return admit


def differs(own: Size, label: str, size: Size, name: str) -> ImageError:
    """Return the error for a picture that does not have the size of the picture `name`."""
    return ImageError(
        f"{label} is {own[1]} x {own[0]} pixels and {name} is {size[1]} x {size[0]}; give pictures of one size"
    )
