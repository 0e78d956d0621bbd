"""The request for a transfer: its pictures, its pins and its settings, checked in one place.

The fields of `Request` are those arguments of `Engine.transfer` that decide the result. The
command's options, the columns of a batch's table and the fields of the service's form are made from
them. A new keyword therefore needs only a new field here, and the code that uses its value.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from .errors import ImageError, SettingsError, counted
from .settings import Settings

if TYPE_CHECKING:  # a command that only shows its help must not load Pillow
    import numpy as np

    from .method.pins import PinsLike
    from .pictures.reading import PictureLike

Examples: TypeAlias = list[Any] | tuple[Any, ...]
"""Several pictures, one for each example B'."""

Kind: TypeAlias = Literal["picture", "pins", "flag"]
"""Kind of a field of `Request`: a picture, pins (the path of a CSV file, or rows), or a bool."""


def _field(kind: Kind, label: str, help: str, several: bool = False, **default: Any) -> Any:
    """Declare a field of `Request`.

    `label` is the name of the value in messages, and `help` the text that users read. If `several`
    is true, the value may also be a list with one element for each example B'.
    """
    return dataclasses.field(metadata={"kind": kind, "label": label, "help": help, "several": several}, **default)


class Input(NamedTuple):
    """A picture, or the file of pins, that a transfer reads."""

    name: str
    """Name of the field of `Request` that has the value."""
    label: str
    """Name of the input in messages."""
    value: Any
    """The picture or the pins, as the caller gave them."""
    place: int = 0
    """Index of the value in the list that the field has, from 0; 0 if the field has no list."""

    @property
    def key(self) -> str:
        """Text that identifies the input within its request, such as "mask_b" or "mask_b_2"."""
        return f"{self.name}_{self.place + 1}" if self.place else self.name


@dataclass(frozen=True)
class Request:
    """All that decides the result of a transfer, except the model and the device.

    A picture is anything that `pictures.reading.read_picture` accepts; in a request that is sent to
    another process, it is a path. `b_prime` is a picture, or a list or tuple of examples. For a
    list, `b` and `mask_b` must be lists of the same length, or None.

    Two fields are normalised. If B is given, `settings.direction` becomes "ab", since B need not be
    made. Pins that are given as numbers become a list of rows (see `pin_rows`), or None if there
    are no pins.

    Raises
    ------
    SettingsError
        If B is given and the direction is "ba", or if pins are invalid.
    ImageError
        If only one of the masks is given, if `b_prime` has no picture, or if `b` or `mask_b` does
        not have one picture for each example.
    """

    a: PictureLike = _field("picture", "A", "A: the picture to change, as JPEG, PNG, WebP, TIFF, BMP or GIF.")
    b_prime: PictureLike | Examples = _field(
        "picture",
        "B'",
        "B': the picture whose looks A gets. If there are several, each part of A gets the looks of the B' that "
        "fits it best.",
        several=True,
    )
    settings: Settings = Settings()
    b: PictureLike | Examples | None = _field(
        "picture",
        "B",
        "B, if you have it: the picture that B' was painted over, with the same size. If B is given, only A' is made.",
        several=True,
        default=None,
    )
    mask_a: PictureLike | None = _field(
        "picture",
        "the mask of A",
        "Label picture of A, with one plain colour for each region. Transparent places have no label.",
        default=None,
    )
    mask_b: PictureLike | Examples | None = _field(
        "picture",
        "the mask of B'",
        "Label picture of B'. A region of A matches only regions of B' of the same colour in the label pictures.",
        several=True,
        default=None,
    )
    pins: PinsLike | None = _field(
        "pins", "the file of pins", "Points of A that have to match points of B', in pixels.", default=None
    )
    levels: bool = _field(
        "flag", "levels", "Also write a picture for each level, painted from the field of that level.", default=False
    )

    def __post_init__(self) -> None:
        if self.b is not None:
            if self.settings.direction == "ba":
                raise SettingsError("direction is 'ba', which makes only B, but B is given; use 'ab'")
            self._set("settings", replace(self.settings, direction="ab"))
        if (self.mask_a is None) != (self.mask_b is None):
            given, lacking = ("A", "B'") if self.mask_b is None else ("B'", "A")
            raise ImageError(f"there is a mask for {given} and none for {lacking}; give both masks, or none")
        count = len(self.examples)
        if not count:
            raise ImageError("b_prime has no picture; give one or more pictures whose looks A should get")
        for name in ("b", "mask_b"):
            values = listed(getattr(self, name))
            if getattr(self, name) is not None and len(values) != count:
                label = {field.name: field.metadata["label"] for field in fields_of("picture")}[name]
                given, needed = counted(len(values), "picture"), counted(count, "picture")
                raise ImageError(f"{label}: {given} given for {needed} B'; give one for each B'")
        if self.pins is not None and not is_path(self.pins):
            rows = self.pin_rows()
            self._set("pins", None if rows is None else rows.tolist())

    @property
    def content(self) -> str:
        """Name of the request's field with the content of a result that is written as one picture.

        This picture is A', with the content "a", or B, with the content "b_prime", if the direction
        is "ba".
        """
        return "b_prime" if self.settings.direction == "ba" else "a"

    @property
    def examples(self) -> list[PictureLike]:
        """All pictures B', as a list."""
        return listed(self.b_prime)

    @property
    def several(self) -> bool:
        """True if B' is given as a list or tuple.

        The result then has lists as its attributes of B' and of B.
        """
        return isinstance(self.b_prime, (list, tuple))

    def inputs(self) -> Iterator[Input]:
        """Yield each picture that is given, and the file of pins if the pins are a path."""
        for field in fields_of("picture", "pins"):
            value, label = getattr(self, field.name), field.metadata["label"]
            if field.metadata["kind"] == "pins" and not is_path(value):
                continue
            values = listed(value) if field.metadata["several"] else [] if value is None else [value]
            for place, each in enumerate(values):
                yield Input(field.name, f"{label} {place + 1}" if len(values) > 1 else label, each, place)

    def with_inputs(self, read: Callable[[Input], Any]) -> Request:
        """Return this request with each input's value replaced by what `read` returns for it."""
        values: dict[str, list[Any]] = {}
        for each in self.inputs():
            values.setdefault(each.name, []).append(read(each))
        several = {name for name in values if isinstance(getattr(self, name), (list, tuple))}
        loaded: dict[str, Any] = {name: found if name in several else found[0] for name, found in values.items()}
        return replace(self, **loaded)

    def pin_rows(self) -> np.ndarray | None:
        """Return the pins as an array, read from their file if they are a path; None without pins.

        The array is (N, 4) float64: xa, ya, xb, yb, in pixels. With several examples it is (N, 5),
        and the last column is the number of the example, from 1.

        Raises `SettingsError` if the file cannot be read or the pins are invalid.
        """
        from .method.pins import read_pins

        return read_pins(self.pins)

    def keywords(self) -> dict[str, Any]:
        """Return the values of all fields by name, as arguments for `Engine.transfer`."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def listed(value: Any) -> list[Any]:
    """Return a list or tuple as a list, None as an empty list, another value as a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def numbered(name: str, count: int) -> list[str]:
    """Return names for `count` examples: `name` if there is one, else "name_1" and so on."""
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


@cache
def fields_of(*kinds: Kind) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of `Request` whose kind is one of `kinds`."""
    return tuple(field for field in dataclasses.fields(Request) if field.metadata.get("kind") in kinds)


def is_path(pins: object) -> bool:
    """Return True if pins are given as the path of a file."""
    return isinstance(pins, (str, os.PathLike))
