"""Documents → candidates, as far as a deadline allows.

A model scores some hundred candidates a second and reading takes microseconds each, so documents
that a share of the time is too short to read could not be scored either. Of those only the
first-stage ranks are looked at. A lazy iterable is not drawn to its end. Without a deadline all are
read.
"""

import time
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from resift.rerank.candidates import (
    as_candidate,
    candidate_or_empty,
    given_rank,
    iterated,
    no_documents,
    refuse_collection,
)
from resift.rerank.deadline import Deadline
from resift.rerank.request import Steps
from resift.types import Candidate, Document

AT_LEAST, RANKED_AT_LEAST = 1_000, 5_000
"""The candidates that are read whatever the deadline (some milliseconds; a cache may know them),
and how many more ranks are looked at, so that short lists are in order on a busy machine too."""

SHARE = 0.2
"""The part of the remaining time in which candidates are read."""

MOST_DRAWN, DRAWING = 10_000, 0.5
"""Under a deadline, at most so many documents are drawn from a lazy iterable, in so much of the
time: no machine scores more. An iterable with a length is drawn as far as the time allows."""

MOST_COPIED = 200_000
"""Under a deadline a longer list is not copied: that takes tens of milliseconds. If its owner
changes it, the hits that were not read change too."""

GRACE_S = 0.01
"""How long drawing, and looking at ranks, may go on after the time is up."""

CHUNK, RANKS = 200, 1_000
"""Candidates that are read, or ranks that are looked at, between two checks of the clock."""

MOST_AT_ONCE, BRIEF_S = 4_096, 1e-3
"""Documents that are drawn between two checks; twice as many where that took less than this."""

Ranks = NDArray[np.float64]
NO_RANKS: Ranks = np.empty(0)


@dataclass(frozen=True, slots=True, eq=False)
class UnreadCandidates:
    """Documents that there was no time to read: `documents` from index `start` to `size`.

    `ranks` are first-stage ranks of the first of them; the others keep their position in the list.
    `missing` says what was left out for want of time.
    """

    documents: Sequence[object] = ()
    start: int = 0
    size: int = 0
    ranks: Ranks = field(default_factory=lambda: NO_RANKS)
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.size - self.start

    def at(self, index: int) -> object:
        """The document at an index of the whole list; None where the list became shorter."""
        try:
            return self.documents[index]
        except IndexError:
            return None

    def head(self, limit: int | None) -> tuple[NDArray[np.intp], Ranks]:
        """Indices and ranks of those that can be among the first `limit` of them; all with None."""
        ranked = len(self.ranks)
        unranked = len(self) - ranked if limit is None else min(len(self) - ranked, limit)
        indices = np.arange(self.start, self.start + ranked + unranked)
        return indices, np.append(self.ranks, indices[ranked:] + 1.0)


NOTHING_UNREAD = UnreadCandidates()


def read_candidates(
    documents: object, deadline: Deadline
) -> Steps[tuple[list[Candidate], UnreadCandidates]]:
    """Candidates as `as_candidates` reads them, in order, as far as the deadline allows.

    Raises `InputError` as that does, where nothing that was read is a document.
    """
    refuse_collection(documents)
    left_s = deadline.left_s
    until = None if left_s is None else time.perf_counter() + SHARE * left_s
    items, is_whole = yield from _drawn(documents, deadline)
    size = len(items)
    read: list[Candidate | None] = []
    while len(read) < size and not _is_enough(len(read), until, deadline):
        start = len(read)
        chunk = items[start : min(start + CHUNK, size)]
        read.extend(as_candidate(str(index), item) for index, item in enumerate(chunk, start))
        yield None
    if read and not any(read):
        raise no_documents(items)
    candidates = [candidate_or_empty(str(index), item) for index, item in enumerate(read)]
    if len(read) == size and is_whole:
        return candidates, NOTHING_UNREAD
    unread = UnreadCandidates(items, len(read), size)
    ranks = yield from _ranks(unread, until)
    missing = [f"{len(unread)} of {size} candidates were not looked at"] if len(unread) else []
    if not is_whole:
        missing.append(f"the iterable of documents was left after {size} of them")
    return candidates, UnreadCandidates(items, len(read), size, ranks, tuple(missing))


def _is_enough(count: int, until: float | None, deadline: Deadline) -> bool:
    if deadline.gone:
        return True
    return until is not None and count >= AT_LEAST and time.perf_counter() >= until


def _drawn(documents: object, deadline: Deadline) -> Steps[tuple[Sequence[object], bool]]:
    """The documents, and whether these are all; a lazy iterable that takes too long is left."""
    if type(documents) in (list, tuple):
        if deadline.bounded and len(documents) > MOST_COPIED:  # type: ignore[arg-type]
            return documents, True  # type: ignore[return-value]
        return list(documents), True  # type: ignore[call-overload]
    start = time.perf_counter()
    left_s = deadline.left_s
    longest = GRACE_S if left_s is None else max(DRAWING * left_s, GRACE_S)
    is_limited = deadline.bounded and not isinstance(documents, Sized)
    iterator = iterated(documents)
    items: list[object] = []
    size = 1
    while True:
        drawing_began = time.perf_counter()
        before = len(items)
        items.extend(islice(iterator, size))
        now = time.perf_counter()
        if len(items) - before < size:
            return items, True
        is_long = now - start > longest and (deadline.bounded or deadline.gone)
        if is_long or (is_limited and len(items) >= MOST_DRAWN):
            return items, False
        size = min(2 * size, MOST_AT_ONCE) if now - drawing_began < BRIEF_S else max(size // 2, 1)
        size = min(size, MOST_DRAWN - len(items)) if is_limited else size
        yield None


def _ranks(unread: UnreadCandidates, until: float | None) -> Steps[Ranks]:
    """First-stage ranks, as many as there is time for; the position where a document has none."""
    until = max(until or 0.0, time.perf_counter() + GRACE_S)
    ranks: list[Ranks] = []
    for start in range(unread.start, unread.size, RANKS):
        if start - unread.start >= RANKED_AT_LEAST and time.perf_counter() >= until:
            break
        chunk = unread.documents[start : min(start + RANKS, unread.size)]
        values = np.arange(start + 1, start + 1 + len(chunk), dtype=np.float64)
        if not set(map(type, chunk)) <= {str, Document}:
            for number, document in enumerate(chunk):
                rank = given_rank(document)
                values[number] = values[number] if rank is None else rank
        ranks.append(values)
        yield None
    return np.concatenate(ranks) if ranks else NO_RANKS
