"""Cohere's rerank API, v2 and v1."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from resift.serve.call import TheCall
from resift.serve.dialect import Dialect
from resift.serve.dialects.answers import scored
from resift.serve.problems import Problem
from resift.serve.responses import JSON, receipt_headers


def _status_and_body(problem: Problem) -> tuple[int, Any]:
    return 400, {"message": problem.message}


DIALECT = Dialect("cohere", _status_and_body)

router = APIRouter(tags=["cohere"], route_class=DIALECT.route_class())


class V2Body(BaseModel):
    """The body of ``/v2/rerank``."""

    model: str
    query: str
    documents: list[str]
    top_n: int | None = Field(None, ge=1)


@router.post("/v2/rerank", response_class=JSON)
async def rerank(body: V2Body, call: TheCall) -> Response:
    """Rerank."""
    ranking = await call.rank(body.query, body.documents, model=body.model, top_n=body.top_n)
    results = [{"index": one.index, "relevance_score": one.score} for one in scored(ranking)]
    return JSON({"results": results}, headers=receipt_headers(ranking.receipt))
