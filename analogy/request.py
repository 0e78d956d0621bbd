"""The request for a transfer: its pictures, its pins and its settings, built and checked in one place.

The fields of `Request` are the keywords of `Engine.transfer`. The command's options, the columns of
a batch's table and the fields of the service's form are made from them, so that a new keyword is a
new field here, and its use.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from .errors import ImageError, SettingsError
from .settings import Settings

if TYPE_CHECKING:  # at run time they would load Pillow for a command that only shows its help
    import numpy as np

    from .method.pins import PinsLike
    from .pictures.reading import PictureLike

Examples: TypeAlias = list[Any] | tuple[Any, ...]
"""Several pictures, one for each example B'."""

Kind: TypeAlias = Literal["picture", "pins", "flag"]
"""Kind of value that a field of `Request` takes: a picture; pins, as the path of a CSV file or as
rows of numbers; or true or false."""


def _field(kind: Kind, label: str, help: str, several: bool = False, **default: Any) -> Any:
    """Declare a field of `Request`: what it takes, what messages call its value, and the help that users read.

    several  whether it takes a list, too, with one value for each example B'
    """
    return dataclasses.field(metadata={"kind": kind, "label": label, "help": help, "several": several}, **default)


class Input(NamedTuple):
    """Something that a transfer reads: the field of `Request` that gives it, what messages call it, and its value.

    place  its place among the values of the field, from 0
    """

    name: str
    label: str
    value: Any
    place: int = 0

    @property
    def key(self) -> str:
        """The field, with the number of the value behind it from the second on: no other input of a request has the same."""
        return f"{self.name}_{self.place + 1}" if self.place else self.name


@dataclass(frozen=True)
class Request:
    """All that decides the result of a transfer, but for the model and the device.

    Pictures are whatever `pictures.reading.read_picture` takes; where a request travels to another
    process they are paths. Pins that are given as numbers become a list of rows xa, ya, xb, yb
    (floats, in pixels); without any pin they are None. With B given, `settings.direction` becomes
    "ab", since there is no B to make.

    `b_prime` is one picture, or a list (or tuple) of several examples. Then `b` and `mask_b`, where
    they are given, are lists of as many.

    Raises `SettingsError` for the direction "ba" with B given and for wrong pins, `ImageError` for
    one mask without the other, for no example at all, and for fewer or more of `b` or `mask_b` than
    there are examples.
    """

    a: PictureLike = _field("picture", "A", "A: the picture to change. JPEG, PNG, WebP, TIFF, BMP or GIF.")
    b_prime: PictureLike | Examples = _field(
        "picture",
        "B'",
        "B': the picture whose looks A shall have. With several, each part of A gets the looks of the one that fits it best.",
        several=True,
    )
    settings: Settings = Settings()
    b: PictureLike | Examples | None = _field(
        "picture",
        "B",
        "B, if you have it: the picture that B' was painted over, of the same size. Then A' alone is made.",
        several=True,
        default=None,
    )
    mask_a: PictureLike | None = _field(
        "picture",
        "the mask of A",
        "Label picture of A: one colour, one region; what is transparent has no label.",
        default=None,
    )
    mask_b: PictureLike | Examples | None = _field(
        "picture",
        "the mask of B'",
        "Label picture of B'; regions match only their own colour.",
        several=True,
        default=None,
    )
    pins: PinsLike | None = _field(
        "pins", "the file of pins", "Places of A that have to go to places of B', in pixels.", default=None
    )
    levels: bool = _field(
        "flag", "levels", "Also write the picture of each level: how the analogy forms.", default=False
    )

    def __post_init__(self) -> None:
        if self.b is not None:
            if self.settings.direction == "ba":
                raise SettingsError("direction is 'ba', but B is given and there is none to make; use 'ab'")
            self._set("settings", replace(self.settings, direction="ab"))
        if (self.mask_a is None) != (self.mask_b is None):
            given, lacking = ("A", "B'") if self.mask_b is None else ("B'", "A")
            raise ImageError(f"there is a mask for {given} and none for {lacking}; give both, or none")
        count = len(self.examples)
        if not count:
            raise ImageError("b_prime has no picture; give the one whose looks A shall have, or several")
        for name in ("b", "mask_b"):
            values = listed(getattr(self, name))
            if getattr(self, name) is not None and len(values) != count:
                label = {field.name: field.metadata["label"] for field in fields_of("picture")}[name]
                pictures = "1 picture" if count == 1 else f"{count} pictures"
                raise ImageError(f"{label}: {len(values)} given for {pictures} B'; give one for each")
        if self.pins is not None and not is_path(self.pins):
            rows = self.pin_rows()
            self._set("pins", None if rows is None else rows.tolist())

    @property
    def content(self) -> str:
        """The name of the picture that a result which is one picture is made from: "a" for A', "b_prime" for B alone."""
        return "b_prime" if self.settings.direction == "ba" else "a"

    @property
    def examples(self) -> list[PictureLike]:
        """The pictures B', however many."""
        return listed(self.b_prime)

    @property
    def several(self) -> bool:
        """True where B' is given as a list, so that the result has lists, too."""
        return isinstance(self.b_prime, (list, tuple))

    def inputs(self) -> Iterator[Input]:
        """Yield each picture that is given, and the file of pins: everything that the transfer reads."""
        for field in fields_of("picture", "pins"):
            value, label = getattr(self, field.name), field.metadata["label"]
            if field.metadata["kind"] == "pins" and not is_path(value):
                continue
            values = listed(value) if field.metadata["several"] else [] if value is None else [value]
            for place, each in enumerate(values):
                yield Input(field.name, f"{label} {place + 1}" if len(values) > 1 else label, each, place)

    def with_inputs(self, read: Callable[[Input], Any]) -> Request:
        """Return this request with what `read` returns in the place of the value of each input."""
        values: dict[str, list[Any]] = {}
        for each in self.inputs():
            values.setdefault(each.name, []).append(read(each))
        several = {name for name in values if isinstance(getattr(self, name), (list, tuple))}
        loaded: dict[str, Any] = {name: found if name in several else found[0] for name, found in values.items()}
        return replace(self, **loaded)

    def pin_rows(self) -> np.ndarray | None:
        """Return the pins (N, 4) float64 of xa, ya, xb, yb in pixels, read from their file; None without pins.

        Raises `SettingsError` for a file that cannot be read, and for what are no pins.
        """
        from .method.pins import read_pins

        return read_pins(self.pins)

    def keywords(self) -> dict[str, Any]:
        """Return the arguments of `Engine.transfer`, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def listed(value: Any) -> list[Any]:
    """Return the values of a field that takes several: those of a list or tuple, a single one, or none for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def numbered(name: str, count: int) -> list[str]:
    """Return the names of what there is for each of so many examples: the name itself for one, else numbered from 1."""
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


@cache
def fields_of(*kinds: Kind) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of `Request` that take one of these kinds; a field without a default has to be given."""
    return tuple(field for field in dataclasses.fields(Request) if field.metadata.get("kind") in kinds)


def is_path(pins: object) -> bool:
    """Return whether pins are given as the path of a file."""
    return isinstance(pins, (str, os.PathLike))
