"""Windows of a long document: where they begin and end, and which of them are worth reading.

A window begins at a sentence, and ends where it is full. The next one begins at a sentence before
that end, so that each sentence is whole in one of them. All of this depends on the query and the
document alone, and so does the document's logit. Pure: text and token ids in, ranges out. Knows no
model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.rerank.characters import is_border, last_border, next_border
from resift.rerank.sentences import sentence_starts
from resift.rerank.text_tokens import Ids

MAX_DOCUMENT_TOKENS = 32_768
"""Tokens of a document that windows are made of; later ones count as dropped. They are some hundred
pages, and a tokenizer takes a fifth of a second for them."""

HURRIED_TOKENS = 4_096
"""The same under a deadline: reading a list of long documents must leave time to score them."""

_LOOK_BACK = 16  # tokens, for a space to end a window at


@dataclass(frozen=True, slots=True)
class Sizes:
    """A window has at most `tokens` tokens, or what the model has room for if that is less.

    It begins at the first sentence within the last `overlap` tokens of the one before, or at the
    first of these. Of a document at least `most` windows are read, and more only if they have no
    more tokens than `share` times what is read of a cut document.
    """

    tokens: int = 256
    overlap: int = 64
    most: int = 4
    share: float = 2.0

    def window(self, room: int) -> int:
        """Tokens of a window, for a model with room for `room` tokens of a document."""
        return min(self.tokens, room)

    def count(self, room: int) -> int:
        """The most windows of a document."""
        return max(self.most, int(self.share * room / self.window(room)))


SIZES = Sizes()
"""LOG.md and ``benchmarks/windows.py`` have what other sizes cost and give."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `begin` to `end` of a document; they are the characters `start` to `stop`."""

    begin: int
    end: int
    start: int
    stop: int


def split(text: str, ends: Ids, size: int, overlap: int) -> list[Window]:
    """Windows of at most `size` tokens that together are all tokens, in order.

    `ends` has for each token the character at which it ends.
    """
    starts = np.array([0, *_sentences(text, int(ends[-1]))], np.int64)
    borders = np.unique(np.searchsorted(ends, starts, side="right"))
    overlap = min(overlap, size // 4)
    windows: list[Window] = []
    begin = 0
    while True:
        end = begin + size
        end = len(ends) if end >= len(ends) else _cut(text, ends, end, begin + size // 2)
        windows.append(_window(text, ends, begin, end))
        if end == len(ends):
            return windows
        begin = max(_next_begin(text, ends, borders, end, overlap), begin + 1)


def choose(ids: Ids, windows: Sequence[Window], query: Ids, count: int) -> list[Window]:
    """At most `count` of a document's windows: those that match best, best first.

    `ids` are the document's tokens, `query` the query's. A window's match is the sum over the
    query's tokens in it; a token weighs less the more of the windows have it. Of equal windows the
    first comes first.
    """
    tokens = np.unique(query)
    present = np.array([np.isin(tokens, ids[part.begin : part.end]) for part in windows])
    weights = np.log1p(len(windows) / np.maximum(present.sum(axis=0), 1))
    best: NDArray[np.intp] = np.argsort(-(present @ weights), kind="stable")[:count]
    return [windows[number] for number in best.tolist()]


def _sentences(text: str, stop: int) -> list[int]:
    return [start for start in sentence_starts(text[:stop]) if start < stop]


def _window(text: str, ends: Ids, begin: int, end: int) -> Window:
    """A window of a range of tokens, with all of the characters that its tokens are part of."""
    stop = len(text) if end == len(ends) else next_border(text, int(ends[end - 1]))
    if not begin:
        return Window(0, end, 0, stop)
    start = next_border(text, int(ends[begin - 1]))
    if start >= ends[begin]:  # the first token is a part of a character that began before it
        return Window(begin, end, last_border(text, max(int(ends[begin]) - 1, 0)), stop)
    while text[start].isspace():
        start += 1
    return Window(begin, end, start, stop)


def _next_begin(text: str, ends: Ids, borders: Ids, end: int, overlap: int) -> int:
    """Where a window after one that ends at `end` begins."""
    number = int(np.searchsorted(borders, end - overlap, side="left"))
    if number < len(borders) and borders[number] <= end:
        return int(borders[number])
    return _cut(text, ends, end - overlap, end - 2 * overlap)


def _cut(text: str, ends: Ids, token: int, lowest: int) -> int:
    """The last token at `token` or before, and after `lowest`, at which no word is split.

    In a script without spaces, or in a long word, one at which no character is split.
    """
    candidates = range(token, max(token - _LOOK_BACK, lowest), -1)
    for candidate in candidates:
        before = int(ends[candidate - 1])
        if text[before - 1 : before].isspace() or text[before : before + 1].isspace():
            return candidate
    clean = (n for n in candidates if ends[n - 1] < ends[n] and is_border(text, int(ends[n - 1])))
    return next(clean, token)
