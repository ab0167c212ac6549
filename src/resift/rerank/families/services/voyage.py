"""Voyage's rerank API. It refuses a request with an empty document, so none is sent."""

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
    return {
        "model": model,
        "query": query,
        "documents": list(texts),
        "return_documents": False,
        "truncation": True,
    }


def _answer(response: Any, count: int) -> Answer:
    scores = scores_of(rows_of(response, "data"), count, "relevance_score")
    return Answer(scores, tokens_of(response, "usage", "total_tokens"))


VOYAGE = Service(
    "voyage",
    "/v1/rerank",
    _body,
    _answer,
    max_documents=1_000,
    max_bytes=1_200_000,  # 600,000 tokens a request, of two bytes or more
    url="https://api.voyageai.com",
    model="rerank-2.5",
    key="voyage_key",
)
