"""The native API: rankings and searches with receipts, budgets, explanations and citations."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from resift.errors import Overloaded
from resift.plain_json import plain
from resift.search.clock import Clock
from resift.serve.call import TheCall, shorter
from resift.serve.dialect import Dialect, noted_problem
from resift.serve.examples import RANK, SEARCH
from resift.serve.native_bodies import (
    IndexEntry,
    PassageAnswer,
    RankAnswer,
    RankBody,
    SearchAnswer,
    SearchBody,
)
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem
from resift.serve.responses import JSON, receipt_headers
from resift.types import Explanation, Ranking

_STATUS = STATUS | {Kind.malformed: 422}


class Fault(BaseModel):
    """What went wrong: its kind, a message of one line, and the field of the body."""

    kind: Kind
    message: str
    field: str | None = None
    retry_after_s: float | None = None


class ErrorAnswer(BaseModel):
    """The body of every response that is no answer."""

    error: Fault


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    fault = Fault(
        kind=problem.kind,
        message=problem.message,
        field=problem.field,
        retry_after_s=problem.retry_after_s,
    )
    return _STATUS[problem.kind], {"error": fault}


DIALECT = Dialect("native", _status_and_body)

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503)
}

_EVENTS = {
    "type": "object",
    "description": "An event; data is JSON: hits and receipt, a whole answer, or an error.",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["first_stage", "ranking", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}

router = APIRouter(prefix="/v1", tags=["native"], route_class=DIALECT.route_class())


@router.post(
    "/rank",
    summary="Rank documents",
    responses={200: {"model": RankAnswer}, **ERRORS},
    response_class=JSON,
)
async def rank(body: Annotated[RankBody, Body(openapi_examples=RANK)], call: TheCall) -> Response:
    """Put documents in the order of their relevance to a query, with a receipt."""
    name, clock = call.service.model_name(body.model), _clock(body, call)
    ranking = await call.rank(
        body.query,
        body.documents,
        model=body.model,
        budget_ms=body.budget_ms,
        top_n=body.top_n,
        **body.ranking_options(),
    )
    answer = {
        "query": body.query,
        "model": name,
        "hits": ranking.hits,
        "receipt": ranking.receipt,
        "explanations": await _explanations(call, ranking, body, clock, body.model),
    }
    return JSON(answer, headers=receipt_headers(ranking.receipt))


@router.post(
    "/search",
    summary="Search an index",
    responses={
        200: {"model": SearchAnswer, "content": {"text/event-stream": {"schema": _EVENTS}}},
        **ERRORS,
    },
    response_class=JSON,
)
async def search(
    body: Annotated[SearchBody, Body(openapi_examples=SEARCH)], call: TheCall
) -> Response:
    """Retrieve, fuse and rerank passages of an index. With ``stream``, as server-sent events."""
    if not body.rerank and body.explain:
        raise RequestProblem(
            Kind.invalid, "explain needs the reranker: leave rerank out", "explain"
        )
    call.service.index(body.index)
    if body.stream:
        events = _events(body, call)
        return StreamingResponse(events, media_type="text/event-stream")
    clock = _clock(body, call)
    ranking = await _search(body, call)
    answer = await _search_answer(body, call, ranking, clock)
    return JSON(answer, headers=receipt_headers(ranking.receipt))


@router.get("/indexes", summary="The indexes", responses={401: ERRORS[401]}, response_class=JSON)
async def indexes(call: TheCall) -> list[IndexEntry]:
    """The indexes of this server with their open versions."""
    entries = []
    for name, index in call.service.indexes.items():
        version = index.opened
        entries.append(
            IndexEntry(
                name=name,
                version=None if version is None else version.number,
                passages=None if version is None else version.passages,
                created=None if version is None else version.created,
            )
        )
    return entries


@router.get(
    "/passages/{passage_id:path}",
    summary="A passage",
    responses={200: {"model": PassageAnswer}, **ERRORS},
    response_class=JSON,
)
async def passage(
    passage_id: Annotated[str, Path(min_length=1, max_length=5_000)],
    call: TheCall,
    index: Annotated[str | None, Query()] = None,
    before: Annotated[int, Query(ge=0, le=100)] = 0,
    after: Annotated[int, Query(ge=0, le=100)] = 0,
) -> Response:
    """The whole text of a passage, by the ``id`` of a hit, and of so many around it."""
    row = await call.service.passage(passage_id, index, before=before, after=after)
    if row is None or row.citation is None:
        raise RequestProblem(Kind.not_found, "the index has no passage with this id", "passage_id")
    answer = {
        "id": row.id,
        "title": row.title,
        "text": row.text,
        "metadata": plain(row.metadata),
        **plain(row.citation),
    }
    return JSON(answer)


async def _search(body: SearchBody, call: TheCall, **options: Any) -> Ranking:
    if body.rerank:
        options |= body.ranking_options()
    return await call.service.search(
        body.query,
        index=body.index,
        budget_ms=shorter(call.budget_ms, body.budget_ms),
        top_n=body.top_n,
        depth=body.depth,
        mode=body.mode,
        rerank=body.rerank,
        where=body.where,
        collapse=body.collapse,
        **options,
    )


async def _search_answer(
    body: SearchBody, call: TheCall, ranking: Ranking, clock: Clock
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "query": body.query,
        "index": body.index or next(iter(call.service.indexes)),
        "hits": ranking.hits,
        "receipt": ranking.receipt,
        "explanations": await _explanations(call, ranking, body, clock, None),
        "context": None,
    }
    if body.context_tokens is not None:
        answer["context"] = await asyncio.to_thread(ranking.context, body.context_tokens)
    return answer


def _clock(body: RankBody | SearchBody, call: TheCall) -> Clock:
    """The clock of the shorter of the budgets, which began with the call."""
    return Clock(shorter(call.budget_ms, body.budget_ms))


async def _explanations(
    call: TheCall, ranking: Ranking, body: RankBody | SearchBody, clock: Clock, model: str | None
) -> list[Explanation | None]:
    """Explanations of the first hits; None for one without a score, or without time or room."""
    explanations: list[Explanation | None] = []
    for hit in ranking[: body.explain]:
        explained = None
        if hit.logit is not None:
            work = asyncio.ensure_future(call.service.explain(ranking.query, hit, model))
            await clock.wait_in_loop(work)
            if work.done() and not isinstance(work.exception(), Overloaded):
                explained = work.result()
            work.cancel()
        explanations.append(explained)
    return explanations


async def _events(body: SearchBody, call: TheCall) -> AsyncIterator[bytes]:
    """The first stage's order as soon as it is known, then the ranking; or an error."""
    events: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def on_first_stage(ranking: Ranking) -> None:
        await events.put(_event("first_stage", {"hits": ranking.hits, "receipt": ranking.receipt}))

    async def run() -> None:
        try:
            clock = _clock(body, call)
            ranking = await _search(body, call, on_first_stage=on_first_stage)
            answer = await _search_answer(body, call, ranking, clock)
            await events.put(_event("ranking", answer))
        except Exception as error:
            await events.put(_event("error", _status_and_body(noted_problem(error))[1]))
        finally:
            await events.put(None)

    task = asyncio.ensure_future(run())
    try:
        while (event := await events.get()) is not None:
            yield event
    finally:
        task.cancel()


def _event(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + bytes(JSON(data).body) + b"\n\n"
