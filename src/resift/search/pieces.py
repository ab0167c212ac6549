"""Ranges of documents that a context has: they merge where they touch, and grow by neighbours.

A piece grows within its section: the heading and the page of its passages, so that its citation
has one heading and one page. Knows no model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from resift.index.claims import citation_of
from resift.index.normalisation import searchable
from resift.index.table.ids import following_ids
from resift.index.table.rows import Passage
from resift.search.counters import Counter
from resift.search.extracts import LEFT_OUT, DocumentKey, Extract, document_of, escaped, readable
from resift.search.neighbours import Passages, Step, unique
from resift.types import Citation, Hit

MAX_RADIUS = 16
"""How many passages on each side of a hit are read at once, at most."""

LEAST_SHARE = 0.1
"""A hit whose score is below this share of the best one gets no neighbours."""

STEPS: tuple[Step, ...] = (1, -1)


@dataclass(slots=True)
class Piece:
    """Characters `start` to `end` of a document, or of the text of a hit that cites none.

    `parts` are their text; all but the first begin with what is between them and the part before.
    `hit` is the best hit in it, `hits` are the positions of all in the ranking, the best first.
    `edges` are the passages at both ends, as the index has them; None at an end that is cut, or if
    there is no index. `growing` are the directions in which it may grow.
    """

    hit: Hit
    hits: list[int]
    document: DocumentKey | None
    citation: Citation | None
    start: int
    end: int
    parts: list[str]
    passages: list[str]
    is_cut: tuple[bool, bool]
    edges: tuple[Passage | None, Passage | None] = (None, None)
    growing: list[Step] = field(default_factory=lambda: list(STEPS))

    @property
    def text(self) -> str:
        """The characters of the document."""
        return "".join(self.parts)

    @property
    def section(self) -> tuple[object, ...] | None:
        """Heading, page and row, which all of its passages have."""
        cited = self.citation
        return None if cited is None else (cited.heading, cited.page, cited.row)

    @property
    def exact_citation(self) -> Citation | None:
        """The citation of its text without white space at both ends."""
        if self.document is None or self.citation is None:
            return self.citation
        before, after = self._white_space
        start = self.start + before
        return replace(self.citation, start=start, end=self.end - after, line=self._line_of(start))

    def _line_of(self, start: int) -> int | None:
        """The line of a character of the document, counted from the line of the hit."""
        cited = self.hit.citation
        if cited is None or cited.line is None:
            return None
        if start > cited.start:
            return cited.line + self.hit.text.count("\n", 0, start - cited.start)
        lines = self.text.count("\n", start - self.start, cited.start - self.start)
        return cited.line - lines

    @property
    def exact_text(self) -> str:
        """The text of `exact_citation`."""
        before, after = self._white_space
        return self.text[before : len(self.text) - after]

    @property
    def _white_space(self) -> tuple[int, int]:
        """How many characters at both ends are shown as white space."""
        text = readable(self.text)
        return len(text) - len(text.lstrip()), len(text) - len(text.rstrip())

    @property
    def is_spaced(self) -> bool:
        """Whether each part begins with white space that the part before does not end with."""
        return all(
            after[:1].isspace() and not before[-1:].isspace()
            for before, after in pairwise(map(readable, self.parts))
        )

    def shown(self) -> list[str]:
        """The parts as they are shown, with marks where text of a hit is left out."""
        parts = [readable(part) for part in self.parts]
        parts[0] = parts[0].lstrip()
        parts[-1] = parts[-1].rstrip()
        before, after = self.is_cut
        parts = escaped(parts, is_continued=before)
        return [*([f"{LEFT_OUT} "] * before), *parts, *([f" {LEFT_OUT}"] * after)]


def piece_of(extract: Extract, index: int, passages: Passages) -> Piece:
    """The piece of an extract."""
    hit, text = extract.hit, extract.hit.text
    document = document_of(hit)
    shift = hit.citation.start if document and hit.citation else 0
    before, after = bool(text[: extract.start].strip()), bool(text[extract.end :].strip())
    edge = passages.of_hit(hit) if document else None
    return Piece(
        hit,
        [index],
        document,
        hit.citation,
        extract.start + shift,
        extract.end + shift,
        [text[extract.start : extract.end]],
        [hit.id],
        (before, after),
        (None if before else edge, None if after else edge),
    )


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, those that touch merged, in the order of their best hits."""
    waiting = sorted(pieces, key=lambda piece: (str(piece.document), piece.start, piece.hits))
    joined: list[Piece] = []
    for piece in waiting:
        gap = _gap(joined[-1], piece) if joined else None
        if gap is None:
            joined.append(piece)
        else:
            joined[-1] = _join(joined[-1], gap, piece)
    return sorted(joined, key=lambda piece: piece.hits)


def _gap(left: Piece, right: Piece) -> str | None:
    """The text between two pieces that touch; None if they do not."""
    if left.document is None or left.document != right.document or left.section != right.section:
        return None
    if left.end == right.start:
        return ""
    edge = left.edges[1]
    if edge is None or left.end + len(edge.after) != right.start:
        return None
    return edge.after


