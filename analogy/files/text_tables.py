"""Tables of text, as spreadsheets and shells write them: rows of cells between commas, semicolons or tabs.

Everything is read line by line, and within bounds: a file may have one line without end.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

from ..errors import SettingsError, shown

LONGEST_ROW = 1 << 20
"""Most characters of a row, and of a line."""
_SEPARATORS = ",;\t"
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
"""The line before the header that tells Excel the separator."""
_PERHAPS_THOUSANDS = re.compile(r"\s*([+-]?)([1-9]\d{0,2})([.,])(\d{3})\s*")
"""A number whose separator may begin a fraction or thousands."""


def text_lines(file: IO[bytes], newline: str = "") -> Iterator[str]:
    """Yield the lines of a file of text, each with its end.

    file     open for reading in binary mode
    newline  which ends of lines count, as for `open`

    UTF-16 is known by its first bytes; what is no UTF-8 otherwise becomes surrogates, as in `os.fsdecode` (see `readable`).

    Raises `SettingsError` for a line of more than `LONGEST_ROW` characters, and UnicodeError for damaged UTF-16.
    """
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]
    head = buffered.peek(2)[:2]
    if head in (b"\xff\xfe", b"\xfe\xff"):
        encoding, errors = "utf-16", "strict"
    elif b"\0" in head:
        encoding, errors = ("utf-16-be" if head[:1] == b"\0" else "utf-16-le"), "strict"
    else:
        encoding, errors = "utf-8-sig", "surrogateescape"
    text = io.TextIOWrapper(buffered, encoding, errors, newline=newline)
    try:
        number = 0
        while line := text.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                raise SettingsError(f"line {number}: it has more than {LONGEST_ROW} bytes")
            yield line
    finally:
        if not buffered.closed:  # the file stays as open as its owner wants it
            text.detach()


def readable(text: str) -> str:
    """Return `text` with bytes that are no UTF-8, which are surrogates in it, as Windows-1252, in which Excel writes CSV.

    Raises `SettingsError` if it is none, either.
    """
    if not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("cp1252")
    except UnicodeError as error:
        raise SettingsError(f"{shown(text)} is neither UTF-8 nor Windows-1252; save the table as UTF-8") from error


def column_name(cell: str) -> str:
    """Return the name of a column as it is looked for: in small letters, with "_" for spaces and hyphens."""
    return re.sub(r"[ -]+", "_", cell.strip().lower())


def members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON as a dict, for the `object_pairs_hook` of `json.loads`.

    Raises `SettingsError` for a name that is there twice, of which `json` would take the last one.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SettingsError(f"it has {shown(name)} twice; give it once")
        found[name] = value
    return found


def decimal_separators(cells: Collection[str]) -> str:
    """Return which of "." and "," begin a fraction in these cells beyond doubt.

    That is so where a cell has another number of digits than three behind it, and for both where a number of four digits or
    more has no separator between its thousands.
    """
    return "".join(
        separator
        for separator in ".,"
        if any(
            re.fullmatch(rf"\s*[+-]?(\d{{4,}}(\{separator}\d*)?|\d*\{separator}\d+)\s*", cell)
            and not _PERHAPS_THOUSANDS.fullmatch(cell)
            for cell in cells
        )
    )


def number(cell: str, decimal: str) -> float:
    """Return the number in a cell, with a decimal point or, as in many countries, a comma.

    decimal  the separators that begin a fraction also before three digits, where they might begin thousands: "1,023"

    Raises `SettingsError` for such a number with another separator, and ValueError for what is no number.
    """
    if (found := _PERHAPS_THOUSANDS.fullmatch(cell)) and found[3] not in decimal:
        sign, whole, _, rest = found.groups()
        raise SettingsError(
            f"{shown(cell)}, which may be a whole number or a fraction; write {sign}{whole}{rest} or {sign}{whole}.{rest}0"
        )
    return float(re.sub(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", cell))


def read_csv(file: IO[bytes]) -> tuple[list[str], Iterator[tuple[int, list[str]]], str]:
    """Return the header of a table, its rows, and what separates its cells.

    Of a row it is in which line it ends, and its cells up to the last one with content.

    The separator is the one that the header has most of. Spaces around cells, empty rows, and empty cells beyond the header
    do not count, nor does the line with a type that PowerShell writes before the header.

    Raises, also while rows are read, `SettingsError` for a row with more cells than there are columns, for two columns of one
    name, for a row of more than `LONGEST_ROW` characters, and csv.Error and UnicodeError for what is no table.
    """
    lines = _Lines(file)
    rows = _rows(lines)
    header = [column_name(cell) for cell in next(rows, (0, []))[1]]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise SettingsError(f"there are two columns {shown(twice[0])}; a column is there once")
    return header, _below(header, rows), lines.separator


def _below(header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    for line, row in rows:
        if header and not header[0] and row[0]:
            raise SettingsError(
                f"line {line} has {shown(row[0])} in column 1, which has no name in the first line; name it, or leave it out "
                "(in pandas: to_csv(path, index=False))"
            )
        nameless = [cell for index, cell in enumerate(row) if cell and (index >= len(header) or not header[index])]
        if nameless:
            raise SettingsError(
                f"line {line} has more cells than there are columns ({shown(nameless[0])}); put quotes around commas in a cell"
            )
        yield line, row


def _rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield in which line each row ends, and its cells without spaces around them, as far as any has content."""
    for row in csv.reader(lines, delimiter=lines.separator, strict=True, skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        lines.length = 0
        if cells:
            yield lines.number, cells


class _Lines:
    """The lines of a table from its header on; `separator` is between its cells.

    number  of the last line that was taken
    length  characters since it was set to 0. More than `LONGEST_ROW` raise `SettingsError`.
    """

    def __init__(self, file: IO[bytes]):
        self._coming = text_lines(file)
        self.separator, self.number, self.length = ",", 0, 0
        self._header = ""
        for line in self._coming:
            self.number += 1
            if told := _SEPARATOR_LINE.fullmatch(line):
                self.separator = told[1]
                break
            if line.startswith("#TYPE ") or not line.strip(f'{_SEPARATORS} "\r\n'):
                continue
            plain = re.sub('"[^"]*"', "", line)
            self.separator = max(_SEPARATORS, key=plain.count)
            self.number -= 1
            self._header = line
            break

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self._header = self._header or next(self._coming), ""
        self.number += 1
        self.length += len(line)
        if self.length > LONGEST_ROW:
            raise SettingsError(f"line {self.number}: its row has more than {LONGEST_ROW} bytes")
        return line
