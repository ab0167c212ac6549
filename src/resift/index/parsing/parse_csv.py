"""CSV and TSV: the first row names the columns, every other row is a document."""

import csv
import re
from collections.abc import Iterator, Sequence

from resift.index.parsing.charset import decode_rows
from resift.index.parsing.columns import Columns, RowReader
from resift.index.parsing.documents import Parsed

_DELIMITERS = ",;\t|"
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?\Z", re.ASCII)
# A quote that nobody closes reads to the end of the file; a file of them would be read for ever.
_MOST_OPEN = 10
# What Excel writes above the first row for itself.
_SEPARATOR = re.compile(r"\s*sep=([^\"\w\n])\s*\Z", re.IGNORECASE)

_Row = tuple[int, list[str]]


def parse_csv(data: bytes, columns: Columns) -> Parsed:
    """Read rows by the names in the first; a document's `row` is the line on which it begins.

    The delimiter is the one of ``, ; tab |`` that the first line has most of, or what a line
    ``sep=;`` above it says. Of columns with the same name the first is read. A column of metadata
    whose every value is written as a number, without leading zeros, is numbers; in all others
    values are strings. Empty fields are left out. Raise `SourceError` if no column is the text.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    decoded = decode_rows(data)
    rows = RowReader(columns, problems=decoded.problems)
    reader = _read(decoded.text.split("\n"), rows)
    line, header = next(reader, (0, []))
    names = [name.strip() for name in header]
    columns.check(names)
    places = {name: names.index(name) for name in names}
    for name in (name for name in places if names.count(name) > 1):
        rows.fault(line, f"more than one column is called {name!r}: only the first is read")
    records = [(number, row) for number, row in reader if _fits(number, row, names, rows)]
    kinds = {name: _kind(records, place, name in columns.own) for name, place in places.items()}
    for number, row in records:
        there = ((name, row[place]) for name, place in places.items() if place < len(row))
        fields = {name: kinds[name](value) for name, value in there if value}
        rows.add(number, {columns.text: "", **fields})
    return rows.parsed()


def _read(lines: list[str], rows: RowReader) -> Iterator[_Row]:
    """RowReader with the line that each begins on; after one that is no CSV go on at the next line."""
    at = next((place for place, line in enumerate(lines) if line.strip()), 0)
    named = _SEPARATOR.match(lines[at])
    at += named is not None
    delimiter = named.group(1) if named else max(_DELIMITERS, key=lines[at].count)
    opened = 0
    while at < len(lines):
        rest = (f"{lines[place]}\n" for place in range(at, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        start = at
        try:
            for row in reader:
                if row:
                    yield start + 1, row
                start = at + reader.line_num
            return
        except csv.Error as error:
            opened += at + reader.line_num >= len(lines)
            if opened > _MOST_OPEN:
                rows.fault(start + 1, "another quote that is never closed: the rest is left out")
                return
            rows.fault(start + 1, f"not CSV ({error})")
            at = start + 1


def _fits(number: int, row: list[str], names: Sequence[str], rows: RowReader) -> bool:
    if any(row[len(names) :]):
        rows.fault(number, f"{len(row)} fields, but the first row names {len(names)}")
        return False
    return True


def _kind(records: Sequence[_Row], place: int, is_own: bool) -> type[str] | type[int] | type[float]:
    """What a column holds: all of it numbers, or else strings."""
    values = [row[place] for _, row in records if place < len(row) and row[place]]
    if is_own or not all(map(_NUMBER.match, values)):
        return str
    return int if all(map(_WHOLE.match, values)) else float
