"""Pins: a person says "this place of A goes to that place of B'", and the matching has to do it.

This module reads the pins that a caller gives and checks them against the pictures. `Pins.at`
returns where they lie at a level; `holding` makes a search hold them.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Mapping, Sequence
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
from .sheets import Sheet

_log = logging.getLogger("analogy")

PinsLike: TypeAlias = npt.ArrayLike | str | os.PathLike[str]
"""Pins as a caller gives them: the path of a CSV file with the header `HEADER`, or (N, 4) numbers:
xa, ya, xb, yb of each pin in pixels of A and of B'. With several B' a fifth column, `EXAMPLE`, says
in which of them a pin ends, from 1."""

HEADER = ["xa", "ya", "xb", "yb"]
"""Column names of a CSV file of pins."""
EXAMPLE = "example"
"""Name of the column that says in which of several pictures B' a pin ends, from 1."""
MOST_PINS = 1000
_MOST_BYTES = 1 << 20
_COARSEST = 5


@dataclass(frozen=True)
class Pins:
    """Matches between a content and its sources that are fixed.

    places   (N, 4) int64: row and column in the content, and row and column of the match in its source, in pixels
    source   (N,) int64, the index of the source of each
    content, sources  full sizes (rows, columns) of the pictures
    """

    places: np.ndarray
    source: np.ndarray
    content: Size
    sources: tuple[Size, ...]

    def to(self, index: int) -> Pins:
        """Return the pins whose matches lie in one of the sources, with that one alone."""
        own = self.source == index
        return Pins(self.places[own], np.zeros(own.sum(), np.int64), self.content, (self.sources[index],))

    def reversed(self) -> Pins:
        """Return the same pins with content and source, of which there is one, in each other's place."""
        (source,) = self.sources
        return Pins(self.places[:, [2, 3, 0, 1]], self.source, source, (self.content,))

    def at(self, content: Size, sheet: Sheet, level: int = 1) -> np.ndarray:
        """Return the pins at a level, (n, 4) int64: row and column in the content, and those of the match on the sheet.

        content  the size (rows, columns) in which the network sees the content
        sheet    the layout of the sources as the network sees them
        level    whose maps the positions lie in; 1 for pixels

        Where several pins fall on one position of the content, the first one decides.
        """
        here = np.broadcast_to(content, (len(self.source), 2)) / np.array(self.content)
        there = np.array(sheet.sizes)[self.source] / np.array(self.sources)[self.source]
        scale = np.concatenate([here, there], axis=1)
        positions = ((self.places + 0.5) * scale / 2 ** (level - 1)).astype(np.int64)
        positions[:, 2] += sheet.at(level).tops[self.source]
        _, first = np.unique(positions[:, :2], axis=0, return_index=True)
        return positions[np.sort(first)]


