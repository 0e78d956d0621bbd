"""Pins: matches that the user fixes, each a pixel of A and its pixel of B'.

This module reads the pins that a caller gives, and checks them against the pictures. `Pins.at`
returns the pins as positions of a level, and the module `holding` fixes these matches in a search.
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
from ..errors import SettingsError, reason, shown, unreadable
from ..files.inputs import read_regular
from ..files.text_tables import decimal_separators, number, read_csv
from .guidance import IGNORED, UNLABELLED, Labels
from .holding import REACH
from .sheets import Sheet

_log = logging.getLogger("analogy")

PinsLike: TypeAlias = npt.ArrayLike | str | os.PathLike[str]
"""Pins as a caller gives them: (N, 4) or (N, 5) numbers, or the path of a CSV file.

The columns are xa, ya, xb, yb (`HEADER`), in pixels of A and of B'. A fifth column, `EXAMPLE`, is
needed with several B'. It holds the number of the B' in which a pin ends, counted from 1.
"""

HEADER = ["xa", "ya", "xb", "yb"]
"""Names of the four columns that every CSV file of pins must have."""
EXAMPLE = "example"
"""Name of the column with the number of the B' in which a pin ends, counted from 1."""
MOST_PINS = 1000
"""Maximum number of pins that a transfer accepts."""
_MOST_BYTES = 1 << 20
"""Largest accepted file of pins, in bytes."""
_COARSEST = 5
"""Number of the coarsest level."""


@dataclass(frozen=True)
class Pins:
    """Pinned matches between a content and its sources, at full size.

    Attributes
    ----------
    places
        (N, 4) int64, in pixels: row and column in the content, row and column in the source.
    source
        (N,) int64, the index of the source in which each pin ends.
    content, sources
        Full sizes (rows, columns) of the pictures.
    """

    places: np.ndarray
    source: np.ndarray
    content: Size
    sources: tuple[Size, ...]

    def to(self, index: int) -> Pins:
        """Return the pins that end in the source with this index, as pins with this one source."""
        own = self.source == index
        return Pins(self.places[own], np.zeros(own.sum(), np.int64), self.content, (self.sources[index],))

    def reversed(self) -> Pins:
        """Return the pins of the other direction, for pins with one source."""
        (source,) = self.sources
        return Pins(self.places[:, [2, 3, 0, 1]], self.source, source, (self.content,))

    def at(self, content: Size, sheet: Sheet, level: int = 1) -> np.ndarray:
        """Return the pins as matches between the maps of a level, or between pictures.

        If several pins fall on one position of the content, the first of them is returned.

        Parameters
        ----------
        content
            Rows and columns of the content, for instance its working size.
        sheet
            Layout of the sources, at their working sizes if `content` is a working size, else at
            their full sizes.
        level
            Level of the feature maps; 1 for positions in the pictures themselves.

        Returns
        -------
        pins
            (n, 4) int64: row and column in the content, row and column of the match on the sheet.
        """
        here = np.broadcast_to(content, (len(self.source), 2)) / np.array(self.content)
        there = np.array(sheet.sizes)[self.source] / np.array(self.sources)[self.source]
        scale = np.concatenate([here, there], axis=1)
        positions = ((self.places + 0.5) * scale / 2 ** (level - 1)).astype(np.int64)
        positions[:, 2] += sheet.at(level).tops[self.source]
        _, first = np.unique(positions[:, :2], axis=0, return_index=True)
        return positions[np.sort(first)]


