"""Whole rankings of ``resift serve``: requests with candidates and options, and their hits.

A hit takes from the response what the server's model made of a document, and all else from the
caller's candidate. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from resift.errors import shown
from resift.rerank.candidates import first_rank
from resift.rerank.families.services.service import (
    SCORED,
    UNREADABLE,
    WholeRanking,
    number_of,
    rows_of,
)
from resift.rerank.options import MAX_WEIGHT, RankOptions
from resift.rerank.state import CallState, CandidateTexts
from resift.rerank.values import without_surrogates
from resift.types import Calibrated, Candidate, Hit, Receipt, Status

MOST_HITS = 1_000_000
"""The highest `top_n` that a server takes; it takes fewer documents than that."""

_TEXTS = ("model", "fingerprint", "runtime")
_COUNTS = ("depth", "scored", "cut", "skipped", "tokens")
_LATER_COUNTS = (
    "pruned", "cached", "precomputed", "below_min_score", "windowed", "windows", "mostly_unknown",
    "late", "failed",
)  # fmt: skip
_LATER_FLAGS = ("exact", "abstained")


def body(
    model: str | None,
    query: str,
    candidates: Sequence[Candidate],
    options: RankOptions,
    budget_ms: float | None,
) -> dict[str, Any]:
    """A request for a ranking of all candidates. Options that are not set are left out."""
    statuses = CallState.of(CandidateTexts(candidates)).statuses
    documents = [
        _document(candidate, status) for candidate, status in zip(candidates, statuses, strict=True)
    ]
    fields: dict[str, Any] = {} if model is None else {"model": model}
    fields |= {"query": query, "documents": documents}
    if options.top_n is not None:
        fields["top_n"] = min(options.top_n, MOST_HITS)
    fields |= options.given()
    return fields if budget_ms is None else {**fields, "budget_ms": budget_ms}


def _document(candidate: Candidate, status: Status) -> dict[str, Any]:
    """What the server reads of a candidate; its metadata stays here."""
    is_text = status != "not_text" and isinstance(candidate.text, str)
    document: dict[str, Any] = {
        "id": without_surrogates(candidate.id),
        "text": without_surrogates(candidate.text) if is_text else None,
    }
    if candidate.title:
        document["title"] = candidate.title
    if candidate.rank is not None:
        document["rank"] = candidate.rank
    if candidate.score is not None:  # JSON has no NaN; the server reads this text as one
        document["score"] = "NaN" if math.isnan(candidate.score) else candidate.score
    return document


def answer(
    response: Any, candidates: Sequence[Candidate], options: RankOptions
) -> tuple[list[Hit], Receipt]:
    """The hits in rank order and the server's receipt.

    Raises `ValueError` unless each hit that must be there is there once, with all its fields.
    """
    rows = rows_of(response, "hits")
    receipt = _receipt(response.get("receipt"), len(candidates))
    left_out = 0
    if options.min_score is not None:
        left_out = receipt.below_min_score + receipt.skipped
    expected = len(candidates) - left_out
    expected = expected if options.top_n is None else min(expected, options.top_n)
    if len(rows) != expected:
        raise ValueError(f"{len(rows)} hits: expected {expected} of {len(candidates)} documents")
    hits = [_hit(row, rank, candidates) for rank, row in enumerate(rows, start=1)]
    if len({hit.index for hit in hits}) != len(hits):
        raise ValueError("a document is there twice: expected each once")
    _check_statuses(hits, receipt)
    return hits, receipt


def _check_statuses(hits: Sequence[Hit], receipt: Receipt) -> None:
    """Raise `ValueError` if a hit without a score is above a scored one, or has no reason."""
    scored = [hit.logit is not None for hit in hits]
    if sorted(scored, reverse=True) != scored:
        raise ValueError("a document without a score is above one with a score")
    statuses = (hit.status for hit in hits)
    missing = next((status for status in statuses if status not in (*SCORED, *UNREADABLE)), None)
    if missing is not None and not receipt.partial:
        raise ValueError(f"a document is {missing}, and the receipt is not partial")


def _hit(row: Any, rank: int, candidates: Sequence[Candidate]) -> Hit:
    if not isinstance(row, dict):
        raise ValueError(f"hit {shown(row)}: expected an object")
    index = row.get("index")
    if type(index) is not int or not 0 <= index < len(candidates):
        raise ValueError(f"index {shown(index)}: expected 0 to {len(candidates) - 1}")
    status = _status(row.get("status"))
    is_scored = status in SCORED
    score, logit = row.get("score"), row.get("logit")
    if not is_scored and (score is not None or logit is not None):
        raise ValueError(f"a document is {status} and has a score")
    candidate = candidates[index]
    has_number = candidate.score is not None and not math.isnan(candidate.score)
    text = candidate.text if isinstance(candidate.text, str) else ""
    start, end = _span(row.get("span"), len(text))
    return Hit(
        rank=rank,
        index=index,
        id=candidate.id,
        score=_share(row, "score") if is_scored else None,
        logit=number_of(logit, "logit") if is_scored else None,
        text=text,
        first_stage_rank=first_rank(index, candidate),
        first_stage_score=candidate.score if has_number else None,
        tokens_seen=_count(row, "tokens_seen"),
        tokens_dropped=_count(row, "tokens_dropped"),
        span=(start, end),
        status=status,
        title=candidate.title,
        metadata=candidate.metadata,
        citation=candidate.citation,
        stages=_count(row, "stages"),
        fusion=number_of(row.get("fusion"), "fusion"),
        feedback=number_of(row.get("feedback"), "feedback"),
        dropped_counted=_flag(row, "dropped_counted"),
        windows=_count(row, "windows"),
        unknown_share=_share(row, "unknown_share"),
    )


def _status(value: Any) -> Status:
    if value not in get_args(Status):
        raise ValueError(f"status {shown(value)}: expected one of {', '.join(get_args(Status))}")
    return value  # type: ignore[no-any-return]


def _receipt(fields: Any, depth: int) -> Receipt:
    """The server's receipt; what an older server does not have yet has its default."""
    if not isinstance(fields, dict):
        raise ValueError("expected a JSON object with a receipt")
    values: dict[str, Any] = {name: _text(fields, name) for name in _TEXTS}
    values |= {name: _count(fields, name) for name in _COUNTS}
    values |= {name: _count(fields, name) for name in _LATER_COUNTS if name in fields}
    values |= {name: _flag(fields, name) for name in _LATER_FLAGS if name in fields}
    receipt = Receipt(
        partial=_flag(fields, "partial"),
        reason=_optional_text(fields, "reason"),
        timings_ms=_timings(fields.get("timings_ms")),
        padding_share=_share(fields, "padding_share"),
        fusion_weight=_weight(fields, "fusion_weight"),
        feedback_weight=_weight(fields, "feedback_weight"),
        calibration=_calibration(fields.get("calibration")),
        first_stage_left_out=_optional_text(fields, "first_stage_left_out"),
        query_unknown_share=_share(fields, "query_unknown_share"),
        notes=_notes(fields.get("notes", [])),
        query_prompt=_optional_text(fields, "query_prompt") or "",
        **values,
    )
    if receipt.depth != depth:
        raise ValueError(f"depth {receipt.depth}: expected {depth}")
    return receipt


