"""Documents read as candidates as far as there is time: one by one they cost more than they weigh.

A model scores some hundred candidates a second and reading takes microseconds each, so what a
share of the time does not suffice to read could not be scored either. Of the rest only the first
stage's ranks are looked at, and a lazy iterable is not drawn to its end. Without a deadline all are
read.
"""

import time
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from resift.rerank.candidates import as_candidate, candidate_of, iterated, said_rank
from resift.rerank.deadline import Deadline
from resift.rerank.remedies import refuse_all, refuse_collection
from resift.rerank.request import Steps
from resift.types import Candidate, Document

AT_LEAST, RANKED_AT_LEAST = 1_000, 5_000
"""So many are read whatever the deadline: some milliseconds, and a cache may know them. Of so many
more the ranks are looked at, so that short lists are in order on a busy machine too."""

SHARE = 0.2
"""Of the time that is left: so long candidates are read."""

MOST_DRAWN, DRAWING = 10_000, 0.5
"""Of a lazy iterable, under a deadline: so many, and in so much of the time. No machine scores
more, and what comes later could not be scored. What has a length is drawn as far as time allows."""

MOST_COPIED = 200_000
"""A longer list under a deadline is read where it is: copying millions takes tens of milliseconds.
Whoever changes it meanwhile changes hits that nobody came to read."""

GRACE_S = 0.01
"""So long an iterable may go on, and ranks are looked at, although time is up."""

CHUNK, RANKS = 200, 1_000
"""Candidates that are read, or whose ranks are looked at, between two looks at the clock."""

MOST_AT_ONCE, BRIEF_S = 4_096, 1e-3
"""What an iterable is asked for between two looks: twice as much where that took less than this."""

Ranks = NDArray[np.float64]


NO_RANKS: Ranks = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """Documents that nobody came to read: those from place `begin` on of `size` in `documents`.

    `ranks` are the first stage's, of the first so many of them; the others stand where they are in
    the list. `missing` says what was left out for want of time.
    """

    documents: Sequence[object] = ()
    begin: int = 0
    size: int = 0
    ranks: Ranks = field(default_factory=lambda: NO_RANKS)
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.size - self.begin

    def at(self, place: int) -> object:
        """What was handed in at a place of the whole list; None where it is not there any more."""
        try:
            return self.documents[place]
        except IndexError:  # its owner took some away
            return None

    def head(self, most: int | None) -> tuple[NDArray[np.intp], Ranks]:
        """Places and ranks of those that can be among the first `most` of them; all with None."""
        ranked = len(self.ranks)
        more = len(self) - ranked if most is None else min(len(self) - ranked, most)
        places = np.arange(self.begin, self.begin + ranked + more)
        return places, np.append(self.ranks, places[ranked:] + 1.0)


NONE = Rest()


def window(documents: object, deadline: Deadline) -> Steps[tuple[list[Candidate], Rest]]:
    """Documents of any kind, in order, as `as_candidates` reads them and as far as deadline goes.

    Raises `InputError` as that does, where none of those that were read is a document.
    """
    refuse_collection(documents)
    left_s = deadline.left_s
    until = None if left_s is None else time.perf_counter() + SHARE * left_s
    every, is_whole = yield from _handed_in(documents, deadline)
    size = len(every)
    read: list[Candidate | None] = []
    while len(read) < size and not _is_enough(len(read), until, deadline):
        begin = len(read)
        part = every[begin : min(begin + CHUNK, size)]
        read.extend(as_candidate(str(place), given) for place, given in enumerate(part, begin))
        yield None
    if read and not any(read):
        raise refuse_all(every)
    candidates = [candidate_of(str(n), candidate) for n, candidate in enumerate(read)]
    if len(read) == size and is_whole:
        return candidates, NONE
    left = Rest(every, len(read), size)
    ranks = yield from _ranks(left, until)
    missing = [f"{len(left)} of {size} candidates were not looked at"] if len(left) else []
    if not is_whole:
        missing.append(f"the iterable of documents was left after {size} of them")
    return candidates, Rest(every, len(read), size, ranks, tuple(missing))


def _is_enough(count: int, until: float | None, deadline: Deadline) -> bool:
    if deadline.gone:
        return True
    return until is not None and count >= AT_LEAST and time.perf_counter() >= until


def _handed_in(documents: object, deadline: Deadline) -> Steps[tuple[Sequence[object], bool]]:
    """All documents, and whether that is all; a lazy iterable is left where it takes too long."""
    if type(documents) in (list, tuple):
        if deadline.bounded and len(documents) > MOST_COPIED:  # type: ignore[arg-type]
            return documents, True  # type: ignore[return-value]
        return list(documents), True  # type: ignore[call-overload]
    start = time.perf_counter()
    left_s = deadline.left_s
    longest = GRACE_S if left_s is None else max(DRAWING * left_s, GRACE_S)
    is_limited = deadline.bounded and not isinstance(documents, Sized)
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
        is_long = now - start > longest and (deadline.bounded or deadline.gone)
        if is_long or (is_limited and len(every) >= MOST_DRAWN):
            return every, False
        size = min(2 * size, MOST_AT_ONCE) if now - asked < BRIEF_S else max(size // 2, 1)
        size = min(size, MOST_DRAWN - len(every)) if is_limited else size
        yield None


def _ranks(left: Rest, until: float | None) -> Steps[Ranks]:
    """First-stage ranks of as many as time suffices for; the place where a document says none."""
    until = max(until or 0.0, time.perf_counter() + GRACE_S)
    ranks: list[Ranks] = []
    for start in range(left.begin, left.size, RANKS):
        if start - left.begin >= RANKED_AT_LEAST and time.perf_counter() >= until:
            break
        part = left.documents[start : min(start + RANKS, left.size)]
        said = np.arange(start + 1, start + 1 + len(part), dtype=np.float64)
        if not set(map(type, part)) <= {str, Document}:
            for number, given in enumerate(part):
                rank = said_rank(given)
                said[number] = said[number] if rank is None else rank
        ranks.append(said)
        yield None
    return np.concatenate(ranks) if ranks else NO_RANKS
