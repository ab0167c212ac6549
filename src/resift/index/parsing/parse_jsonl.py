"""JSON Lines: one document a line. A line that cannot be read costs nothing but itself."""

import json
import re
from typing import Any, NoReturn

from resift.errors import SourceError
from resift.index.parsing.charset import decode_rows
from resift.index.parsing.columns import Columns, RowReader
from resift.index.parsing.documents import Parsed

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_jsonl(data: bytes, columns: Columns) -> Parsed:
    """Read an object a line; fields that are not one of `columns` become metadata.

    The text is taken as it is: no guessing whether it might be HTML. Raise `SourceError` where all
    of the file is one JSON value, written over many lines or as one array.
    """
    decoded = decode_rows(data)
    rows = RowReader(columns, problems=decoded.problems)
    lines = decoded.text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.add(number, _fields(line))
        except ValueError as error:
            rows.fault(number, str(error))
        except RecursionError:
            rows.fault(number, "lists and objects in it are nested without end")
    parsed = rows.parsed()
    if not parsed.documents and _is_one_value(lines):
        raise SourceError("one JSON value, but no object a line: write each object on its line")
    return parsed


def _is_one_value(lines: list[str]) -> bool:
    """Whether it is JSON, only not JSON Lines: an array, or objects that are printed prettily."""
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
        fields = json.loads(line, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")
        raise ValueError(f"not JSON ({reason} at column {error.colno})") from error
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, not {type(fields).__name__}")
    # An escape can spell half a character, which no later step could write down.
    if _SURROGATE.search(line) and not _is_text(fields):
        raise ValueError("half a surrogate pair in it: not text")
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"not JSON ({constant} is no number)")


def _is_text(fields: dict[str, Any]) -> bool:
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