def read_pins(pins: PinsLike | None, read: Callable[[str, int], bytes] = read_regular) -> np.ndarray | None:
    """Read and check the pins that a caller gives.

    Parameters
    ----------
    pins
        See `PinsLike`; None for no pins.
    read
        Function that is called with a path and the maximum size of the file in bytes, and returns
        the content of the file. It may raise OSError.

    Returns
    -------
    pins
        (N, 4) float64, the columns xa, ya, xb, yb; or (N, 5), with the number of the B' as the last
        column. None if there are no pins.

    Raises
    ------
    SettingsError
        If the file cannot be read, if the shape is wrong, if a number is not finite, or if there
        are more than `MOST_PINS` pins.
    """
    if pins is None:
        return None
    if isinstance(pins, (str, os.PathLike)):
        return _read_file(pins, read)
    try:
        array = np.asarray(pins, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(
            f"pins is {shown(pins)}; give N rows of four numbers, xa, ya, xb, yb, or of five, with {EXAMPLE}"
        ) from error
    return _checked(array, "pins")


def place_pins(
    pins: np.ndarray | None, size_a: Size, sizes_b: Mapping[str, Size], working: Size, labels: Labels | None
) -> Pins | None:
    """Check pins against the pictures of a transfer, and return them as pixels of A and of each B'.

    Pins that contradict their neighbours at coarse levels are logged as a warning.

    Parameters
    ----------
    pins
        (N, 4 or 5) float64, as `read_pins` returns them. A number with a fraction means the
        pixel that contains the point.
    size_a
        Full size (rows, columns) of A.
    sizes_b
        Name of each B' -> its full size. With several B' the pins need the fifth column.
    working
        Working size of A. The warning about neighbours depends on it.
    labels
        Labels of the pictures, or None.

    Returns
    -------
    pins
        The pins; None if there are none.

    Raises
    ------
    SettingsError
        If a pin lies outside a picture, if the number of a pin's B' is missing or wrong, if two
        pins start or end at one pixel and differ at the other end, or if the labels forbid the
        match of a pin.
    """
    if pins is None:
        return None
    source = _sources(pins, len(sizes_b))
    names = list(sizes_b)
    for index, ((xa, ya, xb, yb), name) in enumerate(zip(pins[:, :4], (names[k] for k in source), strict=True), 1):
        for x, y, size, whose in ((xa, ya, size_a, "A"), (xb, yb, sizes_b[name], name)):
            if not (0 <= x < size[1] and 0 <= y < size[0]):
                raise SettingsError(
                    f"pin {index} is at x {x:g}, y {y:g}, outside of {whose}, which is {size[1]} x {size[0]} pixels; "
                    "move the pin into the picture"
                )
    places = Pins(np.floor(pins[:, [1, 0, 3, 2]]).astype(np.int64), source, size_a, tuple(sizes_b.values()))
    _refuse_two_ends(places, names)
    if labels:
        _refuse_forbidden(places, labels, names)
    _warn_of_crowds(places, working[0] / size_a[0])
    return places


def _sources(pins: np.ndarray, count: int) -> np.ndarray:
    """Return the index of the B' in which each pin ends.

    Raise `SettingsError` if the number of a pin's B' is missing or wrong.
    """
    if pins.shape[1] == 4:
        if count > 1:
            raise SettingsError(
                f"there are {count} pictures B', and the pins do not say in which of them they end; give each pin a "
                f"fifth number, {EXAMPLE}, from 1 to {count}"
            )
        return np.zeros(len(pins), np.int64)
    for index, example in enumerate(pins[:, 4].tolist(), 1):
        if example not in range(1, count + 1):
            there = f"there are {count} pictures B'" if count > 1 else "there is one picture B'"
            raise SettingsError(f"pin {index} ends in example {example:g}, but {there}; examples are numbered from 1")
    found: np.ndarray = pins[:, 4].astype(np.int64) - 1
    return found


def _read_file(path: str | os.PathLike[str], read: Callable[[str, int], bytes]) -> np.ndarray | None:
    try:
        header, rows, separator = read_csv(io.BytesIO(read(os.fspath(path), _MOST_BYTES)))
        columns = [*HEADER, EXAMPLE] if EXAMPLE in header else HEADER
        if sorted(filter(None, header)) != sorted(columns):  # `_coordinate` refuses rows with more cells
            found = shown(",".join(header)) if header else "nothing"
            raise SettingsError(
                f"its first line is {found}; it must be {','.join(HEADER)}, and with several B' "
                f"{','.join(HEADER)},{EXAMPLE}"
            )
        order = [header.index(name) for name in columns]
        table = [row for _, row in rows]
        decimal = decimal_separators([cell for row in table for cell in row])
        if separator == ",":  # cells are separated by commas, so a point in a number is its decimal separator
            decimal += "."
        pins = [
            [_coordinate(row, index, cell, columns, decimal) for cell in order] for index, row in enumerate(table, 1)
        ]
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except OSError as error:
        raise SettingsError(unreadable(error, str(path))) from error
    except (ValueError, csv.Error) as error:
        raise SettingsError(
            f"{path}: it is not a CSV file with the header {','.join(HEADER)} ({reason(error)})"
        ) from error
    if not pins:
        _log.warning("%s has no pins, only the header", path)
    return _checked(np.array(pins, dtype=np.float64).reshape(-1, len(columns)), str(path))


def _coordinate(row: list[str], index: int, cell: int, columns: list[str], decimal: str) -> float:
    if len(row) != len(columns):
        count = {4: "four", 5: "five"}[len(columns)]
        raise SettingsError(f"pin {index} is {shown(','.join(row))}; it must be {count} numbers, {','.join(columns)}")
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
        raise SettingsError(f"{name}: there are {len(array)} pins; give at most {MOST_PINS}")
    for index, row in enumerate(array, 1):
        if not np.isfinite(row).all():
            raise SettingsError(f"{name}: pin {index} is {shown(row.tolist())}; give finite numbers")
    return array


def _refuse_two_ends(pins: Pins, names: Sequence[str]) -> None:
    """Raise `SettingsError` if two pins share a pixel at one end and differ at the other.

    A transfer matches both directions, so a pixel of either picture may have only one match.
    """
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
                f"pins {before} and {index} contradict each other: they match the same pixel of {own[place[0]]} "
                f"({said(place)}) with {two}; remove one of the pins"
            )


