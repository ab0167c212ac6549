"""What fits of each hit of a ranking into a budget of tokens, nothing twice, and names of sources.

Knows no model and no index.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resift.rerank.values import without_surrogates
from resift.search.snippets import snippet
from resift.search.token_counts import MAX_CHARACTERS_PER_TOKEN, Count, count_tokens
from resift.types import Citation, Hit

LEFT_OUT = "…"
"""What stands for text of a hit that is left out."""

CUT_TOKENS = 200
"""A hit that is cut leaves some of what remains to the next ones, unless less than this remains."""

LEAST_TOKENS = 16
"""A shorter piece of a hit is left out."""

MAX_NAME_TOKENS = 60
"""A longer title or heading is cut."""

_HIDDEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Controls, marks that reverse the order of signs, and invisible letters."""

_LINE_ENDS = "\n\u2028\u2029"
_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff"
_BLANKS = f"(?:[^\\S{_LINE_ENDS}]|[{_INVISIBLE}])*"
_LIKE_A_SOURCE = re.compile(
    rf"(?<=[{_LINE_ENDS}])(?={_BLANKS}[\[\uff3b]{_BLANKS}\d+{_BLANKS}[\]\uff3d])"
)
"""Where a line begins as the line above a source does: ``[1]``, also behind invisible signs."""

DocumentKey = tuple[str, str, str | None]
"""The URI of an object, the id of a document in it, and the ETag."""


@dataclass(frozen=True, slots=True)
class Extract:
    """What a context has of a hit: characters `start` to `end`. `text` marks what is left out."""

    hit: Hit
    start: int
    end: int
    text: str
    is_cut: bool


