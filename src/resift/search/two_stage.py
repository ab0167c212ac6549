"""One search: text → retrieve → rerank → Ranking."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from resift.errors import QueryError
from resift.rerank.first_stage import first_stage_ranking
from resift.search.call import Late, SearchCall, is_outage, outage_reason
from resift.search.components import Ranker
from resift.search.retrieval import retrieve
from resift.types import Candidate, Ranking

_MARGIN_MS = 10.0
"""Subtracted from the reranker's budget, so that a reranker that keeps it returns in time."""

_GRACE_MS = 10.0
"""How long to wait, after the budget of the search, for a reranker that exceeds its own."""


def search(call: SearchCall) -> Ranking:
    """Search one version of an index.

    Without a reranker, or if it fails or is late, the result has the order of the first stage. If
    the reranker or a part of the first stage is missing, the receipt is `partial` and says why.
    Raises the error of a first stage without any result, and errors that are not `is_outage`, such
    as `QueryError` for a query that the reranker cannot read.
    """
    retrieved = retrieve(call)
    ranking = _rerank(call, retrieved.candidates)
    receipt = ranking.receipt
    reasons = [reason for reason in (retrieved.reason, receipt.reason) if reason]
    receipt = replace(
        receipt,
        depth=retrieved.depth,
        version=retrieved.version,
        requests=retrieved.requests,
        bytes=retrieved.bytes,
        partial=receipt.partial or bool(reasons),
        reason="; ".join(reasons) or None,
        notes=(*receipt.notes, *retrieved.notes),
        abstained=receipt.abstained and retrieved.reason is None,  # else candidates are missing
        timings_ms=call.clock.timings(receipt.timings_ms),
    )
    return replace(ranking, receipt=receipt)


def _rerank(call: SearchCall, candidates: list[Candidate]) -> Ranking:
    first_stage = partial(first_stage_ranking, call.query, candidates, call.options.top_n)
    if call.components.reranker is None:
        return first_stage()
    remaining_ms = call.clock.remaining_ms()
    if remaining_ms is not None and remaining_ms <= 0:
        return first_stage("time was up before reranking" if candidates else None)
    try:
        reranker = call.clock.wait_to_open(
            "load", call.components.reranker, "the reranker was loaded"
        )
    except Late as late:
        return first_stage(str(late))
    try:
        return _ranked(call, candidates, reranker)
    except Late as late:
        return first_stage(str(late))
    except QueryError as error:
        raise QueryError(f"{error}, or search with rerank=False") from error
    except Exception as error:
        if not is_outage(error):
            raise
        return first_stage(outage_reason("the reranker", error))


def _ranked(call: SearchCall, candidates: list[Candidate], reranker: Ranker) -> Ranking:
    """The reranker's ranking; with a budget it runs in the background, since it may exceed it."""
    arguments = {"top_n": call.options.top_n, **call.options.rerank_arguments}
    if call.loop is None and not call.clock.is_bounded:
        return reranker.rank(call.query, candidates, budget_ms=None, **arguments)
    arank = getattr(reranker, "arank", None)
    job: Future[Ranking]
    if call.loop is not None and arank is not None:
        steps = arank(call.query, candidates, budget_ms=_budget_ms(call), **arguments)
        job = asyncio.run_coroutine_threadsafe(steps, call.loop)
    else:
        job = call.components.background.run(
            lambda: reranker.rank(call.query, candidates, budget_ms=_budget_ms(call), **arguments)
        )
    try:
        return call.clock.wait(job, "the reranker answered", _GRACE_MS)
    finally:
        job.cancel()


def _budget_ms(call: SearchCall) -> float | None:
    if not call.clock.is_bounded:
        return None
    remaining_ms = max(call.clock.remaining_ms() or 0.0, 0.0)
    return max(remaining_ms - _MARGIN_MS, remaining_ms / 2)
