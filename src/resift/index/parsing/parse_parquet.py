"""Parquet: every row is a document. It is read batch by batch: a file may unpack to far more."""

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.options import DEFAULTS, Columns, ParseOptions
from resift.index.parsing.rows import RowReader

_BATCH = 256
_ENCRYPTED = b"PARE"


def parse_parquet(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read all rows; `row` counts from 1. Raise `SourceError` if there is no text column.

    Metadata holds JSON's types: dates and times as ISO 8601, durations as seconds, decimals as
    numbers, nested columns as objects and lists. Nulls, NaN and bytes are left out. So is, with a
    problem, what Python's types cannot hold: a date in the year 10,000, a string that is not UTF-8.
    """
    if data[-4:] == _ENCRYPTED:
        raise SourceError("an encrypted Parquet file: write it without encryption")
    arrow = require("pyarrow", "index")
    parquet = require("pyarrow.parquet", "index")
    columns = options.columns
    rows = RowReader(columns, "row")
    number = 0
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        names = file.schema_arrow.names
        rows.require_columns(names)
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            rows.add_problem(1, f"more than one column is called {name!r}: only the first is read")
        for batch in file.iter_batches(_BATCH, use_threads=False):
            for fields, problems in _python_rows(arrow, _readable(arrow, batch, columns)):
                number += 1
                for reason in problems:
                    rows.add_problem(number, reason)
                rows.add(number, {columns.text: None, **_plain(fields)})
    except MemoryError:  # Arrow's MemoryError is an ArrowException as well
        raise
    except (arrow.ArrowException, OSError) as error:
        where = f" after row {number:,}" if number else ""
        raise SourceError(f"not a readable Parquet file{where}: damaged, or no Parquet") from error
    return rows.parsed()


def _readable(arrow: Any, batch: Any, columns: Columns) -> Any:
    """The batch with each column name once, and bytes in the columns of texts as strings.

    Some writers store strings as bytes; `_row_by_value` finds those that are not UTF-8.
    """
    names = batch.schema.names
    batch = batch.select([names.index(name) for name in dict.fromkeys(names)])
    types = arrow.types
    for index, field in enumerate(batch.schema):
        is_bytes = types.is_binary(field.type) or types.is_large_binary(field.type)
        if field.name in columns.not_metadata and is_bytes:
            kind = arrow.string() if types.is_binary(field.type) else arrow.large_string()
            texts = batch.column(index).view(kind)
            batch = batch.set_column(index, field.with_type(kind), texts)
    return batch


def _python_rows(arrow: Any, batch: Any) -> list[tuple[dict[str, Any], list[str]]]:
    """Each row's values, and a problem for each value that Python's types cannot hold."""
    try:
        rows = _in_microseconds(arrow, batch).to_pylist()
    except MemoryError:
        raise
    except (ValueError, OverflowError, arrow.ArrowException):
        return [_row_by_value(arrow, batch, index) for index in range(batch.num_rows)]
    return [(fields, []) for fields in rows]


def _row_by_value(arrow: Any, batch: Any, index: int) -> tuple[dict[str, Any], list[str]]:
    """One row, value by value: slower, but a value that cannot be read costs only itself."""
    fields: dict[str, Any] = {}
    problems = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cell = arrow.record_batch([column.slice(index, 1)], [name])
        try:
            [row] = _in_microseconds(arrow, cell).to_pylist()
            fields.setdefault(name, row[name])
        except MemoryError:
            raise
        except (ValueError, OverflowError, arrow.ArrowException) as error:
            reason = str(error).partition("\n")[0][:100]
            problems.append(f"column {name!r} is left out ({reason})")
    return fields, problems


def _in_microseconds(arrow: Any, batch: Any) -> Any:
    """The same rows with nanoseconds cut to microseconds, which Python's types can hold."""
    types = arrow.types
    fields = []
    for field in batch.schema:
        if types.is_timestamp(field.type) and field.type.unit == "ns":
            field = field.with_type(arrow.timestamp("us", field.type.tz))
        elif types.is_duration(field.type) and field.type.unit == "ns":
            field = field.with_type(arrow.duration("us"))
        elif types.is_time64(field.type):
            field = field.with_type(arrow.time64("us"))
        fields.append(field)
    return batch.cast(arrow.schema(fields), safe=False)


def _plain(value: Any) -> Any:
    """An Arrow value as JSON's types; None for what JSON has no type for."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        plain = ((str(name), _plain(inner)) for name, inner in value.items())
        return {name: inner for name, inner in plain if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None
