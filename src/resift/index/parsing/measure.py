"""How long a text is: where the bundled tokenizer's tokens begin in it. Light to import.

Knows the second stage's room, and only its tokenizer.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.tokenization import Tokens, load_tokenizer

# Characters that are read at once: the tokenizer keeps some 200 bytes a token.
_WINDOW = 1 << 16
# A word longer than this is one unknown token to the tokenizer, however long it is.
_LONGEST_WORD = 100
# So it is counted as a token for each of so many characters.
_UNKNOWN = 16


def token_starts(text: str) -> NDArray[np.int64]:
    """The character at which each token of `text` begins, ascending, ``(n,)``."""
    tokens = _tokens()
    parts = [np.empty(0, np.int64)]
    at = 0
    while at < len(text):
        end = _border(text, at)
        parts.append(tokens.starts(text[at:end]) + at)
        at = end
    return _fill(np.concatenate(parts), len(text))


@cache
def _tokens() -> Tokens:
    return Tokens(load_tokenizer(BUNDLED / TOKENIZER), _WINDOW)


def _border(text: str, at: int) -> int:
    """Where to stop reading: behind a space, for no token goes across one."""
    end = at + _WINDOW
    if end >= len(text):
        return len(text)
    border = max(text.rfind(" ", at, end), text.rfind("\n", at, end)) + 1
    return border if border > at else end


def _fill(starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Add starts inside words that the tokenizer does not read."""
    ends = np.append(starts[1:], length)
    (places,) = np.nonzero(ends - starts > _LONGEST_WORD)
    if not len(places):
        return starts
    inside = [np.arange(starts[i] + _UNKNOWN, ends[i], _UNKNOWN) for i in places]
    return np.sort(np.concatenate([starts, *inside]))
