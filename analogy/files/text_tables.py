"""Reader of text tables, as spreadsheets write them: commas, semicolons or tabs separate cells.

Files are read line by line. The length of a line is limited, because all of a damaged or wrong file
may be a single line, which would need too much memory.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

from ..errors import SettingsError, shown

LONGEST_ROW = 1 << 20
"""Maximum number of characters of a line, and of a row, which may consist of several lines."""
_SEPARATORS = ",;\t"
"""Characters that can separate cells."""
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
"""Pattern of the line "sep=;" before the header, which names the separator for Excel."""
_PERHAPS_THOUSANDS = re.compile(r"\s*([+-]?)([1-9]\d{0,2})([.,])(\d{3})\s*")
"""Pattern of a number such as 1,023, whose comma may be a decimal or a thousands separator."""


def text_lines(file: IO[bytes], newline: str = "") -> Iterator[str]:
    """Yield the lines of a text file, each with its line end.

    The file is open for reading in binary mode; `newline` has the meaning that it has in `open`.
    UTF-16 is recognised by the first bytes of the file. Other files are read as UTF-8. Bytes that
    are not valid UTF-8 become surrogates, as in `os.fsdecode`; `readable` turns these into
    characters.

    Raises `SettingsError` for a line of more than `LONGEST_ROW` characters, and UnicodeError for
    damaged UTF-16.
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
                raise SettingsError(f"line {number} has more than {LONGEST_ROW} characters; shorten it")
            yield line
    finally:
        if not buffered.closed:  # otherwise the wrapper would close the file, which the caller closes
            text.detach()


def readable(text: str) -> str:
    """Return `text` with its surrogates decoded as Windows-1252, the encoding of Excel's CSV files.

    Raises `SettingsError` if the bytes are not Windows-1252 either.
    """
    if not any("\udc80" <= character <= "\udcff" for character in text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("cp1252")
    except UnicodeError as error:
        raise SettingsError(f"{shown(text)} is neither UTF-8 nor Windows-1252; save the table as UTF-8") from error


def column_name(cell: str) -> str:
    """Return a header cell as a column name: in lower case, with "_" for spaces and hyphens."""
    return re.sub(r"[ -]+", "_", cell.strip().lower())


def members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; `json.loads` takes this function as `object_pairs_hook`.

    Raises `SettingsError` for a name that occurs twice. Without this hook, `json` would silently
    use the last value.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SettingsError(f"the name {shown(name)} occurs twice; give it once")
        found[name] = value
    return found


def decimal_separators(cells: Collection[str]) -> str:
    """Return the characters that are certainly decimal separators: "", ".", "," or ".,".

    A point or a comma is one if a cell contains it where it cannot separate thousands, as in 1.5,
    0.125 or 1234.567. Both are decimal separators if some cell has four or more digits without a
    separator, because then the table does not separate thousands.
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
    """Return the number in a cell, whose decimal separator is a point or a comma.

    In a number such as "1,023", the separator may also separate thousands. So the function raises
    `SettingsError` for such a number, unless `decimal` contains the separator. Raises ValueError if
    the cell does not contain a number.
    """
    if (found := _PERHAPS_THOUSANDS.fullmatch(cell)) and found[3] not in decimal:
        sign, whole, _, rest = found.groups()
        raise SettingsError(
            f"{shown(cell)}, which may be a whole number or a fraction; write {sign}{whole}{rest} or "
            f"{sign}{whole}.{rest}0"
        )
    return float(re.sub(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", cell))


def read_csv(file: IO[bytes]) -> tuple[list[str], Iterator[tuple[int, list[str]]], str]:
    """Return the header of a table, an iterator over its rows, and the separator.

    The function ignores spaces around cells, empty rows, and the line "#TYPE .." that PowerShell
    writes before the header. Some errors are raised only while the caller iterates over the rows.

    Returns
    -------
    header : list of str
        Column names (see `column_name`).
    rows : iterator of (int, list of str)
        For each row, the number of the line in which it ends, and its cells up to the last cell
        that is not empty.
    separator : str
        The character between cells: the one that a line "sep=.." names, or otherwise the one that
        occurs most often in the header.

    Raises
    ------
    SettingsError
        If two columns have the same name, a row has more than `LONGEST_ROW` characters, or a row
        has more cells than there are columns.
    csv.Error, UnicodeError
        If the file is not a table.
    """
    lines = _Lines(file)
    rows = _rows(lines)
    header = [column_name(cell) for cell in next(rows, (0, []))[1]]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise SettingsError(f"there are two columns {shown(twice[0])}; remove one, or rename it")
    return header, _checked(header, rows), lines.separator


def _checked(header: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header. Raises `SettingsError` for a cell without a column name."""
    for line, row in rows:
        if header and not header[0] and row[0]:
            raise SettingsError(
                f"line {line} has {shown(row[0])} in column 1, which has no name in the first line; name the "
                "column, or leave it out (in pandas: to_csv(path, index=False))"
            )
        nameless = [cell for index, cell in enumerate(row) if cell and (index >= len(header) or not header[index])]
        if nameless:
            raise SettingsError(
                f"line {line} has more cells than there are columns ({shown(nameless[0])}); put quotes around a cell "
                "that contains commas"
            )
        yield line, row


def _rows(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield, for each row with content, the number of the line in which it ends, and its cells.

    Empty cells at the end of a row are left out.
    """
    for row in csv.reader(lines, delimiter=lines.separator, strict=True, skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        lines.length = 0  # the next row begins
        if cells:
            yield lines.number, cells


class _Lines:
    """Iterator over the lines of a table, from its header on.

    Attributes
    ----------
    separator : str
        The character between cells.
    number : int
        Number of the last line that was read, from 1.
    length : int
        Number of characters that have been read since the row began. If it exceeds `LONGEST_ROW`,
        the iterator raises `SettingsError`.
    """

    def __init__(self, file: IO[bytes]):
        self._coming = text_lines(file)
        self.separator, self.number, self.length = ",", 0, 0
        self._header = ""
        for line in self._coming:
            self.number += 1
            if named := _SEPARATOR_LINE.fullmatch(line):
                self.separator = named[1]
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
            raise SettingsError(
                f"the row with line {self.number} has more than {LONGEST_ROW} characters; check the quotes in it"
            )
        return line
