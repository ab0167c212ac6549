"""One search: text → retrieve → rerank → Ranking."""

from dataclasses import replace
from functools import partial

from resift.search.clock import Clock, Late
from resift.search.degrade import is_outage, noted
from resift.search.parts import Parts, Ranker
from resift.search.plan import SearchPlan
from resift.search.retrieval import retrieve
from resift.types import Candidate, Hit, Ranking, Receipt

_MARGIN_MS = 10.0
"""What a reranker is not told of: so long after its budget one that keeps it may come back."""

_GRACE_MS = 10.0
"""So long after the search's budget one that does not keep its own is waited for."""


def search(query: str, parts: Parts, plan: SearchPlan, clock: Clock) -> Ranking:
    """Search one version of an index.

    Without a reranker, or when it fails or is late, the first stage's order is the answer; in the
    last two cases, and where the first stage left something out, the receipt is `partial` and says
    why. Raises where there is nothing to answer with but an error (`search.faults`).
    """
    found = retrieve(query, parts, plan, clock)
    ranking = _rerank(query, found.candidates, parts, plan, clock)
    receipt = ranking.receipt
    reasons = [reason for reason in (found.reason, receipt.reason) if reason]
    receipt = replace(
        receipt,
        depth=found.depth,
        version=found.version,
        requests=found.requests,
        bytes=found.bytes,
        partial=receipt.partial or bool(reasons),
        reason="; ".join(reasons) or None,
        notes=(*receipt.notes, *found.notes),
        abstained=receipt.abstained and found.reason is None,  # else not all was seen
        timings_ms=clock.timings_ms | dict(receipt.timings_ms) | {"total": clock.elapsed_ms()},
    )
    return replace(ranking, receipt=receipt)


def _rerank(
    query: str, candidates: list[Candidate], parts: Parts, plan: SearchPlan, clock: Clock
) -> Ranking:
    as_they_came = partial(_first_stage, query, candidates, plan.top_n)
    if parts.reranker is None:
        return as_they_came(reason=None)
    left_ms = clock.left_ms()
    if left_ms is not None and left_ms <= 0:
        return as_they_came(reason="time was up before reranking" if candidates else None)
    try:
        reranker = clock.open("load", parts.reranker, "the reranker was loaded")
    except Late as late:
        return as_they_came(reason=str(late))
    try:
        return _ranked(query, candidates, reranker, parts, plan, clock)
    except Late as late:
        return as_they_came(reason=str(late))
    except Exception as error:
        if not is_outage(error):
            raise
        return as_they_came(reason=noted("the reranker", error))


def _ranked(
    query: str,
    candidates: list[Candidate],
    reranker: Ranker,
    parts: Parts,
    plan: SearchPlan,
    clock: Clock,
) -> Ranking:
    """What the reranker says; with a budget in the background, since not every one keeps to it."""
    rank = partial(reranker.rank, query, candidates, top_n=plan.top_n, **plan.reranking.arguments)
    if not clock.bounded:
        return rank(budget_ms=None)

    def in_time() -> Ranking:
        left_ms = max(clock.left_ms() or 0.0, 0.0)
        return rank(budget_ms=max(left_ms - _MARGIN_MS, left_ms / 2))

    job = parts.background.run(in_time)
    try:
        return clock.wait(job, "the reranker answered", _GRACE_MS)
    finally:
        job.cancel()


def _first_stage(
    query: str, candidates: list[Candidate], top_n: int, *, reason: str | None
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
            citation=candidate.citation,
        )
        for index, candidate in enumerate(candidates[:top_n])
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
        timings_ms={},
        tokens=0,
        padding_share=0.0,
        fusion_weight=0.0,
    )
    return Ranking(query, hits, receipt)
