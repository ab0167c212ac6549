"""Bytes to documents: the one place that knows which parser reads which file.

Knows nothing of where the bytes came from.
"""

from collections.abc import Callable
from pathlib import PurePosixPath

from resift.errors import SourceError
from resift.index.documents import Parsed, ParsedDocument
from resift.index.parse_html import parse_html
from resift.index.parse_jsonl import parse_jsonl
from resift.index.parse_pdf import parse_pdf
from resift.index.parse_text import parse_markdown, parse_plain

_One = Callable[[str, bytes], ParsedDocument]
_ONE_DOCUMENT: dict[str, _One] = {
    ".txt": parse_plain,
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".html": parse_html,
    ".htm": parse_html,
    ".pdf": parse_pdf,
}


def parse(key: str, data: bytes) -> Parsed:
    """Read one file; `SourceError` says in one line why none of it can be indexed."""
    if not data.strip():
        raise SourceError("empty file")
    suffix = PurePosixPath(key).suffix.lower()
    if suffix == ".jsonl":
        parsed = parse_jsonl(data)
    elif suffix in _ONE_DOCUMENT:
        parsed = Parsed((_ONE_DOCUMENT[suffix](key, data),))
    else:
        raise SourceError(f"{suffix or 'no suffix'}: not a kind of document that is read")
    if not parsed.problems and not any(document.text.strip() for document in parsed.documents):
        raise SourceError("no text in it")
    return parsed
