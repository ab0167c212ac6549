"""JSON Lines: one document a line. A line that cannot be read is skipped."""

import json
import re
from typing import Any, NoReturn

from resift.errors import SourceError
from resift.index.parsing.charset import decode_rows
from resift.index.parsing.documents import ParsedFile
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.plain_values import TOO_DEEP
from resift.index.parsing.row_reader import RowReader

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_jsonl(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read one object a line; fields that are not one of the columns become metadata.

    The text is literal, even if it looks like HTML. Raise `SourceError` if the whole file is one
    JSON value, an array or an object over several lines.
    """
    decoded = decode_rows(data)
    rows = RowReader(options.columns, problems=decoded.problems)
    lines = decoded.text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.add(number, _fields(line))
        except ValueError as error:
            rows.add_problem(number, str(error))
        except RecursionError:
            rows.add_problem(number, TOO_DEEP)
    parsed = rows.parsed()
    if not parsed.documents and _is_single_json_value(lines):
        raise SourceError("one JSON value, but no object a line: write each object on its line")
    return parsed


def _is_single_json_value(lines: list[str]) -> bool:
    """Whether a file is JSON but not JSON Lines: an array, or pretty-printed objects."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first[:1] != "[" and first != "{":
        return False
    try:
        value, end = json.JSONDecoder().raw_decode("\n".join(lines).strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) or end > len(first)


def _fields(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")
        raise ValueError(f"not JSON ({reason} at column {error.colno})") from error
    fields = require_object(value)
    if may_spell_surrogate(line):
        check_storable(fields)
    return fields


def require_object(value: Any) -> dict[str, Any]:
    """Return a row; raise `ValueError` if it is not an object."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


def may_spell_surrogate(text: str) -> bool:
    """Whether JSON has an escape that may be a lone surrogate; nothing else can spell one."""
    return _SURROGATE.search(text) is not None


def check_storable(fields: dict[str, Any]) -> None:
    """Raise `ValueError` if `fields` have a lone surrogate, which cannot be stored."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate in it: not text") from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"not JSON ({constant} is not a number)")
