"""The first stage over an index: open → filter → retrieve → fuse → read the candidates' texts."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from resift.background import then
from resift.index.claims import citation_of
from resift.index.embed import Embedder, precomputer_of
from resift.index.table.row_filters import RowFilter
from resift.index.table.rows import Passage
from resift.index.table.sharded import OpenView
from resift.index.table.snapshot import Scored
from resift.outages import is_outage, outage_reason
from resift.search.call import Omissions, Retrieved, SearchCall
from resift.search.clock import Late
from resift.search.components import Components
from resift.search.fusion import fuse
from resift.search.options import Mode
from resift.types import Candidate

T = TypeVar("T")

_RETRIEVERS: dict[Mode, tuple[str, ...]] = {
    "hybrid": ("lexical", "dense"),
    "lexical": ("lexical",),
    "dense": ("dense",),
}
_DEEPER = 3
"""How many times `depth` each of two retrievers looks for: what both find late may be relevant."""
_WITHOUT_TERMS = (
    "the lexical retriever finds nothing: the query has no term, such as a word or a number"
)
_SHARE = 0.5
"""The share of the remaining time to wait for both retrievers, if one of them is ready."""


def retrieve(call: SearchCall, components: Components) -> Retrieved:
    """The candidates of a search of an index, with the token states that its reranker precomputed.

    Without a reranker only the first `top_n` texts are read. Anything that is not ready in time is
    left out. If one of two retrievers fails, the order is that of the other.
    """
    stage = _Retrieval(call, components)
    try:
        stage.run()
    except Late as late:
        stage.omissions.note(str(late))
    return stage.retrieved()


class _Retrieval:
    """The first stage of one call; holds partial results for when time is up."""

    def __init__(self, call: SearchCall, components: Components) -> None:
        self._options, self._clock = call.options, call.clock
        self._components = components
        self._query = call.normalised_query
        self.omissions = Omissions(call.options.max_requests)
        self._version: int | None = None
        self._notes = call.notes
        self._view: OpenView | None = None
        self._rows: Scored = []
        self._passages: list[Passage] = []

    def run(self) -> None:
        """Run all steps. Raises `Late` when time is up."""
        view = self._open()
        row_filter = self._filter(view)
        if row_filter and not row_filter.count:
            self._note(f"no passage matches where: {self._options.where}")
            return
        count = self._count(len(view) if row_filter is None else row_filter.count)
        results = self._run_retrievers(view, row_filter, count)
        self._rows = self._fuse(results, view, count)[: self._options.candidate_count]
        if not self._rows and "lexical" in results and not view.has_terms(self._query):
            self._note(_WITHOUT_TERMS)
        self._passages = self._read(view)

    def retrieved(self) -> Retrieved:
        """The result so far."""
        view = self._view
        return Retrieved(
            _candidates(self._passages, self._rows[: len(self._passages)]),
            len(self._rows),
            self._version,
            view.requests if view else 0,
            view.bytes if view else 0,
            self.omissions.reason,
            self._clock.timings(),
            self._notes,
        )

    def _note(self, note: str) -> None:
        self._notes = (*self._notes, note)

    def _open(self) -> OpenView:
        snapshot = self._clock.wait_to_open("open", self._components.snapshot, "the index was open")
        self._version = snapshot.version.number
        self._notes = (*snapshot.notes, *self._notes)
        with self._clock.stage("table"):
            self._view = self._run(lambda: snapshot.view(), "the search began")
        return self._view

    def _filter(self, view: OpenView) -> RowFilter | None:
        condition = self._options.condition
        if condition is None:
            return None
        with self._clock.stage("filter"):
            return self._run(lambda: view.matching_rows(condition), "the filter was looked up")

    def _count(self, passages: int) -> int:
        """How many of all `passages` each retriever looks for."""
        deeper = _DEEPER if self._options.mode == "hybrid" else 1
        return max(min(deeper * self._options.candidate_count, passages), 1)

    def _run_retrievers(
        self, view: OpenView, row_filter: RowFilter | None, count: int
    ) -> dict[str, Scored]:
        """The results of the retrievers; one that fails or is late is left out and noted.

        Without any result, raises `Late` if a retriever is late, else the error of a retriever.
        """
        names = _RETRIEVERS[self._options.mode]
        jobs = self._start_retrievers(names, view, row_filter, count)
        results: dict[str, Scored] = {}
        errors, late = [], []
        for name, job in jobs.items():
            if not job.done():
                job.cancel()
                late.append(name)
            elif error := job.exception():
                if len(names) == 1 or not is_outage(error):
                    raise error
                errors.append(error)
                self.omissions.note(outage_reason(f"the {name} retriever", error))
            else:
                results[name] = job.result()
        if not results and late:
            raise Late("time was up before a retriever had answered")
        if not results:
            raise errors[0]
        for name in late:
            self.omissions.note(f"without the {name} retriever: time was up")
        return results

    def _start_retrievers(
        self, names: Sequence[str], view: OpenView, row_filter: RowFilter | None, count: int
    ) -> "dict[str, Future[Scored]]":
        """Run the retrievers at once, or one after another if requests are limited, and wait."""
        jobs: dict[str, Future[Scored]] = {}
        for name in names:
            if jobs and not self.omissions.may_read(view.requests, f"the {name} retriever"):
                break
            jobs[name] = self._start_retriever(name, view, row_filter, count)
            if self.omissions.are_requests_limited:
                self._wait_for_retrievers(jobs)
        self._wait_for_retrievers(jobs)
        return jobs

    def _start_retriever(
        self, name: str, view: OpenView, row_filter: RowFilter | None, count: int
    ) -> "Future[Scored]":
        run, clock = self._components.background.run, self._clock

        def lexical() -> Scored:
            with clock.stage("lexical"):
                return view.lexical(self._query, count, row_filter)

        def dense(embedder: Embedder) -> Scored:
            with clock.stage("embed"):
                vector = embedder.embed_query(self._query)
            if not vector.any():
                self.omissions.note(
                    "without the dense retriever: its embedder knows no word of the query"
                )
                return []
            with clock.stage("dense"):
                return view.dense(vector, count, row_filter)

        if name == "lexical" or self._components.embedder is None:
            return run(lexical)
        return then(self._components.embedder, lambda embedder: run(lambda: dense(embedder)))

    def _wait_for_retrievers(self, jobs: "dict[str, Future[Scored]]") -> None:
        """Wait for all, up to `_SHARE` of the remaining time; then for the first result."""
        self._clock.wait_for(jobs.values(), _SHARE)
        if not any(job.done() and job.exception() is None for job in jobs.values()):
            self._clock.wait_for([job for job in jobs.values() if not job.done()], first=True)

    def _fuse(self, results: Mapping[str, Scored], view: OpenView, count: int) -> Scored:
        if len(results) == 1:
            return next(iter(results.values()))
        with self._clock.stage("fuse"):
            return fuse(results["lexical"], results["dense"], count, view.spread)

    def _read(self, view: OpenView) -> list[Passage]:
        reranker = self._loaded_reranker()
        row_ids = [row_id for row_id, _ in self._rows]
        with self._clock.stage("fetch"):
            return self._run(lambda: self._fetch(view, row_ids, reranker), "the texts were read")

    def _loaded_reranker(self) -> object:
        """The reranker; None if there is a budget and it is still loading."""
        job = self._components.reranker
        if job is None or (self._clock.is_bounded and not job.done()):
            return None
        return self._clock.wait_to_open("load", job, "the reranker was loaded")

    def _fetch(self, view: OpenView, row_ids: Sequence[int], reranker: object) -> list[Passage]:
        """The passages of these rows, with the token states that `reranker` precomputed.

        Only the first `top_n` if nothing is reranked or no request is left.
        """
        top_n = self._options.top_n
        if self._components.reranker is None:
            return view.passages(row_ids[:top_n])
        if len(row_ids) > top_n and not self.omissions.may_read(
            view.requests, "the other candidates"
        ):
            return view.passages(row_ids[:top_n])
        passages = view.passages(row_ids)
        precomputer = precomputer_of(reranker)
        if precomputer is None:
            return passages
        usable = [
            row_id
            for row_id, passage in zip(row_ids, passages, strict=True)
            if passage.has_states
            and passage.precomputed
            and passage.precomputed.model == precomputer.fingerprint
        ]
        if not usable or not self.omissions.may_read(view.requests, "token states"):
            return passages
        states = view.states(usable)
        return [
            replace(passage, precomputed=replace(passage.precomputed, states=states[row_id]))
            if passage.precomputed and row_id in states
            else passage
            for row_id, passage in zip(row_ids, passages, strict=True)
        ]

    def _run(self, work: Callable[[], T], event: str) -> T:
        """The result of `work` in the background, where it continues when time is up."""
        job = self._components.background.run(work)
        try:
            return self._clock.wait(job, event)
        finally:
            job.cancel()


def as_candidate(
    passage: Passage, rank: int | None = None, score: float | None = None
) -> Candidate:
    """A passage of an index, with its citation."""
    return Candidate(
        id=passage.id,
        text=passage.text,
        title=passage.title,
        metadata=passage.metadata,
        rank=rank,
        score=score,
        precomputed=passage.precomputed,
        citation=citation_of(passage),
    )


def _candidates(passages: list[Passage], rows: Scored) -> list[Candidate]:
    return [
        as_candidate(passage, rank, score)
        for rank, (passage, (_, score)) in enumerate(zip(passages, rows, strict=True), start=1)
    ]
