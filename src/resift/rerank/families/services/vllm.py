"""vLLM's rerank API. Without truncation a single text that is too long fails the request."""

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
    body: dict[str, Any] = {
        "query": query,
        "documents": list(texts),
        "truncate_prompt_tokens": -1,  # as many as the model reads
    }
    return body if model is None else {"model": model, **body}


def _answer(response: Any, count: int) -> Answer:
    scores = scores_of(rows_of(response, "results"), count, "relevance_score")
    return Answer(scores, tokens_of(response, "usage", "total_tokens"))


VLLM = Service(
    "vllm",
    "/rerank",
    _body,
    _answer,
    max_documents=1_000,
    max_bytes=8_000_000,
)
