"""CSV and TSV: the first row names the columns, every other row is a document."""

import csv
import re
from collections.abc import Iterator, Sequence

from resift.index.parsing.charset import decode
from resift.index.parsing.columns import Columns, Rows
from resift.index.parsing.documents import Parsed

_DELIMITERS = ",;\t|"
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,14})\Z", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?\Z", re.ASCII)
# A quote that nobody closes reads to the end of the file; a file of them would be read for ever.
_MOST_OPEN = 10

_Row = tuple[int, list[str]]


def parse_csv(data: bytes, columns: Columns) -> Parsed:
    """Read rows by the names in the first; a document's `row` is the line on which it begins.

    The delimiter is the one of ``, ; tab |`` that the first line has most of. A column of metadata
    whose every value is written as a number, without leading zeros, is numbers; in all others
    values are strings. Empty fields are left out. Raise `SourceError` if no column is the text.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(data) + 1))
    rows = Rows(columns)
    reader = _read(decode(data).split("\n"), rows)
    _, header = next(reader, (0, []))
    names = [name.strip() for name in header]
    columns.check(names)
    records = [(number, row) for number, row in reader if _fits(number, row, names, rows)]
    kinds = [_kind(records, place, name in columns.own) for place, name in enumerate(names)]
    for number, row in records:
        fields: dict[str, str | int | float] = {}
        for name, value, kind in zip(names, row, kinds, strict=False):
            if value:
                fields.setdefault(name, kind(value))
        rows.add(number, fields)
    return rows.parsed()


def _read(lines: list[str], rows: Rows) -> Iterator[_Row]:
    """Rows with the line that each begins on; after one that is no CSV go on at the next line."""
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    at = opened = 0
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


def _fits(number: int, row: list[str], names: Sequence[str], rows: Rows) -> bool:
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
