"""The API of Text Embeddings Inference (TEI) 1.9: reranking, model information and health."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

import resift
from resift.rerank.batching import TOKEN_BUDGET
from resift.serve.admission import CALL_TOKENS
from resift.serve.call import MAX_DOCUMENTS, TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.bodies import DialectBody
from resift.serve.dialects.scores import errors, scored
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem, TooLong
from resift.serve.responses import JSON, receipt_headers

_STATUS = STATUS | {
    Kind.malformed: 422,
    Kind.invalid: 422,
    Kind.too_long: 422,
    Kind.unknown_model: 422,
    Kind.failed: 424,
}

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]

_ERROR_TYPE: dict[Kind, ErrorType] = {
    Kind.empty: "Empty",
    Kind.overloaded: "Overloaded",
    Kind.unavailable: "Unhealthy",
    Kind.failed: "Backend",
}


class ErrorAnswer(BaseModel):
    """The body of responses that are no answer, except of one about keys: it has none."""

    error: str
    error_type: ErrorType


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    status = _STATUS[problem.kind]
    if problem.kind is Kind.unauthorized:
        return status, None
    if problem.kind is Kind.too_large and problem.field:
        status = 422  # TEI's status for a long list; 413 is for a large body
    error_type = _ERROR_TYPE.get(problem.kind, "Validation")
    return status, ErrorAnswer(error=problem.message, error_type=error_type)


DIALECT = Dialect("tei", _status_and_body)

_NO_KEY: dict[int | str, dict[str, Any]] = {401: {"description": "No valid key; without a body"}}


class Body(DialectBody):
    """The body of ``/rerank``. `model` is an addition of resift: TEI serves one."""

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Literal["left", "Left", "right", "Right"] = "right"
    raw_scores: bool = False
    return_text: bool = False
    model: str | None = None


class Rank(BaseModel):
    """The score of a text; `text` is there only with ``return_text``."""

    index: int
    score: float
    text: str | None = None


class Labels(BaseModel):
    """The labels of the model's outputs; a reranker has one."""

    id2label: dict[str, str] = {"0": "LABEL_0"}
    label2id: dict[str, int] = {"LABEL_0": 0}


class ModelType(BaseModel):
    """The model is a reranker."""

    reranker: Labels = Labels()


class Info(BaseModel):
    """The server's first model, and the limits of the server."""

    model_id: str
    model_sha: str
    model_dtype: str
    model_type: ModelType = ModelType()
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int = TOKEN_BUDGET
    max_batch_requests: int | None = None
    max_client_batch_size: int = MAX_DOCUMENTS
    auto_truncate: bool = True
    tokenization_workers: int = 1
    version: str
    sha: str | None = None
    docker_label: str | None = None


router = APIRouter(tags=["tei"], route_class=DIALECT.route_class())


@router.post(
    "/rerank",
    summary="Rerank texts",
    responses={200: {"model": list[Rank]}, **errors(_STATUS, ErrorAnswer), **_NO_KEY},
    response_class=JSON,
)
async def rerank(body: Body, call: TheCall) -> Response:
    """Score all texts, best first."""
    if not body.texts:
        raise RequestProblem(Kind.empty, "`texts` cannot be empty", "texts")
    cuts_left = body.truncation_direction.lower() == "left"
    try:
        ranking = await call.rank(
            body.query,
            body.texts,
            model=body.model,
            budget_ms=body.budget_ms,
            truncate=body.truncate is not False and not cuts_left,
        )
    except TooLong as error:
        raise _too_long(error, cuts_left and body.truncate is not False) from error
    ranks: list[dict[str, Any]] = []
    for row in scored(ranking, raw=body.raw_scores):
        text = {"text": body.texts[row.index]} if body.return_text else {}
        ranks.append({"index": row.index, **text, "score": row.score})
    characters = len(body.query) * len(body.texts) + sum(map(len, body.texts))
    headers = {"x-compute-characters": str(characters), **receipt_headers(ranking.receipt)}
    return JSON(ranks, headers=headers)


def _too_long(error: TooLong, cuts_left: bool) -> RequestProblem:
    given = error.max_tokens + error.dropped
    message = f"`inputs` must have less than {error.max_tokens} tokens. Given: {given}"
    if cuts_left:
        message += "; this server cuts at the right only: leave truncation_direction out"
    return RequestProblem(Kind.too_long, message, "texts")


@router.get(
    "/info",
    summary="The model",
    responses={200: {"model": Info}, **_NO_KEY},
    response_class=JSON,
)
async def info(call: TheCall) -> Response:
    """The server's first model. `model_sha` is its fingerprint, over all that decides a score."""
    reranker = call.service.reranker()
    answer = Info(
        model_id=reranker.name,
        model_sha=reranker.fingerprint,
        model_dtype=reranker.quantisation,
        max_concurrent_requests=call.service.admission.max_tokens // CALL_TOKENS,
        max_input_length=reranker.max_tokens,
        version=resift.__version__,
    )
    return JSON(answer)


@router.get(
    "/health",
    summary="Alive?",
    responses={200: {"description": "The server answers; no body"}},
    response_class=Response,
)
async def health() -> Response:
    """200 as long as the process answers; needs no key."""
    return Response()
