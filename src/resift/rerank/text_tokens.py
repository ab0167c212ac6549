"""A text's tokens, one slice of characters at a time, and no more of them than needed.

A slice ends at the start of a word, as the tokenizer's pre-tokenizer splits words, and the next
slice begins there. So the tokens are the same as those of the whole text, with or without spaces,
and memory does not grow with its length. Knows no model and no limit on tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SLICE = 8_192
"""Characters that are tokenised at once. A tokenizer takes a millisecond and some 200 kB for a
thousand. A longer word is cut, or is one unknown token."""

Ids = NDArray[np.int64]

Wanted = Literal["beginning", "count", "all"]
"""Of a long text: the tokens of its beginning, the number of the others too, or all tokens."""


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text's tokens without special ones: the first ids, ``(n,)``, and how many more follow.

    `ends` has for each id the character of the text at which it ends, ascending; None if not known.
    Without `counted`, more than `rest` tokens follow.
    """

    ids: Ids
    ends: Ids | None = None
    rest: int = 0
    counted: bool = True

    @property
    def total(self) -> int:
        """Tokens of the whole text; without `counted` a lower bound."""
        return len(self.ids) + self.rest


@dataclass(frozen=True, slots=True)
class Reader:
    """Tokenises texts slice by slice.

    `encode` returns the encoding of the tokenizers package. `longest_added` is the length of the
    longest added token; `skips_spaces` says that the tokenizer has no tokens for spaces. Some
    tokenizers put the token `marker` before a text, as before each word.
    """

    encode: Callable[[str], Any]
    longest_added: int
    skips_spaces: bool
    marker: int | None = None

    def read(self, text: str, max_tokens: int, wanted: Wanted) -> Iterator[TextTokens | None]:
        """None after each slice, so that a caller can check its deadline; then the tokens.

        `ids` has over `max_tokens` entries, unless the text has fewer.
        """
        ids, ends = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        read = rest = 0
        counted = True
        for part, stops in self._slices(text, min(max_tokens * 6, SLICE)):
            if read > max_tokens and wanted == "beginning":
                counted = False
                break
            if read > max_tokens and wanted == "count":
                rest += len(part)
            else:
                ids.append(part)
                ends.append(stops)
                read += len(part)
            yield None
        yield TextTokens(np.concatenate(ids), np.concatenate(ends), rest, counted)

    def _slices(self, text: str, first: int) -> Iterator[tuple[Ids, Ids]]:
        """(ids, ends) of slices in order; the first is of `first` characters."""
        at, size = 0, first
        inside = False  # in a word whose tokens are out; this slice begins with its last character
        cut = False  # the last slice ended inside a word
        while at < len(text):
            end = min(at + size, len(text))
            piece = text[at:end]
            if self.skips_spaces and piece.isspace():
                at, size, inside, cut = end, SLICE, False, False
                yield _NONE
                continue
            part = _TextSlice.of(piece, self.encode(piece))
            begin = part.continued() if inside else int(cut and part.has_marker(self.marker))
            if end == len(text):
                yield part.tokens(begin, len(part.ids), at)
                return
            stop, forward, inside = self._take(part, begin, len(piece), size)
            yield part.tokens(begin, stop, at)
            cut = stop == len(part.ids) and not inside
            at, size = at + forward, SLICE

    def _take(
        self, part: "_TextSlice", begin: int, length: int, size: int
    ) -> tuple[int, int, bool]:
        """(end token, characters to go forward, whether inside a word) of a slice."""
        if not len(part.ids):
            return 0, length, False
        if begin == len(part.ids):  # only the rest of a word
            return begin, *part.last_character(length)
        if stop := part.border(begin, length - self.longest_added):
            return stop, part.start(stop), False
        if part.offsets[0][0] and not begin:  # spaces before the only word
            return 0, part.offsets[0][0], False
        if begin and part.start(begin):
            return begin, part.start(begin), False
        if size < SLICE:
            return 0, 0, False
        if stop := part.border(begin, length):
            return stop, part.start(stop), False
        if len(part.ids) == 1:  # unknown: it stays one token, whatever follows
            return 1, *part.last_character(length)
        return len(part.ids), length, False


@dataclass(frozen=True, slots=True)
class _TextSlice:
    """A slice's tokens, and for each its word, first and last character."""

    text: str
    ids: Ids
    offsets: Sequence[tuple[int, int]]
    words: Sequence[int | None]

    @classmethod
    def of(cls, text: str, encoding: Any) -> "_TextSlice":
        ids = np.array(encoding.ids, np.int64)
        return cls(text, ids, encoding.offsets, encoding.word_ids)

    def tokens(self, begin: int, end: int, at: int) -> tuple[Ids, Ids]:
        stops = np.fromiter((stop for _, stop in self.offsets[begin:end]), np.int64, end - begin)
        return self.ids[begin:end], stops + at

    def has_marker(self, marker: int | None) -> bool:
        """Whether the first token is a marker of words that the text does not have."""
        return len(self.ids) > 1 and self.ids[0] == marker and self.text[0] not in _SPACES

    def continued(self) -> int:
        """How many tokens belong to the word that this slice begins in."""
        if not self.words or self.offsets[0][0]:
            return 0
        first = self.words[0]
        return next((n for n, word in enumerate(self.words) if word != first), len(self.words))

    def last_character(self, length: int) -> tuple[int, bool]:
        """(characters to go forward, whether inside a word), to the last one that a token has.

        Tokenizers leave out some characters; a slice of these alone would not be of the word.
        """
        last = self.offsets[-1][1] - 1
        return (last, True) if last > 0 else (length, False)

    def start(self, token: int) -> int:
        """Where a token's word begins, with the spaces before it, which some tokenizers read."""
        start, before = self.offsets[token][0], self.offsets[token - 1][1]
        while start > before and self.text[start - 1].isspace():
            start -= 1
        return start

    def border(self, begin: int, last: int) -> int:
        """The last token that begins a word at character `last` or before; 0 if there is none."""
        words, offsets = self.words, self.offsets
        for token in range(len(words) - 1, max(begin, 1) - 1, -1):
            begins = words[token] != words[token - 1] and 0 < offsets[token][0] <= last
            if begins and self.start(token):
                return token
        return 0


_SPACES = " \u2581"
_NONE = (np.empty(0, np.int64), np.empty(0, np.int64))
