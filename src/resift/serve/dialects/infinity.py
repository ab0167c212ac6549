"""infinity's API: reranking and its list of models."""

import time
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import Response

from resift.rerank.batching import TOKEN_BUDGET
from resift.serve.call import TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.bodies import DialectBody
from resift.serve.dialects.scores import errors, scored
from resift.serve.problems import STATUS, Kind, Problem
from resift.serve.responses import JSON, receipt_headers

_STATUS = STATUS | {Kind.malformed: 422, Kind.empty: 422, Kind.unknown_model: 400}

DEFAULT_MODEL = "default/not-specified"
MAX_DOCUMENTS = 2_048
MAX_CHARACTERS = 122_880

_DETAIL = {
    Kind.unauthorized: "Unauthorized",
    Kind.not_found: "Not Found",
    Kind.wrong_method: "Method Not Allowed",
}


class Fault(BaseModel):
    """What went wrong. `code` is the status, and `param` names the part of the body."""

    message: str
    type: str | None
    param: str | None
    code: int


class ErrorAnswer(BaseModel):
    """The body of most responses that are no answer."""

    error: Fault


class Invalid(BaseModel):
    """The path in the body, and what is wrong there."""

    loc: list[str]
    msg: str
    type: str


class ValidationAnswer(BaseModel):
    """The body of a response to a body of another shape; about keys and paths it is a text."""

    detail: list[Invalid] | str


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    status, message, field = _STATUS[problem.kind], problem.message, problem.field
    if problem.kind in _DETAIL:
        return status, ValidationAnswer(detail=_DETAIL[problem.kind])
    if status == 422:
        path = ["body", *(field.split(".") if field else [])]
        invalid = Invalid(loc=path, msg=message, type=problem.kind)
        return status, ValidationAnswer(detail=[invalid])
    if problem.kind is Kind.unknown_model:
        message = f"Invalid model: {message}"
    return status, ErrorAnswer(error=Fault(message=message, type=None, param=field, code=status))


DIALECT = Dialect("infinity", _status_and_body)

Text = Annotated[str, StringConstraints(max_length=MAX_CHARACTERS, strip_whitespace=True)]


class Body(DialectBody):
    """The body of ``/rerank``. Space around texts is left out."""

    query: Text
    documents: list[Text] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    return_documents: bool = False
    raw_scores: bool = Field(False, description="Logits instead of scores.")
    model: str = Field(DEFAULT_MODEL, description="A model of this server; its first by default.")
    top_n: int | None = Field(None, ge=1)


class Usage(BaseModel):
    """Tokens that the model read. Those of cached scores do not count."""

    prompt_tokens: int
    total_tokens: int


class Result(BaseModel):
    """The score of a document; its text is there with ``return_documents``."""

    relevance_score: float
    index: int
    document: str | None = None


class RerankAnswer(BaseModel):
    """The scores of documents, best first."""

    object: Literal["rerank"] = "rerank"
    results: list[Result]
    model: str
    usage: Usage
    id: str
    created: int


class Stats(BaseModel):
    """The queue, which all models of the server share; in tokens, except for open calls."""

    queue_fraction: float
    queue_absolute: int
    results_pending: int
    batch_size: int = TOKEN_BUDGET


class Model(BaseModel):
    """A model of this server."""

    id: str
    stats: Stats
    object: Literal["model"] = "model"
    owned_by: Literal["infinity"] = "infinity"
    created: int
    backend: str = "resift"
    capabilities: list[str] = ["rerank"]


class Models(BaseModel):
    """The models of this server; the first one is the default."""

    data: list[Model]
    object: Literal["list"] = "list"


router = APIRouter(tags=["infinity"], route_class=DIALECT.route_class())

_NO_ANSWER: Any = errors(_STATUS, ErrorAnswer) | {
    status: {"model": ValidationAnswer} for status in (401, 404, 422)
}


@router.post(
    "/rerank",
    summary="Rerank documents",
    responses={200: {"model": RerankAnswer}, **_NO_ANSWER},
    response_class=JSON,
)
async def rerank(body: Body, call: TheCall) -> Response:
    """Score documents, and return all or the best ``top_n``."""
    model = None if body.model == DEFAULT_MODEL else body.model
    ranking = await call.rank(
        body.query, body.documents, model=model, budget_ms=body.budget_ms, top_n=body.top_n
    )
    results = []
    for row in scored(ranking, raw=body.raw_scores):
        document = body.documents[row.index] if body.return_documents else None
        results.append(Result(relevance_score=row.score, index=row.index, document=document))
    tokens = ranking.receipt.tokens
    answer = RerankAnswer(
        results=results,
        model=call.service.model_name(model),
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        id=f"infinity-{uuid4()}",
        created=int(time.time()),
    )
    return JSON(answer, headers=receipt_headers(ranking.receipt))


@router.get(
    "/models",
    summary="The models",
    responses={200: {"model": Models}, 401: _NO_ANSWER[401]},
    response_class=JSON,
)
async def models(call: TheCall) -> Response:
    """The models of this server, and how full its queue is."""
    admission = call.service.admission
    stats = Stats(
        queue_fraction=admission.waiting_tokens / admission.max_tokens,
        queue_absolute=admission.waiting_tokens,
        results_pending=admission.open_calls,
    )
    created = int(time.time())
    data = [Model(id=name, stats=stats, created=created) for name in call.service.models]
    return JSON(Models(data=data))
