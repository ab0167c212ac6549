"""A text in parts that can be left out one by one: its sentences, lines and list items.

Pure: a text in, places out. Knows some abbreviations of English and German and the stops of other
scripts, no language's grammar: where it is in doubt it leaves two sentences together.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

MOST_PARTS = 60
"""More sentences than this are joined with their neighbours: each costs a reading of its own."""

LONGEST = 400
"""In characters: a longer part says little about where in it something stands."""

_STOP = re.compile(r"""\n|[.!?…]+(?:[)\]}"'”’»]|[ \xa0\u202f]»)*|[。！？｡]+[」』）”’]*|[।॥؟۔]+""")
_SPACE = re.compile(r"\s*")
_ITEM = re.compile(r"[-*•‣–+][ \t]|\(?\w{1,3}[.)][ \t]|[|#>]")
_OPENERS = "\"'“„‘«»([{¿¡*_`"
_WIDE = "。！？｡"  # scripts without spaces
_DOTTED = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # J., e.g., U.S.
_SHORT = frozenset("mr mrs ms dr prof st vs cf al approx ca bzw vgl".split())
_BEFORE_NUMBERS = frozenset("no nr fig figs eq sec ch vol p pp abb art".split())
_WORD = 12  # characters that are looked back for an abbreviation


def sentences(text: str, most: int = MOST_PARTS) -> list[tuple[int, int]]:
    """``(start, end)`` of each part in order; together they are the whole text, at most `most`.

    The space behind a sentence belongs to it.
    """
    cuts = [0, *_beginnings(text), len(text)]
    ends = [cut for start, end in pairwise(cuts) for cut in _pieces(text, start, end)]
    return list(pairwise([0, *_joined(ends, most)]))


def _beginnings(text: str) -> Iterator[int]:
    """Where a part begins, but the first."""
    place = 0
    while stop := _STOP.search(text, place):
        line_end = stop[0] == "\n"
        gap = stop.start() if line_end else stop.end()
        place = _after(_SPACE, text, gap)
        if place < len(text) and _parts(text, stop, gap, place):
            yield place
        place = max(place, stop.end())


def _parts(text: str, stop: re.Match[str], gap: int, begin: int) -> bool:
    """Whether a part ends at `stop` and another begins at `begin`, after the space from `gap`."""
    lines = text.count("\n", gap, begin)
    if lines > 1 or (lines and _ITEM.match(text, begin)):
        return True
    if stop[0][0] in _WIDE:
        return True
    goes_on = text[_first_letter(text, begin)].islower()
    if stop[0] == "\n":
        return not goes_on and text[stop.start() - 1 : stop.start()] not in (",", ";", "-")
    return gap < begin and not goes_on and not _abbreviates(text, stop, begin)


def _first_letter(text: str, place: int) -> int:
    """The next character that is no opening quote or bracket, if there is one."""
    for ahead in range(place, min(place + 4, len(text))):
        if text[ahead] not in _OPENERS:
            return ahead
    return place


def _abbreviates(text: str, stop: re.Match[str], begin: int) -> bool:
    """Whether the full stop belongs to the word before it: ``Dr.``, ``e.g.``, ``No. 5``, ``1.``"""
    if stop[0] != ".":
        return False
    back = max(stop.start() - _WORD, 0)
    line = text[back : stop.start()].rpartition("\n")[2]
    word = line.split()[-1].lstrip("([\"'“") if line.split() else ""
    if word.isdecimal():
        starts_line = len(line) < stop.start() - back or back == 0
        return starts_line and line.strip() == word  # the number of a list's item
    if word.lower() in _BEFORE_NUMBERS:
        return text[begin].isdecimal()
    return word.lower() in _SHORT or bool(_DOTTED.fullmatch(word))


def _pieces(text: str, start: int, end: int) -> Iterator[int]:
    """Ends of the pieces of a part, none over `LONGEST`: after a space where there is one."""
    while end - start > LONGEST:
        space = text.rfind(" ", start + LONGEST // 2, start + LONGEST)
        start = start + LONGEST if space < 0 else space + 1
        yield start
    if end > start:
        yield end


def _joined(ends: list[int], most: int) -> list[int]:
    """Ends with neighbours joined, so that there are no more than `most` parts."""
    if len(ends) <= most:
        return ends
    size = ends[-1] / most
    kept, start = [], 0
    for end in ends[:-1]:
        if end - start >= size:
            kept.append(end)
            start = end
    return [*kept, ends[-1]]


def _after(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where a pattern that matches anywhere ends."""
    found = pattern.match(text, place)
    return found.end() if found else place
