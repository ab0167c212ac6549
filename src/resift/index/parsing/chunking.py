"""Documents to chunks: whole sentences packed up to a target. A chunk is a slice of its text.

Headings and pages are borders. A table that is cut repeats its head in each part. Lengths are
tokens of the bundled model.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from resift.index.normalisation import is_visible
from resift.index.parsing.documents import Chunk, ChunkedDocument, ParsedDocument, Section, Table
from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.sentences import sentence_starts
from resift.rerank.tokenization import Tokens, load_tokenizer

VERSION = 5
"""Raised whenever the same text would be cut in another way."""
TARGET_TOKENS = 200

_TOLERANCE = 1.25
_SHORT_TAIL = 0.2
_MAX_NAME = 500
_LINE = re.compile(r"[^\n]+")
_WORD = re.compile(r"\S+")
_TABLE_GAP = "\n\n"
# A table's head that alone takes more than this share of a chunk is not repeated.
_MAX_HEAD_SHARE = 0.5

# Characters that are tokenized at once: the tokenizer keeps some 200 bytes a token.
_WINDOW = 1 << 16
# The tokenizer makes one unknown token of a longer word, whatever its length.
_MAX_WORD = 100
# Such a word is counted as one token for each of so many characters.
_UNKNOWN_CHARACTERS = 16

TokenStarts = Callable[[str], NDArray[np.int64]]


def chunk_document(
    document: ParsedDocument, token_starts: TokenStarts, with_text: bool = False
) -> ChunkedDocument:
    """Cut a document into chunks of about `TARGET_TOKENS`, all with visible text.

    The heads of tables that are cut are repeated in the document's text itself.
    """
    starts = token_starts(document.text)
    whole = repeat_heads(document, starts, TARGET_TOKENS)
    if whole is not document:
        starts = token_starts(whole.text)
    chunks = chunk(whole.text, whole.sections, starts, tables=whole.tables)
    return ChunkedDocument(
        id=document.id,
        title=_shorten(document.title),
        metadata=document.metadata,
        row=document.row,
        chunks=tuple(
            replace(piece, heading=_shorten(piece.heading))
            for piece in chunks
            if is_visible(piece.text)
        ),
        text=whole.text if with_text else None,
    )


def _shorten(name: str) -> str:
    """A title or heading, cut where it is a whole text: it is searched with every chunk."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def token_starts(text: str) -> NDArray[np.int64]:
    """The character at which each token of `text` begins, ascending, ``(n,)``."""
    tokens = _tokens()
    parts = [np.empty(0, np.int64)]
    at = 0
    while at < len(text):
        end = min(at + _WINDOW, len(text))
        if end < len(text):  # no token goes across a space
            border = max(text.rfind(" ", at, end), text.rfind("\n", at, end)) + 1
            end = border if border > at else end
        parts.append(tokens.starts(text[at:end]) + at)
        at = end
    return _add_starts_in_long_words(np.concatenate(parts), len(text))


@cache
def _tokens() -> Tokens:
    return Tokens(load_tokenizer(BUNDLED / TOKENIZER), _WINDOW)


