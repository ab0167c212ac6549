"""Words that tell nothing about a query's subject; for English only.

BM25 gives the common words of each language a small weight. The list saves time, and the words of
a question: "what does … do" is more often in questions than in their answers.
"""

from collections.abc import Sequence

from resift.index.analysis.spec import ENGLISH

_STOP_WORDS = frozenset(
    "a about all also am an and any are as at be been being but by can could did do does dont for "
    "from had has have he her his how i if in into is it its just may me might must my no not of "
    "on or our shall she should so some such than that the their them then there these they this "
    "those to us was we were what when where which who whom whose why will with would you your"
    .split()
)  # fmt: skip
# In queries of so few words a stop word may be the point: vitamin a, let it be.
_SHORT = 3


def without_stop_words(words: Sequence[str], language: str) -> list[bool]:
    """Whether each word of a query, as it was typed, is searched for.

    Stop words are, if the query has little else (to be or not to be), and if they are names (The
    Who, the IT department): capitals in a query whose other words are not capitalised.
    """
    if language != ENGLISH:
        return [True] * len(words)
    is_stop = [word.replace("'", "").casefold() in _STOP_WORDS for word in words]
    pairs = list(zip(words, is_stop, strict=True))
    if any(word[:1].islower() and not stop for word, stop in pairs):
        is_stop = [stop and not _is_name(word, at) for at, (word, stop) in enumerate(pairs)]
    others = is_stop.count(False)
    if not others or (others == 1 and len(words) <= _SHORT):
        return [True] * len(words)
    return [not stop for stop in is_stop]


def _is_name(word: str, at: int) -> bool:
    if at and word[:1].isupper():
        return word != "I"
    return len(word) > 1 and word.isupper()
