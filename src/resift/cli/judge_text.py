"""Texts to judge, for terminal and page: without control characters, with marked query words."""

import re

_WORD = re.compile(r"\w+")
_STEM = 4  # letters; longer words match with other endings too
_STOP_WORDS = frozenset(
    "a about after all an and any are as at be before being by can could do does for from get has "
    "have how i if in into is it its me my no not of on one or our out should so some than that "
    "the their them there they this to too up was we what when where which who why will with "
    "without would you your".split()
)
Marked = list[tuple[str, bool]]


def harmless(text: str) -> str:
    """Replace control characters by spaces, except line ends."""
    return "\n".join(
        "".join(char if char.isprintable() else " " for char in line) for line in text.splitlines()
    )


def marked(text: str, query: str) -> Marked:
    """Split a text into pieces, each with whether it is a word of the query.

    Words of five letters or more match with other endings: *deleted* marks *deletes*.
    """
    pattern = _pattern(query)
    if pattern is None:
        return [(text, False)]
    pieces: Marked = []
    end = 0
    for match in pattern.finditer(text):
        pieces += [(text[end : match.start()], False), (match.group(), True)]
        end = match.end()
    pieces.append((text[end:], False))
    return [(piece, is_marked) for piece, is_marked in pieces if piece]


def _pattern(query: str) -> re.Pattern[str] | None:
    words = {word for word in _WORD.findall(query.lower()) if word not in _STOP_WORDS}
    if not words:
        return None
    return re.compile(rf"\b(?:{'|'.join(map(_any_ending, sorted(words)))})\b", re.IGNORECASE)


def _any_ending(word: str) -> str:
    if len(word) <= _STEM or not word.isalpha():
        return rf"{re.escape(word)}s?"
    return rf"{re.escape(word[: max(_STEM, len(word) - 2)])}\w{{0,4}}"
