"""Parquet: every row is a document. Read a batch at a time: a file may unpack to far more."""

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.parsing.columns import Columns, RowReader
from resift.index.parsing.documents import Parsed

_BATCH = 256
_ENCRYPTED = b"PARE"


def parse_parquet(data: bytes, columns: Columns) -> Parsed:
    """Read all rows; `row` counts from 1. Raise `SourceError` if no column is the text.

    Metadata are JSON's types: dates and times as ISO 8601, durations as seconds, decimals as
    numbers, nested columns as objects and lists. Nulls, NaN and bytes are left out, and with a
    word what Python's types cannot hold: a date in the year 10,000, a string that is not UTF-8.
    """
    if data[-4:] == _ENCRYPTED:
        raise SourceError("an encrypted Parquet file: write it without encryption")
    arrow = require("pyarrow", "index")
    parquet = require("pyarrow.parquet", "index")
    rows = RowReader(columns, "row")
    number = 0
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        names = file.schema_arrow.names
        columns.check(names)
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            rows.fault(1, f"more than one column is called {name!r}: only the first is read")
        for batch in file.iter_batches(_BATCH, use_threads=False):
            for fields, unread in _python(arrow, _readable(arrow, batch, columns)):
                number += 1
                for reason in unread:
                    rows.fault(number, reason)
                rows.add(number, {columns.text: None, **_plain(fields)})
    except MemoryError:  # Arrow's own is an ArrowException as well
        raise
    except (arrow.ArrowException, OSError) as error:
        where = f" after row {number:,}" if number else ""
        raise SourceError(f"not a readable Parquet file{where}: damaged, or no Parquet") from error
    return rows.parsed()


def _readable(arrow: Any, batch: Any, columns: Columns) -> Any:
    """The batch with each name once, and bytes in the columns of texts as the text that they are.

    Writers that know no strings leave them as bytes; what is not UTF-8 of them is found by value.
    """
    names = batch.schema.names
    batch = batch.select([names.index(name) for name in dict.fromkeys(names)])
    types = arrow.types
    for place, field in enumerate(batch.schema):
        is_bytes = types.is_binary(field.type) or types.is_large_binary(field.type)
        if field.name in columns.own and is_bytes:
            kind = arrow.string() if types.is_binary(field.type) else arrow.large_string()
            texts = batch.column(place).view(kind)
            batch = batch.set_column(place, field.with_type(kind), texts)
    return batch


def _python(arrow: Any, batch: Any) -> list[tuple[dict[str, Any], list[str]]]:
    """Each row's values, and a word for each that Python's types cannot hold."""
    try:
        rows = _in_microseconds(arrow, batch).to_pylist()
    except MemoryError:
        raise
    except (ValueError, OverflowError, arrow.ArrowException):
        return [_by_value(arrow, batch, place) for place in range(batch.num_rows)]
    return [(fields, []) for fields in rows]


def _by_value(arrow: Any, batch: Any, place: int) -> tuple[dict[str, Any], list[str]]:
    """One row, value by value: slower, and one that cannot be read costs no other."""
    fields: dict[str, Any] = {}
    unread = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cell = arrow.record_batch([column.slice(place, 1)], [name])
        try:
            [row] = _in_microseconds(arrow, cell).to_pylist()
            fields.setdefault(name, row[name])
        except MemoryError:
            raise
        except (ValueError, OverflowError, arrow.ArrowException) as error:
            reason = str(error).partition("\n")[0][:100]
            unread.append(f"column {name!r} is left out ({reason})")
    return fields, unread


def _in_microseconds(arrow: Any, batch: Any) -> Any:
    """The same rows with times that Python's own types can hold."""
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
    """A value of Arrow's as JSON's types; what has no counterpart is None."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        plain = ((str(name), _plain(own)) for name, own in value.items())
        return {name: own for name, own in plain if own is not None}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None
