"""What was read of a call, as rankings: of any depth and weight, without reading again.

A logit depends on its pair alone, so the order of the first 20 candidates follows from what was
read of 100. Knows no model, only its manifest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError
from resift.rerank.artifact import Manifest
from resift.rerank.calibration import ScoreScale
from resift.rerank.candidate_stream import NONE, Rest
from resift.rerank.candidates import first_rank
from resift.rerank.hits import Hits
from resift.rerank.options import checked_count
from resift.rerank.ordering import Interpolation, fusion, order
from resift.rerank.state import CallState
from resift.rerank.thresholds import ANYTHING, Thresholds
from resift.rerank.values import number, shown
from resift.types import Candidate, Ranking, Receipt

MOST_WEIGHT = 1_000_000
"""Of the first stage: by far enough that it alone decides."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredCandidates:
    """A query, its candidates, and what the model made of each pair; `scale` makes scores of it.

    `took_ms` has the milliseconds after which the first so many candidates were read, by count.
    Of the `rest`, which time did not suffice to look at, nothing is known but ranks.
    """

    query: str
    candidates: Sequence[Candidate]
    outcome: CallState
    manifest: Manifest
    scale: ScoreScale
    runtime: str
    exact: bool
    took_ms: Mapping[int, float]
    rest: Rest = NONE

    def ranking(
        self,
        top_n: int | None = None,
        *,
        depth: int | None = None,
        fusion_weight: float | None = None,
        thresholds: Thresholds = ANYTHING,
    ) -> Ranking:
        """The best `top_n` of the first `depth` candidates; all of all with None.

        `fusion_weight` and `thresholds` as in `Reranker.rank`. Raises `InputError` for a depth or
        weight that makes no sense. Where some were let go on the way (not `exact`) a smaller depth
        or another weight than the one that was raced for is an estimate.
        """
        hits, receipt = self.ranked(
            top_n, depth=depth, fusion_weight=fusion_weight, thresholds=thresholds
        )
        return Ranking.of(self.query, hits, receipt)

    def ranked(
        self,
        top_n: int | None = None,
        *,
        depth: int | None = None,
        fusion_weight: float | None = None,
        thresholds: Thresholds = ANYTHING,
    ) -> tuple[Hits, Receipt]:
        """The parts of a `ranking`."""
        if not isinstance(thresholds, Thresholds):
            raise InputError(f"thresholds={shown(thresholds)}: expected Thresholds(…)")
        top_n = checked_count("top_n", top_n)
        candidates, outcome, interpolation = self._head(depth, fusion_weight)
        rest = self.rest if depth is None else NONE
        scores, feedback_weight = _scores(outcome, interpolation)
        places, given_in = _order(candidates, outcome, scores), len(candidates) + len(rest)
        curve, source = self.scale.curve(interpolation.weight, interpolation.feedback_weight)
        calibrated, note = self.scale.vouches(source, given_in)
        values = curve(scores)
        kept = thresholds.kept(places, values, outcome.statuses)
        taken = _with_rest(kept, candidates, scores, rest, top_n)
        given = [
            candidates[place] if place < len(candidates) else rest.at(place)
            for place in taken.tolist()
        ]
        hits = Hits(taken, given, outcome, values, (interpolation.fusion, feedback_weight))
        scored = bool(np.isfinite(scores).any())
        weight = interpolation.weight if scored else 0.0
        feedback = interpolation.feedback_weight if scored and outcome.means is not None else 0.0
        partial = outcome.partial or bool(rest.missing)
        late = (outcome.reason or "time was up", *rest.missing) if rest.missing else ()
        receipt = replace(
            self._receipt(outcome, weight, feedback),
            depth=given_in,
            partial=partial,
            reason="; ".join(late) or outcome.reason,
            calibration=calibrated,
            notes=(note,) if note and scored else (),
            below_min_score=int(np.isfinite(values).sum() - np.isfinite(values[kept]).sum()),
            abstained=thresholds.abstains(_first(values[places]), partial),
            first_stage_left_out=interpolation.left_out,
        )
        return hits, receipt

    def order(self, *, depth: int | None = None, fusion_weight: float | None = None) -> list[int]:
        """The places of the first `depth` candidates, best first: `ranking` without its hits."""
        candidates, outcome, interpolation = self._head(depth, fusion_weight)
        return [
            int(place) for place in _order(candidates, outcome, _scores(outcome, interpolation)[0])
        ]

    def _head(
        self, depth: int | None, fusion_weight: float | None
    ) -> tuple[Sequence[Candidate], CallState, Interpolation]:
        candidates = self.candidates[: checked_count("depth", depth)]
        weight = checked_weight(fusion_weight, self.manifest)
        interpolation = weighed(candidates, weight, self.manifest)
        return candidates, self.outcome.head(len(candidates)), interpolation

    def _receipt(self, outcome: CallState, weight: float, feedback_weight: float) -> Receipt:
        statuses = outcome.statuses
        return Receipt(
            model=self.manifest.name,
            fingerprint=self.manifest.fingerprint,
            runtime=self.runtime,
            depth=len(statuses),
            scored=int(np.isfinite(outcome.logits).sum()),
            cut=statuses.count("cut"),
            skipped=statuses.count("empty") + statuses.count("not_text"),
            partial=outcome.partial,
            reason=outcome.reason,
            timings_ms=outcome.timings_ms,
            tokens=outcome.tokens,
            padding_share=float(outcome.padding_share),
            fusion_weight=weight,
            feedback_weight=feedback_weight,
            pruned=int(outcome.pruned.sum()),
            exact=self.exact,
            cached=int(outcome.cached.sum()),
            precomputed=int(outcome.precomputed.sum()),
            query_unknown_share=outcome.query_unknown_share,
        )


