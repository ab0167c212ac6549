"""vLLM's rerank API. Without truncation a single text that is too long fails the request."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import Service, relevance_scores


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "query": query,
        "documents": list(texts),
        "truncate_prompt_tokens": -1,  # as many as the model reads
    }
    return body if model is None else {"model": model, **body}


VLLM = Service(
    "vllm",
    "/rerank",
    _body,
    relevance_scores("results", "usage", "total_tokens"),
    max_documents=1_000,
    max_bytes=8_000_000,
)
