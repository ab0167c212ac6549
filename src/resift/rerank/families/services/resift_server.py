"""The native API of ``resift serve``: whole rankings, and logits for `RemoteReranker.score`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from resift.errors import shown
from resift.rerank.families.services.resift_ranking import WHOLE
from resift.rerank.families.services.service import (
    SCORED,
    UNREADABLE,
    Answer,
    Service,
    number_of,
    rows_of,
    tokens_of,
)
from resift.rerank.tokenization import TokenRow
from resift.types import Status


def _body(model: str | None, query: str, texts: Sequence[str]) -> dict[str, Any]:
    # Only logits are read, which depend on their pair alone.
    body: dict[str, Any] = {
        "query": query,
        "documents": list(texts),
        "exact": True,
        "fusion_weight": 0,
    }
    return body if model is None else {"model": model, **body}


def _answer(response: Any, count: int) -> Answer:
    hits = rows_of(response, "hits")
    if len(hits) != count:
        raise ValueError(f"{len(hits)} hits for {count} documents")
    scores: dict[int, float | None] = {}
    statuses: dict[int, Status] = {}
    rows: dict[int, TokenRow] = {}
    for hit in hits:
        index = hit.get("index") if isinstance(hit, dict) else None
        if type(index) is not int or not 0 <= index < count or index in scores:
            raise ValueError(f"index {shown(index)}: expected 0 to {count - 1}, each once")
        statuses[index] = _status(hit)
        is_scored = statuses[index] in SCORED
        scores[index] = number_of(hit.get("logit"), "logit") if is_scored else None
        rows[index] = _row(hit)
    tokens = tokens_of(response, "receipt", "tokens")
    return Answer([scores[index] for index in range(count)], tokens, statuses, rows)


def _status(hit: dict[str, Any]) -> Status:
    """The status of a hit; raises `ValueError` for a document that should have a score."""
    status = hit.get("status")
    if status not in (*SCORED, *UNREADABLE):
        raise ValueError(f"a document is {shown(status)}: expected a score for each")
    return status  # type: ignore[no-any-return]


def _row(hit: dict[str, Any]) -> TokenRow:
    """What the model read of a document."""
    span = hit.get("span")
    start, end = span if isinstance(span, list) and len(span) == 2 else (0, 0)
    if not (type(start) is int and type(end) is int and 0 <= start <= end):
        start, end = 0, 0
    counts = {name: tokens_of(hit, name) for name in ("tokens_seen", "tokens_dropped", "windows")}
    return TokenRow(
        np.empty(0, np.int64),
        0,
        counts["tokens_seen"],
        counts["tokens_dropped"],
        end,
        counted=hit.get("dropped_counted") is not False,
        start=start,
        windows=counts["windows"],
    )


RESIFT = Service(
    "resift",
    "/v1/rank",
    _body,
    _answer,
    max_documents=1_000,
    max_bytes=8_000_000,
    scale=lambda _: "logit",
    ranking=WHOLE,
)