def _span(value: Any, size: int) -> tuple[int, int]:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(at) is int for at in value)
    if not is_pair or not 0 <= value[0] <= value[1] <= size:
        raise ValueError(f"span {shown(value)}: expected start and end within {size} characters")
    return value[0], value[1]


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError(f"{name} {shown(value)}: expected a whole number from 0")
    return value


def _between(fields: Mapping[str, Any], name: str, most: float) -> float:
    value = number_of(fields.get(name), name)
    if not 0 <= value <= most:
        raise ValueError(f"{name} {value:g}: expected 0 to {most:g}")
    return value


def _share(fields: Mapping[str, Any], name: str) -> float:
    return _between(fields, name, 1)


def _weight(fields: Mapping[str, Any], name: str) -> float:
    return _between(fields, name, MAX_WEIGHT)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} {shown(value)}: expected true or false")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} {shown(value)}: expected text")
    return value


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _calibration(value: Any) -> Calibrated:
    if value not in get_args(Calibrated):
        raise ValueError(
            f"calibration {shown(value)}: expected one of {', '.join(get_args(Calibrated))}"
        )
    return value  # type: ignore[no-any-return]


def _notes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(note, str) for note in value):
        raise ValueError(f"notes {shown(value)}: expected a list of texts")
    return tuple(value)


def _timings(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"timings_ms {shown(value)}: expected an object of milliseconds")
    return {stage: number_of(took_ms, stage) for stage, took_ms in value.items()}


WHOLE = WholeRanking(body, answer)