def _join(left: Piece, gap: str, right: Piece) -> Piece:
    best = min(left, right, key=lambda piece: piece.hits)
    return replace(
        left,
        hit=best.hit,
        hits=sorted([*left.hits, *right.hits]),
        end=right.end,
        parts=[*left.parts, gap + right.parts[0], *right.parts[1:]],
        passages=unique([*left.passages, *right.passages]),
        is_cut=(left.is_cut[0], right.is_cut[1]),
        edges=(left.edges[0], right.edges[1]),
        growing=list(STEPS),  # one that has ended ends again
    )


def radius(room: int, tokens: Sequence[int]) -> int:
    """How many passages to read on each side of texts of so many tokens, if so many may be added.

    Neighbours are about as long as they are. A text that ends earlier leaves its share to others.
    """
    return min(room // max(sum(tokens), 1) + 1, MAX_RADIUS)


def least_score(hits: Iterable[Hit]) -> float | None:
    """The score below which a hit does not grow: its neighbours are not worth their tokens."""
    best = max((hit.score for hit in hits if hit.score is not None), default=0.0)
    return LEAST_SHARE * best if best > 0.0 else None


def may_grow(hit: Hit, least: float | None) -> bool:
    """Whether a hit gets neighbours; one without a score does, because nothing speaks against."""
    return least is None or hit.score is None or hit.score >= least


class Growth:
    """Grows pieces in turn, best first, by one passage each, as long as passages fit.

    `least` is that of `least_score`. A weak piece that touches a better one grows with it.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        passages: Passages,
        count: Counter,
        room: int,
        least: float | None,
    ) -> None:
        self.pieces = list(pieces)
        self._least = least
        self._passages, self._count, self._room = passages, count, room
        self._texts = {key_of(piece.hit.text) for piece in pieces}

    def run(self) -> None:
        """Grow `pieces`. Raises `StoreError` if passages cannot be read."""
        while growing := [piece for piece in self.pieces if self._may_grow(piece)]:
            self._read_ahead(growing)
            for piece in growing:
                if any(piece is other for other in self.pieces):  # else it was joined
                    self._grow(piece)

    def _may_grow(self, piece: Piece) -> bool:
        return bool(piece.growing) and may_grow(piece.hit, self._least)

    def _read_ahead(self, growing: Sequence[Piece]) -> None:
        """Read as many neighbours as may fit, if the next of any piece was not read yet."""
        ends = [
            (edge, step)
            for piece in growing
            for step in piece.growing
            if (edge := piece.edges[step == 1]) is not None
        ]
        if all(self._passages.has_read_next(edge, step) for edge, step in ends):
            return
        steps = radius(self._room, [self._count(part) for piece in growing for part in piece.parts])
        self._passages.read(
            [id_ for edge, step in ends for id_ in islice(following_ids(edge.id, step), steps)]
        )

    def _grow(self, piece: Piece) -> None:
        """Add a passage after or before a piece, in turn; a direction without one ends."""
        for step in tuple(piece.growing):
            piece.growing.remove(step)
            if self._grow_to(piece, step):
                piece.growing.append(step)
                self.pieces = merged(self.pieces)
                return

    def _grow_to(self, piece: Piece, step: Step) -> bool:
        edge = piece.edges[step == 1]
        row = None if edge is None else self._passages.next_to(edge, step)
        if edge is None or row is None or not self._may_add(piece, edge, row, step):
            return False
        if step == 1:
            parts = [edge.after + row.text]
            cost = self._count(readable(parts[0]))
        else:
            parts = [row.text, row.after + piece.parts[0]]
            cost = sum(self._count(readable(part)) for part in parts)
            cost -= self._count(readable(piece.parts[0]))
        if cost > self._room:
            return False
        self._room -= cost
        self._texts.add(key_of(row.text))
        if step == 1:
            piece.parts += parts
            piece.end, piece.edges = row.end, (piece.edges[0], row)
            piece.passages.append(row.id)
        else:
            piece.parts[:1] = parts
            piece.start, piece.edges = row.start, (row, piece.edges[1])
            piece.citation = citation_of(row)
            piece.passages.insert(0, row.id)
        return True

    def _may_add(self, piece: Piece, edge: Passage, row: Passage, step: Step) -> bool:
        """Whether a neighbour touches a piece, is of its section, and is not there already."""
        first, second = (edge, row) if step == 1 else (row, edge)
        return (
            first.end + len(first.after) == second.start
            and (row.heading, row.page, row.row) == piece.section
            and key_of(row.text) not in self._texts
            and not any(
                other.document == piece.document and _overlap(row, other) for other in self.pieces
            )
        )


def _overlap(row: Passage, piece: Piece) -> bool:
    return row.start < piece.end and piece.start < row.end


def key_of(text: str) -> str:
    """A text as it is compared with others: without case, white space and invisible characters."""
    return "".join(searchable(text).casefold().split())
