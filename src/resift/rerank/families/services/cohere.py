"""Cohere's rerank API, version 2."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import (
    Answer,
    Service,
    rows_of,
    scores_of,
    tokens_of,
)


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"model": model, "query": query, "documents": list(texts), "top_n": len(texts)}


def _answer(response: Any, count: int) -> Answer:
    scores = scores_of(rows_of(response, "results"), count, "relevance_score")
    return Answer(scores, tokens_of(response, "meta", "tokens", "input_tokens"))


COHERE = Service(
    "cohere",
    "/v2/rerank",
    _body,
    _answer,
    max_documents=1_000,
    max_bytes=8_000_000,
    url="https://api.cohere.com",
    model="rerank-v3.5",
    key="cohere_key",
)
