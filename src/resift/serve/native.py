"""The native API: rankings and searches with receipts, budgets, explanations and citations."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from resift.plain_json import plain
from resift.search.context import Context, pack
from resift.serve.call import TheCall, shorter
from resift.serve.dialect import Dialect, noted_problem
from resift.serve.examples import RANK, SEARCH
from resift.serve.problems import Kind, Problem, RequestProblem
from resift.serve.responses import JSON, receipt_headers
from resift.types import Explanation, Hit, Ranking, Receipt

_STATUS = {
    Kind.malformed: 422,
    Kind.invalid: 400,
    Kind.empty: 400,
    Kind.too_long: 400,
    Kind.unauthorized: 401,
    Kind.forbidden: 403,
    Kind.unknown_model: 404,
    Kind.not_found: 404,
    Kind.wrong_method: 405,
    Kind.too_large: 413,
    Kind.too_slow: 408,
    Kind.overloaded: 429,
    Kind.unavailable: 503,
    Kind.failed: 500,
}


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
    status: {"model": ErrorAnswer} for status in (400, 401, 404, 408, 413, 422, 429, 500, 503)
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

BudgetMs = Annotated[
    float | None,
    Field(gt=0, allow_inf_nan=False, description="Milliseconds; late candidates are not scored."),
]
Share = Annotated[float | None, Field(ge=0, le=1)]


class _Options(BaseModel):
    """The options that a ranking and a search share. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=100_000)
    budget_ms: BudgetMs = None
    exact: bool = Field(False, description="Run every candidate through all stages of the model.")
    fusion_weight: float | None = Field(None, ge=0, le=1_000_000)
    min_score: Share = Field(None, description="Leave out hits that score below this.")
    abstain_below: Share = Field(None, description="Say so if the best score is below this.")
    long_documents: Literal["cut", "windows"] = "cut"
    explain: int = Field(
        0, ge=0, le=10, description="Explain so many hits: the effect of each sentence."
    )

    def ranking_options(self) -> dict[str, Any]:
        """The arguments of `Reranker.rank` among the options."""
        names = ("exact", "fusion_weight", "min_score", "abstain_below", "long_documents")
        return {name: getattr(self, name) for name in names}


class RankBody(_Options):
    """Documents to rank. A document is text, or an object with ``text``."""

    documents: list[Any] = Field(
        max_length=10_000,
        description="Text, or objects with text and optionally id, title, score and metadata. One "
        "that cannot be read becomes a hit with a status.",
    )
    model: str | None = Field(None, description="A model of this server; its first by default.")
    top_n: int | None = Field(None, ge=1, le=1_000_000)


class SearchBody(_Options):
    """A query for an index of this server."""

    index: str | None = Field(None, description="An index of this server; its first by default.")
    top_n: int = Field(10, ge=1, le=1_000)
    depth: int = Field(30, ge=1, le=1_000, description="How many candidates to rerank.")
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    rerank: bool = True
    where: str | None = Field(None, description="A filter, for instance: lang = 'en'")
    context_tokens: int | None = Field(
        None, ge=50, le=100_000, description="Also pack the hits into a context of so many tokens."
    )
    stream: bool = Field(
        False, description="Server-sent events: first_stage, then ranking, or error."
    )


class RankAnswer(BaseModel):
    """Hits in rank order, the receipt, and explanations of the first hits."""

    query: str
    model: str
    hits: list[Hit]
    receipt: Receipt
    explanations: list[Explanation | None] = []


class SearchAnswer(BaseModel):
    """Hits in rank order, the receipt, and the context if one was asked for."""

    query: str
    index: str
    hits: list[Hit]
    receipt: Receipt
    explanations: list[Explanation | None] = []
    context: Context | None = None


class IndexEntry(BaseModel):
    """An index of this server; without a version it is not open."""

    name: str
    version: int | None
    passages: int | None
    created: str | None


class PassageAnswer(BaseModel):
    """A passage of an index with its place in its document."""

    model_config = ConfigDict(extra="allow")

    id: str
    uri: str
    title: str
    heading: str
    text: str
    start: int
    end: int


@router.post(
    "/rank",
    summary="Rank documents",
    responses={200: {"model": RankAnswer}, **ERRORS},
    response_class=JSON,
)
async def rank(body: Annotated[RankBody, Body(openapi_examples=RANK)], call: TheCall) -> Response:
    """Put documents in the order of their relevance to a query, with a receipt."""
    name = call.service.model_name(body.model)
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
        "explanations": await _explanations(call, ranking, body.explain, body.model),
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
    ranking = await _search(body, call)
    answer = await _search_answer(body, call, ranking)
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
) -> Response:
    """The whole text of a passage, by the ``id`` of a hit."""
    row = await call.service.passage(passage_id, index)
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
        **options,
    )


async def _search_answer(body: SearchBody, call: TheCall, ranking: Ranking) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "query": body.query,
        "index": body.index or next(iter(call.service.indexes)),
        "hits": ranking.hits,
        "receipt": ranking.receipt,
        "explanations": await _explanations(call, ranking, body.explain, None),
        "context": None,
    }
    if body.context_tokens is not None:
        answer["context"] = await asyncio.to_thread(pack, ranking, body.context_tokens)
    return answer


async def _explanations(
    call: TheCall, ranking: Ranking, count: int, model: str | None
) -> list[Explanation | None]:
    """Explanations of the first hits; None for a hit without a score."""
    explanations: list[Explanation | None] = []
    for hit in ranking[:count]:
        explained = None
        if hit.logit is not None:
            explained = await call.service.explain(ranking.query, hit, model)
        explanations.append(explained)
    return explanations


async def _events(body: SearchBody, call: TheCall) -> AsyncIterator[bytes]:
    """The first stage's order as soon as it is known, then the ranking; or an error."""
    events: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def on_first_stage(ranking: Ranking) -> None:
        await events.put(_event("first_stage", {"hits": ranking.hits, "receipt": ranking.receipt}))

    async def run() -> None:
        try:
            ranking = await _search(body, call, on_first_stage=on_first_stage)
            await events.put(_event("ranking", await _search_answer(body, call, ranking)))
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
