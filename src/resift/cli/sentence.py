"""The sentence of a passage that answers a query, as far as words in common can tell.

Cheap and honest: nothing is read by a model for it, and where no word is shared none is marked.
"""

import math
import re
import unicodedata
from collections import Counter

from resift.rerank.sentences import sentences

_WORD = re.compile(r"[^\W_]+")
_LOOKED_AT = 20_000  # characters of a text; what is read of it is far less
_STEM = 5  # letters: "delete", "deleted" and "deletion" have them in common
_WEIGHT = 8  # of a word at most, by its length: long ones are rare
_SHORT = 100  # characters: sentences below it are hardly preferred to each other


def best_sentence(query: str, text: str) -> tuple[int, int] | None:
    """``(start, end)`` of the sentence that shares most with a query, the first of equals.

    Long words count more than short ones, words of few sentences more than those of many, and a
    long sentence has to share more. None where nothing is shared.
    """
    wanted = _terms(query)
    parts = sentences(text[:_LOOKED_AT], max_parts=_LOOKED_AT)
    shared = [wanted & _terms(text[start:end]) for start, end in parts]
    common = Counter(term for terms in shared for term in terms)
    best, most = None, 0.0
    for (start, end), terms in zip(parts, shared, strict=True):
        weight = sum(min(len(term), _WEIGHT) / common[term] for term in terms)
        weight /= math.sqrt(_SHORT + end - start)
        if weight > most:
            best, most = (start, end), weight
    return best


def _terms(text: str) -> set[str]:
    """Words in small letters, cut to their stems; each character of scripts without spaces."""
    terms: set[str] = set()
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        if unicodedata.east_asian_width(word[0]) in "WF":
            terms.update(word)
        else:
            terms.add(word[:_STEM])
    return terms
