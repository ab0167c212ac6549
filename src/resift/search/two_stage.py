"""One search: text → retrieve → fuse → take the window's texts → rerank → Ranking."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from resift.index.embed import Embedder
from resift.index.keep import Keeper
from resift.index.rows import Passage
from resift.index.snapshot import Scored, Snapshot
from resift.search.fusion import reciprocal_rank_fusion
from resift.types import Candidate, Hit, Ranking, Receipt

Mode = Literal["hybrid", "dense", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


class Ranker(Protocol):
    """A second stage: what `search` asks of a reranker."""

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        """Put `documents` in order for `query` and keep the first `top_n`."""
        ...


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search: `depth` candidates go to the reranker, `top_n` come back.

    `budget_ms` is for the whole search: the reranker gets what the first stage leaves of it.
    """

    top_n: int = 10
    depth: int = 100
    mode: Mode = "hybrid"
    budget_ms: float | None = None


def search(
    query: str, snapshot: Snapshot, embedder: Embedder, reranker: Ranker | None, plan: SearchPlan
) -> Ranking:
    """Search one version of an index.

    Without a reranker, or when it fails or has no time left, the first stage's order is the
    answer; in the last two cases the receipt is `partial` and says why.
    """
    clock = _Clock(plan.budget_ms)
    window = _retrieve(query, snapshot, embedder, plan, clock)[: plan.depth]
    with clock.stage("fetch"):
        passages = _fetch(snapshot, [row_id for row_id, _ in window], reranker)
    candidates = _candidates(passages, window)
    if reranker is None:
        return _first_stage(query, candidates, plan, clock, reason=None)
    left = clock.left_ms()
    if left is not None and left <= 0:
        return _first_stage(query, candidates, plan, clock, "time was up before reranking")
    try:
        ranking = reranker.rank(query, candidates, top_n=plan.top_n, budget_ms=left)
    except Exception as error:  # whatever goes wrong there, the first stage's answer stands
        reason = f"the reranker failed: {type(error).__name__}: {error}".partition("\n")[0]
        return _first_stage(query, candidates, plan, clock, reason)
    timings = clock.timings_ms | dict(ranking.receipt.timings_ms) | {"total": clock.elapsed_ms()}
    return replace(ranking, receipt=replace(ranking.receipt, timings_ms=timings))


def _retrieve(
    query: str, snapshot: Snapshot, embedder: Embedder, plan: SearchPlan, clock: "_Clock"
) -> Scored:
    """Row ids with scores, best first: one arm's, or both fused."""
    arms = []
    if plan.mode != "lexical":
        with clock.stage("embed"):
            vector = embedder.embed_query(query)
        with clock.stage("dense"):
            arms.append(snapshot.dense(vector, plan.depth))
    if plan.mode != "dense":
        with clock.stage("lexical"):
            arms.append(snapshot.lexical(query, plan.depth))
    if len(arms) == 1:
        return arms[0]
    with clock.stage("fuse"):
        return reciprocal_rank_fusion([[row_id for row_id, _ in arm] for arm in arms])


def _fetch(snapshot: Snapshot, row_ids: Sequence[int], reranker: Ranker | None) -> list[Passage]:
    """The window's passages, with the states that this reranker has kept of them."""
    passages = snapshot.take(row_ids)
    if not isinstance(reranker, Keeper):
        return passages
    own = [
        row_id
        for row_id, passage in zip(row_ids, passages, strict=True)
        if passage.has_states and passage.kept and passage.kept.model == reranker.fingerprint
    ]
    states = snapshot.states(own)
    return [
        replace(passage, kept=replace(passage.kept, states=states[row_id]))
        if passage.kept and row_id in states
        else passage
        for row_id, passage in zip(row_ids, passages, strict=True)
    ]


class _Clock:
    """Milliseconds by stage, and what is left of the budget."""

    def __init__(self, budget_ms: float | None) -> None:
        self._started = time.perf_counter()
        self._budget_ms = budget_ms
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.perf_counter()
        yield
        self.timings_ms[name] = (time.perf_counter() - started) * 1000

    def left_ms(self) -> float | None:
        """What is left of the budget; None where there is none."""
        if self._budget_ms is None:
            return None
        return self._budget_ms - self.elapsed_ms()

    def elapsed_ms(self) -> float:
        """Since the search began."""
        return (time.perf_counter() - self._started) * 1000


def _candidates(passages: list[Passage], window: Scored) -> list[Candidate]:
    return [
        Candidate(
            id=passage.id,
            text=passage.text,
            title=passage.title,
            metadata={
                **passage.metadata,
                "uri": passage.uri,
                "doc_id": passage.doc_id,
                "heading": passage.heading,
                "page": passage.page,
                "start": passage.start,
                "end": passage.end,
            },
            rank=rank,
            score=score,
            kept=passage.kept,
        )
        for rank, (passage, (_, score)) in enumerate(zip(passages, window, strict=True), start=1)
    ]


def _first_stage(
    query: str, candidates: list[Candidate], plan: SearchPlan, clock: _Clock, reason: str | None
) -> Ranking:
    """The candidates as they came. Not reranked: they have no score of their own."""
    hits = tuple(
        Hit(
            rank=index + 1,
            index=index,
            id=candidate.id,
            score=None,
            logit=None,
            text=candidate.text,
            first_stage_rank=index + 1,
            first_stage_score=candidate.score,
            tokens_seen=0,
            tokens_dropped=0,
            span=(0, 0),
            status="not_reranked",
            title=candidate.title,
            metadata=candidate.metadata,
        )
        for index, candidate in enumerate(candidates[: plan.top_n])
    )
    receipt = Receipt(
        model="none",
        fingerprint="none",
        runtime="none",
        depth=len(candidates),
        scored=0,
        cut=0,
        skipped=0,
        partial=reason is not None,
        reason=reason,
        timings_ms=clock.timings_ms | {"total": clock.elapsed_ms()},
        tokens=0,
        padding_share=0.0,
        fusion_weight=0.0,
    )
    return Ranking(query, hits, receipt)
