"""Bytes to documents: the one place that knows which parser reads which file.

Knows nothing of where the bytes came from. Whoever does not trust them lets `Parsers` call this
in a process of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import PurePosixPath

from resift.errors import MissingExtra, SourceError
from resift.index.normalisation import is_visible
from resift.index.parsing import chunk
from resift.index.parsing.columns import Columns
from resift.index.parsing.documents import Parsed, ParsedDocument
from resift.index.parsing.kinds import check_kind
from resift.index.parsing.limits import ParseLimits
from resift.index.parsing.parse_csv import parse_csv
from resift.index.parsing.parse_html import is_page, parse_html
from resift.index.parsing.parse_jsonl import parse_jsonl
from resift.index.parsing.parse_office import OFFICE_SUFFIXES, parse_office
from resift.index.parsing.parse_parquet import parse_parquet
from resift.index.parsing.parse_pdf import parse_pdf
from resift.index.parsing.parse_text import parse_markdown, parse_plain

_Read = Callable[[str, bytes, Columns, ParseLimits], Parsed]


@dataclass(frozen=True, slots=True)
class _Format:
    """A kind of file. `version` is raised whenever the same bytes would give another text."""

    name: str
    version: int
    read: _Read
    is_rows: bool = False


def _whole(parser: Callable[[str, bytes], Parsed]) -> _Read:
    return lambda key, data, columns, limits: parser(key, data)


def _paged(parser: Callable[[str, bytes, ParseLimits], Parsed]) -> _Read:
    return lambda key, data, columns, limits: parser(key, data, limits)


def _rows(parser: Callable[[bytes, Columns], Parsed]) -> _Read:
    return lambda key, data, columns, limits: parser(data, columns)


def _text(parser: Callable[[str, bytes], Parsed]) -> _Read:
    """What says at once that it is an HTML page is read as one, whatever its name is."""
    return lambda key, data, columns, limits: (parse_html if is_page(data) else parser)(key, data)


_HTML = _Format("html", 4, _whole(parse_html))
_TEXT = _Format("text", 4 + _HTML.version, _text(parse_plain))
_MARKDOWN = _Format("markdown", 5 + _HTML.version, _text(parse_markdown))
_CSV = _Format("csv", 3, _rows(parse_csv), is_rows=True)
_OFFICE = _Format("office", 3, _paged(parse_office))
_FORMATS = {
    ".txt": _TEXT,
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".pdf": _Format("pdf", 3, _paged(parse_pdf)),
    ".jsonl": _Format("jsonl", 4, _rows(parse_jsonl), is_rows=True),
    ".csv": _CSV,
    ".tsv": _CSV,
    ".parquet": _Format("parquet", 3, _rows(parse_parquet), is_rows=True),
    **dict.fromkeys(OFFICE_SUFFIXES, _OFFICE),
}
NO_TEXT = "no text in it"
_PAGED = (".pdf", ".pptx")
SUFFIXES = frozenset(_FORMATS)
"""The files that are read, by the end of their name, in small letters."""


def parse(
    key: str, data: bytes, columns: Columns | None = None, limits: ParseLimits | None = None
) -> Parsed:
    """Read one file, here and now; the same bytes give the same documents.

    `SourceError` says in one line why none of it can be indexed. Of `limits` bytes and pages are
    held here; time and memory are for whoever holds the process.
    """
    limits = limits or ParseLimits()
    limits.check_bytes(len(data))
    if not data.strip():
        raise SourceError("empty file")
    suffix = _suffix(key)
    if suffix not in _FORMATS:
        raise SourceError(f"{suffix or 'no suffix'}: not a kind of document that is read")
    check_kind(suffix, data)
    try:
        parsed = _FORMATS[suffix].read(key, data, columns or Columns(), limits)
    except MissingExtra as error:
        raise SourceError(str(error)) from error
    if not parsed.problems and not any(map(_has_text, parsed.documents)):
        raise SourceError(NO_TEXT)
    return parsed


def parsing_fingerprint(key: str, columns: Columns | None = None) -> str:
    """Names what makes passages of a file of this name; empty if nothing does.

    Where it differs from the one that a file was read under, the file must be read again.
    """
    format_ = _FORMATS.get(_suffix(key))
    if format_ is None:
        return ""
    by = f" {(columns or Columns()).fingerprint}" if format_.is_rows else ""
    return f"{format_.name} {format_.version}, chunk {chunk.VERSION}{by}"


def may_exceed(key: str, size: int, before: ParseLimits, now: ParseLimits) -> bool:
    """Whether a file that could be read within `before` might be skipped under the limits of now.

    Of its size that is known; what it unpacks to, its pages, and the time and memory that it takes
    show when it is read again: where such a limit is lower than it was, it has to be.
    """
    suffix = _suffix(key)
    return (
        size > now.max_bytes
        or now.max_seconds < before.max_seconds
        or now.memory_mb < before.memory_mb
        or (now.max_bytes < before.max_bytes and suffix in OFFICE_SUFFIXES)
        or (now.max_pages < before.max_pages and suffix in _PAGED)
    )


def abilities() -> str:
    """Names the optional parsers that are installed: what was skipped without one can be read."""
    return "office" if find_spec("kreuzberg") else ""


def _has_text(document: ParsedDocument) -> bool:
    return any(is_visible(document.text[part.start : part.end]) for part in document.sections)


def _suffix(key: str) -> str:
    return PurePosixPath(key).suffix.lower()
