r"""The characters of words, as regular expressions: scripts with and without spaces, emoji.

Python's ``\w`` leaves out combining marks, of which words of Hindi, Thai or Arabic have many. The
classes are made at their first use.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

# No spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), or none before suffixes
# (Korean).
_UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x2E80, 0x2FDF),
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3040, 0x30FF), (0x3100, 0x318F), (0x31A0, 0x31BF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA48F), (0xA960, 0xA97F), (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
# Higher planes have no letters of living scripts but those of `_UNSPACED`.
_LAST = 0x1FFFF
# They join the next consonant to a cluster: Khmer's coeng, Burmese's virama.
_STACKERS = "\u17d2\u1039"
_EMOJI = (
    "[\U0001f1e6-\U0001f1ff]{2}|[\u231a-\u2328\u232b-\u23ff\u2600-\u2767\u2776-\u27bf\u2b00-\u2bff"
    "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
)
# Between the words of an identifier, a path, an address, a number or a contraction.
_CONNECTOR = r"(?:[.\-@'+#&]|[:/\\]{1,3}|,(?=\d{3}(?!\d)))"
_URL = r"[A-Za-z][A-Za-z0-9+.\-]{1,15}://[^\s<>\"'`()\[\]{}]*[^\s<>\"'`()\[\]{}.,;:!?*]"


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script whose words have no spaces between them."""
    code = ord(character)
    return code >= _UNSPACED[0][0] and any(first <= code <= last for first, last in _UNSPACED)


@cache
def tokens() -> re.Pattern[str]:
    """The pattern of a token.

    Its groups are a URL, a run of a script without spaces, and a word or compound; a match without
    a group is an emoji. A compound has the dash, dot or sign before it (``--flag``, ``.NET``,
    ``$VAR``) and the ``++`` or ``#`` after it.
    """
    run, word = _unspaced_class(), f"[{_ranges(_word_codes())}]"
    sign = r"(?:(?<![^\s(\[{<\"'`,=|])(?:--?|[.@$#%]))?"
    compound = rf"{sign}{word}+(?:{_CONNECTOR}{word}+)*(?:\+\+|#)?"
    return re.compile(f"({_URL})|({run}+)|({compound})|{_EMOJI}")


@cache
def clusters() -> re.Pattern[str]:
    """The pattern of one character with its combining marks, in a run without spaces."""
    unspaced = [code for first, last in _UNSPACED for code in range(first, min(last, _LAST) + 1)]
    marks = _ranges(code for code in unspaced if unicodedata.category(chr(code))[0] == "M")
    return re.compile(f".[{marks}]*(?:(?<=[{_STACKERS}])[^{marks}][{marks}]*)*")


@cache
def _unspaced_class() -> str:
    inner = [code for first, last in _UNSPACED[:-1] for code in range(first, last + 1)]
    letters = _ranges(code for code in inner if unicodedata.category(chr(code))[0] in "LM")
    ideographs = "".join(map(chr, (_UNSPACED[-1][0], ord("-"), _UNSPACED[-1][1])))
    return f"[{letters}\u3007\u3021-\u3029{ideographs}]"


def _word_codes() -> Iterator[int]:
    """Letters, digits, marks and the underscore, without those of `_unspaced_class`."""
    unspaced = re.compile(_unspaced_class())
    for code in range(_LAST + 1):
        character = chr(code)
        is_word = unicodedata.category(character)[0] in "LMN" or character == "_"
        if is_word and not unspaced.match(character):
            yield code


def _ranges(codes: Iterable[int]) -> str:
    """The inside of a character class for ascending codes."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)
