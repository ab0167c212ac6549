"""What dialects read of a ranking: an index and a score for each document, best first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, Field

from resift.errors import shortened
from resift.serve.call import Call
from resift.serve.problems import Kind, RequestProblem, UnknownModel
from resift.serve.responses import remarks
from resift.types import Hit, Ranking, Receipt


@dataclass(frozen=True, slots=True)
class Scored:
    """A document's position in the request, and its score."""

    index: int
    score: float
    hit: Hit


def scored(ranking: Ranking, *, raw: bool = False) -> list[Scored]:
    """All hits with scores from 0 to 1, or with logits if `raw`; no score is above the one before.

    Dialects have no hit without a score: one that could not be read, or not in time, has the lowest
    score that its rank allows. So has one of an earlier stage of the model, which ranks behind the
    others whatever its score. The headers ``x-partial`` and ``x-notes`` tell so.
    """
    lowest = 0.0
    if raw:
        logits = [hit.logit for hit in ranking if hit.logit is not None]
        lowest = min(logits, default=0.0)
    scores: list[Scored] = []
    for hit in ranking:
        score = hit.logit if raw else hit.score
        score = lowest if score is None else score
        scores.append(Scored(hit.index, min(score, scores[-1].score) if scores else score, hit))
    return scores


def warnings(receipt: Receipt) -> list[str]:
    """What a caller should know who sees no headers, as in the headers."""
    reason = [f"not all documents were scored: {receipt.reason}"] if receipt.partial else []
    return reason + remarks(receipt)


class Score(BaseModel):
    """A document's position in the request, and its score from 0 to 1, in an answer."""

    index: int
    relevance_score: float = Field(ge=0, le=1)


def served_model(call: Call, model: str | None, refusal: str) -> str:
    """The name of a model of this server, the default one for None.

    Raises `RequestProblem` with the words of a service; ``{model}`` and ``{models}`` are filled in.
    """
    try:
        return call.service.model_name(model)
    except UnknownModel:
        models = list(call.service.models)
        message = refusal.format(model=shortened(model or ""), models=models)
        raise RequestProblem(Kind.unknown_model, message, "model") from None


def errors(statuses: Mapping[Kind, int], model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for its OpenAPI description."""
    elsewhere = (Kind.wrong_method, Kind.forbidden)
    documented = {status for kind, status in statuses.items() if kind not in elsewhere}
    return {status: {"model": model} for status in sorted(documented)}


def together(receipts: Sequence[Receipt]) -> Receipt:
    """The receipt of rankings that were made at the same time, as far as headers tell it.

    Counts are sums, and a stage took as long as it took longest.
    """
    counts = ("depth", "scored", "cut", "skipped", "tokens", "cached", "mostly_unknown")
    reasons = [receipt.reason for receipt in receipts if receipt.partial]
    timings_ms: dict[str, float] = {}
    for receipt in receipts:
        for stage, took_ms in receipt.timings_ms.items():
            timings_ms[stage] = max(took_ms, timings_ms.get(stage, 0.0))
    return replace(
        receipts[0],
        partial=bool(reasons),
        reason=reasons[0] if reasons else None,
        timings_ms=timings_ms,
        notes=tuple(dict.fromkeys(note for receipt in receipts for note in receipt.notes)),
        **{name: sum(getattr(receipt, name) for receipt in receipts) for name in counts},
    )
