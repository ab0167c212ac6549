"""Cohere's rerank API, version 2."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import Service, relevance_scores


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"model": model, "query": query, "documents": list(texts), "top_n": len(texts)}


COHERE = Service(
    "cohere",
    "/v2/rerank",
    _body,
    relevance_scores("results", "meta", "tokens", "input_tokens"),
    max_documents=1_000,
    max_bytes=8_000_000,
    url="https://api.cohere.com",
    model="rerank-v3.5",
    key="cohere_key",
)
