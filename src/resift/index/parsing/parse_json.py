"""JSON: an array of objects with the text column is rows, any other value is one document.

A document has a line for each value, with its path. Files of JSON Lines called .json are read as
such, and JSON with comments as the text that it is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.index.parsing.charset import Decoded, decode_rows
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.options import DEFAULTS, Columns, ParseOptions
from resift.index.parsing.parse_jsonl import (
    check_storable,
    may_spell_surrogate,
    parse_jsonl,
    require_object,
)
from resift.index.parsing.parse_lines import parse_lines
from resift.index.parsing.plain_values import TOO_DEEP, load_json, storable, value_lines
from resift.index.parsing.row_reader import RowReader, same_letters
from resift.index.parsing.sections import Part, sections_of_parts

_TITLES = ("title", "name")
_MAX_TITLE = 200
_MAX_DIGITS = 40


def parse_json(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read an array of objects as rows, numbered from 1, or any other value as one document.

    An array has rows if more than half of its elements are objects with the text column; the others
    are problems.

    Raise `SourceError` for values that are nested too deep, and for a document whose paths make it
    larger than the limit on bytes.
    """
    decoded = decode_rows(data)
    try:
        value = load_json(decoded.text)
    except ValueError as error:
        if _is_json_lines(decoded.text):
            return parse_jsonl(key, data, options)
        parsed = parse_lines(key, data)  # with comments, templates, or cut off
        reason = str(error)[:100]
        return replace(parsed, problems=(*parsed.problems, f"not JSON, read as text: {reason}"))
    if _are_rows(value, options.columns.text):
        return _rows(decoded, options.columns)
    document = _document(key, value, options)
    return ParsedFile((document,), (*decoded.problems, *_column_problems(value, options.columns)))


def _is_json_lines(text: str) -> bool:
    """Whether the first of several lines is an object."""
    first, _, rest = text.strip().partition("\n")
    if not rest.strip() or not first.startswith("{"):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _are_rows(value: Any, text_column: str) -> bool:
    """Whether a value is an array, most of it objects with the text column."""
    if not isinstance(value, list):
        return False
    return 2 * sum(isinstance(row, dict) and text_column in row for row in value) > len(value)


def _column_problems(value: Any, columns: Columns) -> tuple[str, ...]:
    """Tell that an array would be rows if the text column were written in other letters."""
    rows = value if isinstance(value, list) else ()
    first = next((row for row in rows if isinstance(row, dict)), {})
    name = same_letters(columns.text, first)
    if name is None or not _are_rows(value, name):
        return ()
    return (
        f"no column {columns.text!r} in its rows, read as one document: did you mean {name!r}? "
        "(--text-column FILE=COLUMN)",
    )


def _rows(decoded: Decoded, columns: Columns) -> ParsedFile:
    rows = RowReader(columns, "row", decoded.problems)
    may_be_unstorable = may_spell_surrogate(decoded.text)  # searched once for all rows
    values = load_json(decoded.text, parse_int=_integer, parse_float=float)
    for number, fields in enumerate(values, start=1):
        try:
            require_object(fields)
            if may_be_unstorable:
                check_storable(fields)
            rows.add(number, fields)
        except ValueError as error:
            rows.add_problem(number, str(error))
        except RecursionError:
            rows.add_problem(number, TOO_DEEP)
    return rows.parsed()


def _integer(digits: str) -> int:
    """Convert digits; Python refuses thousands of them, and the reader of rows over 64 bits."""
    return int(digits[:_MAX_DIGITS])


def _document(key: str, value: Any, options: ParseOptions) -> ParsedDocument:
    lines: list[str] = []
    parts: list[Part] = []
    size, max_bytes = 0, options.limits.max_bytes
    for name, path, inner in _top_level(value):
        parts.append(Part(size, name=storable(name)))
        for line in value_lines(inner, path):
            size += len(line) + 1
            if size > max_bytes:
                raise SourceError(
                    f"its values with their paths take more than {max_bytes:,} bytes (max_bytes)"
                )
            lines.append(line)
        size += 1
        lines.append("")
    text = "\n".join(lines)
    return ParsedDocument(key, _title(key, value), text, sections_of_parts(text, parts))


def _top_level(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (heading, path, value) of each part of a document."""
    if isinstance(value, Mapping):
        yield from ((name, name, inner) for name, inner in value.items())
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        yield from (("", f"[{index}]", inner) for index, inner in enumerate(value))
    else:
        yield "", "", value


def _title(key: str, value: Any) -> str:
    for name in _TITLES if isinstance(value, Mapping) else ():
        title = value.get(name)
        if isinstance(title, str) and 0 < len(title.strip()) <= _MAX_TITLE:
            return storable(" ".join(title.split()))
    return PurePosixPath(key).stem
