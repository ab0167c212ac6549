"""One search: text → retrieve → rerank → Ranking. In a thread, or in an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from resift.background import Background
from resift.errors import QueryError
from resift.outages import is_outage, outage_reason
from resift.rerank.first_stage import first_stage_ranking
from resift.rerank.ranker import Ranker, checked_ranking
from resift.search.call import Retrieved, SearchCall
from resift.search.clock import Late
from resift.search.collapse import collapsed
from resift.types import Candidate, Ranking

_MARGIN_MS = 10.0
"""Subtracted from the reranker's budget, so that a reranker that keeps it returns in time."""

_GRACE_MS = 10.0
"""How long to wait, after the budget of the search, for a reranker that exceeds its own."""

OnFirstStage = Callable[[Ranking], Awaitable[None]]


def search(call: SearchCall) -> Ranking:
    """Search an index, or by any retriever.

    Without a reranker, or if it fails or is late, the result has the order of the first stage. If
    the reranker or a part of the first stage is missing, the receipt is `partial` and says why.
    Raises the error of a first stage without any result, and errors that are not `is_outage`, such
    as `QueryError` for a query that the reranker cannot read.
    """
    inner = _for_all_candidates(call)
    retrieved = inner.first_stage.retrieve(inner)
    return _complete(call, retrieved, _rerank(inner, retrieved.candidates))


async def asearch(
    call: SearchCall, threads: Background, on_first_stage: OnFirstStage | None = None
) -> Ranking:
    """`search` in an event loop: one of `threads` retrieves, and no thread waits for the reranker.

    `on_first_stage` is awaited with the order of the first stage before reranking begins.
    """
    inner = _for_all_candidates(call)
    retrieved = await _retrieve(inner, threads)
    if on_first_stage is not None:
        first = first_stage_ranking(call.query, retrieved.candidates, inner.options.top_n)
        await on_first_stage(_complete(call, retrieved, first))
    return _complete(call, retrieved, await _arerank(inner, retrieved.candidates))


def _for_all_candidates(call: SearchCall) -> SearchCall:
    """The call that has the hits of all candidates, if documents are to be counted among them."""
    options = call.options
    if options.collapse is None:
        return call
    return replace(call, options=replace(options, top_n=options.candidate_count))


def _complete(call: SearchCall, retrieved: Retrieved, ranking: Ranking) -> Ranking:
    """The ranking with what its receipt has of the first stage."""
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
    neighbours = call.first_stage.neighbours()
    ranking = replace(ranking, query=call.query, receipt=receipt, neighbours=neighbours)
    options = call.options
    if options.collapse is None:
        return ranking
    return collapsed(ranking, options.top_n, options.candidate_count)


async def _retrieve(call: SearchCall, threads: Background) -> Retrieved:
    """The first stage: its `aretrieve`, or in one of `threads`.

    Nothing if no thread was free before time was up.
    """
    aretrieve = getattr(call.first_stage, "aretrieve", None)
    if aretrieve is not None:
        candidates: Retrieved = await aretrieve(call)
        return candidates
    job = threads.run(lambda: call.first_stage.retrieve(call))
    retrieved = asyncio.wrap_future(job)
    await call.clock.wait_in_loop(retrieved)
    if not retrieved.done() and job.cancel():
        return call.nothing_retrieved("time was up before the search began")
    return await retrieved


def _rerank(call: SearchCall, candidates: list[Candidate]) -> Ranking:
    loading = call.reranker
    if loading is None or not (candidates or _has_time(call)):
        return first_stage_ranking(call.query, candidates, call.options.top_n)
    try:
        _check_time(call)
        event = "the reranker was loaded"
        reranker = call.clock.wait_to_open("load", loading, event)
        return _ranked(call, candidates, reranker)
    except Exception as error:
        return _without_reranking(call, candidates, error)


async def _arerank(call: SearchCall, candidates: list[Candidate]) -> Ranking:
    loading = call.reranker
    if loading is None or not (candidates or _has_time(call)):
        return first_stage_ranking(call.query, candidates, call.options.top_n)
    try:
        _check_time(call)
        reranker = await call.clock.wait_to_open_in_loop("load", loading, "the reranker was loaded")
        return await _aranked(call, candidates, reranker)
    except Exception as error:
        return _without_reranking(call, candidates, error)


def _has_time(call: SearchCall) -> bool:
    remaining_ms = call.clock.remaining_ms()
    return remaining_ms is None or remaining_ms > 0


def _check_time(call: SearchCall) -> None:
    """Raise `Late` if time is up."""
    if not _has_time(call):
        raise Late("time was up before reranking")


def _without_reranking(call: SearchCall, candidates: list[Candidate], error: Exception) -> Ranking:
    """The order of the first stage, with the reason; raises what is not an outage."""
    if isinstance(error, QueryError):
        raise QueryError(f"{error}, or search with rerank=False") from error
    if isinstance(error, Late):
        reason = str(error)
    elif is_outage(error):
        reason = outage_reason("the reranker", error)
    else:
        raise error
    return first_stage_ranking(call.query, candidates, call.options.top_n, reason)


def _ranked(call: SearchCall, candidates: list[Candidate], reranker: Ranker) -> Ranking:
    """The reranker's ranking; with a budget it runs in the background, since it may exceed it."""
    rank: Callable[[], Ranking] = _call_of(reranker.rank, call, candidates)
    if not call.clock.is_bounded:
        return _checked(call, candidates, reranker, rank())
    job = call.background.run(rank)
    try:
        ranking = call.clock.wait(job, "the reranker answered", _GRACE_MS)
    finally:
        job.cancel()
    return _checked(call, candidates, reranker, ranking)


async def _aranked(call: SearchCall, candidates: list[Candidate], reranker: Ranker) -> Ranking:
    """The ranking of `arank`, or of `rank` in the background."""
    arank = getattr(reranker, "arank", None)
    job: asyncio.Future[Ranking]
    if arank is not None:
        job = asyncio.ensure_future(_call_of(arank, call, candidates)())
    else:
        rank = _call_of(reranker.rank, call, candidates)
        job = asyncio.wrap_future(call.background.run(rank))
    try:
        await call.clock.wait_in_loop(job, _GRACE_MS)
        if not job.done():
            raise Late("time was up before the reranker answered")
        return _checked(call, candidates, reranker, job.result())
    finally:
        job.cancel()


def _checked(
    call: SearchCall, candidates: list[Candidate], reranker: Ranker, ranking: object
) -> Ranking:
    """What the reranker returned, if it is a ranking of the candidates. Raises `RerankerError`."""
    options = call.options
    may_omit = options.min_score is not None
    return checked_ranking(ranking, len(candidates), reranker, options.top_n, may_omit=may_omit)


def _call_of(
    rank: Callable[..., Any], call: SearchCall, candidates: list[Candidate]
) -> Callable[[], Any]:
    """`rank` with its arguments; the budget counts from when it is called."""
    arguments = {"top_n": call.options.top_n, **call.options.rerank_arguments}
    query = call.normalised_query
    return lambda: rank(query, candidates, budget_ms=_budget_ms(call), **arguments)


def _budget_ms(call: SearchCall) -> float | None:
    if not call.clock.is_bounded:
        return None
    remaining_ms = max(call.clock.remaining_ms() or 0.0, 0.0)
    return max(remaining_ms - _MARGIN_MS, remaining_ms / 2)
