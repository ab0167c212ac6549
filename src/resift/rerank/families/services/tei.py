"""Text Embeddings Inference. Its limit of texts a request is in ``/info``, 32 by default."""

from collections.abc import Sequence
from typing import Any

from resift.rerank.families.services.service import Answer, Service, scores_of


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    body = {"query": query, "texts": list(texts), "truncate": True, "raw_scores": True}
    # TEI serves one model and ignores the name; other servers of its API may have several.
    return body if model is None else {**body, "model": model}


def _answer(response: Any, count: int) -> Answer:
    return Answer(scores_of(response, count, "score"))


def _max_documents(info: Any) -> int | None:
    most = info.get("max_client_batch_size") if isinstance(info, dict) else None
    return min(most, 1_000) if type(most) is int and most > 0 else None


TEI = Service(
    "tei",
    "/rerank",
    _body,
    _answer,
    max_documents=32,
    max_bytes=1_900_000,  # TEI refuses bodies over 2,000,000
    scale=lambda _: "logit",
    limits_path="/info",
    max_documents_of=_max_documents,
)
