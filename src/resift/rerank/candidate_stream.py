"""Documents → candidates, until the deadline.

A model scores some hundreds of candidates a second, and reading one takes microseconds. So if a
fifth of the time does not suffice to read a document, there is no time to score it either. Of such
documents only the first-stage ranks are read. A lazy iterable is not read to its end. Without a
deadline all documents are read.
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
    iterate,
    no_documents_error,
    rank_of,
    refuse_collection,
)
from resift.rerank.deadline import Deadline
from resift.rerank.request import Steps
from resift.types import Candidate, Document

MIN_CANDIDATES, MIN_RANKS = 1_000, 5_000
"""So many candidates are read whatever the deadline (in some milliseconds; they may be cached), and
so many ranks of the others, so that short lists keep their order on a busy machine too. These are
numbers for all lists of a `rank_many` together."""

MIN_LIST_RANKS, LIST_GRACE_S = 200, 1e-4
"""What each list of a `rank_many` adds to the ranks that are read whatever the deadline, and to the
time for drawing documents and reading ranks after it."""

READ_SHARE = 0.2
"""The share of the remaining time for reading candidates."""

MAX_DRAWN, DRAW_SHARE = 10_000, 0.5
"""Under a deadline, the most documents that are drawn from an iterable without a length (no machine
scores more), and the share of the time for drawing from any iterable."""

MAX_COPIED = 200_000
"""Under a deadline a longer list is not copied, since that takes tens of milliseconds. If the
caller changes the list later, its unread hits change too."""

GRACE_S = 0.01
"""Drawing documents and reading ranks may take at least this long."""

READ_CHUNK, RANK_CHUNK = 200, 1_000
"""Candidates, or ranks, that are read between two checks of the clock."""

MAX_DRAW, FAST_DRAW_S = 4_096, 1e-3
"""The most documents drawn between two checks; the number doubles if a draw took less time."""

Ranks = NDArray[np.float64]
NO_RANKS: Ranks = np.empty(0)


@dataclass(slots=True, eq=False)
class Allowance:
    """What the lists of one call may still read when there is no time left.

    So many `candidates` and `ranks`; and for `seconds` they draw documents and read ranks.
    """

    candidates: int
    ranks: int
    seconds: float

    @classmethod
    def of(cls, lists: int = 1) -> "Allowance":
        """The allowance of a call with a number of lists."""
        ranks = max(MIN_RANKS, MIN_LIST_RANKS * lists)
        return cls(MIN_CANDIDATES, ranks, GRACE_S + LIST_GRACE_S * (lists - 1))

    @property
    def grace_s(self) -> float:
        """Seconds for the next list."""
        return min(self.seconds, GRACE_S)

    def spend(self, start: float, deadline: Deadline) -> None:
        """Count the time from `start`, as far as it is after the deadline."""
        if deadline.at is not None:
            self.seconds -= max(time.perf_counter() - max(start, deadline.at), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class UnreadCandidates:
    """Documents that there was no time to read: `documents` from index `start` to `size`.

    `ranks` are first-stage ranks of the first of them; for the others the position in the list is
    the rank. `missing` has messages about what was left out.
    """

    documents: Sequence[object] = ()
    start: int = 0
    size: int = 0
    ranks: Ranks = field(default_factory=lambda: NO_RANKS)
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.size - self.start

    def at(self, index: int) -> object:
        """The document at an index of the whole list; None if the list became shorter."""
        try:
            return self.documents[index]
        except IndexError:
            return None

    def head(self, limit: int | None) -> tuple[NDArray[np.intp], Ranks]:
        """Indices and ranks of all that can be among the first `limit` by rank (None: all)."""
        ranked = len(self.ranks)
        unranked = len(self) - ranked if limit is None else min(len(self) - ranked, limit)
        indices = np.arange(self.start, self.start + ranked + unranked)
        return indices, np.append(self.ranks, indices[ranked:] + 1.0)


NOTHING_UNREAD = UnreadCandidates()


def read_candidates(
    documents: object, deadline: Deadline, allowance: Allowance | None = None
) -> Steps[tuple[list[Candidate], UnreadCandidates]]:
    """Candidates as in `as_candidates`, in order, until the deadline; and the unread documents.

    The lists of one call share an `allowance`. Raises `InputError` as `as_candidates` does, if none
    of the documents that were read is a document.
    """
    allowance = allowance or Allowance.of()
    refuse_collection(documents)
    remaining_s = deadline.remaining_s
    until = None if remaining_s is None else time.perf_counter() + READ_SHARE * remaining_s
    items, is_whole = yield from _draw(documents, deadline, allowance)
    size = len(items)
    read: list[Candidate | None] = []
    while len(read) < size and not _is_enough(until, deadline, allowance):
        start = len(read)
        chunk = items[start : min(start + READ_CHUNK, size)]
        read.extend(as_candidate(str(index), item) for index, item in enumerate(chunk, start))
        allowance.candidates -= len(chunk)
        yield None
    if read and not any(read):
        raise no_documents_error(items)
    candidates = [candidate_or_empty(str(index), item) for index, item in enumerate(read)]
    if len(read) == size and is_whole:
        return candidates, NOTHING_UNREAD
    unread = UnreadCandidates(items, len(read), size)
    ranks = yield from _ranks(unread, until, deadline, allowance)
    missing = [f"{len(unread)} of {size} candidates were not looked at"] if len(unread) else []
    if not is_whole:
        missing.append(f"the iterable of documents was left after {size} of them")
    return candidates, UnreadCandidates(items, len(read), size, ranks, tuple(missing))


def _is_enough(until: float | None, deadline: Deadline, allowance: Allowance) -> bool:
    if deadline.cancelled:
        return True
    return until is not None and allowance.candidates <= 0 and time.perf_counter() >= until


def _draw(
    documents: object, deadline: Deadline, allowance: Allowance
) -> Steps[tuple[Sequence[object], bool]]:
    """The documents, and whether these are all of them: drawing stops after a while."""
    if type(documents) in (list, tuple):
        if deadline.is_bounded and len(documents) > MAX_COPIED:  # type: ignore[arg-type]
            return documents, True  # type: ignore[return-value]
        return list(documents), True  # type: ignore[call-overload]
    if allowance.seconds <= 0 and deadline.expired:
        return [], False
    drawn = yield from _draw_iterable(documents, deadline, allowance)
    return drawn


def _draw_iterable(
    documents: object, deadline: Deadline, allowance: Allowance
) -> Steps[tuple[list[object], bool]]:
    """As `_draw`, for anything but a list or tuple: one document first, then ever more at once."""
    start = time.perf_counter()
    remaining_s = deadline.remaining_s
    grace_s = allowance.grace_s
    longest = grace_s if remaining_s is None else max(DRAW_SHARE * remaining_s, grace_s)
    is_limited = deadline.is_bounded and not isinstance(documents, Sized)
    iterator = iterate(documents)
    items: list[object] = []
    size = 1
    while True:
        drawing_began = time.perf_counter()
        before = len(items)
        items.extend(islice(iterator, size))
        allowance.spend(drawing_began, deadline)
        now = time.perf_counter()
        if len(items) - before < size:
            return items, True
        is_long = now - start > longest and (deadline.is_bounded or deadline.cancelled)
        if is_long or (is_limited and len(items) >= MAX_DRAWN):
            return items, False
        size = min(2 * size, MAX_DRAW) if now - drawing_began < FAST_DRAW_S else max(size // 2, 1)
        size = min(size, MAX_DRAWN - len(items)) if is_limited else size
        yield None


def _ranks(
    unread: UnreadCandidates, until: float | None, deadline: Deadline, allowance: Allowance
) -> Steps[Ranks]:
    """First-stage ranks, as many as there is time for; by default the position in the list."""
    until = max(until or 0.0, time.perf_counter() + allowance.grace_s)
    ranks: list[Ranks] = []
    for start in range(unread.start, unread.size, RANK_CHUNK):
        reading_began = time.perf_counter()
        if allowance.ranks <= 0 and reading_began >= until:
            break
        chunk = unread.documents[start : min(start + RANK_CHUNK, unread.size)]
        values = np.arange(start + 1, start + 1 + len(chunk), dtype=np.float64)
        if not set(map(type, chunk)) <= {str, Document}:
            for number, document in enumerate(chunk):
                rank = rank_of(document)
                values[number] = values[number] if rank is None else rank
        ranks.append(values)
        allowance.ranks -= len(chunk)
        allowance.spend(reading_began, deadline)
        yield None
    return np.concatenate(ranks) if ranks else NO_RANKS
