"""What holds for the documents of every parser, whatever bytes a file has."""

import json

from hypothesis import strategies as st

from resift.errors import SourceError
from resift.index.parsing.chunking import TARGET_TOKENS, chunk_document, token_starts
from resift.index.parsing.documents import ParsedDocument, ParsedFile
from resift.index.parsing.formats import parse
from resift.index.parsing.front_matter import NO_FRONT_MATTER, read_front_matter

MARKUP = (".md", ".rst", ".adoc", ".org", ".tex")
"""Suffixes of files with front matter, which no section covers."""


def any_bytes(*pieces: bytes) -> st.SearchStrategy[bytes]:
    """Bytes, texts and the characteristic pieces of a format, in any order."""
    common = [b"\r\n", b"\n", b" ", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", "ü\u200b漢".encode(), b"x"]
    part = st.one_of(
        st.sampled_from([*pieces, *common]),
        st.sampled_from(pieces),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=8),
    )
    return st.lists(part, max_size=16).map(b"".join)


def parse_or_reason(key: str, data: bytes) -> ParsedFile | SourceError:
    """Parse a file and check its documents, or return the reason why there are none."""
    try:
        parsed = parse(key, data)
    except SourceError as error:
        assert "\n" not in str(error)
        return error
    for document in parsed.documents:
        front = read_front_matter(document.text) if key.endswith(MARKUP) else NO_FRONT_MATTER
        check_document(document, front.end)
    return parsed


def check_document(document: ParsedDocument, front_end: int = 0) -> None:
    """Check that sections cover all but white space, in order, and that all can be stored."""
    end = front_end
    for section in document.sections:
        assert end <= section.start <= section.end
        assert not document.text[end : section.start].strip()
        section.heading.encode()
        end = section.end
    assert not document.text[end:].strip()
    for text in (document.text, document.title, json.dumps(dict(document.metadata))):
        text.encode()
        assert "\0" not in text
    chunked = chunk_document(document, token_starts)
    for piece in chunked.chunks:
        assert document.tables or document.text[piece.start : piece.end] == piece.text
        if document.has_lines and not document.tables:
            assert piece.line == document.text.count("\n", 0, piece.start) + 1
        else:
            assert piece.line is None or document.tables


def one_document(key: str, data: bytes | str) -> ParsedDocument:
    """Parse a file that is one document, without problems."""
    parsed = parse(key, data if isinstance(data, bytes) else data.encode())
    assert parsed.problems == ()
    (document,) = parsed.documents
    return document


def outline(document: ParsedDocument) -> list[tuple[str, str]]:
    """Return (heading, text) of each section."""
    return [(s.heading, document.text[s.start : s.end].strip()) for s in document.sections]


def headings(document: ParsedDocument) -> list[str]:
    """Return the heading of each section."""
    return [section.heading for section in document.sections]


def token_counts(document: ParsedDocument) -> list[int]:
    """Return the number of tokens of each passage."""
    return [
        len(token_starts(piece.text)) for piece in chunk_document(document, token_starts).chunks
    ]


MAX_TOKENS = int(TARGET_TOKENS * 1.25)
