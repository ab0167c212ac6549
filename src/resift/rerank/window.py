"""Documents read as candidates as far as there is time: one by one they cost more than they weigh.

A model scores some hundred candidates a second and reading takes microseconds each, so what a
share of the time does not suffice to read could not be scored either. Of the rest only the first
stage's ranks are looked at. Without a deadline all are read.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from resift.rerank.candidates import as_candidate, candidate_of, iterated, said_rank
from resift.rerank.patience import Patience
from resift.rerank.remedies import refuse_all, refuse_collection
from resift.rerank.steps import Steps
from resift.types import Candidate, Document

AT_LEAST = 1_000
"""So many are read whatever the deadline: some milliseconds, and a cache may know them."""

SHARE = 0.2
"""Of the time that is left: so long candidates are read."""

GRACE_S = 0.01
"""So long an iterable may go on, and ranks are looked at, although time is up."""

CHUNK, RANKS = 200, 1_000
"""Candidates that are read, or whose ranks are looked at, between two looks at the clock."""

MOST_AT_ONCE, BRIEF_S = 4_096, 1e-3
"""What an iterable is asked for between two looks: twice as much where that took less than this."""

Ranks = NDArray[np.float64]


NO_RANKS: Ranks = np.empty(0)


@dataclass(frozen=True, slots=True)
class Rest:
    """Documents that nobody came to read, as they were handed in, with first-stage `ranks`.

    `missing` says what was left out for want of time.
    """

    documents: Sequence[object] = ()
    ranks: Ranks = field(default_factory=lambda: NO_RANKS)
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.documents)


NONE = Rest()


def window(documents: object, patience: Patience) -> Steps[tuple[list[Candidate], Rest]]:
    """Documents of any kind, in order, as `as_candidates` reads them and as far as patience goes.

    Raises `InputError` as that does, where none of those that were read is a document.
    """
    refuse_collection(documents)
    left_s = patience.left_s
    until = None if left_s is None else time.perf_counter() + SHARE * left_s
    every, is_whole = yield from _handed_in(documents, patience)
    read: list[Candidate | None] = []
    while len(read) < len(every) and not _is_enough(len(read), until, patience):
        begin = len(read)
        part = every[begin : begin + CHUNK]
        read.extend(as_candidate(str(place), given) for place, given in enumerate(part, begin))
        yield None
    if read and not any(read):
        raise refuse_all(every)
    candidates = [candidate_of(str(n), candidate) for n, candidate in enumerate(read)]
    rest = every[len(read) :]
    ranks = yield from _ranks(rest, len(read), until)
    missing = [f"{len(rest)} of {len(every)} candidates were not looked at"] if rest else []
    if not is_whole:
        missing.append(f"the iterable of documents was left after {len(every)} of them")
    return candidates, Rest(rest, ranks, tuple(missing))


def _is_enough(count: int, until: float | None, patience: Patience) -> bool:
    if patience.gone:
        return True
    return until is not None and count >= AT_LEAST and time.perf_counter() >= until


def _handed_in(documents: object, patience: Patience) -> Steps[tuple[list[object], bool]]:
    """All documents, and whether that is all; a lazy iterable is left where it takes too long."""
    if type(documents) in (list, tuple):
        return list(documents), True  # type: ignore[call-overload]
    start = time.perf_counter()
    iterator = iterated(documents)
    every: list[object] = []
    size = 1
    while True:
        asked = time.perf_counter()
        before = len(every)
        every.extend(islice(iterator, size))
        now = time.perf_counter()
        if len(every) - before < size:
            return every, True
        if patience.spent and now - start > GRACE_S:
            return every, False
        size = min(2 * size, MOST_AT_ONCE) if now - asked < BRIEF_S else max(size // 2, 1)
        yield None


def _ranks(rest: Sequence[object], begin: int, until: float | None) -> Steps[Ranks]:
    """First-stage ranks; places, from `begin`, where none is said or time does not suffice."""
    ranks = np.arange(begin + 1, begin + 1 + len(rest), dtype=np.float64)
    until = max(until or 0.0, time.perf_counter() + GRACE_S)
    for start in range(0, len(rest), RANKS):
        if time.perf_counter() >= until:
            break
        part = rest[start : start + RANKS]
        if set(map(type, part)) <= {str, Document}:
            continue
        for place, given in enumerate(part, start):
            rank = said_rank(given)
            if rank is not None:
                ranks[place] = rank
        yield None
    return ranks
