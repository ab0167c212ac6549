"""Jina's rerank API. The server itself splits what is more than its model reads at once."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import Scale, Service, relevance_scores


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    return {
        "model": model,
        "query": query,
        "documents": list(texts),
        "top_n": len(texts),
        "return_documents": False,
    }


def _scale(model: str | None) -> Scale:
    """The scores of jina-reranker-v3 are cosines; those of the others are from 0 to 1."""
    return "cosine" if model and "reranker-v3" in model else "probability"


JINA = Service(
    "jina",
    "/v1/rerank",
    _body,
    relevance_scores("results", "usage", "total_tokens"),
    max_documents=1_000,
    max_bytes=8_000_000,
    url="https://api.jina.ai",
    model="jina-reranker-v2-base-multilingual",
    key="jina_key",
    scale=_scale,
)