def weighed(candidates: Sequence[Candidate], weight: float, manifest: Manifest) -> Interpolation:
    """What is added to the logits; nothing where a text to be read has no score."""
    scores = [candidate.score for candidate in candidates]
    missing = [
        place
        for place, candidate in enumerate(candidates)
        if not _is_number(candidate.score)
        and isinstance(candidate.text, str)
        and candidate.text.strip()
    ]
    if missing or not weight:
        some = weight and any(score is not None for score in scores)
        why = _left_out(missing, len(scores)) if some else None
        return Interpolation(np.zeros(len(scores)), left_out=why)
    return Interpolation(np.nan_to_num(fusion(scores, weight)), weight, manifest.feedback_weight)


def _is_number(score: float | None) -> bool:
    """Not None, and not the NaN that stands for a score that is no number."""
    return score is not None and not math.isnan(score)


def _left_out(missing: Sequence[int], size: int) -> str:
    return (
        f"{len(missing)} of {size} candidates came without a score that is a number, "
        f"the first at index {missing[0]}"
    )


def checked_weight(given: float | None, manifest: Manifest) -> float:
    """The first stage's weight: the caller's, or the one fitted for the model."""
    if given is None:
        return manifest.fusion_weight
    weight = number(given)
    if weight is None or not 0 <= weight <= MOST_WEIGHT:
        raise InputError(
            f"fusion_weight={shown(given)}: expected a number from 0 to {MOST_WEIGHT:,}, or None"
        )
    return weight


def _scores(
    outcome: CallState, interpolation: Interpolation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the order is by, and what feedback is of that, ``(n,)`` each."""
    logits = outcome.logits.astype(np.float64)
    feedback = interpolation.feedback(logits, outcome.means)
    return logits + interpolation.fusion + feedback, feedback


def _order(
    candidates: Sequence[Candidate], outcome: CallState, scores: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Places, best first."""
    ranks = [first_rank(index, candidate) for index, candidate in enumerate(candidates)]
    return order(scores, outcome.logits.astype(np.float64), ranks, _behind(outcome))


def _with_rest(
    places: NDArray[np.intp],
    candidates: Sequence[Candidate],
    scores: NDArray[np.float64],
    rest: Rest,
    top_n: int | None,
) -> NDArray[np.intp]:
    """The first `top_n` of `places`, best first, with the `rest` among those without a score.

    What of the rest cannot come back costs nothing, however much it is.
    """
    scored = places[~np.isnan(scores[places])]
    if not len(rest) or (top_n is not None and len(scored) >= top_n):
        return places[:top_n]
    unscored = places[np.isnan(scores[places])]
    ranks = np.array([first_rank(place, candidates[place]) for place in unscored.tolist()], float)
    unread, unread_ranks = rest.head(None if top_n is None else top_n - len(scored))
    behind = np.append(unscored, unread)
    by_rank = np.argsort(np.append(ranks, unread_ranks), kind="stable")
    return np.append(scored, behind[by_rank])[:top_n]


def _first(scores: NDArray[np.float64]) -> float:
    """The best one's score, of scores in rank order; NaN where none has any."""
    return float(scores[0]) if len(scores) else math.nan


def _behind(outcome: CallState) -> NDArray[np.int8]:
    """0 for what stayed in the early_exit, and more the earlier a text was let go."""
    return np.where(outcome.pruned, 100 - outcome.stages, 0).astype(np.int8)
