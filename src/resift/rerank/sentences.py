"""Splits a text into sentences, lines and list items, for chunks and explanations.

Knows some abbreviations of English and German and the full stops of other scripts, but no grammar:
in doubt it does not split.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

MAX_PARTS = 60
"""With more sentences, neighbours are joined: an explanation scores each part."""

MAX_CHARACTERS = 400
"""A longer part would be too coarse to explain anything."""

_STOP = re.compile(r"""\n|[.!?…]+(?:[)\]}"'”’»]|[ \xa0\u202f]»)*|[。！？｡]+[」』）”’]*|[।॥؟۔]+""")
_SPACE = re.compile(r"\s*")
_ITEM = re.compile(r"[-*•‣–+][ \t]|\(?\w{1,3}[.)][ \t]|[|#>]")
_OPENERS = re.compile("[\"'“„‘«»([{¿¡*_`]{0,3}")
_WIDE_STOPS = "。！？｡"  # of scripts without spaces
_DOTTED = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # J., e.g., U.S.
_ABBREVIATIONS = frozenset("mr mrs ms dr prof st vs cf al approx ca bzw vgl".split())
_BEFORE_NUMBERS = frozenset("no nr fig figs eq sec ch vol p pp abb art".split())
_MAX_ABBREVIATION = 12


def sentences(text: str, max_parts: int = MAX_PARTS) -> list[tuple[int, int]]:
    """``(start, end)`` of each part in order; together they are the whole text.

    White space after a sentence belongs to it. Parts over `MAX_CHARACTERS` are cut; of more than
    `max_parts`, neighbours are joined.
    """
    cuts = [0, *sentence_starts(text), len(text)]
    ends = [cut for start, end in pairwise(cuts) for cut in _cut_to_length(text, start, end)]
    return list(pairwise([0, *_joined(ends, max_parts)]))


def sentence_starts(text: str, *, at_lines: bool = True) -> Iterator[int]:
    """The start of each sentence but the first, in order.

    With `at_lines`, for text whose lines are not wrapped, a line begins a sentence unless it
    continues one. List items and paragraphs always begin one.
    """
    at = 0
    while stop := _STOP.search(text, at):
        gap = stop.start() if stop[0] == "\n" else stop.end()
        space = _SPACE.match(text, gap)
        at = space.end() if space else gap
        if at < len(text) and _is_border(text, stop, gap, at, at_lines):
            yield at
        at = max(at, stop.end())


def _is_border(text: str, stop: re.Match[str], gap: int, start: int, at_lines: bool) -> bool:
    """Whether a sentence ends at `stop` and the next begins at `start`, after a gap at `gap`."""
    lines = text.count("\n", gap, start)
    if lines > 1 or (lines and _ITEM.match(text, start)) or stop[0][0] in _WIDE_STOPS:
        return True
    openers = _OPENERS.match(text, start)
    first = openers.end() if openers else start
    continues = text[first : first + 1].islower()
    if stop[0] == "\n":
        before = text[stop.start() - 1 : stop.start()]
        return at_lines and not continues and before not in (",", ";", "-")
    return gap < start and not continues and not _is_abbreviation(text, stop, start)


def _is_abbreviation(text: str, stop: re.Match[str], start: int) -> bool:
    """Whether the full stop belongs to the word before it: ``Dr.``, ``e.g.``, ``No. 5``, ``1.``"""
    if stop[0] != ".":
        return False
    first = max(stop.start() - _MAX_ABBREVIATION, 0)
    line = text[first : stop.start()].rpartition("\n")[2]
    words = line.split()
    word = words[-1].lstrip("([\"'“") if words else ""
    if word.isdecimal():
        is_whole_line = len(line) < stop.start() - first or first == 0
        return is_whole_line and line.strip() == word  # the number of a list item
    if word.lower() in _BEFORE_NUMBERS:
        return text[start].isdecimal()
    return word.lower() in _ABBREVIATIONS or bool(_DOTTED.fullmatch(word))


def _cut_to_length(text: str, start: int, end: int) -> Iterator[int]:
    """Ends of pieces of at most `MAX_CHARACTERS`, after spaces if possible."""
    while end - start > MAX_CHARACTERS:
        space = text.rfind(" ", start + MAX_CHARACTERS // 2, start + MAX_CHARACTERS)
        start = start + MAX_CHARACTERS if space < 0 else space + 1
        yield start
    if end > start:
        yield end


def _joined(ends: list[int], max_parts: int) -> list[int]:
    """The ends of at most `max_parts` parts, after joining neighbours."""
    if len(ends) <= max_parts:
        return ends
    size = ends[-1] / max_parts
    joined, start = [], 0
    for end in ends[:-1]:
        if end - start >= size:
            joined.append(end)
            start = end
    return [*joined, ends[-1]]
