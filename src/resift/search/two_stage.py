"""One search: text → retrieve → rerank → Ranking."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Protocol

from resift.index.embed import Embedder
from resift.index.snapshot import Snapshot
from resift.search.clock import Clock
from resift.search.retrieval import SearchPlan, retrieve
from resift.types import Candidate, Hit, Ranking, Receipt


class Ranker(Protocol):
    """A second stage: what `search` asks of a reranker.

    `min_score` and `abstain` are handed to `rank` as well, only where a search sets them.
    """

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


def search(
    query: str, snapshot: Snapshot, embedder: Embedder, reranker: Ranker | None, plan: SearchPlan
) -> Ranking:
    """Search one version of an index.

    Without a reranker, or when it fails or has no time left, the first stage's order is the
    answer; in the last two cases the receipt is `partial` and says why.
    """
    clock = Clock(plan.budget_ms)
    found = retrieve(query, snapshot, embedder, reranker, plan, clock)
    ranking = _rerank(query, found.candidates, reranker, plan, clock)
    timings_ms = clock.timings_ms | dict(ranking.receipt.timings_ms)
    receipt = replace(
        ranking.receipt,
        depth=found.depth,
        version=found.version,
        requests=found.requests,
        bytes=found.bytes,
        partial=ranking.receipt.partial or found.reason is not None,
        reason=ranking.receipt.reason or found.reason,
        notes=(*ranking.receipt.notes, *snapshot.notes),
        abstained=ranking.receipt.abstained and found.reason is None,  # else not all was seen
        timings_ms=timings_ms | {"total": clock.elapsed_ms()},
    )
    return replace(ranking, receipt=receipt)


def _rerank(
    query: str,
    candidates: list[Candidate],
    reranker: Ranker | None,
    plan: SearchPlan,
    clock: Clock,
) -> Ranking:
    if reranker is None:
        return _first_stage(query, candidates, plan, clock, reason=None)
    left = clock.left_ms()
    if left is not None and left <= 0:
        return _first_stage(query, candidates, plan, clock, "time was up before reranking")
    more = {name: own for name, own in asdict(plan.thresholds).items() if own is not None}
    try:
        return reranker.rank(query, candidates, top_n=plan.top_n, budget_ms=left, **more)
    except Exception as error:  # whatever goes wrong there, the first stage's answer stands
        reason = f"the reranker failed: {type(error).__name__}: {error}".partition("\n")[0]
        return _first_stage(query, candidates, plan, clock, reason)


def _first_stage(
    query: str, candidates: list[Candidate], plan: SearchPlan, clock: Clock, reason: str | None
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
