"""Words to stems: case, accents and endings removed by the rules of a language.

The stems are Snowball's. PyStemmer's version is pinned: another one could give other stems, and
then queries would no longer match indexed words. Raise `spec.RULES` with it.
"""

import threading
import unicodedata
from typing import Any

from resift.extras import require
from resift.index.analysis.spec import NO_LANGUAGE

# Accents of Latin, Greek and Cyrillic; vowel points of Hebrew and Arabic, which most texts leave
# out; Arabic's tatweel. Marks of other scripts are parts of their letters.
_REMOVED = dict.fromkeys(
    [*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x64B, 0x653), 0x670, 0x640]
)
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)
# Their words have no accents, so borrowed ones are stemmed without: résumés like resumes.
_WITHOUT_ACCENTS = ("english", "indonesian")


def lower(word: str, language: str = "") -> str:
    """A word in lower case, with its accents, in NFC."""
    if language == "turkish":
        word = word.replace("İ", "i").replace("I", "ı")
    if word.isascii():
        return word.lower()
    word = unicodedata.normalize("NFC", word.casefold())
    return "".join(map(_ascii_digit, word)) if not word.isalpha() else word


def fold(word: str) -> str:
    """A word in lower case without accents; not empty."""
    if word.isascii():
        return word
    bare = unicodedata.normalize("NFD", word).translate(_REMOVED).translate(_LETTERS)
    return unicodedata.normalize("NFC", bare) or word


class Stems:
    """Stems of one language; ``none`` only removes accents. Threads may share it."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._lock = threading.Lock()  # Snowball's stemmers have a state
        self._stemmer: Any = None
        if language != NO_LANGUAGE:
            self._stemmer = require("Stemmer", "index").Stemmer(language, 0)

    def __call__(self, word: str) -> str:
        """The stem of a word in lower case, without accents."""
        if self.language in _WITHOUT_ACCENTS:
            return self._stem(fold(word))
        return fold(self._stem(word))

    def without_accents(self, word: str) -> str:
        """The stem of a word that was typed without its accents; often that of `__call__`."""
        return fold(self._stem(fold(word)))

    def _stem(self, word: str) -> str:
        if self._stemmer is None or (word.isascii() and not word.isalpha()):
            return word
        with self._lock:
            return str(self._stemmer.stemWord(word)) or word


def _ascii_digit(character: str) -> str:
    """The ASCII digit for a digit of any script; other characters as they are."""
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)
