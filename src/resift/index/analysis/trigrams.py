"""The analyser for parts of words: each three characters in a row, as in part numbers and logs."""

from resift.index.analysis.characters import is_unspaced
from resift.index.analysis.identifiers import bounded
from resift.index.analysis.stemming import fold, lower
from resift.index.analysis.terms import Token
from resift.index.analysis.words import grams

_SIZE = 3


class Trigrams:
    """Tokens of three characters each; a query of three characters or more is found anywhere.

    Pairs in scripts without spaces, where words are shorter.
    """

    def __call__(self, chunk: str) -> tuple[tuple[str, Token], ...]:
        """The trigrams of a part of a text, which has no white space."""
        return ((chunk, _token(chunk)),)


def _token(name: str) -> Token:
    exact = lower(name)
    if any(map(is_unspaced, exact)):
        pairs = grams(exact)
        return Token(pairs.terms, (bounded(exact),), (), pairs.also)
    plain = fold(exact)
    starts = range(max(1, len(plain) - _SIZE + 1))
    return Token(tuple(plain[at : at + _SIZE] for at in starts), (bounded(exact),))