def _add_starts_in_long_words(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Add starts inside words that are one unknown token to the tokenizer."""
    ends = np.append(starts[1:], length)
    (long_words,) = np.nonzero(ends - starts > _MAX_WORD)
    inside = [np.arange(starts[i] + _UNKNOWN_CHARACTERS, ends[i], _UNKNOWN_CHARACTERS)
              for i in long_words]  # fmt: skip
    return np.sort(np.concatenate([starts, *inside]))


class _MeasuredText:
    """A text, and how many tokens lie between two of its characters."""

    def __init__(self, text: str, token_starts: NDArray[np.int64], target: int) -> None:
        self.text = text
        # 8 bytes a token: a list of Python's integers would take five times that.
        self.starts = array("q", token_starts.tobytes())
        self.target = target

    def count(self, start: int, end: int) -> int:
        """Tokens that start in ``start:end``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def fits(self, start: int, end: int) -> bool:
        """Whether ``start:end`` is not over the target."""
        return self.count(start, end) <= self.target

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """The same range without the white space around it."""
        piece = self.text[start:end]
        return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


_Splitter = Callable[[_MeasuredText, int, int], Iterator[tuple[int, int]]]


def chunk(
    text: str,
    sections: Sequence[Section],
    token_starts: NDArray[np.int64],
    target_tokens: int = TARGET_TOKENS,
    tables: Sequence[Table] = (),
) -> list[Chunk]:
    """Cut `text` into chunks of about `target_tokens`, in order, none over 1.25 times that.

    A chunk lies in one section. A short tail of a section, under a fifth of the target, joins the
    chunk before it where the limit allows. A table is kept in one piece where it fits, and its
    rows where it does not.
    """
    measured = _MeasuredText(text, token_starts, target_tokens)
    return [
        Chunk(start, end, section.heading, section.page, text[start:end])
        for section in sections
        for start, end in _pack(measured, section, tables)
    ]


def _pack(
    measured: _MeasuredText, section: Section, tables: Sequence[Table]
) -> list[tuple[int, int]]:
    """One section's chunks: sentences in order, as many as fit."""
    sentences = pairwise(_borders(measured.text, section, tables))
    finer = (_lines, _words, _token_runs)  # lines first: a table's rows stay whole
    spans = list(_joined(measured, _fitting(measured, sentences, finer)))
    if len(spans) > 1 and measured.count(*spans[-1]) < measured.target * _SHORT_TAIL:
        (start, _), (_, end) = spans[-2:]
        if measured.count(start, end) <= int(measured.target * _TOLERANCE):
            spans[-2:] = [(start, end)]
    return spans


def _joined(measured: _MeasuredText, parts: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Parts joined with those after them as long as they fit."""
    joined: tuple[int, int] | None = None
    for start, end in parts:
        if joined and measured.fits(joined[0], end):
            joined = (joined[0], end)
            continue
        if joined:
            yield joined
        joined = (start, end)
    if joined:
        yield joined


def _fitting(
    measured: _MeasuredText, spans: Iterable[tuple[int, int]], finer: Sequence[_Splitter]
) -> Iterator[tuple[int, int]]:
    """The spans, trimmed; one over the target is cut by the first of the `finer` splitters."""
    for span in spans:
        start, end = measured.trim(*span)
        if start >= end:
            continue
        if finer and not measured.fits(start, end):
            parts = finer[0](measured, start, end)
            yield from _joined(measured, _fitting(measured, parts, finer[1:]))
        else:
            yield start, end


def _borders(text: str, section: Section, tables: Sequence[Table]) -> list[int]:
    """Where sentences begin and end in a section; a table counts as one sentence."""
    starts = sentence_starts(text[section.start : section.end], at_lines=False)
    cuts = [section.start + start for start in starts]
    first = bisect_left(tables, section.start, key=lambda table: table.start)
    last = bisect_left(tables, section.end, key=lambda table: table.start)
    if inside := tables[first:last]:
        table_starts = [table.start for table in inside]
        table_ends = [0, *(table.end for table in inside)]
        cuts = [at for at in cuts if at >= table_ends[bisect_left(table_starts, at)]]
        cuts = sorted([*cuts, *table_starts, *table_ends[1:]])
    return [section.start, *cuts, section.end]


def _lines(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (line.span() for line in _LINE.finditer(measured.text, start, end))


def _words(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (word.span() for word in _WORD.finditer(measured.text, start, end))


def _token_runs(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of as many tokens as fit: for a word over the target, such as base64."""
    starts = measured.starts
    first, last = bisect_left(starts, start), bisect_left(starts, end)
    return pairwise([start, *starts[first + measured.target : last : measured.target], end])


def repeat_heads(
    document: ParsedDocument, token_starts: NDArray[np.int64], target: int
) -> ParsedDocument:
    """The document with the head of each table of over `target` tokens repeated in its parts.

    A part is a head and as many whole rows as fit with it into `target` tokens; it is a table of
    its own in the new document, whose text is longer.
    """
    if not document.tables:
        return document
    text = document.text
    measured = _MeasuredText(text, token_starts, target)
    cuts_by_table = {table: list(_table_cuts(measured, table)) for table in document.tables}
    if not any(cuts_by_table.values()):
        return document
    pieces: list[str] = []
    positions: list[int] = []
    shifts = [0]
    last = 0
    for table, cuts in cuts_by_table.items():
        head = _TABLE_GAP + text[table.start : table.head]
        for at in cuts:
            pieces += [text[last:at], head]
            positions.append(at)
            shifts.append(shifts[-1] + len(head))
            last = at

    def moved(at: int) -> int:
        return at + shifts[bisect_left(positions, at)]

    tables = []
    for table, cuts in cuts_by_table.items():
        starts = [moved(table.start), *(moved(at) + len(_TABLE_GAP) for at in cuts)]
        ends = [*map(moved, cuts), moved(table.end)]
        head_size = table.head - table.start
        tables += [Table(s, s + head_size, e) for s, e in zip(starts, ends, strict=True)]
    sections = [replace(s, start=moved(s.start), end=moved(s.end)) for s in document.sections]
    return replace(
        document,
        text="".join([*pieces, text[last:]]),
        sections=tuple(sections),
        tables=tuple(tables),
    )


def _table_cuts(measured: _MeasuredText, table: Table) -> Iterator[int]:
    """The line ends at which a new part of the table begins."""
    head = measured.count(table.start, table.head)
    has_short_head = 0 < head <= _MAX_HEAD_SHARE * measured.target
    if not has_short_head or measured.fits(table.start, table.end):
        return
    first = at = table.head
    while at < table.end:
        after = measured.text.find("\n", at + 1, table.end)
        after = table.end if after < 0 else after
        if at > first and measured.count(first, after) > measured.target - head:
            yield at
            first = at
        at = after
