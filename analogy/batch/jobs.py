"""Jobs, and where they come from: pictures that all take one style, or the rows of a table.

A table is read as a stream, however long it is, and twice: once to check every row before anything is done, once to do it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import posixpath
import re
import string
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from ..errors import AnalogyError, OutputError, SettingsError, reason, shown
from ..pictures.places import Places, WrittenTwiceError, folded
from ..pictures.writing import WRITERS
from ..settings import PRESETS, Settings
from . import stores
from .manifest import NAME, REPORT

TABLES = (".csv", ".jsonl", ".ndjson", ".parquet")
"""Suffixes of tables of jobs."""
INPUTS = ("a", "b_prime", "b", "mask_a", "mask_b")
"""Columns with a path; the keywords of `Engine.transfer`."""
COLUMNS = (*INPUTS, "name", "preset", *(field.name for field in dataclasses.fields(Settings)))
FIELDS = ("name", "a", "b_prime", "number", "picture")
"""What a template can hold in braces."""
TEMPLATE = "{name}.png"
_LONGEST_ROW = 1 << 20
_KINDS = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Rows: TypeAlias = Generator[tuple[str, Mapping[str, Any]], None, None]
"""Where each row is, in words, and its cells by their column. None and "" are cells without content."""


@dataclass(frozen=True)
class Job:
    """One transfer of a batch.

    number    from 1, in the order of the table
    inputs    keyword of `Engine.transfer` -> absolute path or address
    settings  all of them
    outputs   "a_prime" and "b", or one of them -> the path of that picture in the folder for results, with "/"
    """

    number: int
    inputs: dict[str, str]
    settings: Settings
    outputs: dict[str, str]

    @property
    def name(self) -> str:
        """What the job is called: the path of its first picture."""
        return next(iter(self.outputs.values()))


class Jobs:
    """The jobs of a batch, any number of times from the beginning.

    rows      is called for the rows
    folder    from where relative paths in rows are seen
    settings  those of jobs that say nothing else
    style     B' of jobs that name none; an absolute path or an address
    template  of the names of results, with `FIELDS` in braces
    allowed   schemes of addresses that rows may name; None for all, where the user has named each

    Raises `SettingsError` for a row that cannot be a job, and for a template that names nothing.
    """

    def __init__(
        self,
        rows: Callable[[], Rows],
        folder: str,
        settings: Settings,
        style: str | None,
        template: str = TEMPLATE,
        allowed: Sequence[str] | None = (),
    ):
        self._rows, self._folder, self._settings, self._style = rows, folder, settings, style
        self._template, self._allowed = template, allowed
        _check_template(template)

    def __iter__(self) -> Generator[Job, None, None]:
        with closing(self._rows()) as rows:
            for number, (where, row) in enumerate(rows, 1):
                try:
                    job = self._job(number, {name: cell for name, cell in row.items() if not _is_empty(cell)})
                except AnalogyError as error:
                    raise SettingsError(f"{where}: {error}") from error
                yield job

    def _job(self, number: int, cells: Mapping[str, Any]) -> Job:
        unknown = [name for name in cells if name not in COLUMNS]
        if unknown:
            raise SettingsError(f"unknown column {shown(unknown[0])}; there is {', '.join(COLUMNS)}")
        inputs = {name: self._path(name, cells[name]) for name in INPUTS if name in cells}
        if "a" not in inputs:
            raise SettingsError("it names no picture a")
        if "b_prime" not in inputs:
            if self._style is None:
                raise SettingsError("it names no b_prime; give it one, or all jobs with --style")
            inputs["b_prime"] = self._style
        if ("mask_a" in inputs) != ("mask_b" in inputs):
            raise SettingsError("it names one mask; give both, mask_a and mask_b, or none")
        settings = self._settings_of(cells)
        if "b" in inputs:
            if settings.direction == "ba":
                raise SettingsError("direction is 'ba', but b is given and there is none to make; use 'ab'")
            settings = dataclasses.replace(settings, direction="ab")
        return Job(number, inputs, settings, self._outputs(number, cells, inputs, settings))

    def _path(self, column: str, cell: Any) -> str:
        if not isinstance(cell, str) or "\0" in cell:
            raise SettingsError(f"{column} is {shown(cell)}; it takes a path")
        path = stores.absolute(cell, self._folder)
        scheme = stores.scheme(path)
        if scheme and self._allowed is not None and scheme not in self._allowed:
            raise SettingsError(f"{column} is {shown(path)}; to let jobs fetch that, say --allow-remote {scheme}")
        return path

    def _settings_of(self, cells: Mapping[str, Any]) -> Settings:
        own: dict[str, Any] = {}
        if preset := cells.get("preset"):
            if not isinstance(preset, str) or preset not in PRESETS:
                raise SettingsError(f"unknown preset {shown(preset)}; choose one of {', '.join(PRESETS)}")
            own |= PRESETS[preset]
        own |= {name: _value(kind, cells[name]) for name, kind in _KINDS.items() if name in cells}
        return dataclasses.replace(self._settings, **own) if own else self._settings

    def _outputs(
        self, number: int, cells: Mapping[str, Any], inputs: Mapping[str, str], settings: Settings
    ) -> dict[str, str]:
        name = cells.get("name", stores.stem(inputs["a"]))
        if isinstance(name, (list, dict)):
            raise SettingsError(f"name is {shown(name)}; it takes a word")
        fields = {"a": stores.stem(inputs["a"]), "b_prime": stores.stem(inputs["b_prime"]), "number": number}
        made = {"ab": ["a_prime"], "ba": ["b"], "both": ["a_prime", "b"]}[settings.direction]
        outputs = {
            picture: _inside(self._template.format_map(fields | {"name": name, "picture": picture})) for picture in made
        }
        if len(set(outputs.values())) < len(made):
            raise OutputError('direction "both" makes two pictures; put {picture} into --name, "{name}-{picture}.png"')
        return outputs


def of_pictures(paths: Sequence[str]) -> Callable[[], Rows]:
    """The rows of jobs for pictures that all take one style."""
    return lambda: ((path, {"a": path}) for path in paths)


def of_table(path: str) -> Callable[[], Rows]:
    """The rows of a table, by the suffix of its path or address.

    Raises `SettingsError`, also while they are read, if there is none, it is damaged, or lacks a column.
    """
    suffix = PurePosixPath(path).suffix.lower()
    read = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(suffix, _json_rows)

    def rows() -> Rows:
        try:
            with stores.open_file(path) as file, closing(read(file)) as found:
                for where, row in found:
                    yield f"{path}, {where}", row
        except FileNotFoundError as error:
            raise SettingsError(f"{path}: there is no such table") from error
        except OSError as error:
            if isinstance(error, AnalogyError):
                raise
            raise SettingsError(f"{path}: cannot be read ({reason(error)})") from error
        except (csv.Error, UnicodeError) as error:
            raise SettingsError(f"{path}: no table ({reason(error)})") from error

    return rows


def _csv_rows(file: Any) -> Rows:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        lines = csv.DictReader(text, strict=True)
        if "a" not in (lines.fieldnames or ()):
            raise SettingsError(f"the first line of a .csv names its columns, {', '.join(COLUMNS)}; here there is no a")
        for row in lines:
            where = f"line {lines.line_num}"
            if None in row:
                raise SettingsError(
                    f"{where} has more cells than there are columns; put quotes around commas in a path"
                )
            yield where, row
    finally:
        text.detach()


def _json_rows(file: Any) -> Rows:
    number = 0
    while line := file.readline(_LONGEST_ROW + 1):
        number += 1
        where = f"line {number}"
        if not line.strip() and len(line) <= _LONGEST_ROW:
            continue
        try:
            if len(line) > _LONGEST_ROW:
                raise ValueError(f"it has more than {_LONGEST_ROW} bytes")
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{where}: no JSON ({reason(error)})") from error
        if not isinstance(row, dict):
            raise SettingsError(f'{where}: it takes an object, {{"a": "photo.jpg", "b_prime": "painting.jpg"}}')
        yield where, row


def _parquet_rows(file: Any) -> Rows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise SettingsError('parquet needs the extra "parquet": pip install "deep-image-analogy[parquet]"') from error
    number = 0
    try:
        for batch in ParquetFile(file).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except ArrowException as error:
        raise SettingsError(f"no parquet table ({reason(error)})") from error


def check(jobs: Jobs, root: str, table: str | None = None, own: Sequence[Path] = ()) -> int:
    """Look at all jobs before the first is done, and count them.

    root   the folder for results, absolute, or an address
    table  the path or the address of the table that the jobs are rows of
    own    the files that the batch itself writes

    Raises `SettingsError` for a row that cannot be a job, and if there is none; `OutputError` if two would write one file, or
    one would write over the table or over what any of them reads.
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
                        f"the jobs {error.first} and {number} would both write {output}; tell them apart by a column name, or "
                        'with --name "{number}-{name}.png"'
                    ) from error
    if not number:
        raise SettingsError("there are no jobs: the table has no rows")
    return number


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _value(kind: type, cell: Any) -> Any:
    """A cell as a setting's type, where it can be one; `Settings` refuses the others."""
    if isinstance(cell, str):
        word = cell.strip()
        if kind is bool:
            return _WORDS.get(word.lower(), cell)
        if kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                return cell
        return word
    if kind is int and isinstance(cell, float) and cell.is_integer():  # whole numbers beside empty cells, from pandas
        return int(cell)
    return cell