def _refuse_forbidden(pins: Pins, labels: Labels, names: Sequence[str]) -> None:
    """Raise `SettingsError` if the labels at the two ends of a pin forbid their match."""
    for index, (k, (ya, xa, yb, xb)) in enumerate(zip(pins.source.tolist(), pins.places.tolist(), strict=True), 1):
        one, other = int(labels.content[ya, xa]), int(labels.sources[k][yb, xb])
        if one == other or IGNORED in (one, other):
            continue
        here, there = (
            "an unlabelled place" if label == UNLABELLED else f"the region {labels.colour(label)}"
            for label in (one, other)
        )
        raise SettingsError(
            f"pin {index} joins {here} of A with {there.removeprefix('the region ')} of {names[k]}, which the masks "
            "keep apart; move the pin, or change a mask"
        )


def _warn_of_crowds(pins: Pins, scale: float) -> None:
    """Log a warning about pins that contradict their neighbours at coarse levels.

    `scale` is the number of rows of A at its working size, divided by that at its full size.
    """
    position = 2 ** (_COARSEST - 1) / scale
    steps = pins.places[:, None, :] - pins.places[None, :, :]
    away_a, away_b = (np.abs(side).max(axis=-1).astype(float) for side in (steps[..., :2], steps[..., 2:]))
    away_b[pins.source[:, None] != pins.source] = np.inf  # pixels of different B' are never neighbours
    one_at_most = np.minimum(away_a, away_b) < position
    crowded = one_at_most & (np.maximum(away_a, away_b) >= 2 * position)
    crossed = (
        ((steps[..., :2] * steps[..., 2:]).sum(axis=-1) < 0)
        & (np.maximum(away_a, away_b) < REACH * position)
        & ~crowded
    )
    for wrong, words in (
        (crowded, "lie close together in one picture and apart in the other; at coarse levels only one takes effect"),
        (crossed, "lie in opposite order in the two pictures; the pixels between them cannot follow both"),
    ):
        pairs = np.argwhere(np.triu(wrong, 1)) + 1
        if len(pairs):
            more = f" (the first of {len(pairs)} such pairs)" if len(pairs) > 1 else ""
            _log.warning("pins %d and %d%s %s", *pairs[0], more, words)
