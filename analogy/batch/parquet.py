"""Reader of the rows of a Parquet table.

The reader refuses long cells and large columns, since a small compressed file can hold gigabytes of
text.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ..errors import SettingsError, reason, shown

LONGEST_CELL = 1 << 15
"""Maximum length of the text in a cell, in bytes. Paths are much shorter than this."""
_LARGEST_COLUMN = 1 << 28
"""Maximum unpacked size of a column in one row group, in bytes.

A million paths of 200 bytes fit.
"""
_ROWS = 1024
"""Number of rows that are unpacked at a time."""
_AT_ONCE = 16
"""Number of rows that become Python objects at a time."""


def parquet_rows(file: Any) -> Generator[tuple[str, Mapping[str, Any]], None, None]:
    """Yield the place in words ("row 3") and the cells of each row of a Parquet table.

    The cells are a dict with their columns as keys.

    Raises
    ------
    SettingsError
        If the extra `parquet` is not installed, if the table is damaged, if a column contains lists
        or objects or is too large, or if a cell has more than `LONGEST_CELL` bytes.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise SettingsError(
            'a Parquet table needs the extra "parquet": pip install "deep-image-analogy[parquet]"'
        ) from error
    number = 0
    try:
        # Text is read into dictionary columns, which store a string of many equal cells only once.
        names = _texts(ParquetFile(file))
        file.seek(0)
        table = ParquetFile(file, read_dictionary=names)
        _check_sizes(table.metadata)
        for batch in table.iter_batches(batch_size=_ROWS, use_threads=False):
            for name in names:
                _check_cells(batch.column(name), name)
            for start in range(0, batch.num_rows, _AT_ONCE):
                for row in batch.slice(start, _AT_ONCE).to_pylist():
                    number += 1
                    yield f"row {number}", row
    except ArrowException as error:
        raise SettingsError(f"it is not a Parquet table, or it is damaged ({reason(error)})") from error


def _texts(table: Any) -> list[str]:
    """Return the names of the text columns.

    Raises `SettingsError` for a column that holds neither text nor numbers.
    """
    from pyarrow import types

    texts = types.is_string, types.is_large_string, types.is_binary, types.is_large_binary
    numbers = types.is_primitive, types.is_decimal, types.is_null
    names: list[str] = []
    columns = table.schema_arrow.names
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise SettingsError(f"there are two columns {shown(twice)}; remove one, or rename it")
    for field in table.schema_arrow:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if any(is_one(kind) for is_one in texts):
            names.append(field.name)
        elif types.is_temporal(kind) or not any(is_one(kind) for is_one in numbers):
            raise SettingsError(
                f"the column {shown(field.name)} holds {shown(str(kind))}; a cell must be text or a number"
            )
    return names


def _check_sizes(metadata: Any) -> None:
    """Raise `SettingsError` for a column that would take too much memory."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for column in range(rows.num_columns):
            chunk = rows.column(column)
            size = chunk.total_uncompressed_size
            if size > _LARGEST_COLUMN:
                raise SettingsError(
                    f"the column {shown(chunk.path_in_schema)} has {size >> 20} MB in one group of rows; "
                    f"write the table with smaller groups, of at most {_LARGEST_COLUMN >> 20} MB for each column"
                )


def _check_cells(column: Any, name: str) -> None:
    """Raise `SettingsError` if the text of a cell is too long. `column` is a dictionary column."""
    from pyarrow import compute

    longest = compute.max(compute.binary_length(column.dictionary)).as_py()
    if longest is not None and longest > LONGEST_CELL:
        raise SettingsError(f"{name} has {longest} bytes in one cell; a cell can have {LONGEST_CELL} at most")
