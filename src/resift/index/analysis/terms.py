"""The terms of one token, and the text in which tokens are looked for."""

import unicodedata
from dataclasses import dataclass

from resift.index.normalisation import searchable

_APOSTROPHES = str.maketrans("’ʼ‘‛", "''''")

# NFKC takes these vowel signs of Thai and Lao apart, and one part would join the consonant.
_WHOLE_SIGNS = {"\u0e33": "\u0e4d\u0e32", "\u0eb3": "\u0ecd\u0eb2"}


@dataclass(frozen=True, slots=True)
class Token:
    """The terms of one token. No term has white space.

    `terms` are stems, parts and n-grams, `words` the exact words that differ from their stems, and
    `identifiers` those of several words. A document has more terms than a query of the same text:
    `also` are what other queries for it may be, such as a word without its accents.
    """

    terms: tuple[str, ...]
    words: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


Tokens = tuple[tuple[str, Token], ...]
"""Tokens with the names that they have in the text."""


def normalised(text: str) -> str:
    """The text in NFKC, without invisible characters, with one kind of apostrophe."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", searchable(text).translate(_APOSTROPHES))
    for sign, parts in _WHOLE_SIGNS.items():
        text = text.replace(parts, sign)
    return text
