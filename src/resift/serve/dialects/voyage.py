"""Voyage's rerank API, as its SDK for Python 0.5, its reference and its error codes have it."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from resift.serve.call import TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.bodies import DialectBody
from resift.serve.dialects.scores import Score, errors, scored, served_model
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem, TooLong
from resift.serve.responses import JSON, receipt_headers

_STATUS = STATUS | {Kind.unknown_model: 400}

MAX_DOCUMENTS = 1_000

NO_SUCH_MODEL = "Model {model} is not supported. Supported models are {models}."
TOO_LONG = (
    "Request to model '{model}' failed. The example at index {index} in your batch has too many "
    "tokens and does not fit into the model's context window of {max_tokens} tokens. Please lower "
    "the number of tokens in the listed example(s) or use truncation."
)


class ErrorAnswer(BaseModel):
    """The body of every response that is no answer."""

    detail: str


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    unauthorized = problem.kind is Kind.unauthorized
    message = "Provided API key is invalid." if unauthorized else problem.message
    return _STATUS[problem.kind], ErrorAnswer(detail=message)


DIALECT = Dialect("voyage", _status_and_body)


class Body(DialectBody):
    """The body of ``/v1/rerank``."""

    model: str = Field(description="A model of this server.")
    query: str = Field(min_length=1)
    documents: list[str] = Field(
        description="None of them is empty.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_DOCUMENTS},
    )
    top_k: int | None = Field(None, ge=1)
    return_documents: bool | None = False
    truncation: bool | None = Field(
        True, description="If false, a text that is longer than the model reads is an error."
    )


class Result(Score):
    """A document's position and score; and the document, if it was asked for."""

    document: str | None = None


class Usage(BaseModel):
    """What the model read."""

    total_tokens: int


class Answer(BaseModel):
    """Documents, best first."""

    object: str
    data: list[Result]
    model: str
    usage: Usage


router = APIRouter(tags=["voyage"], route_class=DIALECT.route_class())


@router.post(
    "/v1/rerank",
    summary="Rerank texts",
    responses={200: {"model": Answer}, **errors(_STATUS, ErrorAnswer)},
    response_class=JSON,
)
async def rerank(body: Body, call: TheCall) -> Response:
    """Score all documents, best first, and return them if ``return_documents`` is true."""
    model = served_model(call, body.model, NO_SUCH_MODEL)
    _check(body.documents)
    try:
        ranking = await call.rank(
            body.query,
            body.documents,
            model=model,
            top_n=body.top_k,
            budget_ms=body.budget_ms,
            truncate=body.truncation is not False,
        )
    except TooLong as error:
        message = TOO_LONG.format(model=model, index=error.index, max_tokens=error.max_tokens)
        raise RequestProblem(Kind.too_long, message, "documents") from error
    data: list[dict[str, Any]] = []
    for entry in scored(ranking):
        document = {"document": body.documents[entry.index]} if body.return_documents else {}
        data.append({"index": entry.index, "relevance_score": entry.score, **document})
    answer = {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"total_tokens": ranking.receipt.tokens},
    }
    return JSON(answer, headers=receipt_headers(ranking.receipt))


def _check(documents: list[str]) -> None:
    """Raise `RequestProblem` for a list that Voyage refuses."""
    if not documents:
        raise RequestProblem(Kind.empty, "documents cannot be an empty list.", "documents")
    if len(documents) > MAX_DOCUMENTS:
        raise RequestProblem(
            Kind.invalid,
            f"documents has {len(documents):,} texts; at most {MAX_DOCUMENTS:,} are accepted.",
            "documents",
        )
    if "" in documents:
        raise RequestProblem(
            Kind.invalid,
            f"documents[{documents.index('')}]: documents cannot contain empty strings.",
            "documents",
        )
