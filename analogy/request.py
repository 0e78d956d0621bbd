"""What a transfer is asked for: its pictures, its pins and its settings, built and checked in one place.

The fields of `Request` are the keywords of `Engine.transfer`. The command's options, the columns of a batch's table and the
fields of the service's form are made from them, so that a new keyword is a new field here, and its use.
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

Kind: TypeAlias = Literal["picture", "pins", "flag"]
"""What a field of `Request` takes: a picture; pins, as the path of a CSV file or as rows of numbers; or true or false."""


def _field(kind: Kind, label: str, help: str, **default: Any) -> Any:
    """Declare a field of `Request`: what it takes, what messages call its value, and the help that users read."""
    return dataclasses.field(metadata={"kind": kind, "label": label, "help": help}, **default)


class Input(NamedTuple):
    """Something that a transfer reads: the field of `Request` that gives it, what messages call it, and its value."""

    name: str
    label: str
    value: Any


@dataclass(frozen=True)
class Request:
    """All that decides the result of a transfer, but for the model and the device.

    Pictures are whatever `pictures.reading.read_picture` takes; where a request travels to another process they are paths.
    Pins that are given as numbers become a list of rows xa, ya, xb, yb (floats, in pixels); without any pin they are None.
    With B given, `settings.direction` becomes "ab", since there is no B to make.

    Raises `SettingsError` for the direction "ba" with B given and for wrong pins, `ImageError` for one mask without the
    other.
    """

    a: PictureLike = _field("picture", "A", "A: the picture to change. JPEG, PNG, WebP, TIFF, BMP or GIF.")
    b_prime: PictureLike = _field("picture", "B'", "B': the picture whose looks A shall have.")
    settings: Settings = Settings()
    b: PictureLike | None = _field(
        "picture",
        "B",
        "B, if you have it: the picture that B' was painted over, of the same size. Then A' alone is made.",
        default=None,
    )
    mask_a: PictureLike | None = _field(
        "picture",
        "the mask of A",
        "Label picture of A: one colour, one region; what is transparent has no label.",
        default=None,
    )
    mask_b: PictureLike | None = _field(
        "picture", "the mask of B'", "Label picture of B'; regions match only their own colour.", default=None
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
        if self.pins is not None and not is_path(self.pins):
            rows = self.pin_rows()
            self._set("pins", None if rows is None else rows.tolist())

    @property
    def content(self) -> str:
        """The name of the picture that a result which is one picture is made from: "a" for A', "b_prime" for B alone."""
        return "b_prime" if self.settings.direction == "ba" else "a"

    def inputs(self) -> Iterator[Input]:
        """Yield each picture that is given, and the file of pins: everything that the transfer reads."""
        for field in fields_of("picture", "pins"):
            value = getattr(self, field.name)
            if value is not None and (field.metadata["kind"] == "picture" or is_path(value)):
                yield Input(field.name, field.metadata["label"], value)

    def with_inputs(self, read: Callable[[Input], Any]) -> Request:
        """Return this request with what `read` returns in the place of the value of each input."""
        return replace(self, **{each.name: read(each) for each in self.inputs()})

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


@cache
def fields_of(*kinds: Kind) -> tuple[dataclasses.Field[Any], ...]:
    """Return the fields of `Request` that take one of these kinds; a field without a default has to be given."""
    return tuple(field for field in dataclasses.fields(Request) if field.metadata.get("kind") in kinds)


def is_path(pins: object) -> bool:
    """Return whether pins are given as the path of a file."""
    return isinstance(pins, (str, os.PathLike))
