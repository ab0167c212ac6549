"""Parquet: every row is a document. Reads batch by batch, as a file may unpack to far more."""

import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.options import DEFAULTS, Columns, ParseOptions
from resift.index.parsing.row_reader import RowReader

_BATCH = 256
_ENCRYPTED = b"PARE"


def parse_parquet(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read all rows; `row` counts from 1. Raise `SourceError` if the text column is missing.

    Metadata holds JSON types: dates and times as ISO 8601, durations as seconds, decimals as
    numbers, nested columns as objects and lists. Nulls, NaN and bytes are left out. Values that
    Python cannot represent are left out and reported: a date in the year 10,000, a string that is
    not UTF-8.
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
        index_by_name = rows.index_columns(file.schema_arrow.names, 1)
        for batch in file.iter_batches(_BATCH, use_threads=False):
            batch = batch.select(list(index_by_name.values()))
            for fields, problems in _python_rows(arrow, batch, columns):
                number += 1
                for reason in problems:
                    rows.add_problem(number, reason)
                rows.add(number, {columns.text: None, **_to_json_types(fields)})
    except MemoryError:  # Arrow's MemoryError is an ArrowException as well
        raise
    except (arrow.ArrowException, OSError) as error:
        where = f" after row {number:,}" if number else ""
        raise SourceError(f"not a readable Parquet file{where}: damaged, or no Parquet") from error
    return rows.parsed()


def _python_rows(
    arrow: Any, batch: Any, columns: Columns
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each row's values, and a problem for each value that Python cannot represent.

    If converting a whole batch fails, values are converted one by one, which is slower.
    """
    try:
        for row in _cast_to_python_types(arrow, batch, columns).to_pylist():
            yield row, []
        return
    except MemoryError:
        raise
    except (ValueError, OverflowError, arrow.ArrowException):
        pass
    for index in range(batch.num_rows):
        fields: dict[str, Any] = {}
        problems = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            cell = arrow.record_batch([column.slice(index, 1)], [name])
            try:
                fields |= _cast_to_python_types(arrow, cell, columns).to_pylist()[0]
            except MemoryError:
                raise
            except (ValueError, OverflowError, arrow.ArrowException) as error:
                reason = str(error).partition("\n")[0][:100]
                problems.append(f"column {name!r} is left out ({reason})")
        yield fields, problems


def _cast_to_python_types(arrow: Any, batch: Any, columns: Columns) -> Any:
    """Cast a batch to types that Python has: microseconds, and strings for the columns of text.

    Some writers store strings as bytes; those that are not UTF-8 fail when they are read.
    """
    types = arrow.types
    fields = []
    for field in batch.schema:
        kind = field.type
        if types.is_timestamp(kind) and kind.unit == "ns":
            kind = arrow.timestamp("us", kind.tz)
        elif types.is_duration(kind) and kind.unit == "ns":
            kind = arrow.duration("us")
        elif types.is_time64(kind):
            kind = arrow.time64("us")
        elif field.name in columns.not_metadata and types.is_binary(kind):
            kind = arrow.string()
        elif field.name in columns.not_metadata and types.is_large_binary(kind):
            kind = arrow.large_string()
        fields.append(field.with_type(kind))
    return batch.cast(arrow.schema(fields), safe=False)


def _to_json_types(value: Any) -> Any:
    """Convert a value to JSON types; None if there is no such type."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        plain = ((str(name), _to_json_types(inner)) for name, inner in value.items())
        return {name: inner for name, inner in plain if inner is not None}
    if isinstance(value, list | tuple):
        return [_to_json_types(inner) for inner in value]
    return None
