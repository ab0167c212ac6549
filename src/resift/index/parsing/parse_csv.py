"""CSV and TSV: the first row names the columns, every other row is a document."""

import csv
import re
from collections.abc import Iterator, Sequence

from resift.index.parsing.charset import decode_rows
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.row_reader import RowReader

_DELIMITERS = ",;\t|"
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?\Z", re.ASCII)
# The parser reads from an unclosed quote to the end of the file: many take quadratic time.
_MAX_UNCLOSED = 10
# The line before the first row in which Excel names the delimiter.
_SEPARATOR = re.compile(r"\s*sep=([^\"\w\n])\s*\Z", re.IGNORECASE)

_Row = tuple[int, list[str]]
"""The line on which a row begins, and its fields."""


def parse_csv(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read rows by the column names in the first; a document's `row` is its first line.

    The delimiter is named by a line ``sep=;`` before the first row, or is the most frequent of
    ``, ; tab |`` in that row. Of columns with the same name the first is read. A metadata column
    holds numbers if all its values are numbers without leading zeros, otherwise strings. Empty
    fields are left out. Raise `SourceError` if the text column is missing.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    decoded = decode_rows(data)
    columns = options.columns
    rows = RowReader(columns, problems=decoded.problems)
    reader = _read(decoded.text.split("\n"), rows)
    line, header = next(reader, (0, []))
    names = [name.strip() for name in header]
    index_by_name = rows.index_columns(names, line)
    records = [(number, row) for number, row in reader if _fits(number, row, names, rows)]
    types = {
        name: str if name in columns.not_metadata else _column_type(records, index)
        for name, index in index_by_name.items()
    }
    for number, row in records:
        cells = ((name, row[index]) for name, index in index_by_name.items() if index < len(row))
        fields = {name: types[name](value) for name, value in cells if value}
        rows.add(number, {columns.text: "", **fields})
    return rows.parsed()


def _read(lines: list[str], rows: RowReader) -> Iterator[_Row]:
    """Yield rows with their first line; after a row that is not CSV continue at the next line."""
    at = next((index for index, line in enumerate(lines) if line.strip()), 0)
    separator = _SEPARATOR.match(lines[at])
    at += separator is not None
    delimiter = separator.group(1) if separator else max(_DELIMITERS, key=lines[at].count)
    unclosed = 0
    while at < len(lines):
        rest = (f"{lines[index]}\n" for index in range(at, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        start = at
        try:
            for row in reader:
                if row:
                    yield start + 1, row
                start = at + reader.line_num
            return
        except csv.Error as error:
            unclosed += at + reader.line_num >= len(lines)
            if unclosed > _MAX_UNCLOSED:
                reason = "another quote that is never closed: the rest is left out"
                rows.add_problem(start + 1, reason)
                return
            rows.add_problem(start + 1, f"not CSV ({error})")
            at = start + 1


def _fits(number: int, row: list[str], names: Sequence[str], rows: RowReader) -> bool:
    if any(row[len(names) :]):
        rows.add_problem(number, f"{len(row)} fields, but the first row names {len(names)}")
        return False
    return True


def _column_type(records: Sequence[_Row], index: int) -> type[str] | type[int] | type[float]:
    """Return the type of a metadata column: a number if all its values are numbers."""
    values = [row[index] for _, row in records if index < len(row) and row[index]]
    if not all(map(_NUMBER.match, values)):
        return str
    return int if all(map(_INTEGER.match, values)) else float
