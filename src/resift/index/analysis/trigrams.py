"""The analyser for parts of words: each three characters in a row, as in part numbers and logs."""

from dataclasses import replace

from resift.index.analysis.characters import is_unspaced
from resift.index.analysis.identifiers import bounded
from resift.index.analysis.stemming import fold, lower
from resift.index.analysis.terms import Token, Tokens
from resift.index.analysis.words import grams

_SIZE = 3


def trigrams(chunk: str) -> Tokens:
    """The trigrams of a part of a text, which has no white space, as one token.

    A query of three characters or more matches anywhere. Pairs in scripts without spaces, where
    words are shorter.
    """
    exact = lower(chunk)
    if any(map(is_unspaced, exact)):
        token = replace(grams(exact), words=(bounded(exact),))
    else:
        plain = fold(exact)
        starts = range(max(1, len(plain) - _SIZE + 1))
        token = Token(tuple(plain[at : at + _SIZE] for at in starts), (bounded(exact),))
    return ((chunk, token),)
