"""Pins: a person says "this place of A goes to that place of B'", and the matching has to do it.

This module reads the pins that a caller gives and checks them against the pictures. `Pins.at` returns where they lie at a
level; `holding` makes a search hold them.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..backends import Size
from ..errors import SettingsError, reason, shown
from ..files.inputs import read_regular
from ..files.text_tables import decimal_separators, number, read_csv
from .guidance import IGNORED, UNLABELLED, Labels
from .holding import REACH

_log = logging.getLogger("analogy")

PinsLike: TypeAlias = npt.ArrayLike | str | os.PathLike[str]
"""Pins as a caller gives them: the path of a CSV file with the header `HEADER`, or (N, 4) numbers: xa, ya, xb, yb of each
pin in pixels of A and of B'."""

HEADER = ["xa", "ya", "xb", "yb"]
"""Column names of a CSV file of pins."""
MOST_PINS = 1000
_MOST_BYTES = 1 << 20
_COARSEST = 5


@dataclass(frozen=True)
class Pins:
    """Matches between a content and its source that are fixed.

    places           (N, 4) int64: row and column in the content, and row and column of the match in the source, in pixels
    content, source  full sizes (rows, columns) of the two pictures
    """

    places: np.ndarray
    content: Size
    source: Size

    def reversed(self) -> Pins:
        """Return the same pins, seen from the source."""
        return Pins(self.places[:, [2, 3, 0, 1]], self.source, self.content)

    def at(self, content: Size, source: Size, level: int = 1) -> np.ndarray:
        """Return the pins at a level, (n, 4) int64: row and column in the content, and those of the match in the source.

        content, source  the sizes (rows, columns) in which the network sees the pictures
        level            whose maps the positions lie in; 1 for pixels

        Where several pins fall on one position of the content, the first one decides.
        """
        scale = np.array([*content, *source]) / (*self.content, *self.source)
        positions = ((self.places + 0.5) * scale / 2 ** (level - 1)).astype(np.int64)
        _, first = np.unique(positions[:, :2], axis=0, return_index=True)
        return positions[np.sort(first)]


def read_pins(pins: PinsLike | None, read: Callable[[str, int], bytes] = read_regular) -> np.ndarray | None:
    """Return the pins that a caller gives, (N, 4) float64: xa, ya, xb, yb; None if there are none.

    read  returns the content of the file at a path, of at most so many bytes; it raises OSError

    Raises `SettingsError` for a file that cannot be read, for other shapes, for what is no finite number, and for more than
    `MOST_PINS`.
    """
    if pins is None:
        return None
    if isinstance(pins, (str, os.PathLike)):
        return _read_file(pins, read)
    try:
        array = np.asarray(pins, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"pins is {shown(pins)}; it takes N rows of four numbers, xa, ya, xb, yb") from error
    return _checked(array, "pins")


def place_pins(
    pins: np.ndarray | None, size_a: Size, size_b: Size, working: Size, labels: Labels | None
) -> Pins | None:
    """Return pins (N, 4) as places in pictures of the full sizes `size_a` and `size_b`; None if there are none.

    A fraction of a pixel is within that pixel. `working`: the size in which the network sees A, for a warning about pins
    that lie so near each other that not both hold at each level, or whose surroundings cannot follow both.

    Raises `SettingsError` for a pin that lies outside of a picture, for two that take one place to two, and for a pin whose
    ends `labels` keep apart.
    """
    if pins is None:
        return None
    for index, (xa, ya, xb, yb) in enumerate(pins, 1):
        for x, y, size, name in ((xa, ya, size_a, "A"), (xb, yb, size_b, "B'")):
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                raise SettingsError(
                    f"pin {index} is at x {x:g}, y {y:g}, outside of {name}, which is {size[1]} x {size[0]} pixels"
                )
    places = Pins(np.floor(pins[:, [1, 0, 3, 2]]).astype(np.int64), size_a, size_b)
    _refuse_two_ends(places.places)
    if labels:
        _refuse_forbidden(places.places, labels)
    _warn_of_crowds(places.places, working[0] / size_a[0])
    return places


