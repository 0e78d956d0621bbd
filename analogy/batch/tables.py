"""Tables of jobs, and their rows, which the module `jobs` turns into jobs.

A batch reads a table twice: once to check every row before the first job, and once to do the jobs.
The readers keep only a few rows in memory, so a table can have any length.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any, TypeAlias

from ..errors import AnalogyError, SettingsError, reason, shown, unreadable
from ..files.text_tables import members, read_csv, text_lines
from ..request import fields_of
from ..settings import Settings
from . import stores
from .parquet import parquet_rows

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Suffixes of the tables that a batch reads."""
NO_TABLES = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".json", ".txt")
"""Suffixes of other files that may contain tables; a batch refuses them and names `TABLES`."""
INPUTS = tuple(field.name for field in fields_of("picture", "pins"))
"""Columns that contain paths or addresses; each is a field of `Request`."""
SEVERAL = tuple(field.name for field in fields_of("picture") if field.metadata["several"])
"""Columns of `INPUTS` that can be repeated, as "b_prime_2", "b_prime_3" and so on."""
FURTHER = re.compile(rf"({'|'.join(SEVERAL)})_([2-9]|[1-9][0-9]{{1,2}})")
"""Pattern of a repeated column: the name of the first one, and the number, from 2 to 999."""
COLUMNS = (*INPUTS, "name", "preset", *(field.name for field in dataclasses.fields(Settings)))
"""Columns that a table can have, except repeated ones such as "b_prime_2"."""

Rows: TypeAlias = Generator[tuple[str, Mapping[str, Any]], None, None]
"""Generator of rows: the place of a row in words ("line 3"), and its cells by their columns.

None, NaN and "" are empty cells.
"""


def of_pictures(paths: Sequence[str]) -> Callable[[], Rows]:
    """Return a function that returns a generator with one row for each picture."""
    return lambda: ((path, {"a": path}) for path in paths)


def of_table(path: str) -> Callable[[], Rows]:
    """Return a function that reads the rows of a table, in the format of its suffix.

    Reading a row raises `SettingsError` if the table is missing or damaged, or if it is a .csv or
    .tsv without a column a.
    """
    suffix = PurePosixPath(path).suffix.lower()
    read = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": parquet_rows}.get(suffix, _json_rows)

    def rows() -> Rows:
        try:
            with stores.open_file(path) as file, closing(read(file)) as found:
                for where, row in found:
                    yield f"{path}, {where}", row
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from error
        except AnalogyError:
            raise
        except OSError as error:
            raise SettingsError(unreadable(error, path)) from error
        except csv.Error as error:
            words = "check the quotes in it, and shorten long cells"
            raise SettingsError(f"{path} is not a table ({reason(error)}); {words}") from error
        except UnicodeError as error:
            raise SettingsError(f"{path} is not a table ({reason(error)}); save it in UTF-8") from error

    return rows


def _csv_rows(file: Any) -> Rows:
    """Yield the rows of a .csv or .tsv."""
    header, rows, _ = read_csv(file)
    if "a" not in header:
        found = shown(", ".join(filter(None, header))) if header else "nothing"
        raise SettingsError(
            f"its first line is {found}, which has no column a; the first line must name columns from this list: "
            f"{', '.join(COLUMNS)}"
        )
    for line, cells in rows:
        yield f"line {line}", dict(zip(header, cells, strict=False))


def _json_rows(file: Any) -> Rows:
    """Yield the rows of a .jsonl."""
    for index, line in enumerate(text_lines(file, "\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=members)
        except SettingsError as error:
            raise SettingsError(f"line {index}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise SettingsError(
                f"line {index} is not valid JSON ({reason(error)}); write one object on each line"
            ) from error
        if not isinstance(row, dict):
            raise SettingsError(
                f'line {index} is not an object; write, for instance, {{"a": "photo.jpg", "b_prime": "painting.jpg"}}'
            )
        yield f"line {index}", row
