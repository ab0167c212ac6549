"""Voyage's rerank API. It refuses a request with an empty document, so none is sent."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import Service, relevance_scores


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    return {
        "model": model,
        "query": query,
        "documents": list(texts),
        "return_documents": False,
        "truncation": True,
    }


VOYAGE = Service(
    "voyage",
    "/v1/rerank",
    _body,
    relevance_scores("data", "usage", "total_tokens"),
    max_documents=1_000,
    max_bytes=1_200_000,  # 600,000 tokens a request, of two bytes or more
    url="https://api.voyageai.com",
    model="rerank-2.5",
    key="voyage_key",
)
