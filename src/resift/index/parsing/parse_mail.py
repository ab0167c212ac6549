"""Mails: the subject is the title, sender, recipients and date are metadata and text.

The plain part is read, or else the HTML part. Attachments are named, but not read.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from typing import Any

from resift.errors import SourceError
from resift.index.parsing.charset import decode
from resift.index.parsing.documents import ParsedFile, TextBuilder
from resift.index.parsing.options import DEFAULTS, ParseOptions
from resift.index.parsing.parse_html import html_encoding, read_page
from resift.index.parsing.plain_values import storable

_HEADERS = ("From", "To", "Cc", "Date")
_MAX_HEADER = 2_000
_MAX_PARTS = 1_000
# What the standard library raises for headers and bodies that are damaged.
_ERRORS = (HeaderParseError, LookupError, ValueError, TypeError, AttributeError, AssertionError)


def parse_mail(key: str, data: bytes, options: ParseOptions = DEFAULTS) -> ParsedFile:
    """Read a mail; raise `SourceError` if the file has neither headers nor text."""
    try:
        message = message_from_bytes(data)
        parts = list(_parts(message))
    except (*_ERRORS, RecursionError) as error:
        raise SourceError(f"not a readable mail: damaged ({type(error).__name__})") from error
    headers = {name: value for name in _HEADERS if (value := _header(message, name))}
    title = _header(message, "Subject") or PurePosixPath(key).stem
    builder = TextBuilder(title)
    problems: list[str] = []
    builder.add_block("\n".join(f"{name}: {value}" for name, value in headers.items()))
    for text in _body(parts, problems):
        builder.add_block(text)
    names = [name for part in parts if (name := _file_name(part))]
    if names:
        builder.add_block(f"Attachments: {', '.join(names)}")
    if not message.keys() and builder.is_empty:
        raise SourceError("; ".join(["not a readable mail: it has no headers", *problems[:1]]))
    document = replace(builder.build(key, title), metadata=_metadata(headers))
    return ParsedFile((document,), tuple(problems))


def _parts(message: Message) -> Iterator[Message]:
    """Yield the parts that have no parts; of a mail with very many, the first."""
    for count, part in enumerate(message.walk()):
        if count > _MAX_PARTS:
            return
        if not part.is_multipart():
            yield part


def _body(parts: list[Message], problems: list[str]) -> list[str]:
    """Return the mail's text: of the plain parts, or else of those in HTML.

    Some programs send a plain part that is blank. What cannot be read is added to `problems`.
    """
    for kind in ("text/plain", "text/html"):
        texts = []
        for part in parts:
            if part.get_content_type() != kind or _file_name(part):
                continue
            try:
                texts.append(_text(part, problems))
            except SourceError as error:
                problems.append(f"a part of the mail is left out: {error}")
        if any(texts):
            return texts
    return []


def _text(part: Message, problems: list[str]) -> str:
    try:
        payload = part.get_payload(decode=True)
        charset = part.get_content_charset()
    except _ERRORS as error:
        raise SourceError(f"damaged ({type(error).__name__})") from error
    data = payload if isinstance(payload, bytes) else b""
    is_html = part.get_content_type() == "text/html"
    decoded = decode(data, charset or (html_encoding(data) if is_html else None))
    problems += [f"in a part of the mail: {problem}" for problem in decoded.problems]
    text = read_page("", decoded.text).text if is_html else decoded.text
    return text.strip()


def _file_name(part: Message) -> str:
    """Return the name of an attachment; empty for a part of the text."""
    try:
        return _line(part.get_filename() or "")
    except _ERRORS:
        return "attachment"


def _header(message: Message, name: str) -> str:
    """Return a header as it is meant; as it is written, if it is damaged."""
    value = message.get(name)
    if value is None:
        return ""
    try:
        return _line(str(make_header(decode_header(value))))
    except _ERRORS:
        return _line(str(value))


def _line(text: str) -> str:
    return " ".join(storable(text).split())[:_MAX_HEADER]


def _metadata(headers: dict[str, str]) -> dict[str, Any]:
    """Return the headers as metadata; the date as ISO text, if it is a date."""
    metadata = {name.lower(): value for name, value in headers.items()}
    with suppress(*_ERRORS):  # a text that is no date stays as it is
        metadata["date"] = parsedate_to_datetime(headers.get("Date", "")).isoformat()
    return metadata
