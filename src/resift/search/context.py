"""Hits → one text for a language model, within a budget of tokens, with citations.

A source is ``[1] title — heading (uri, page 3, characters 120–480)`` and its text below. A line of
the text that begins like that has a backslash before it. Knows no model.
"""

import os
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from resift.errors import InputError, StoreError, shown
from resift.index.table.ids import following_ids
from resift.search.counters import Counter, open_counter
from resift.search.extracts import document_of, extract, position, readable, source_line
from resift.search.neighbours import Passages
from resift.search.options import checked_count
from resift.search.pieces import (
    STEPS,
    Growth,
    Piece,
    key_of,
    least_score,
    may_grow,
    merged,
    piece_of,
    radius,
)
from resift.types import Citation, Context, ContextOrder, ContextSource, Hit, Ranking

_ORDERS: tuple[ContextOrder, ...] = ("rank", "document")
_ABSTAINED = "no hit is relevant enough: the best score is below abstain_below"
_TRIES = 40
"""Each has less room: tokens of texts may not add up."""


def pack(
    ranking: Ranking,
    max_tokens: int = 2_000,
    *,
    per_document: int | None = None,
    order: ContextOrder = "rank",
    count: Callable[[str], Any] | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Context:
    """The context of a ranking; `Ranking.context` describes it."""
    max_tokens = checked_count("max_tokens", max_tokens)
    if per_document is not None:
        expected = "a whole number from 1, or None"
        per_document = checked_count("per_document", per_document, expected)
    if not isinstance(order, str) or order not in _ORDERS:
        raise InputError(f"order={shown(order)}: expected one of {', '.join(_ORDERS)}")
    counter = open_counter(count, tokenizer)
    if ranking.abstained:
        return Context("", 0, (), 0, notes=(_ABSTAINED,))
    return _Packing(ranking, _selected(ranking, per_document), order, counter).fitted(max_tokens)


@dataclass(frozen=True, slots=True)
class _Selected:
    """The hits to pack, and the citations of hits that have the text of one of them, by index."""

    hits: list[Hit]
    same_text: dict[int, list[Citation]]
    repeated: int
    over_limit: list[Hit]


def _selected(ranking: Ranking, per_document: int | None) -> _Selected:
    """The hits with text, each text once, at most so many of one document."""
    hits: list[Hit] = []
    same_text: dict[int, list[Citation]] = {}
    by_text: dict[str, int] = {}
    of_documents: Tally[object] = Tally()
    over_limit: list[Hit] = []
    repeated = 0
    for hit in ranking:
        document, key = document_of(hit), key_of(hit.text)
        if not readable(hit.text).strip():
            continue
        if key in by_text:
            repeated += 1
            if hit.citation is not None and hit.citation != hits[by_text[key]].citation:
                same_text.setdefault(by_text[key], []).append(hit.citation)
        elif per_document and document and of_documents[document] >= per_document:
            over_limit.append(hit)
        else:
            of_documents[document] += 1
            by_text[key] = len(hits)
            hits.append(hit)
    return _Selected(hits, same_text, repeated, over_limit)


@dataclass(slots=True)
class _Packing:
    """Packs the hits of one ranking, again with less room if the text has too many tokens."""

    ranking: Ranking
    selected: _Selected
    order: ContextOrder
    count: Counter
    passages: Passages = field(init=False)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.passages = Passages(self.ranking.neighbours)

    def fitted(self, max_tokens: int) -> Context:
        """The context of at most so many tokens."""
        self._read(lambda: self.passages.read(self._wanted(max_tokens)))
        room = max_tokens
        for _ in range(_TRIES):
            context = self._context(*self._pieces(room))
            if context.tokens <= max_tokens:
                return context
            room = min(room - (context.tokens - max_tokens), room * 9 // 10)
            if room < 1:
                break
        return self._context([], self.selected.hits)

    def _wanted(self, max_tokens: int) -> list[str]:
        """The ids of the hits, and of as many around them as may fit."""
        least = least_score(self.selected.hits)
        cited = [hit for hit in self.selected.hits if document_of(hit)]
        tokens = [self.count(readable(hit.text)) for hit in self.selected.hits]
        room = max_tokens - sum(tokens)
        steps = radius(room, tokens) if room > 0 else 0
        around = [
            near
            for hit in cited
            if may_grow(hit, least)
            for step in STEPS
            for near in islice(following_ids(hit.id, step), steps)
        ]
        return [*(hit.id for hit in cited), *around]

    def _pieces(self, room: int) -> tuple[list[Piece], list[Hit]]:
        """What fits into so many tokens, first of every hit, then of neighbours; and what not."""

        def overhead(number: int, hit: Hit) -> int:
            return self.count(
                _line(number, hit, hit.citation, is_exact=document_of(hit) is not None)
            )

        hits = self.selected.hits
        extracts, left_out = extract(self.ranking.query, hits, room, overhead, self.count)
        positions = {id(hit): index for index, hit in enumerate(hits)}
        pieces = [piece_of(part, positions[id(part.hit)], self.passages) for part in extracts]
        pieces = merged(pieces)
        used = sum(self._tokens(number, piece) for number, piece in enumerate(pieces, start=1))
        growth = Growth(pieces, self.passages, self.count, room - used, least_score(hits))
        self._read(growth.run)
        return growth.pieces, left_out

    def _read(self, work: Callable[[], object]) -> None:
        """Run `work`; if the index cannot be read, the context is without neighbours."""
        try:
            work()
        except StoreError as error:
            note = f"without neighbours: {error}"
            self.notes += [] if note in self.notes else [note]

    def _tokens(self, number: int, piece: Piece) -> int:
        return self.count(_line_of(number, piece)) + sum(map(self.count, piece.shown()))

    def _context(self, pieces: Sequence[Piece], left_out: Sequence[Hit]) -> Context:
        numbered = list(enumerate(self._ordered(pieces), start=1))
        text = "\n\n".join(
            f"{_line_of(number, piece)}\n{''.join(piece.shown())}" for number, piece in numbered
        )
        if self.count.adds_up and all(piece.is_spaced for piece in pieces):
            tokens = sum(self._tokens(number, piece) for number, piece in numbered)
        else:
            tokens = self.count(text)
        return Context(
            text,
            tokens,
            tuple(self._source(number, piece) for number, piece in numbered),
            _absent(left_out, pieces),
            self.selected.repeated,
            _absent(self.selected.over_limit, pieces),
            tuple(self.notes),
        )

    def _ordered(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces in the order that the caller asked for; they come in rank order."""
        if self.order == "rank":
            return list(pieces)
        first: dict[object, int] = {}
        for index, piece in enumerate(pieces):
            first.setdefault(piece.document or index, index)
        keys = {
            id(piece): (first[piece.document or index], piece.start)
            for index, piece in enumerate(pieces)
        }
        return sorted(pieces, key=lambda piece: keys[id(piece)])

    def _source(self, number: int, piece: Piece) -> ContextSource:
        same_text = [
            cited for index in piece.hits for cited in self.selected.same_text.get(index, ())
        ]
        return ContextSource(
            number,
            piece.hit.id,
            piece.hit.title,
            piece.hit.score,
            piece.exact_citation,
            any(piece.is_cut),
            piece.exact_text,
            tuple(piece.passages),
            tuple(same_text),
        )


def _absent(hits: Sequence[Hit], pieces: Sequence[Piece]) -> int:
    """How many hits without a piece of their own are not in one that has grown to them."""
    return sum(not any(_has(piece, hit) for piece in pieces) for hit in hits)


def _has(piece: Piece, hit: Hit) -> bool:
    cited = hit.citation
    return (
        cited is not None
        and piece.document is not None
        and piece.document == document_of(hit)
        and piece.start <= cited.start
        and cited.end <= piece.end
    )


def _line_of(number: int, piece: Piece) -> str:
    """The line above a source."""
    return _line(number, piece.hit, piece.exact_citation, is_exact=piece.document is not None)


def _line(number: int, hit: Hit, citation: Citation | None, *, is_exact: bool) -> str:
    """The line above a source; with the range of its characters if the citation is of its text."""
    where = [] if citation is None else position(citation)
    if citation is not None and is_exact:
        where.append(f"characters {citation.start}–{citation.end}")
    return source_line(number, hit, citation, where)
