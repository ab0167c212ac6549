"""Fit a trained model's fusion weight, feedback weight and calibration.

They are fitted on held-out lists, in which each source counts alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.evaluation.calibrate import platt_parameters
from resift.rerank.calibration import ModelCalibration, Platt
from resift.rerank.ordering import Interpolation, standardised

FUSION_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)
FEEDBACK_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one query's candidates, ``(n,)`` each: at the first exit and after the last stage.

    `means` are the documents' unit mean vectors, ``(n, dim)``, None for a model without them.
    """

    source: str
    early: Floats
    final: Floats
    first_stage: Floats
    relevant: NDArray[np.bool_]
    means: Floats | None = None

    def fused(self, weight: float, feedback_weight: float = 0.0) -> Floats:
        """Final logits plus the weighted first-stage scores and pseudo-relevance feedback."""
        fusion = weight * standardised(self.first_stage)
        return Interpolation(fusion, weight, feedback_weight).scores(self.final, self.means)


def ndcg(scores: Floats, relevant: NDArray[np.bool_], cutoff: int = 10) -> float:
    """NDCG with binary gains of one list that has a relevant document.

    In ties irrelevant documents come first, and NaN comes last. Lists begin with the first stage's
    best documents, and a model without scores must not be credited with that order.
    """
    order = np.lexsort((relevant, -np.nan_to_num(scores, nan=-np.inf)))[:cutoff]
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    ideal = discounts[: int(relevant.sum())].sum()
    return float((relevant[order] * discounts[: len(order)]).sum() / ideal)


def ndcg_by_source(scores: Sequence[Scores], value_of: Callable[[Scores], Floats]) -> list[Floats]:
    """nDCG@10 of each list ranked by `value_of`, an array per source."""
    by_source: dict[str, list[float]] = {}
    for entry in scores:
        by_source.setdefault(entry.source, []).append(ndcg(value_of(entry), entry.relevant))
    return [np.array(values) for values in by_source.values()]


def mean_ndcg(scores: Sequence[Scores], value_of: Callable[[Scores], Floats]) -> float:
    """nDCG@10 averaged over sources, so that large sources do not dominate."""
    return float(np.mean([values.mean() for values in ndcg_by_source(scores, value_of)]))


def fit_fusion(scores: Sequence[Scores]) -> float:
    """The largest fusion weight within one paired standard error of the best.

    This is the one-standard-error rule (Breiman et al. 1984). If the lists do not separate two
    weights, the larger one is safer: a ranking worse than the first stage is the worse mistake.
    """
    quality = {weight: _fused_ndcg(scores, weight) for weight in FUSION_WEIGHTS}
    best = max(quality, key=lambda weight: np.mean([x.mean() for x in quality[weight]]))
    return max(weight for weight in quality if _is_as_good(quality[weight], quality[best]))


def fit_feedback(scores: Sequence[Scores], weight: float) -> float:
    """The largest feedback weight within one paired standard error of no feedback.

    It is not the best weight on these lists: most sources have one relevant document per query, so
    that similarity to other candidates cannot help there, but queries in use have several.
    """
    if any(entry.means is None for entry in scores):
        return 0.0
    quality = {feedback: _fused_ndcg(scores, weight, feedback) for feedback in FEEDBACK_WEIGHTS}
    return max(feedback for feedback in quality if _is_as_good(quality[feedback], quality[0.0]))


def _fused_ndcg(scores: Sequence[Scores], weight: float, feedback: float = 0.0) -> list[Floats]:
    return ndcg_by_source(scores, lambda entry: entry.fused(weight, feedback))


def _is_as_good(quality: Sequence[Floats], reference: Sequence[Floats]) -> bool:
    """Whether the mean loss against a reference is within its standard error. Arrays by source."""
    losses = [theirs - ours for ours, theirs in zip(quality, reference, strict=True)]
    error = np.sqrt(sum(loss.var() / len(loss) for loss in losses)) / len(losses)
    return bool(np.mean([loss.mean() for loss in losses]) <= error)


def fit_calibration(
    scores: Sequence[Scores], weight: float, feedback_weight: float = 0.0
) -> ModelCalibration | None:
    """Platt's fit of the final and of the fused logits; each source has the same weight.

    None if relevance does not rise with the logits.
    """
    counts: dict[str, int] = {}
    for entry in scores:
        counts[entry.source] = counts.get(entry.source, 0) + len(entry.final)
    weights = np.concatenate([np.full(len(x.final), 1 / counts[x.source]) for x in scores])
    relevant = np.concatenate([entry.relevant for entry in scores])
    final = np.concatenate([entry.final for entry in scores])
    fused = np.concatenate([entry.fused(weight, feedback_weight) for entry in scores])
    scale, bias, fused_scale, fused_bias = (
        round(value, 4)
        for logits in (final, fused)
        for value in platt_parameters(logits, relevant, weights)
    )
    if not (scale > 0 and fused_scale > 0):
        return None
    return ModelCalibration(Platt(scale, bias), Platt(fused_scale, fused_bias), len(relevant))
