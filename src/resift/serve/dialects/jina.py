"""Jina's rerank API, as the OpenAPI description of its service and its table of errors have it."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from resift.serve.call import TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.bodies import DialectBody, Text
from resift.serve.dialects.scores import Score, errors, scored, served_model
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem
from resift.serve.responses import JSON, receipt_headers

_STATUS = STATUS | {
    Kind.malformed: 422,
    Kind.invalid: 422,
    Kind.empty: 422,
    Kind.unknown_model: 400,
}

_CODE = {
    Kind.too_long: "INPUT_TOKEN_LIMIT_EXCEEDED",
    Kind.unauthorized: "AUTH_INVALID_API_KEY",
    Kind.unknown_model: "INPUT_MODEL_NOT_FOUND",
    Kind.not_found: "RESOURCE_NOT_FOUND",
    Kind.overloaded: "RATE_CONCURRENCY_LIMIT_EXCEEDED",
    Kind.unavailable: "SERVICE_UNAVAILABLE",
    Kind.failed: "INTERNAL_ERROR",
}

NO_SUCH_MODEL = "Model '{model}' not found. This server has {models}"


class Fault(BaseModel):
    """A part of a body that is not valid; `loc` is its path."""

    loc: list[str | int]
    msg: str
    type: str = "value_error"


class ErrorAnswer(BaseModel):
    """The body of every response that is no answer. `code` is there if Jina has one."""

    detail: str | list[Fault]
    code: str | None = None


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    status = _STATUS[problem.kind]
    if status == 422:
        return status, {"detail": [Fault(loc=_path(problem.field), msg=problem.message)]}
    code = _CODE.get(problem.kind)
    return status, {"detail": problem.message} | ({"code": code} if code else {})


def _path(field: str | None) -> list[str | int]:
    parts = field.split(".") if field else []
    return ["body", *(int(part) if part.isdecimal() else part for part in parts)]


DIALECT = Dialect("jina", _status_and_body)


class Body(DialectBody):
    """The body of ``/v1/rerank``. A query or document is text, or an object with ``text``."""

    model: str = Field(description="A model of this server.")
    query: Text
    documents: list[Text] = Field(json_schema_extra={"minItems": 1})
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = True
    max_doc_length: int | None = Field(
        None, ge=1, description="Tokens of a document that are read at most."
    )


class Document(BaseModel):
    """A document of the request."""

    text: str


class Result(Score):
    """A document's position and score; and the document, unless ``return_documents`` is false."""

    document: Document | None = None


class Usage(BaseModel):
    """What the model read."""

    total_tokens: int


class Answer(BaseModel):
    """Documents, best first."""

    model: str
    object: str
    usage: Usage
    results: list[Result]


router = APIRouter(tags=["jina"], route_class=DIALECT.route_class())


@router.post(
    "/v1/rerank",
    summary="Rerank texts",
    responses={200: {"model": Answer}, **errors(_STATUS, ErrorAnswer)},
    response_class=JSON,
)
async def rerank(body: Body, call: TheCall) -> Response:
    """Score all documents, best first, and return them unless ``return_documents`` is false."""
    model = served_model(call, body.model, NO_SUCH_MODEL)
    if not body.documents:
        raise RequestProblem(Kind.empty, "documents: expected at least one document", "documents")
    ranking = await call.rank(
        body.query,
        body.documents,
        model=model,
        top_n=body.top_n,
        budget_ms=body.budget_ms,
        max_tokens_per_doc=body.max_doc_length,
    )
    results: list[dict[str, Any]] = []
    for entry in scored(ranking):
        document = (
            {"document": {"text": body.documents[entry.index]}} if body.return_documents else {}
        )
        results.append({"index": entry.index, "relevance_score": entry.score, **document})
    answer = {
        "model": model,
        "object": "list",
        "usage": {"total_tokens": ranking.receipt.tokens},
        "results": results,
    }
    return JSON(answer, headers=receipt_headers(ranking.receipt))
