"""Borders between characters as a reader sees them: no accent, emoji or flag is split.

A short form of the rules for grapheme clusters in Unicode Annex 29, which the standard library does
not have. Indices count Python characters.
"""

import unicodedata

MAX_CHARACTER = 64
"""Python characters that one visible character has at most. Longer ones, of stacked accents, are
split."""

_JOINER, _FLAGS, _SKIN_TONES = "\u200d", range(0x1F1E6, 0x1F200), range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)  # the letters of a subdivision's flag
_ATTACHED = ("Mn", "Mc", "Me")
_VOWEL_SIGNS = "\u0e33\u0eb3"  # of Thai and Lao, which Unicode counts as letters
_HANGUL_VOWELS, _HANGUL_TAILS = range(0x1160, 0x11A8), range(0x11A8, 0x1200)
_HANGUL = range(0x1100, 0x1200)


def is_border(text: str, index: int) -> bool:
    """Whether a visible character begins at `index`, or the text ends there."""
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if after < "\u0300":
        return (before, after) != ("\r", "\n")
    if after == _JOINER or after in _VOWEL_SIGNS or unicodedata.category(after) in _ATTACHED:
        return before.isspace()
    code = ord(after)
    if before == _JOINER or code in _SKIN_TONES or code in _TAGS:
        return False
    if code in _FLAGS:
        return _flags_before(text, index) % 2 == 0
    return not (
        (code in _HANGUL_VOWELS or code in _HANGUL_TAILS)
        and (ord(before) in _HANGUL or "가" <= before <= "힣")
    )


def next_border(text: str, index: int) -> int:
    """The first border at `index` or after it, at most `MAX_CHARACTER` further."""
    last = min(index + MAX_CHARACTER, len(text))
    return next((border for border in range(index, last) if is_border(text, border)), last)


def last_border(text: str, index: int) -> int:
    """The last border at `index` or before it, at most `MAX_CHARACTER` before."""
    first = max(index - MAX_CHARACTER, 0)
    return next((border for border in range(index, first, -1) if is_border(text, border)), first)


def _flags_before(text: str, index: int) -> int:
    """How many letters of flags precede `index`; two are a flag."""
    start = index
    while start and index - start < MAX_CHARACTER and ord(text[start - 1]) in _FLAGS:
        start -= 1
    return index - start