def read_pins(pins: PinsLike | None, read: Callable[[str, int], bytes] = read_regular) -> np.ndarray | None:
    """Return the pins that a caller gives, (N, 4) float64: xa, ya, xb, yb; or (N, 5) with the
    number of B'. None if there are none.

    read  returns the content of the file at a path, of at most so many bytes; it raises OSError

    Raises `SettingsError` for a file that cannot be read, for other shapes, for what is no finite
    number, and for more than `MOST_PINS`.
    """
    if pins is None:
        return None
    if isinstance(pins, (str, os.PathLike)):
        return _read_file(pins, read)
    try:
        array = np.asarray(pins, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(
            f"pins is {shown(pins)}; it takes N rows of four numbers, xa, ya, xb, yb, or five, with {EXAMPLE}"
        ) from error
    return _checked(array, "pins")


def place_pins(
    pins: np.ndarray | None, size_a: Size, sizes_b: Mapping[str, Size], working: Size, labels: Labels | None
) -> Pins | None:
    """Return pins (N, 4 or 5) as places in A and in the pictures B'; None if there are none.

    size_a, sizes_b  the full sizes of A, and of B' by the names of the pictures. With several, a fifth column of the pins says
                     in which of them a pin ends, from 1

    A fraction of a pixel is within that pixel. `working`: the size in which the network sees A, for
    a warning about pins that lie so near each other that not both hold at each level, or whose
    surroundings cannot follow both.

    Raises `SettingsError` for a pin that lies outside of a picture, for two that take one place to
    two, and for a pin whose ends `labels` keep apart.
    """
    if pins is None:
        return None
    source = _sources(pins, len(sizes_b))
    names = list(sizes_b)
    for index, ((xa, ya, xb, yb), name) in enumerate(zip(pins[:, :4], (names[k] for k in source), strict=True), 1):
        for x, y, size, whose in ((xa, ya, size_a, "A"), (xb, yb, sizes_b[name], name)):
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                raise SettingsError(
                    f"pin {index} is at x {x:g}, y {y:g}, outside of {whose}, which is {size[1]} x {size[0]} pixels"
                )
    places = Pins(np.floor(pins[:, [1, 0, 3, 2]]).astype(np.int64), source, size_a, tuple(sizes_b.values()))
    _refuse_two_ends(places, names)
    if labels:
        _refuse_forbidden(places, labels, names)
    _warn_of_crowds(places, working[0] / size_a[0])
    return places


def _sources(pins: np.ndarray, count: int) -> np.ndarray:
    """Return the index of the picture B' in which each pin ends. Raises `SettingsError`."""
    if pins.shape[1] == 4:
        if count > 1:
            raise SettingsError(
                f"there are {count} pictures B', and the pins do not say in which of them they end; give each a fifth "
                f"number, {EXAMPLE}, from 1 to {count}"
            )
        return np.zeros(len(pins), np.int64)
    for index, example in enumerate(pins[:, 4].tolist(), 1):
        if example not in range(1, count + 1):
            there = f"there are {count} pictures B'" if count > 1 else "there is one picture B'"
            raise SettingsError(f"pin {index} ends in example {example:g}, and {there}; number them from 1")
    found: np.ndarray = pins[:, 4].astype(np.int64) - 1
    return found


def _read_file(path: str | os.PathLike[str], read: Callable[[str, int], bytes]) -> np.ndarray | None:
    try:
        header, rows, separator = read_csv(io.BytesIO(read(os.fspath(path), _MOST_BYTES)))
        columns = [*HEADER, EXAMPLE] if EXAMPLE in header else HEADER
        if sorted(filter(None, header)) != sorted(columns):  # a cell below no name is refused with its row
            found = shown(",".join(header)) if header else "nothing"
            raise SettingsError(
                f"its first line is {found}; it must be {','.join(HEADER)}, followed by ,{EXAMPLE} with several B'"
            )
        order = [header.index(name) for name in columns]
        table = [row for _, row in rows]
        decimal = decimal_separators([cell for row in table for cell in row])
        if separator == ",":  # as written where the point begins a fraction
            decimal += "."
        pins = [
            [_coordinate(row, index, cell, columns, decimal) for cell in order] for index, row in enumerate(table, 1)
        ]
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
    return _checked(np.array(pins, dtype=np.float64).reshape(-1, len(columns)), str(path))


def _coordinate(row: list[str], index: int, cell: int, columns: list[str], decimal: str) -> float:
    if len(row) != len(columns):
        count = {4: "four", 5: "five"}[len(columns)]
        raise SettingsError(f"pin {index} is {shown(','.join(row))}; it takes {count} numbers, {','.join(columns)}")
    try:
        return number(row[cell], decimal)
    except SettingsError as error:
        raise SettingsError(f"pin {index} has {error}") from error
    except ValueError as error:
        raise SettingsError(f"pin {index} has {shown(row[cell])} where a number should be") from error


def _checked(array: np.ndarray, name: str) -> np.ndarray | None:
    if not array.size:
        return None
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise SettingsError(
            f"{name}: the shape is {array.shape}; it must be (N, 4), for xa, ya, xb, yb of each pin, or (N, 5), with "
            f"{EXAMPLE}"
        )
    if len(array) > MOST_PINS:
        raise SettingsError(f"{name}: there are {len(array)} pins; it takes {MOST_PINS} at most")
    for index, row in enumerate(array, 1):
        if not np.isfinite(row).all():
            raise SettingsError(f"{name}: pin {index} is {shown(row.tolist())}; it takes finite numbers")
    return array


def _refuse_two_ends(pins: Pins, names: Sequence[str]) -> None:
    """Raise `SettingsError` if a place of one picture is pinned to two of another: both directions are matched."""
    ends_a = [(0, *place) for place in pins.places[:, :2].tolist()]
    ends_b = [(k, *place) for k, place in zip(pins.source.tolist(), pins.places[:, 2:].tolist(), strict=True)]

    def said(end: tuple[int, ...]) -> str:
        return f"x {end[2]}, y {end[1]}"

    for here, there, own, others in ((ends_a, ends_b, ["A"], names), (ends_b, ends_a, names, ["A"])):
        ends: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
        for index, (place, end) in enumerate(zip(here, there, strict=True), 1):
            before, first = ends.setdefault(place, (index, end))
            if first == end:
                continue
            if first[0] == end[0]:
                two = f"two of {others[end[0]]} ({said(first)} and {said(end)})"
            else:
                two = f"one of {others[first[0]]} ({said(first)}) and one of {others[end[0]]} ({said(end)})"
            raise SettingsError(
                f"pins {before} and {index} contradict each other: they take the same pixel of {own[place[0]]} "
                f"({said(place)}) to {two}; remove one"
            )


def _refuse_forbidden(pins: Pins, labels: Labels, names: Sequence[str]) -> None:
    """Raise `SettingsError` for a pin whose ends lie in regions that the masks keep apart."""
    for index, (k, (ya, xa, yb, xb)) in enumerate(zip(pins.source.tolist(), pins.places.tolist(), strict=True), 1):
        one, other = int(labels.content[ya, xa]), int(labels.sources[k][yb, xb])
        if one == other or IGNORED in (one, other):
            continue
        here, there = (
            "a place without a label" if label == UNLABELLED else f"the region {labels.colour(label)}"
            for label in (one, other)
        )
        raise SettingsError(
            f"pin {index} joins {here} of A with {there.removeprefix('the region ')} of {names[k]}, which the masks keep "
            "apart; move it, or change a mask"
        )


def _warn_of_crowds(pins: Pins, scale: float) -> None:
    """Log which pins disagree with their neighbours. `scale`: size of A as the network sees it, over its full size."""
    position = 2 ** (_COARSEST - 1) / scale
    steps = pins.places[:, None, :] - pins.places[None, :, :]
    away_a, away_b = (np.abs(side).max(axis=-1).astype(float) for side in (steps[..., :2], steps[..., 2:]))
    away_b[pins.source[:, None] != pins.source] = np.inf  # two pictures have no place near each other
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
