"""A text's sentences, lines and list items, by their positions.

Knows some abbreviations of English and German and the full stops of other scripts, but no grammar:
in doubt, two sentences stay together.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

MOST_PARTS = 60
"""More sentences than this are joined with their neighbours: each costs the model a row."""

LONGEST = 400
"""In characters: longer parts are cut, since they say little about where the effect is."""

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
    """``(start, end)`` of each part in order, at most `most`; together they are the whole text.

    The space after a sentence belongs to it.
    """
    cuts = [0, *_starts(text), len(text)]
    ends = [cut for start, end in pairwise(cuts) for cut in _cut(text, start, end)]
    return list(pairwise([0, *_joined(ends, most)]))


def _starts(text: str) -> Iterator[int]:
    """Where each part but the first starts."""
    position = 0
    while stop := _STOP.search(text, position):
        gap = stop.start() if stop[0] == "\n" else stop.end()
        space = _SPACE.match(text, gap)
        position = space.end() if space else gap
        if position < len(text) and _is_boundary(text, stop, gap, position):
            yield position
        position = max(position, stop.end())


def _is_boundary(text: str, stop: re.Match[str], gap: int, begin: int) -> bool:
    """Whether a part ends at `stop` and another starts at `begin`, after the space from `gap`."""
    lines = text.count("\n", gap, begin)
    if lines > 1 or (lines and _ITEM.match(text, begin)):
        return True
    if stop[0][0] in _WIDE:
        return True
    goes_on = text[_first_letter(text, begin)].islower()
    if stop[0] == "\n":
        return not goes_on and text[stop.start() - 1 : stop.start()] not in (",", ";", "-")
    return gap < begin and not goes_on and not _abbreviates(text, stop, begin)


def _first_letter(text: str, position: int) -> int:
    """The next character that is not an opening quote or bracket, if there is one."""
    for ahead in range(position, min(position + 4, len(text))):
        if text[ahead] not in _OPENERS:
            return ahead
    return position


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


def _cut(text: str, start: int, end: int) -> Iterator[int]:
    """Ends of the pieces of a part, none longer than `LONGEST`; cut after a space if possible."""
    while end - start > LONGEST:
        space = text.rfind(" ", start + LONGEST // 2, start + LONGEST)
        start = start + LONGEST if space < 0 else space + 1
        yield start
    if end > start:
        yield end


def _joined(ends: list[int], most: int) -> list[int]:
    """The ends of at most `most` parts: neighbours are joined."""
    if len(ends) <= most:
        return ends
    size = ends[-1] / most
    joined, start = [], 0
    for end in ends[:-1]:
        if end - start >= size:
            joined.append(end)
            start = end
    return [*joined, ends[-1]]
