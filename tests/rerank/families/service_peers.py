"""Servers on loopback that speak each service's API; a document's score is in its text: "… 0.7"."""

import re
from collections.abc import Sequence
from typing import Any

from transport.peer import Action, Request

KEY = "sk-s3cret-key"
TEXTS = ["the first 0.2", "the second 0.9", "the third 0.5", "the fourth 0.7"]
BEST_FIRST = [1, 3, 2, 0]


def score_of(text: str) -> float:
    match = re.search(r"-?\d+(\.\d+)?$", text)
    return float(match.group()) if match else 0.0


def rows(texts: Sequence[str], name: str = "relevance_score") -> list[dict[str, Any]]:
    """A row a text, best first, as the services send them."""
    scored = [{"index": index, name: score_of(text)} for index, text in enumerate(texts)]
    return sorted(scored, key=lambda row: -row[name])


def cohere_answer(body: Any) -> Any:
    meta = {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 42}}
    return {"id": "1", "results": rows(body["documents"]), "meta": meta}


def jina_answer(body: Any) -> Any:
    return {"results": rows(body["documents"]), "usage": {"total_tokens": 42}}


def voyage_answer(body: Any) -> Any:
    return {"object": "list", "data": rows(body["documents"]), "usage": {"total_tokens": 42}}


def tei_answer(body: Any) -> Any:
    return rows(body["texts"], "score")


def resift_answer(body: Any) -> Any:
    """Hits and receipt as ``/v1/rank`` sends them; documents are texts, or objects with one."""
    texts = [item if isinstance(item, str) else item["text"] for item in body["documents"]]
    hits = [
        {
            "rank": rank, "index": row["index"], "score": 0.25, "logit": row["logit"],
            "tokens_seen": 3, "tokens_dropped": 0, "span": [0, len(texts[row["index"]] or "")],
            "status": "ok", "stages": 1, "fusion": 0.0, "feedback": 0.5, "dropped_counted": True,
            "windows": 0, "unknown_share": 0.0,
        }
        for rank, row in enumerate(rows(texts, "logit")[: body.get("top_n")], start=1)
    ]  # fmt: skip
    receipt = {
        "model": "theirs", "fingerprint": "0123456789abcdef", "runtime": "theirs",
        "depth": len(texts), "scored": len(texts), "cut": 0, "skipped": 0, "partial": False,
        "reason": None, "timings_ms": {"score": 0.0, "total": 0.0}, "tokens": 42,
        "padding_share": 0.0, "fusion_weight": 0.0, "feedback_weight": 0.5, "calibration": "model",
        "first_stage_left_out": None, "query_unknown_share": 0.0, "notes": ["a note"],
    }  # fmt: skip
    return {"query": body["query"], "model": "m", "hits": hits, "receipt": receipt}


ANSWERS = {
    "cohere": cohere_answer,
    "jina": jina_answer,
    "voyage": voyage_answer,
    "tei": tei_answer,
    "vllm": jina_answer,
    "resift": resift_answer,
}


def usual(service: str, max_batch: int | None = None) -> Action:
    """What the service does when all is well; `max_batch` is TEI's limit in ``/info``."""

    def answer(request: Request) -> None:
        if request.method == "GET":
            return request.send(200, {"max_client_batch_size": max_batch})
        request.send(200, ANSWERS[service](request.body))

    return answer
