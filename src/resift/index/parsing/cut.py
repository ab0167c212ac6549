"""A file as the index takes it: documents cut into pieces, and its way through a pipe as JSON.

What comes out of a pipe was written by a process that read hostile files: it is checked, never
executed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.index.normalisation import is_visible
from resift.index.parsing.chunk import TARGET_TOKENS, chunk
from resift.index.parsing.documents import ParsedDocument
from resift.index.parsing.tables import repeat_heads


@dataclass(frozen=True, slots=True)
class Piece:
    """The passage ``text[start:end]`` of a document, with the headings and page it stands under."""

    start: int
    end: int
    heading: str
    page: int | None
    text: str


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document as its pieces, in order. `row` as in `ParsedDocument`.

    `text` is the whole of it, where that was asked for.
    """

    id: str
    title: str
    metadata: Mapping[str, Any]
    row: int | None
    pieces: tuple[Piece, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class CutFile:
    """The documents of one file, and one line for each part of it that could not be read."""

    documents: tuple[CutDocument, ...]
    problems: tuple[str, ...] = ()


_LONGEST_NAME = 500
TokenStarts = Callable[[str], NDArray[np.int64]]


def cut(document: ParsedDocument, token_starts: TokenStarts, with_text: bool) -> CutDocument:
    """Cut a document into pieces, measured by `token_starts`.

    Where one of its tables is cut, its head is repeated in the document's text itself: a piece is
    a slice of that text in any case.
    """
    starts = token_starts(document.text)
    whole = repeat_heads(document, starts, TARGET_TOKENS)
    if whole is not document:
        starts = token_starts(whole.text)
    text = whole.text
    return CutDocument(
        id=document.id,
        title=_name(document.title),
        metadata=document.metadata,
        row=document.row,
        pieces=tuple(
            Piece(own.start, own.end, _name(own.heading), own.page, text[own.start : own.end])
            for own in chunk(text, whole.sections, starts, tables=whole.tables)
            if is_visible(text[own.start : own.end])
        ),
        text=text if with_text else None,
    )


def _name(text: str) -> str:
    """A title or heading, cut where it is a text itself: it is searched with every passage."""
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def to_json(documents: Iterable[CutDocument], problems: Sequence[str]) -> dict[str, Any]:
    """What `from_json` reads: a file or, where it has many documents, a part of one."""
    rows = [
        [
            document.id, document.title, dict(document.metadata), document.row, document.text,
            [[own.start, own.end, own.heading, own.page, own.text] for own in document.pieces],
        ]
        for document in documents
    ]  # fmt: skip
    return {"documents": rows, "problems": list(problems)}


def from_json(value: Any) -> CutFile:
    """What `to_json` was given; raise `ValueError` for anything that it did not write."""
    try:
        documents = tuple(_document(*fields) for fields in value["documents"])
        problems = tuple(_is(problem, str) for problem in value["problems"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"no file that was cut ({error})") from error
    return CutFile(documents, problems)


def _document(id_: Any, title: Any, metadata: Any, row: Any, text: Any, pieces: Any) -> CutDocument:
    return CutDocument(
        id=_is(id_, str),
        title=_is(title, str),
        metadata=_is(metadata, dict),
        row=row if row is None else _is(row, int),
        pieces=tuple(_piece(*fields) for fields in pieces),
        text=text if text is None else _is(text, str),
    )


def _piece(start: Any, end: Any, heading: Any, page: Any, text: Any) -> Piece:
    if not 0 <= _is(start, int) <= _is(end, int) or len(_is(text, str)) != end - start:
        raise ValueError(f"piece {start}:{end}: not a slice")
    return Piece(start, end, _is(heading, str), page if page is None else _is(page, int), text)


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} where {kind.__name__} was expected")
    return value
