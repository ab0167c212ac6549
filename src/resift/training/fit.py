"""Fits a split model's few numbers: late interaction's weights and the fusion weight.

Chosen for nDCG@10 itself, meaned over sources so that none outweighs another, on a coarse grid:
three non-negative weights have two degrees of freedom, and a listwise loss prefers the cosine,
which ranks worse at the top. The scale is a logistic fit, classes weighted equally.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from resift.rerank.late_interaction import LateInteractionWeights
from resift.rerank.order import standardised

STEP = 0.1
FUSION_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One query's candidates: features ``(n, 3)``, first-stage scores and relevance ``(n,)``."""

    source: str
    features: Floats
    first_stage: Floats
    relevant: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted, and mean nDCG@10 of the first stage, the logits and the fused logits."""

    weights: LateInteractionWeights
    fusion_weight: float
    first_stage: float
    logits: float
    fused: float


def fit(judged: Sequence[Judged]) -> Fit:
    """Weights by grid, scale and bias by logistic regression, then the fusion weight by grid."""
    ratios = max(_simplex(), key=lambda w: _mean_ndcg(judged, [j.features @ w for j in judged]))
    scale, bias = _logistic([j.features @ ratios for j in judged], [j.relevant for j in judged])
    logits = [scale * (j.features @ ratios) + bias for j in judged]
    fused = {
        weight: [
            own + weight * standardised(j.first_stage)
            for own, j in zip(logits, judged, strict=True)
        ]
        for weight in FUSION_WEIGHTS
    }
    fusion_weight = _largest_as_good_as_the_best(judged, fused)
    query, document, cosine = (round(float(scale * ratio), 4) for ratio in ratios)
    return Fit(
        weights=LateInteractionWeights(query, document, cosine, round(bias, 4)),
        fusion_weight=fusion_weight,
        first_stage=_mean_ndcg(judged, [j.first_stage for j in judged]),
        logits=_mean_ndcg(judged, logits),
        fused=_mean_ndcg(judged, fused[fusion_weight]),
    )


def ndcg(scores: Floats, relevant: NDArray[np.bool_], cutoff: int = 10) -> float:
    """nDCG@10 with binary gains over one list that has a relevant document."""
    order = np.argsort(-scores, kind="stable")[:cutoff]
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    ideal = discounts[: int(relevant.sum())].sum()
    return float((relevant[order] * discounts[: len(order)]).sum() / ideal)


def _mean_ndcg(judged: Sequence[Judged], scores: Sequence[Floats]) -> float:
    return float(np.mean([values.mean() for values in _by_source(judged, scores)]))


def _by_source(judged: Sequence[Judged], scores: Sequence[Floats]) -> list[Floats]:
    """nDCG@10 of each list, an array a source."""
    found: dict[str, list[float]] = {}
    for own, j in zip(scores, judged, strict=True):
        found.setdefault(j.source, []).append(ndcg(own, j.relevant))
    return [np.array(values) for values in found.values()]


def _largest_as_good_as_the_best(
    judged: Sequence[Judged], fused: Mapping[float, Sequence[Floats]]
) -> float:
    """The largest weight that is within one paired standard error of the best.

    The one-standard-error rule (Breiman et al. 1984): where the lists cannot tell two weights
    apart, the first stage keeps the larger say, since falling below it is the worse mistake.
    """
    quality = {weight: _by_source(judged, scores) for weight, scores in fused.items()}
    best = max(quality, key=lambda weight: np.mean([own.mean() for own in quality[weight]]))

    def as_good(weight: float) -> bool:
        lost = [b - own for b, own in zip(quality[best], quality[weight], strict=True)]
        error = np.sqrt(sum(own.var() / len(own) for own in lost)) / len(lost)
        return bool(np.mean([own.mean() for own in lost]) <= error)

    return max(weight for weight in quality if as_good(weight))


def _simplex() -> list[Floats]:
    steps = round(1 / STEP)
    return [
        np.array([a, b, steps - a - b]) * STEP
        for a, b in product(range(steps + 1), repeat=2)
        if a + b <= steps
    ]


def _logistic(
    values: Sequence[Floats], relevant: Sequence[NDArray[np.bool_]]
) -> tuple[float, float]:
    """Newton's method on ``relevant ~ sigmoid(scale * value + bias)``, classes weighted alike."""
    x, y = np.concatenate(values), np.concatenate(relevant).astype(np.float64)
    design = np.stack([x, np.ones_like(x)], axis=1)
    class_weight = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    parameters = np.zeros(2)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ parameters))
        gradient = design.T @ (class_weight * (y - chance))
        curvature = (design.T * (class_weight * chance * (1 - chance))) @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        parameters += step
        if np.abs(step).max() < 1e-9:
            break
    return float(parameters[0]), float(parameters[1])
