"""JSON Lines: one document a line. A line that cannot be read costs nothing but itself."""

import json
from typing import Any

from resift.index.documents import Parsed, ParsedDocument, Section
from resift.index.parse_text import decode

_OWN_FIELDS = ("_id", "id", "title", "text")


def parse_jsonl(data: bytes) -> Parsed:
    """Read ``{"_id" or "id", "title", "text", …}`` a line; other fields become metadata.

    A line without an id is named after its number. The text is taken as it is: no guessing
    whether it might be HTML.
    """
    documents: dict[str, ParsedDocument] = {}
    problems = []
    for number, line in enumerate(decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = _document(number, line)
            if document.id in documents:
                raise ValueError(f"id {document.id!r} was used before: the first one is kept")
            documents[document.id] = document
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    return Parsed(tuple(documents.values()), tuple(problems))


def _document(number: int, line: str) -> ParsedDocument:
    fields = _fields(line)
    text = fields.get("text")
    title = fields.get("title") or ""
    if not isinstance(text, str):
        raise ValueError('expected a string in the field "text"')
    if not isinstance(title, str):
        raise ValueError('expected a string in the field "title"')
    if not text.strip() and not title.strip():
        raise ValueError("no text in it")
    # A document may be all title: that is what there is to find and to read.
    text = text if text.strip() else title
    metadata = {name: value for name, value in fields.items() if name not in _OWN_FIELDS}
    return ParsedDocument(_name(number, fields), title, text, (Section(0, len(text)),), metadata)


def _fields(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, not {type(fields).__name__}")
    return fields


def _name(number: int, fields: dict[str, Any]) -> str:
    name = fields.get("_id", fields.get("id"))
    if name is None or name == "":
        return f"line-{number}"
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError("expected a string or a whole number as id")
    return str(name)
