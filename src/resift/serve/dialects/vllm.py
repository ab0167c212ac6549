"""vLLM's API for reranking and scoring, and its list of models."""

import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from resift.rerank.reranker import Reranker
from resift.serve.call import Call, TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.scores import errors, scored, together
from resift.serve.dialects.vllm_bodies import (
    Body as Body,
)
from resift.serve.dialects.vllm_bodies import (
    Document,
    Model,
    Models,
    Options,
    RerankAnswer,
    Result,
    Score,
    ScoreAnswer,
    ScoreBody,
    Usage,
)
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem, TooLong
from resift.serve.responses import JSON, receipt_headers
from resift.types import Ranking

_TYPE = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}

_LEFT = "truncation_side=left: this server cuts at the right only; leave it out"


class Fault(BaseModel):
    """What went wrong. `code` is the status, and `param` names the part of the body."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorAnswer(BaseModel):
    """The body of responses that are no answer. About keys it is text alone."""

    error: Fault | str


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    status = STATUS[problem.kind]
    if problem.kind is Kind.unauthorized:
        return status, ErrorAnswer(error=problem.message)
    param = "input_tokens" if problem.kind is Kind.too_long else problem.field
    name = _TYPE.get(status, HTTPStatus(status).phrase)
    fault = Fault(message=problem.message, type=name, param=param, code=status)
    return status, ErrorAnswer(error=fault)


DIALECT = Dialect("vllm", _status_and_body)


router = APIRouter(tags=["vllm"], route_class=DIALECT.route_class())

_RERANKED: Any = {
    "responses": {200: {"model": RerankAnswer}, **errors(STATUS, ErrorAnswer)},
    "response_class": JSON,
}
_SCORED: Any = {
    "responses": {200: {"model": ScoreAnswer}, **errors(STATUS, ErrorAnswer)},
    "response_class": JSON,
}


@router.post("/rerank", summary="Rerank documents", **_RERANKED)
@router.post("/v1/rerank", summary="Rerank documents", **_RERANKED)
@router.post("/v2/rerank", summary="Rerank documents", **_RERANKED)
async def rerank(body: Body, call: TheCall) -> Response:
    """Score documents, and return all or the best ``top_n`` with their texts."""
    (ranking,) = await _rank(call, body, [body.query], [body.documents], top_n=body.top_n or None)
    tokens = ranking.receipt.tokens
    answer = RerankAnswer(
        id=f"rerank-{body.request_id or uuid4().hex}",
        model=call.service.model_name(body.model),
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        results=[
            Result(
                index=row.index,
                document=Document(text=body.documents[row.index]),
                relevance_score=row.score,
            )
            for row in scored(ranking, raw=body.use_activation is False)
        ],
    )
    return JSON(answer, headers=receipt_headers(ranking.receipt))


@router.post("/score", summary="Score pairs", **_SCORED)
@router.post("/v1/score", summary="Score pairs", **_SCORED)
async def score(body: ScoreBody, call: TheCall) -> Response:
    """Score one query with each document, or the first with the first, and so on."""
    positions = _positions(body.queries, len(body.documents))
    lists = [[body.documents[position] for position in of_query] for of_query in positions.values()]
    rankings = await _rank(call, body, list(positions), lists)
    scores = [0.0] * len(body.documents)
    for ranking, of_query in zip(rankings, positions.values(), strict=True):
        for row in scored(ranking, raw=body.use_activation is False):
            scores[of_query[row.index]] = row.score
    receipt = together([ranking.receipt for ranking in rankings])
    answer = ScoreAnswer(
        id=f"score-{body.request_id or uuid4().hex}",
        created=int(time.time()),
        model=call.service.model_name(body.model),
        data=[Score(index=index, score=value) for index, value in enumerate(scores)],
        usage=Usage(prompt_tokens=receipt.tokens, total_tokens=receipt.tokens),
    )
    return JSON(answer, headers=receipt_headers(receipt))


@router.get(
    "/v1/models",
    summary="The models",
    responses={200: {"model": Models}, 401: {"model": ErrorAnswer}},
    response_class=JSON,
)
async def models(call: TheCall) -> Response:
    """The models of this server."""
    created = int(time.time())
    data = [
        Model(id=name, created=created, root=model.name, max_model_len=model.max_tokens)
        for name, model in call.service.models.items()
    ]
    return JSON(Models(data=data))


async def _rank(
    call: Call, body: Options, queries: Sequence[str], documents: list[list[str]], **options: Any
) -> list[Ranking]:
    """A ranking for each query, of texts that are cut as the body says."""
    if not all(documents) or not documents:
        raise RequestProblem(Kind.empty, "At least one text_pair element must be given")
    reranker = call.service.reranker(body.model)
    queries, limits = await asyncio.to_thread(_limited, reranker, body, queries)
    try:
        return await call.rank_each(
            queries,
            documents,
            model=body.model,
            budget_ms=body.budget_ms,
            max_tokens_per_doc=limits,
            truncate=body.truncation_side != "left",
            **options,
        )
    except TooLong as error:
        raise RequestProblem(Kind.too_long, _LEFT) from error


def _limited(
    reranker: Reranker, body: Options, queries: Sequence[str]
) -> tuple[Sequence[str], list[int | None]]:
    """The queries, cut as the body says, and for each how many tokens of a document are read."""
    if body.max_tokens_per_query:
        queries = reranker.cut(queries, body.max_tokens_per_query)
    limit = body.max_tokens_per_doc or None
    most = body.truncate_prompt_tokens
    if most is None or not 0 <= most < reranker.max_tokens:
        return queries, [limit] * len(queries)
    if body.truncation_side == "left":
        raise RequestProblem(Kind.invalid, _LEFT, "truncation_side")
    rooms = [most - reranker.max_tokens + reranker.room(query) for query in queries]
    if min(rooms) < 1:
        raise RequestProblem(
            Kind.invalid,
            f"truncate_prompt_tokens={most}: {most - min(rooms)} are the query's; give more",
            "truncate_prompt_tokens",
        )
    return queries, [min(room, limit or room) for room in rooms]


def _positions(queries: Sequence[str], documents: int) -> dict[str, list[int]]:
    """The positions of documents by the query that they are scored with."""
    if not queries:
        raise RequestProblem(Kind.empty, "At least one text element must be given", "queries")
    if len(queries) not in (1, documents):
        raise RequestProblem(
            Kind.invalid,
            f"{len(queries)} queries, {documents} documents: expected 1:1, 1:N or N:N",
            "queries",
        )
    positions: dict[str, list[int]] = {}
    for position in range(documents):
        positions.setdefault(queries[position if len(queries) > 1 else 0], []).append(position)
    return positions
