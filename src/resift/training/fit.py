"""What is fitted once a model's weights are done: fusion, calibration, and the exit's bounds.

Fusion and calibration on held-out queries, each source counting alike; bounds on pairs without
their labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.evaluation.calibrate import platt_parameters
from resift.rerank.artifact import Exit
from resift.rerank.calibration import ModelCalibration, Platt
from resift.rerank.ordering import Interpolation, standardised

FUSION_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)
FEEDBACK_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
LEVELS = (0.001, 0.005, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.995, 0.999)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One query's candidates, ``(n,)`` each: logits of the first exit and of the last.

    `means` are the documents' unit mean vectors, ``(n, dim)``, None where a model has none.
    """

    source: str
    early: Floats
    final: Floats
    first_stage: Floats
    relevant: NDArray[np.bool_]
    means: Floats | None = None


def ndcg(scores: Floats, relevant: NDArray[np.bool_], cutoff: int = 10) -> float:
    """nDCG@10 with binary gains over one list that has a relevant document.

    Among equals the irrelevant come first, and NaN is last: lists begin with a first stage's best,
    and a model that says nothing must not be credited with that.
    """
    order = np.lexsort((relevant, -np.nan_to_num(scores, nan=-np.inf)))[:cutoff]
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    ideal = discounts[: int(relevant.sum())].sum()
    return float((relevant[order] * discounts[: len(order)]).sum() / ideal)


def fused(own: Scores, weight: float, feedback_weight: float = 0.0) -> Floats:
    """Final logits with the first stage's say in them, and that of the leading candidates."""
    interpolation = Interpolation(weight * standardised(own.first_stage), weight, feedback_weight)
    return interpolation.scores(own.final, own.means)


def fit_fusion(scores: Sequence[Scores]) -> float:
    """The largest weight that is within one paired standard error of the best.

    The one-standard-error rule (Breiman et al. 1984): where the lists cannot tell two weights
    apart, the first stage keeps the larger interpolation, since falling below it is the worse mistake.
    """
    quality = {
        weight: by_source(scores, [fused(own, weight) for own in scores])
        for weight in FUSION_WEIGHTS
    }
    best = max(quality, key=lambda weight: np.mean([own.mean() for own in quality[weight]]))
    return max(weight for weight in quality if _as_good(quality[weight], quality[best]))


def fit_feedback(scores: Sequence[Scores], weight: float) -> float:
    """The largest weight of feedback that is within one paired standard error of none.

    Not the best one: most sources know a single answer a query, so that the feedback_weight of its
    neighbours can only count against them there, which is not so where answers are many.
    """
    if any(own.means is None for own in scores):
        return 0.0
    quality = {
        feedback_weight: by_source(scores, [fused(own, weight, feedback_weight) for own in scores])
        for feedback_weight in FEEDBACK_WEIGHTS
    }
    return max(
        feedback_weight
        for feedback_weight in quality
        if _as_good(quality[feedback_weight], quality[0.0])
    )


def _as_good(quality: Sequence[Floats], other: Sequence[Floats]) -> bool:
    """Whether the lists, by source, cannot tell that it is worse than another."""
    lost = [theirs - own for own, theirs in zip(quality, other, strict=True)]
    error = np.sqrt(sum(own.var() / len(own) for own in lost)) / len(lost)
    return bool(np.mean([own.mean() for own in lost]) <= error)


def fit_calibration(
    scores: Sequence[Scores], weight: float, feedback_weight: float = 0.0
) -> ModelCalibration | None:
    """Platt's fit of the final logits and of the fused ones, a source's pairs weighing alike.

    None where the labels do not rise with the logits: there is nothing to calibrate then.
    """
    counts: dict[str, int] = {}
    for own in scores:
        counts[own.source] = counts.get(own.source, 0) + len(own.final)
    weights = np.concatenate([np.full(len(o.final), 1 / counts[o.source]) for o in scores])
    relevant = np.concatenate([own.relevant for own in scores])
    scale, bias = platt_parameters(np.concatenate([own.final for own in scores]), relevant, weights)
    fused_scale, fused_bias = platt_parameters(
        np.concatenate([fused(own, weight, feedback_weight) for own in scores]), relevant, weights
    )
    if not (round(scale, 4) > 0 and round(fused_scale, 4) > 0):
        return None
    plain = Platt(round(scale, 4), round(bias, 4))
    return ModelCalibration(
        plain, Platt(round(fused_scale, 4), round(fused_bias, 4)), len(relevant)
    )


def fit_exit(scores: Sequence[Scores]) -> Exit:
    """Quantiles of what the last stage adds to the first exit's logit; no labels needed."""
    return exit_of(np.concatenate([own.final - own.early for own in scores]))


def exit_of(gains: Floats) -> Exit:
    """The quantiles of gains, final logit less an exit's, that an artifact keeps."""
    found = np.quantile(gains, LEVELS)
    return Exit(LEVELS, tuple(round(float(gain), 4) for gain in found), len(gains))


def mean_ndcg(scores: Sequence[Scores], values: Sequence[Floats]) -> float:
    """nDCG@10, meaned over sources so that none outweighs another."""
    return float(np.mean([own.mean() for own in by_source(scores, values)]))


def by_source(scores: Sequence[Scores], values: Sequence[Floats]) -> list[Floats]:
    """nDCG@10 of each list, an array a source."""
    found: Mapping[str, list[float]] = {own.source: [] for own in scores}
    for own, value in zip(scores, values, strict=True):
        found[own.source].append(ndcg(value, own.relevant))
    return [np.array(values) for values in found.values()]
