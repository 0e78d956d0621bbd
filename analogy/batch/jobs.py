"""Jobs of a batch, made from the rows of a table, or from pictures that all get the same style."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AnalogyError, OutputError, SettingsError, shown
from ..files.places import Places, WrittenTwiceError
from ..files.text_tables import column_name, number, readable
from ..request import Request, numbered
from ..settings import Settings
from . import stores
from .names import TEMPLATE, as_part, check_template, inside
from .parquet import LONGEST_CELL
from .tables import COLUMNS, FURTHER, INPUTS, SEVERAL, Rows

_log = logging.getLogger("analogy")

_KINDS = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
_TRUTH_VALUES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Job:
    """Job of a batch, which is one transfer.

    Attributes
    ----------
    number : int
        The number of the job, from 1, in the order of the table.
    request : Request
        The request. Its inputs are absolute paths or addresses.
    outputs : dict
        Picture to make -> its path in the folder for results, with "/". The pictures are "a_prime"
        and "b" ("b_1", "b_2" and so on for several examples).
    """

    number: int
    request: Request
    outputs: dict[str, str]

    @property
    def name(self) -> str:
        """Path of the first result, which identifies the job in messages and in the manifest."""
        return next(iter(self.outputs.values()))

    @property
    def inputs(self) -> dict[str, str]:
        """Column -> absolute path or address, for each file that the job reads."""
        return {each.key: each.value for each in self.request.inputs()}

    @property
    def given(self) -> dict[str, Any]:
        """Inputs as the manifest records them: `inputs`, and also pins that are rows of numbers."""
        pins = self.request.pins
        return self.inputs if pins is None else self.inputs | {"pins": pins}


class Jobs:
    """Iterable over the jobs of a batch, which reads the rows again for each iteration.

    Parameters
    ----------
    rows : Callable
        Function that returns a new generator of the rows.
    folder : str
        The folder at which relative paths in rows start.
    settings : Settings
        The settings of the jobs. A row can set other values for its job.
    styles : Sequence of str
        The pictures B' of jobs whose rows name no B', as absolute paths or addresses.
    template : str
        The template of the names of results, with `FIELDS` in braces.
    allowed : Sequence of str or None
        The schemes of addresses that rows can name. None means that there is no table, and that the
        rows come from the command line: all schemes are allowed, and no path is decoded as
        Windows-1252.
    single : Collection of str
        The names of settings that the user has set one by one. The preset of a row does not change
        them.

    Raises
    ------
    SettingsError
        During iteration, if a row is not a valid job, or if the name of a result is wrong.
    OutputError
        If the template is wrong.
    """

    def __init__(
        self,
        rows: Callable[[], Rows],
        folder: str,
        settings: Settings,
        styles: Sequence[str],
        template: str = TEMPLATE,
        allowed: Sequence[str] | None = (),
        single: Collection[str] = (),
    ):
        self._rows, self._folder, self._settings, self._styles = rows, folder, settings, list(styles)
        self._template, self._allowed, self._single = template, allowed, single
        self._has_logged = False
        check_template(template)

    def __iter__(self) -> Generator[Job, None, None]:
        with closing(self._rows()) as rows:
            for number, (where, row) in enumerate(rows, 1):
                try:
                    job = self._job(number, self._cells(row))
                except AnalogyError as error:
                    raise SettingsError(f"{where}: {error}") from error
                yield job

    def _cells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cells of a row that are not empty, by their columns."""
        cells: dict[str, Any] = {}
        for title, cell in row.items():
            if _is_empty(cell):
                continue
            name = column_name(title)
            if name not in COLUMNS and not FURTHER.fullmatch(name):
                raise SettingsError(
                    f"unknown column {shown(title)}; the columns are {', '.join(COLUMNS)}, and b_prime_2 and so on for "
                    "further examples"
                )
            if name in cells:
                raise SettingsError(f"there are two columns {shown(name)}; remove one of them")
            listed = name in SEVERAL and isinstance(cell, list)
            cells[name] = [self._text(name, each) for each in cell] if listed else self._text(name, cell)
        return cells

    def _text(self, name: str, cell: Any) -> Any:
        """Return the value of a cell, or of an item of a list in a cell; decode it if it is text.

        Raises `SettingsError` for a text of more than `LONGEST_CELL` characters.
        """
        if not isinstance(cell, str):
            return cell
        if len(cell) > LONGEST_CELL:
            raise SettingsError(f"{name} has {len(cell)} characters; a cell can have {LONGEST_CELL} at most")
        return self._readable(name, cell)

    def _readable(self, name: str, cell: str) -> str:
        """Return the text of a cell whose bytes may not be UTF-8.

        A cell that is not UTF-8 stays as it is if it is the path of an existing file. Otherwise the
        whole cell is decoded as Windows-1252.
        """
        if self._allowed is None or (text := readable(cell)) == cell:
            return cell  # the path is from the command line, or the cell is UTF-8
        if (name in INPUTS or FURTHER.fullmatch(name)) and os.path.lexists(stores.absolute(cell, self._folder)):
            return cell
        if not self._has_logged:
            _log.info(
                "some cells of the table are not UTF-8 and are read as Windows-1252; one of them is %s", shown(text)
            )
            self._has_logged = True
        return text

    def _job(self, number: int, cells: Mapping[str, Any]) -> Job:
        """Return the job of a row. Raises `SettingsError` or `OutputError` if the row is wrong."""
        found = {name: self._inputs(name, cells) for name in INPUTS}
        inputs: dict[str, Any] = {
            name: values if len(values) > 1 else values[0] for name, values in found.items() if values
        }
        if "a" not in inputs:
            raise SettingsError("the row names no picture a; enter its path in the column a")
        if "b_prime" not in inputs:
            if not self._styles:
                raise SettingsError("the row names no b_prime; enter its path, or name one for all jobs with --style")
            inputs["b_prime"] = self._styles if len(self._styles) > 1 else self._styles[0]
        request = Request(**inputs, settings=self._settings_of(cells))
        return Job(number, request, self._outputs(number, cells, request))

    def _inputs(self, column: str, cells: Mapping[str, Any]) -> list[Any]:
        """Return the values of a row for a field of the request.

        A row has one value in the cell of `column`. It has several values in a list in this cell,
        or in the columns `column`, `column`_2 and so on.
        """
        further = {int(each[2]): each[0] for each in map(FURTHER.fullmatch, cells) if each and each[1] == column}
        cell = cells.get(column)
        if isinstance(cell, list) and column in SEVERAL:
            if further:
                raise SettingsError(
                    f"{column} is a list, and there is a column {min(further.values())}, too; put all paths into the "
                    "list"
                )
            if not cell:
                raise SettingsError(f"{column} is an empty list; give it a path, or leave it out")
            return [self._input(column, each) for each in cell]
        if column not in cells and not further:
            return []
        columns = [column, *(further[number] for number in sorted(further))]
        expected = [column, *(f"{column}_{number}" for number in range(2, len(columns) + 1))]
        if missing := next((name for name in expected if name not in cells), None):
            raise SettingsError(f"the row has {columns[-1]}, but not {missing}; number the columns without a gap")
        return [self._input(each, cells[each]) for each in columns]

    def _input(self, column: str, cell: Any) -> Any:
        """Return the absolute path or the address in a cell, or its rows of pins."""
        if column == "pins" and isinstance(cell, list):
            return cell
        if not isinstance(cell, str) or not cell or "\0" in cell:
            expected = "the path of a CSV file, or a list of rows" if column == "pins" else "a path"
            raise SettingsError(f"{column} is {shown(cell)}; it must be {expected}")
        path = stores.absolute(cell, self._folder)
        scheme = stores.scheme(path)
        if scheme and self._allowed is not None and scheme not in self._allowed:
            raise SettingsError(f"{column} is {shown(path)}; to allow such addresses, add --allow-remote {scheme}")
        return path

    def _settings_of(self, cells: Mapping[str, Any]) -> Settings:
        """Return the settings of the job of a row."""
        own = {name: _value(kind, cells[name]) for name, kind in _KINDS.items() if name in cells}
        return self._settings.changed(own, cells.get("preset"), keep=self._single)

    def _outputs(self, number: int, cells: Mapping[str, Any], request: Request) -> dict[str, str]:
        """Return the paths of the results of a job, as in `Job.outputs`."""
        stems: dict[str, str] = {}
        for each in request.inputs():
            if each.name in ("a", "b_prime"):
                stem = as_part(stores.stem(each.value))
                stems[each.name] = f"{stems[each.name]}+{stem}" if each.place else stem
        name = cells.get("name", stems["a"])
        if isinstance(name, (list, dict)):
            raise SettingsError(f"name is {shown(name)}; it must be text")
        fields = stems | {"number": number, "name": str(name)}
        of_b = numbered("b", len(request.examples))
        made = {"ab": ["a_prime"], "ba": of_b, "both": ["a_prime", *of_b]}[request.settings.direction]
        outputs = {picture: inside(self._template.format_map(fields | {"picture": picture})) for picture in made}
        if len(set(outputs.values())) < len(made):
            raise OutputError(
                f"the job makes {', '.join(made)}, which would all have the same name; put {{picture}} into --name, as "
                'in "{name}-{picture}.png"'
            )
        return outputs


