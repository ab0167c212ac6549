"""The first stage: text → retrieve → fuse → take the window's texts → candidates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from resift.index.normalisation import searchable
from resift.index.precompute import Precomputer
from resift.index.table.rows import Passage
from resift.index.table.snapshot import RowFilter, Scored, View
from resift.index.table.where import Where
from resift.search.arms import Arms
from resift.search.clock import Clock, Late
from resift.search.gaps import Gaps
from resift.search.parts import Parts
from resift.search.plan import MODES as MODES
from resift.search.plan import Mode as Mode
from resift.search.plan import SearchPlan
from resift.types import Candidate, Citation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a first stage found, best first, and what it took: nothing that a reranker did.

    `depth` candidates were found; `candidates` are those that were read. `reason` says what is
    missing and why. `version` is None where time was up before any was open; `notes` are the
    receipt's.
    """

    candidates: list[Candidate] = field(hash=False)
    depth: int
    version: int | None
    requests: int
    bytes: int
    reason: str | None
    timings_ms: Mapping[str, float] = field(hash=False)
    notes: tuple[str, ...] = ()


def retrieve(query: str, parts: Parts, plan: SearchPlan, clock: Clock) -> Retrieved:
    """The candidates that a search would hand to its reranker, with what is kept for it.

    Without a reranker only the first `top_n` are read. What is not there when time is up is left
    out; where an arm fails the other's order stands.
    """
    search = _Search(searchable(query) or query, parts, plan, clock)
    try:
        search.run()
    except Late as late:
        search.gaps.note(str(late))
    return search.retrieved()


class _Search:
    """What is known of one search, so that what there is can be told when time is up."""

    def __init__(self, query: str, parts: Parts, plan: SearchPlan, clock: Clock) -> None:
        self._query, self._parts, self._plan, self._clock = query, parts, plan, clock
        self.gaps = Gaps(plan.max_requests)
        self._version: int | None = None
        self._notes: tuple[str, ...] = ()
        self._view: View | None = None
        self._window: Scored = []
        self._passages: list[Passage] = []

    def run(self) -> None:
        """Open, filter, look, read; `Late` at the step that time was up in."""
        clock, plan = self._clock, self._plan
        snapshot = clock.open("open", self._parts.snapshot, "the index was open")
        self._version, self._notes = snapshot.version.number, snapshot.notes
        with clock.stage("table"):
            view = self._view = self._wait(snapshot.view, "the index was open")
        allowed = self._allowed(view, plan.where) if plan.where else None
        if allowed and not allowed.count:
            return
        arms = Arms(self._query, view, self._parts, plan, clock)
        self._window = arms.look(allowed, self.gaps)[: plan.window]
        reranker = self._reranker()
        with clock.stage("fetch"):
            rows = [row_id for row_id, _ in self._window]
            self._passages = self._wait(
                lambda: self._fetch(view, rows, reranker), "the texts were read"
            )

    def retrieved(self) -> Retrieved:
        """As far as it came."""
        view, count = self._view, len(self._passages)
        return Retrieved(
            _candidates(self._passages, self._window[:count]),
            len(self._window),
            self._version,
            view.requests if view else 0,
            view.bytes if view else 0,
            self.gaps.reason,
            self._clock.timed(),
            self._notes,
        )

    def _allowed(self, view: View, where: Where) -> RowFilter:
        with self._clock.stage("filter"):
            return self._wait(lambda: view.allowed(where), "the filter was looked up")

    def _wait(self, work: Callable[[], T], before: str) -> T:
        """Run what reads the index; it goes on by itself where nobody waits any more."""
        job = self._parts.background.run(work)
        try:
            return self._clock.wait(job, before)
        finally:
            job.cancel()

    def _reranker(self) -> object:
        """As far as it is known: what is kept for one that still loads is read another time."""
        job = self._parts.reranker
        if job is None or (self._clock.bounded and not job.done()):
            return None
        return self._clock.open("load", job, "the reranker was loaded")

    def _fetch(self, view: View, row_ids: Sequence[int], reranker: object) -> list[Passage]:
        """The window's passages, with the states that this reranker has kept of them.

        Where nothing is reranked nobody looks at more of them than are asked for.
        """
        top_n = self._plan.top_n
        if self._parts.reranker is None:
            return view.take(row_ids[:top_n])
        if len(row_ids) > top_n and not self.gaps.may(view.requests, "the rest of the window"):
            return view.take(row_ids[:top_n])
        passages = view.take(row_ids)
        if not isinstance(reranker, Precomputer):
            return passages
        known = [
            row_id
            for row_id, passage in zip(row_ids, passages, strict=True)
            if passage.has_states
            and passage.precomputed
            and passage.precomputed.model == reranker.fingerprint
        ]
        may = known and self.gaps.may(view.requests, "kept states")
        states = view.states(known) if may else {}
        return [
            replace(passage, precomputed=replace(passage.precomputed, states=states[row_id]))
            if passage.precomputed and row_id in states
            else passage
            for row_id, passage in zip(row_ids, passages, strict=True)
        ]


def _candidates(passages: list[Passage], window: Scored) -> list[Candidate]:
    return [
        Candidate(
            id=passage.id,
            text=passage.text,
            title=passage.title,
            metadata=passage.metadata,
            rank=rank,
            score=score,
            precomputed=passage.precomputed,
            citation=_citation(passage),
        )
        for rank, (passage, (_, score)) in enumerate(zip(passages, window, strict=True), start=1)
    ]


def _citation(passage: Passage) -> Citation:
    origin = passage.origin
    return Citation(
        uri=origin.uri,
        doc_id=passage.doc_id,
        start=passage.start,
        end=passage.end,
        etag=origin.etag,
        object_version=origin.object_version,
        heading=passage.heading,
        page=passage.page,
        row=passage.row,
    )