def extract(
    query: str,
    hits: Sequence[Hit],
    max_tokens: int,
    overhead: Callable[[int, Hit], int],
    count: Count = count_tokens,
) -> tuple[list[Extract], list[Hit]]:
    """What fits of each hit, in rank order, and the hits that did not fit.

    A hit that does not fit whole is cut at sentences round its best part, or left out. Of passages
    of one document that overlap, the shared text is there once; a hit whose text is all there
    already, and one without text, is neither extracted nor left out. `overhead` is how many tokens
    the source with a number, from 1, needs beside its text.
    """
    extracts: list[Extract] = []
    of_documents: defaultdict[DocumentKey | None, list[Extract]] = defaultdict(list)
    left_out: list[Hit] = []
    remaining = max_tokens
    for index, hit in enumerate(hits):
        document = document_of(hit)
        text = _new_text(hit, of_documents[document] if document else [])
        if text.is_empty:
            continue
        room = remaining - overhead(len(extracts) + 1, hit)
        is_last = index == len(hits) - 1
        limit = room if is_last else max(room // 2, min(room, CUT_TOKENS))
        part = _whole(text, room, count) or _part(text, query, limit, count)
        if part is None:
            left_out.append(hit)
            continue
        extracts.append(part)
        of_documents[document].append(part)
        remaining = room - count(part.text)
    return extracts, left_out


def heading(number: int, hit: Hit) -> str:
    """The line above a source: ``[1] title — heading (uri, page 3)``."""
    return source_line(
        number, hit, hit.citation, () if hit.citation is None else position(hit.citation)
    )


def source_line(number: int, hit: Hit, citation: Citation | None, where: Sequence[str]) -> str:
    """The line above a source, with the names of a citation and where its text is."""
    names = [name_of(hit.title)]
    if citation is None:
        names[0] = names[0] or name_of(hit.id)
        return f"[{number}] {names[0]}"
    if (section := name_of(citation.heading)) != names[0]:
        names.append(section)
    return f"[{number}] {' — '.join(filter(None, names))} ({', '.join(where)})"


def position(citation: Citation) -> list[str]:
    """Where a text is: the URI of its object, and its page, row or line."""
    parts = [on_one_line(citation.uri)]
    if citation.page is not None:
        parts.append(f"page {citation.page}")
    elif citation.row is not None:
        parts.append(f"row {citation.row}")
    elif citation.line is not None:
        parts.append(f"line {citation.line}")
    return parts


def name_of(text: str) -> str:
    """A title or heading on one line, cut if it is long."""
    characters = MAX_NAME_TOKENS * MAX_CHARACTERS_PER_TOKEN
    line = " ".join(readable(text[:characters]).split())
    if count_tokens(line) <= MAX_NAME_TOKENS and len(text) <= characters:
        return line
    piece = snippet(line, "", MAX_NAME_TOKENS - 1)
    return f"{piece.text if piece else ''}{LEFT_OUT}"


def escaped(parts: Sequence[str], *, is_continued: bool = False) -> list[str]:
    """The parts of a text with a backslash before each line that looks like one above a source.

    `is_continued` says that the first part does not begin a line.
    """
    before = LEFT_OUT if is_continued else "\n"
    lines = deque(match.start() - 1 for match in _LIKE_A_SOURCE.finditer(before + "".join(parts)))
    escaped_parts: list[str] = []
    at = 0
    for part in parts:
        pieces, start, end = [], at, at + len(part)
        while lines and lines[0] < end:
            pieces.append(part[start - at : lines[0] - at])
            start = lines.popleft()
        escaped_parts.append("\\".join([*pieces, part[start - at :]]))
        at = end
    return escaped_parts


def on_one_line(text: str) -> str:
    """A readable text of the same length without line ends and tabs."""
    return readable(text).replace("\n", " ").replace("\t", " ")


def readable(text: str) -> str:
    """A text of the same length, with spaces for control characters and U+FFFD for surrogates."""
    return without_surrogates(_HIDDEN.sub(" ", text))


@dataclass(frozen=True, slots=True)
class _Text:
    """Characters `start` to `end` of the readable text of a hit."""

    hit: Hit
    text: str
    start: int
    end: int

    @property
    def is_empty(self) -> bool:
        return not self.text[self.start : self.end].strip()

    def part(self, start: int, end: int) -> Extract:
        """The extract of a range, with marks where text is left out."""
        before = f"{LEFT_OUT} " if self.text[:start].strip() else ""
        after = f" {LEFT_OUT}" if self.text[end:].strip() else ""
        text = f"{before}{self.text[start:end].strip()}{after}"
        return Extract(self.hit, start, end, text, bool(before or after))


def _whole(text: _Text, room: int, count: Count) -> Extract | None:
    """All of a text, if it fits."""
    if text.end - text.start > room * MAX_CHARACTERS_PER_TOKEN:
        return None
    part = text.part(text.start, text.end)
    return part if count(part.text) <= room else None


def _part(text: _Text, query: str, limit: int, count: Count) -> Extract | None:
    """The best part of a text; None if the room is too small."""
    if limit < LEAST_TOKENS:
        return None
    start, end = text.start, text.end
    read = (max(text.hit.span[0], start) - start, min(text.hit.span[1], end) - start)
    span = read if read[0] < read[1] else None
    piece = snippet(text.text[start:end], query, limit - 2 * count(LEFT_OUT), span, count)
    return None if piece is None else text.part(start + piece.start, start + piece.end)


def _new_text(hit: Hit, earlier: Sequence[Extract]) -> _Text:
    """The longest range of a hit's text that earlier extracts of its document do not have."""
    ranges = [(0, len(hit.text))]
    for part in earlier:
        shift = _start(part.hit) - _start(hit)
        start, end = part.start + shift, part.end + shift
        ranges = [
            piece
            for first, last in ranges
            for piece in ((first, min(last, start)), (max(first, end), last))
            if piece[0] < piece[1]
        ]
    start, end = max(ranges, key=lambda piece: piece[1] - piece[0], default=(0, 0))
    return _Text(hit, readable(hit.text), start, end)


def document_of(hit: Hit) -> DocumentKey | None:
    """The document of a hit; None if its citation is not one of its text."""
    citation = hit.citation
    if citation is None or citation.end - citation.start != len(hit.text):
        return None
    return citation.uri, citation.doc_id, citation.etag


def _start(hit: Hit) -> int:
    return hit.citation.start if hit.citation else 0