def check(jobs: Jobs, root: str, table: str | None = None, own: Sequence[Path] = ()) -> int:
    """Check all jobs before the first one begins, and return their number.

    Parameters
    ----------
    jobs : Jobs
        The jobs.
    root : str
        The folder for results, as an absolute path or an address.
    table : str or None
        The path or the address of the table of the jobs.
    own : Sequence of Path
        The files that the batch writes besides the results.

    Raises
    ------
    SettingsError
        If a row is not a valid job, or the table has no rows.
    OutputError
        If two jobs would write the same file, or a job would overwrite the table or an input.
    """
    number = 0
    with Places() as places, closing(iter(jobs)) as each:
        if table:
            places.read(table, "the table of the jobs")
        for path in own:
            places.write(path, "the batch's own file")
        for job in each:
            number = job.number
            for name, source in job.inputs.items():
                places.read(source, f"{name} of job {number}")
            for output in job.outputs.values():
                try:
                    places.write(f"{root.rstrip('/')}/{output}", str(number))
                except WrittenTwiceError as error:
                    raise OutputError(
                        f"the jobs {error.first} and {number} would both write {output}; give them different names in "
                        'the column name, or with --name "{number}-{name}.png"'
                    ) from error
    if not number:
        raise SettingsError("the table has no rows; give it a row for each job")
    return number


def _is_empty(cell: Any) -> bool:
    """Return whether a cell is empty; pandas writes NaN into empty cells."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _value(kind: type, cell: Any) -> Any:
    """Convert a cell to the type of a setting.

    A cell that cannot be converted is returned unchanged, and `Settings` then refuses it.
    """
    if isinstance(cell, str):
        word = cell.strip()
        if kind is bool:
            return _TRUTH_VALUES.get(word.lower(), cell)
        if kind in (int, float):
            with suppress(ValueError):
                return kind(word)
            with suppress(ValueError):
                value = number(word, decimal="" if kind is int else ".,")
                return int(value) if kind is int and value.is_integer() else value
            return cell
        return word
    # pandas turns the whole numbers of a column with empty cells into floats.
    if kind is int and isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return cell
