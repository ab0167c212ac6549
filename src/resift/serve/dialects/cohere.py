"""Cohere's rerank API, v2 and v1, as its SDK for Python 5.21 and its pages about errors have it."""

from collections.abc import Sequence
from math import ceil
from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from resift.serve.call import TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.bodies import DialectBody, TextOrObject
from resift.serve.dialects.cohere_documents import texts_of
from resift.serve.dialects.scores import Score, errors, scored, served_model, warnings
from resift.serve.problems import STATUS, Kind, Problem, RequestProblem
from resift.serve.responses import JSON, receipt_headers

NO_DOCUMENTS = "invalid request: list of documents must not be empty"
NO_QUERY = "invalid request: query must not be empty or be only whitespace"
NO_SUCH_MODEL = (
    "model '{model}' not found, make sure the correct model ID was used and that you have access "
    "to the model. (this server has {models})"
)
TOO_MANY_CHUNKS = (
    "invalid request: number of total max chunks (number of documents * max chunks per doc) must "
    "be less than 10000"
)


class ErrorAnswer(BaseModel):
    """The body of every response that is no answer."""

    message: str


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    unauthorized = problem.kind is Kind.unauthorized
    message = "invalid api token" if unauthorized else problem.message
    return STATUS[problem.kind], ErrorAnswer(message=message)


DIALECT = Dialect("cohere", _status_and_body)


class V2Body(DialectBody):
    """The body of ``/v2/rerank``."""

    model: str = Field(description="A model of this server.")
    query: str
    documents: list[str] = Field(json_schema_extra={"minItems": 1})
    top_n: int | None = Field(None, ge=1)
    max_tokens_per_doc: int | None = Field(4096, ge=1, description="What follows is not read.")
    priority: int | None = Field(None, ge=0, description="Has no effect.")


class V1Body(DialectBody):
    """The body of ``/v1/rerank``. A document is text, or an object with ``text``."""

    model: str | None = Field(None, description="A model of this server; its first by default.")
    query: str
    documents: list[TextOrObject] = Field(json_schema_extra={"minItems": 1})
    top_n: int | None = Field(None, ge=1)
    rank_fields: list[str] | None = Field(
        None, description="The fields of objects that are read, in this order; text by default."
    )
    return_documents: bool | None = None
    max_chunks_per_doc: int | None = Field(
        None,
        ge=1,
        description="A chunk has as many tokens as the model reads. With more than one, long "
        "documents are read in windows; by default only the first chunk is read.",
    )


class Result(Score):
    """A document's position and score; in v1 with the document, if it was asked for."""

    document: dict[str, Any] | None = None


class Meta(BaseModel):
    """Counts; and ``warnings``, if there are any."""

    api_version: dict[str, str]
    billed_units: dict[str, int]
    tokens: dict[str, int]
    warnings: list[str] | None = None


class Answer(BaseModel):
    """Documents, best first."""

    id: str
    results: list[Result]
    meta: Meta


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer},
    **errors(STATUS, ErrorAnswer),
}

v2_router = APIRouter(tags=["cohere"], route_class=DIALECT.route_class())
v1_router = APIRouter(tags=["cohere"], route_class=DIALECT.route_class())


@v2_router.post("/v2/rerank", summary="Rerank texts", responses=_RESPONSES, response_class=JSON)
async def rerank_v2(body: V2Body, call: TheCall) -> Response:
    """Score all texts, best first."""
    options = {"max_tokens_per_doc": body.max_tokens_per_doc}
    return await _answer("2", body, body.documents, call, options)


@v1_router.post(
    "/v1/rerank", summary="Rerank texts or objects", responses=_RESPONSES, response_class=JSON
)
async def rerank_v1(body: V1Body, call: TheCall) -> Response:
    """Score texts or objects, best first, and return them if ``return_documents`` is true."""
    texts = texts_of(body.documents, body.rank_fields)
    options: dict[str, Any] = {}
    chunks = body.max_chunks_per_doc or 1
    if chunks > 1:
        if chunks * len(texts) >= 10_000:
            raise RequestProblem(Kind.invalid, TOO_MANY_CHUNKS, "max_chunks_per_doc")
        model = served_model(call, body.model, NO_SUCH_MODEL)
        tokens = chunks * call.service.reranker(model).max_tokens
        options = {"long_documents": "windows", "max_tokens_per_doc": tokens}
    return await _answer(
        "1", body, texts, call, options, body.documents if body.return_documents else None
    )


async def _answer(
    version: str,
    body: V1Body | V2Body,
    texts: Sequence[str],
    call: TheCall,
    options: dict[str, Any],
    returned: Sequence[Any] | None = None,
) -> Response:
    model = served_model(call, body.model, NO_SUCH_MODEL)
    if not texts:
        raise RequestProblem(Kind.empty, NO_DOCUMENTS, "documents")
    if not body.query.strip():
        raise RequestProblem(Kind.invalid, NO_QUERY, "query")
    ranking = await call.rank(
        body.query, texts, model=model, top_n=body.top_n, budget_ms=body.budget_ms, **options
    )
    results: list[dict[str, Any]] = []
    for entry in scored(ranking):
        results.append({"index": entry.index, "relevance_score": entry.score})
        if returned is not None:
            document = returned[entry.index]
            results[-1]["document"] = {"text": document} if isinstance(document, str) else document
    meta: dict[str, Any] = {
        "api_version": {"version": version},
        "billed_units": {"search_units": ceil(len(texts) / 100)},
        "tokens": {"input_tokens": ranking.receipt.tokens, "output_tokens": 0},
    }
    if notes := warnings(ranking.receipt):
        meta["warnings"] = notes
    answer = {"id": str(uuid4()), "results": results, "meta": meta}
    return JSON(answer, headers=receipt_headers(ranking.receipt))