def _check_template(template: str) -> None:
    try:
        parts = list(string.Formatter().parse(template))
        fields = [name for _, name, _, _ in parts if name is not None]
        unknown = [name for name in fields if name not in FIELDS]
        if unknown:
            raise OutputError(f"--name {template!r}: unknown {{{unknown[0]}}}; there is {', '.join(FIELDS)}")
        if wide := next((spec for _, _, spec, _ in parts if spec and re.search(r"[{]|[0-9]{4}", spec)), None):
            raise OutputError(f"--name {template!r}: {shown(wide)} is no width of a name; it takes up to 999")
        _inside(template.format_map(dict.fromkeys(FIELDS, "x") | {"number": 1}))
    except ValueError as error:
        raise OutputError(f"--name {template!r}: {reason(error)}") from error
    if not {"name", "a", "number"}.intersection(fields):
        raise OutputError(f"--name {template!r}: all jobs would write one file; use {{name}}, {{a}} or {{number}}")


def _inside(path: str) -> str:
    """A path of a picture inside the folder for results, with "/". Raises `OutputError` for any other."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or re.match(r"[A-Za-z]:", path) or posixpath.isabs(path):
        raise OutputError(f"the result would be called {path!r}; that is no path inside the folder for results")
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
        raise OutputError(f"the result would be called {path!r}; no part of it may be empty or begin with a dot")
    if folded(parts[0]) in (NAME, REPORT):
        raise OutputError(f"the result would be called {path!r}; {parts[0]} is a file of the batch itself")
    suffix = posixpath.splitext(path)[1].lower()
    if suffix not in WRITERS:
        raise OutputError(f"the result would be called {path!r}; its suffix is one of {' '.join(WRITERS)}")
    return path
