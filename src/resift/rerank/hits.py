"""A ranking's hits, each made when it is looked at: of many that come back few are."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from resift.rerank.candidates import as_candidate, candidate_of, first_rank, title_part
from resift.rerank.ordering import Numbers
from resift.rerank.state import CallState
from resift.rerank.tokenization import TokenRow
from resift.types import Candidate, Hit, Status

_NO_TOKENS = np.empty(0, np.int64)


class Hits(Sequence[Hit]):
    """Hits in rank order. Threads may share it; a hit that was made once stays the same object.

    `places` are those of the hits, ``(n,)``, and `given` the documents there: candidates, or what
    nobody came to read. `values` are scores, `added` what the first stage and likeness to the
    leaders gave, all by place as far as `outcome` reaches. What of it no hit needs is let go.
    """

    def __init__(
        self,
        places: NDArray[np.intp],
        given: Sequence[object],
        outcome: CallState,
        values: Numbers,
        added: tuple[Numbers, Numbers],
    ) -> None:
        size = len(outcome.statuses)
        reached = np.flatnonzero(places < size)
        inside = places[reached]
        self._places = places
        self._reached = size
        self._given = list(map(_as_it_is, given))
        self._statuses: list[Status] = ["late"] * len(places)
        for number, place in zip(reached.tolist(), inside.tolist(), strict=True):
            self._statuses[number] = outcome.statuses[place]
        self._numbers = np.full((len(places), 5), np.nan)
        columns: tuple[NDArray[Any], ...] = (values, outcome.logits, outcome.stages, *added)
        for column, numbers in enumerate(columns):
            self._numbers[reached, column] = numbers[inside]
        wanted = np.zeros(size, bool)
        wanted[inside] = True
        self._rows = {n: _counts(row) for n, row in outcome.rows.items() if wanted[n]}
        self._made: dict[int, Hit] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Hit]:
        return map(self._hit, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        numbers = range(len(self))[index]
        return self._hit(numbers) if isinstance(numbers, int) else tuple(map(self._hit, numbers))

    def _hit(self, number: int) -> Hit:
        made = self._made.get(number)
        return made if made is not None else self._made.setdefault(number, self._make(number))

    def _make(self, number: int) -> Hit:
        place = int(self._places[number])
        score, logit, stages, fusion, feedback = self._numbers[number].tolist()
        candidate = self._candidate(number, place)
        row = self._rows.get(place)
        scored = math.isfinite(logit)
        end = max(row.end - len(title_part(candidate.title)), 0) if row and scored else 0
        said = candidate.score
        return Hit(
            rank=number + 1,
            index=place,
            id=candidate.id,
            score=score if scored else None,
            logit=logit if scored else None,
            text=candidate.text if isinstance(candidate.text, str) else "",
            first_stage_rank=first_rank(place, candidate),
            first_stage_score=said if said is not None and not math.isnan(said) else None,
            tokens_seen=row.seen if row and scored else 0,
            tokens_dropped=row.dropped if row else 0,
            span=(0, end),
            status=self._statuses[number],
            stages=int(stages) if scored else 0,
            title=candidate.title,
            metadata=candidate.metadata,
            citation=candidate.citation,
            fusion=fusion if scored else 0.0,
            feedback=feedback if scored else 0.0,
            dropped_counted=row.counted if row else True,
        )

    def _candidate(self, number: int, place: int) -> Candidate:
        given = self._given[number]
        if place < self._reached and isinstance(given, Candidate):
            return given
        return candidate_of(str(place), as_candidate(str(place), given))


def _as_it_is(given: object) -> object:
    """What nobody came to read: its hit says what was handed in, whatever becomes of a dict."""
    return given.copy() if type(given) is dict else given


def _counts(row: TokenRow) -> TokenRow:
    """A row without its tokens."""
    return TokenRow(_NO_TOKENS, 0, row.seen, row.dropped, row.end, row.counted, row.unknown)
