"""What dialects read of a ranking: an index and a score for each document, best first."""

from dataclasses import dataclass

from resift.types import Hit, Ranking


@dataclass(frozen=True, slots=True)
class Scored:
    """A document's place in the request, and its score."""

    index: int
    score: float
    hit: Hit


def scored(ranking: Ranking, *, raw: bool = False) -> list[Scored]:
    """All hits with scores from 0 to 1, or with logits if `raw`.

    Dialects have no hit without a score: one that could not be read, or not in time, has the lowest
    score that its place allows. The headers ``x-partial`` and ``x-notes`` say so.
    """
    lowest = 0.0
    if raw:
        logits = [hit.logit for hit in ranking if hit.logit is not None]
        lowest = min(logits, default=0.0)
    answers = []
    for hit in ranking:
        score = hit.logit if raw else hit.score
        answers.append(Scored(hit.index, lowest if score is None else score, hit))
    return answers
