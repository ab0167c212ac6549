"""Texts to passages: pure functions on offsets. A passage is always a slice of its text.

Whole sentences are packed up to a target; headings and pages are borders. Knows nothing of
models: how long something is, is told by where its tokens start.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from resift.index.parsing.documents import Section, Table

# A sentence ends at .?! before what can begin another one, at CJK full stops, at a blank line,
# and before a list item.
_BORDER = re.compile(
    r"""(?<=[.!?])["'”’»)\]]*\s+(?=[^\Wa-z_]|["'“‘«(\[])"""
    r"|(?<=[。！？])"
    r"|\n\s*\n"
    r"|\n(?=\s*(?:[-*+•]|\d{1,3}[.)])\s)"
)
_LINE = re.compile(r"[^\n]+")
_WORD = re.compile(r"\S+")
VERSION = 4
"""Raised whenever the same text would be cut in another way."""
TARGET_TOKENS = 200

_TOLERANCE = 1.25
_TINY = 0.2


@dataclass(frozen=True, slots=True)
class PassageSpan:
    """The passage ``text[start:end]``, with the heading path and the page it stands under."""

    start: int
    end: int
    heading: str
    page: int | None


def chunk(
    text: str,
    sections: Sequence[Section],
    token_starts: NDArray[np.int64],
    target_tokens: int = TARGET_TOKENS,
    tables: Sequence[Table] = (),
) -> list[PassageSpan]:
    """Cut `text` into passages of about `target_tokens`, in order, none over 1.25 times that.

    No passage goes on under another heading: it stands wholly under its own. A short tail of a
    section, under a fifth of the target, joins the passage before it where the limit allows. One
    of `tables` is kept in one piece where it fits, and its rows where it does not.
    """
    ruler = _Ruler(text, token_starts, target_tokens, tables)
    return [piece for section in sections for piece in _pack(ruler, section)]


class _Ruler:
    """A text, and how many tokens lie between two of its characters."""

    def __init__(
        self,
        text: str,
        token_starts: NDArray[np.int64],
        target: int,
        tables: Sequence[Table],
    ) -> None:
        self.text = text
        self.tables = tables
        # 8 bytes a token: a list of Python's integers would be five times that.
        self.starts = array("q", token_starts.tobytes())
        self.target = target
        self.limit = int(target * _TOLERANCE)
        self.tiny = target * _TINY

    def count(self, start: int, end: int) -> int:
        """Tokens that start in ``start:end``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def borders(self, section: Section) -> list[int]:
        """Where sentences begin and end in a section; a table is as one of them."""
        matches = _BORDER.finditer(self.text, section.start, section.end)
        cuts = [match.end() for match in matches]
        first = bisect_left(self.tables, section.start, key=lambda table: table.start)
        last = bisect_left(self.tables, section.end, key=lambda table: table.start)
        tables = self.tables[first:last]
        if tables:
            starts = [table.start for table in tables]
            ends = [0, *(table.end for table in tables)]
            cuts = [at for at in cuts if at >= ends[bisect_left(starts, at)]]
            cuts = sorted([*cuts, *starts, *ends[1:]])
        return [section.start, *cuts, section.end]

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """The same range without the white space around it."""
        piece = self.text[start:end]
        return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _pack(ruler: _Ruler, section: Section) -> list[PassageSpan]:
    """One section's chunks: sentences in order, as many as fit."""
    spans: list[tuple[int, int]] = []
    for start, end in _sentences(ruler, section):
        if spans and ruler.count(spans[-1][0], end) <= ruler.target:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    if len(spans) > 1 and ruler.count(*spans[-1]) < ruler.tiny:
        (start, _), (_, end) = spans[-2:]
        if ruler.count(start, end) <= ruler.limit:
            spans[-2:] = [(start, end)]
    return [PassageSpan(start, end, section.heading, section.page) for start, end in spans]


def _sentences(ruler: _Ruler, section: Section) -> Iterator[tuple[int, int]]:
    """The section's sentences, trimmed, those over the target cut at word borders."""
    for left, right in pairwise(ruler.borders(section)):
        start, end = ruler.trim(left, right)
        if start >= end:
            continue
        if ruler.count(start, end) <= ruler.target:
            yield start, end
        else:
            yield from _cut(ruler, start, end)


def _cut(ruler: _Ruler, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut what is too long before the lines that no longer fit, or the words of such a line."""
    piece = None
    for part_start, part_end in _parts(ruler, start, end):
        if piece and ruler.count(piece[0], part_end) <= ruler.target:
            piece = (piece[0], part_end)
            continue
        if piece:
            yield piece
        piece = (part_start, part_end)
    if piece:
        yield piece


def _parts(ruler: _Ruler, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Lines: a table's rows are kept whole. One that alone is over the target gives its words."""
    for line in _LINE.finditer(ruler.text, start, end):
        left, right = ruler.trim(*line.span())
        if ruler.count(left, right) <= ruler.target:
            if left < right:
                yield left, right
        else:
            yield from _words(ruler, left, right)


def _words(ruler: _Ruler, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Words; one that alone is over the target (base64, say) is cut where a token starts."""
    for word in _WORD.finditer(ruler.text, start, end):
        left, right = word.span()
        first, last = bisect_left(ruler.starts, left), bisect_left(ruler.starts, right)
        cuts = ruler.starts[first + ruler.target : last : ruler.target]
        borders = [left, *cuts, right]
        yield from pairwise(borders)
