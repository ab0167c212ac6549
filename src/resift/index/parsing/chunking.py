"""Cuts documents into chunks: as many whole sentences as fit. A chunk is a slice of the text.

A chunk does not cross headings or pages. Code, logs and other text without sentences are cut
between lines. If a table is cut, its head is repeated in each part. Lengths are in tokens of the
bundled model.
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
"""Increase it whenever the same text would be cut differently."""
TARGET_TOKENS = 200

_TOLERANCE = 1.25
_SHORT_TAIL = 0.2
_MAX_NAME = 500
# A longer text without visible characters, between two chunks, is not stored.
_MAX_GAP = 100
_LINE = re.compile(r"[^\n]+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_WORD = re.compile(r"\S+")
_TABLE_GAP = "\n\n"
# A table's head is not repeated if it takes more than this share of a chunk.
_MAX_HEAD_SHARE = 0.5

# Characters that are tokenized at once: the tokenizer needs about 200 bytes a token.
_WINDOW = 1 << 16
# A longer word is one unknown token to the tokenizer, whatever its length.
_MAX_WORD = 100
# The characters of such a word that count as one token.
_UNKNOWN_CHARACTERS = 16

TokenStarts = Callable[[str], NDArray[np.int64]]


def chunk_document(
    document: ParsedDocument, token_starts: TokenStarts, with_text: bool = False
) -> ChunkedDocument:
    """Cut a document into chunks of about `TARGET_TOKENS`, all with visible text.

    The heads of tables that are cut are repeated in the text of the chunked document.
    """
    starts = token_starts(document.text)
    extended = repeat_heads(document, starts, TARGET_TOKENS)
    if extended is not document:
        starts = token_starts(extended.text)
    chunks = chunk(extended.text, extended.sections, starts, tables=extended.tables)
    visible = [
        replace(piece, heading=_shorten(piece.heading))
        for piece in chunks
        if is_visible(piece.text)
    ]
    if document.has_lines and extended is document:
        visible = list(_with_lines(document.text, visible))
    return ChunkedDocument(
        id=document.id,
        title=_shorten(document.title),
        metadata=document.metadata,
        row=document.row,
        chunks=_with_gaps(extended.text, visible),
        text=extended.text if with_text else None,
    )


def _with_lines(text: str, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Add to each chunk the line of the text in which it begins, from 1."""
    line, at = 1, 0
    for piece in chunks:
        line += text.count("\n", at, piece.start)
        at = piece.start
        yield replace(piece, line=line)


def _with_gaps(text: str, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """Add to each chunk the text between it and the next, unless that is long."""
    gaps = [text[chunk.end : following.start] for chunk, following in pairwise(chunks)]
    return tuple(
        chunk if len(gap) > _MAX_GAP else replace(chunk, after=gap)
        for chunk, gap in zip(chunks, [*gaps, ""], strict=False)
    )


def _shorten(name: str) -> str:
    """Limit a title or heading, which is searched with every chunk, to `_MAX_NAME` characters."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def token_starts(text: str) -> NDArray[np.int64]:
    """Return the character at which each token of `text` begins, ascending, ``(n,)``."""
    tokens = _tokens()
    parts = [np.empty(0, np.int64)]
    at = 0
    while at < len(text):
        end = min(at + _WINDOW, len(text))
        if end < len(text):  # cut at white space, which no token crosses
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
    """A text that counts the tokens between two of its characters."""

    def __init__(self, text: str, token_starts: NDArray[np.int64], target: int) -> None:
        self.text = text
        # An array takes 8 bytes a token, a list of integers five times as much.
        self.starts = array("q", token_starts.tobytes())
        self.target = target

    def count(self, start: int, end: int) -> int:
        """Count the tokens that start in ``start:end``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def fits(self, start: int, end: int) -> bool:
        """Whether ``start:end`` is not over the target."""
        return self.count(start, end) <= self.target

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """Remove the white space at both ends of a range."""
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

    A chunk is within one section. A tail of a section under a fifth of the target joins the chunk
    before it, if the limit allows. A table stays in one piece if it fits; otherwise its rows do.
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
    """Pack the sentences of a section into chunks, in order."""
    borders = _blank_lines if section.by_lines else _sentence_borders
    sentences = pairwise(borders(measured.text, section, tables))
    splitters = (_split_lines, _split_words, _split_tokens)  # lines first: they are table rows
    spans = list(_merge(measured, _split(measured, sentences, splitters)))
    if len(spans) > 1 and measured.count(*spans[-1]) < measured.target * _SHORT_TAIL:
        (start, _), (_, end) = spans[-2:]
        if measured.count(start, end) <= int(measured.target * _TOLERANCE):
            spans[-2:] = [(start, end)]
    return spans


def _merge(measured: _MeasuredText, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge consecutive spans as long as the result fits."""
    merged: tuple[int, int] | None = None
    for start, end in spans:
        if merged and measured.fits(merged[0], end):
            merged = (merged[0], end)
            continue
        if merged:
            yield merged
        merged = (start, end)
    if merged:
        yield merged


def _split(
    measured: _MeasuredText, spans: Iterable[tuple[int, int]], splitters: Sequence[_Splitter]
) -> Iterator[tuple[int, int]]:
    """Trim the spans; cut a span over the target by the first splitter, its parts by the next."""
    for span in spans:
        start, end = measured.trim(*span)
        if start >= end:
            continue
        if splitters and not measured.fits(start, end):
            parts = splitters[0](measured, start, end)
            yield from _merge(measured, _split(measured, parts, splitters[1:]))
        else:
            yield start, end


def _sentence_borders(text: str, section: Section, tables: Sequence[Table]) -> list[int]:
    """Return the borders of sentences in a section; a table counts as one sentence."""
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


def _blank_lines(text: str, section: Section, _: Sequence[Table]) -> list[int]:
    """Return the borders of a section without sentences: the ends of its blank lines."""
    ends = (gap.end() for gap in _BLANK_LINES.finditer(text, section.start, section.end))
    return [section.start, *ends, section.end]


def _split_lines(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (line.span() for line in _LINE.finditer(measured.text, start, end))


def _split_words(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (word.span() for word in _WORD.finditer(measured.text, start, end))


def _split_tokens(measured: _MeasuredText, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a word over the target, such as base64, into runs of as many tokens as fit."""
    starts = measured.starts
    first, last = bisect_left(starts, start), bisect_left(starts, end)
    return pairwise([start, *starts[first + measured.target : last : measured.target], end])


def repeat_heads(
    document: ParsedDocument, token_starts: NDArray[np.int64], target: int
) -> ParsedDocument:
    """Cut each table of over `target` tokens into parts, and repeat its head before each part.

    A part is the head and as many whole rows as fit into `target` tokens. The returned document has
    a longer text, in which each part is a table.
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

    def shift(at: int) -> int:
        return at + shifts[bisect_left(positions, at)]

    tables = []
    for table, cuts in cuts_by_table.items():
        starts = [shift(table.start), *(shift(at) + len(_TABLE_GAP) for at in cuts)]
        ends = [*map(shift, cuts), shift(table.end)]
        head_size = table.head - table.start
        tables += [Table(s, s + head_size, e) for s, e in zip(starts, ends, strict=True)]
    sections = [replace(s, start=shift(s.start), end=shift(s.end)) for s in document.sections]
    return replace(
        document,
        text="".join([*pieces, text[last:]]),
        sections=tuple(sections),
        tables=tuple(tables),
    )


def _table_cuts(measured: _MeasuredText, table: Table) -> Iterator[int]:
    """Yield the line ends at which a new part of the table begins."""
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