def _read_file(path: str | os.PathLike[str], read: Callable[[str, int], bytes]) -> np.ndarray | None:
    try:
        header, rows, separator = read_csv(io.BytesIO(read(os.fspath(path), _MOST_BYTES)))
        if sorted(filter(None, header)) != sorted(HEADER):  # a cell below no name is refused with its row
            found = shown(",".join(header)) if header else "nothing"
            raise SettingsError(f"its first line is {found}; it must be {','.join(HEADER)}")
        order = [header.index(name) for name in HEADER]
        table = [row for _, row in rows]
        decimal = decimal_separators([cell for row in table for cell in row])
        if separator == ",":  # as written where the point begins a fraction
            decimal += "."
        pins = [[_coordinate(row, index, cell, decimal) for cell in order] for index, row in enumerate(table, 1)]
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, csv.Error) as error:
        raise SettingsError(f"{path}: not a CSV file with the header {','.join(HEADER)} ({reason(error)})") from error
    if not pins:
        _log.warning("%s: it holds no pins, only the header", path)
    return _checked(np.array(pins, dtype=np.float64).reshape(-1, 4), str(path))


def _coordinate(row: list[str], index: int, cell: int, decimal: str) -> float:
    if len(row) != len(HEADER):
        raise SettingsError(f"pin {index} is {shown(','.join(row))}; it takes four numbers, xa,ya,xb,yb")
    try:
        return number(row[cell], decimal)
    except SettingsError as error:
        raise SettingsError(f"pin {index} has {error}") from error
    except ValueError as error:
        raise SettingsError(f"pin {index} has {shown(row[cell])} where a number should be") from error


def _checked(array: np.ndarray, name: str) -> np.ndarray | None:
    if not array.size:
        return None
    if array.ndim != 2 or array.shape[1] != 4:
        raise SettingsError(f"{name}: the shape is {array.shape}; it must be (N, 4), for xa, ya, xb, yb of each pin")
    if len(array) > MOST_PINS:
        raise SettingsError(f"{name}: there are {len(array)} pins; it takes {MOST_PINS} at most")
    for index, row in enumerate(array, 1):
        if not np.isfinite(row).all():
            raise SettingsError(f"{name}: pin {index} is {shown(row.tolist())}; it takes finite numbers")
    return array


def _refuse_two_ends(places: np.ndarray) -> None:
    """Raise `SettingsError` if a place of one picture is pinned to two of the other: both directions are matched."""
    for here, there, name, other in (
        (places[:, :2], places[:, 2:], "A", "B'"),
        (places[:, 2:], places[:, :2], "B'", "A"),
    ):
        ends: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
        for index, (place, end) in enumerate(
            zip(map(tuple, here.tolist()), map(tuple, there.tolist()), strict=True), 1
        ):
            before, first = ends.setdefault(place, (index, end))
            if first != end:
                raise SettingsError(
                    f"pins {before} and {index} contradict each other: they take the same pixel of {name} (x {place[1]}, y "
                    f"{place[0]}) to two of {other} (x {first[1]}, y {first[0]} and x {end[1]}, y {end[0]}); remove one"
                )


def _refuse_forbidden(places: np.ndarray, labels: Labels) -> None:
    one, other = labels.content[places[:, 0], places[:, 1]], labels.source[places[:, 2], places[:, 3]]
    for index in np.flatnonzero((one != other) & (one != IGNORED) & (other != IGNORED))[:1]:
        here, there = (
            "a place without a label" if label == UNLABELLED else f"the region {labels.colour(label)}"
            for label in (int(one[index]), int(other[index]))
        )
        raise SettingsError(
            f"pin {index + 1} joins {here} of A with {there.removeprefix('the region ')} of B', which the masks keep apart; "
            "move it, or change a mask"
        )


def _warn_of_crowds(places: np.ndarray, scale: float) -> None:
    """Log which pins disagree with their neighbours. `scale`: size of A as the network sees it, over its full size."""
    position = 2 ** (_COARSEST - 1) / scale
    steps = places[:, None, :] - places[None, :, :]
    away_a, away_b = (np.abs(side).max(axis=-1) for side in (steps[..., :2], steps[..., 2:]))
    one_at_most = np.minimum(away_a, away_b) < position
    crowded = one_at_most & (np.maximum(away_a, away_b) >= 2 * position)
    crossed = (
        ((steps[..., :2] * steps[..., 2:]).sum(axis=-1) < 0)
        & (np.maximum(away_a, away_b) < REACH * position)
        & ~crowded
    )
    for wrong, words in (
        (crowded, "nearly meet in one picture and not in the other: at coarse levels one of them holds alone"),
        (crossed, "lie the other way round in the other picture: what is between them cannot follow both"),
    ):
        pairs = np.argwhere(np.triu(wrong, 1)) + 1
        if len(pairs):
            more = f" (and {len(pairs) - 1} other pairs)" if len(pairs) > 1 else ""
            _log.warning("pins %d and %d%s %s", *pairs[0], more, words)
