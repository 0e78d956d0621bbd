"""The check of a picture by its size, before it is decoded: a file of a few bytes may hold a picture of gigabytes."""

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
    """Return the rows and columns that the network sees: the picture's, shrunken to `max_pixels`,
    then by `ratio`, at least 16 each.

    Departure from the authors' program, which has no largest size: a ratio below 1 always makes the
    network see less, so that larger structures match, also in a photo that is shrunken anyway.
    """
    return fitted_size(size, settings.max_pixels, settings.ratio)


def check_bound(most: Any) -> int | None:
    """Return the bound on the pixels of a picture that a caller gives; None for no bound. Raises `SettingsError`."""
    if most is None:
        return None
    try:
        bound = operator.index(most)
    except TypeError:
        bound = 0
    if isinstance(most, bool) or bound < SMALLEST**2:
        raise SettingsError(
            f"max_input_pixels is {most!r:.100}; it takes a whole number from {SMALLEST**2} on, or None"
        )
    return bound


def within(most: int | None) -> Admit:
    """Return the check of a picture before it is decoded.

    It raises `PictureTooLargeError` for a picture with more than `most` pixels.
    """

    def admit(size: Size, label: str) -> None:
        pixels = size[0] * size[1]
        if most is not None and pixels > most:
            raise PictureTooLargeError(
                f"{label}: {size[1]} x {size[0]} pixels are {pixels / 1e6:.4g} megapixels, and max_input_pixels admits "
                f"{most / 1e6:.4g}; make it smaller"
            )

    return admit


class Admission:
    """The check of the pictures of one transfer: each by its own size, and all that are known together by the free memory."""

    def __init__(self, backend: Backend, widths: Sequence[int], settings: Settings, most: int | None):
        """Begin with no picture.

        widths  channels of relu1_1 .. relu5_1 of the model
        most    the most pixels of a picture; None for no bound
        """
        self._backend, self._widths, self._settings = backend, widths, settings
        self._check_size = within(most)
        self._full: dict[str, Size] = {}

    def to(self, name: str) -> Admit:
        """Return the check of the picture called `name` ("A" or "B'") before it is decoded. The
        order of the two does not matter.

        It raises `PictureTooLargeError` for one with more than `most` pixels, and
        `MemoryLimitError` if the pictures that have been asked about so far take more memory than
        is free: to read, to match and to paint.
        """

        def admit(size: Size, label: str) -> None:
            self._check_size(size, label)
            self._full[name] = size
            full = [size, *(other for of, other in self._full.items() if of != name)]
            working = [working_size(each, self._settings) for each in full]
            examples = [other for of, other in self._full.items() if of != "A"]
            spare = Sheet.spare([working_size(each, self._settings) for each in examples]), Sheet.spare(examples)
            memory.check(self._backend, self._widths, working, full, self._settings, label, spare)

        return admit


def like(size: Size, name: str) -> Admit:
    """Return the check of a picture that has to lie on the picture `name` of `size`. It raises `ImageError`."""

    def admit(own: Size, label: str) -> None:
        if sorted(own) != sorted(size):  # the file may yet be turned upright
            raise differs(own, label, size, name)

    return admit


def differs(own: Size, label: str, size: Size, name: str) -> ImageError:
    """Return the error about a picture that does not have the size of another."""
    return ImageError(
        f"{label} is {own[1]} x {own[0]} pixels and {name} {size[1]} x {size[0]}; they must lie on each other"
    )
