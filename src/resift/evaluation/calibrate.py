"""Fit curves that turn logits into probabilities on judged queries: Platt's and isotonic."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import DatasetError
from resift.evaluation.first_stage import doc_id
from resift.extras import require
from resift.rerank.calibration import (
    SIGMOID,
    Curve,
    Fit,
    Isotonic,
    JudgedCalibration,
    Platt,
    ScoreScale,
)
from resift.rerank.result import ScoredCandidates, scorer_of
from resift.rerank.scorer import Scorer
from resift.types import Ranking

FOLDS = 5
MIN_QUERIES, MIN_RELEVANT = 10, 20
BINS = 15  # as many as in Guo et al. 2017
MIN_PROBABILITY = 1e-15  # in log loss, which 0 would make infinite
_NOT_RISING = (
    "relevant documents have no higher logits than the rest, so that there is nothing to fit: are "
    "these the judgments of this collection, and its run?"
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

Grades = Mapping[str, float]
"""Grades of documents for one query."""


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How to label pairs: a pair with a grade of `min_grade` or more is relevant.

    Unjudged candidates count as not relevant, as in measures; with `judged_only` they are left out.
    `fusion_weight` is used for the fused logits; None uses the model's own.
    """

    min_grade: int = 1
    judged_only: bool = False
    fusion_weight: float | None = None


@dataclass(frozen=True, slots=True)
class JudgedLogits:
    """Logits of judged pairs, their labels, and the index of each pair's query; ``(n,)`` each."""

    logits: Floats
    relevant: Bools
    queries: Ints


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """The judged pairs that `scorer` scored.

    `fused` has the logits with first stage and feedback at the two weights, or is None if a query
    has no first-stage scores. `depth` is the median number of candidates.
    """

    scorer: Scorer
    plain: JudgedLogits
    fused: JudgedLogits | None
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class HeldOutFit:
    """A fit, and the probability of each pair by a curve fitted without its query, ``(n,)``."""

    fit: Fit
    held_out: Floats


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The calibration to write, and the pairs and held-out probabilities it is evaluated on."""

    calibration: JudgedCalibration
    judged: JudgedPairs
    plain: HeldOutFit
    fused: HeldOutFit | None


def label_pairs(
    queries: Iterable[tuple[ScoredCandidates, Grades]], options: LabelOptions
) -> JudgedPairs:
    """Label the scored pairs of queries, all scored by one model.

    Raises `DatasetError` if there are no queries.
    """
    scorer: Scorer | None = None
    weights: list[float] = []
    depths: list[int] = []
    rows: list[tuple[int, float, float, bool]] = []
    for number, (scored, grades) in enumerate(queries):
        scorer = scorer_of(scored)
        ranking = scored.ranking(fusion_weight=options.fusion_weight)
        depths.append(len(scored.candidates))
        if ranking.receipt.scored:
            weights.append(ranking.receipt.fusion_weight)
        rows += [(number, *pair) for pair in _labelled(ranking, grades, options)]
    if scorer is None:
        raise DatasetError("no query has judgments; are the judgments of this run?")
    columns = list(zip(*rows, strict=True)) or [()] * 4
    numbers, relevant = np.array(columns[0], np.int64), np.array(columns[3], np.bool_)
    plain, fused = (
        JudgedLogits(np.array(logits, np.float64), relevant, numbers) for logits in columns[1:3]
    )
    depth = round(float(np.median(depths)))
    if not (weights and all(weights)):
        return JudgedPairs(scorer, plain, None, depth=depth)
    return JudgedPairs(scorer, plain, fused, weights[0], scorer.feedback_weight, depth)


def _labelled(
    ranking: Ranking, grades: Grades, options: LabelOptions
) -> Iterator[tuple[float, float, bool]]:
    """Yield logit, fused logit and label of each scored hit.

    Of several passages of a relevant document only the first counts, since judgments do not tell
    which of the others are relevant.
    """
    seen: set[str] = set()
    for hit in ranking:
        name = doc_id(hit)
        if hit.logit is None or name in seen or (options.judged_only and name not in grades):
            continue
        relevant = grades.get(name, 0) >= options.min_grade
        if relevant:
            seen.add(name)
        yield hit.logit, hit.logit + hit.fusion + hit.feedback, relevant


def calibrate(judged: JudgedPairs, made: Mapping[str, str]) -> CalibrationReport:
    """Fit plain and fused logits; `made` records date and data. Raises the errors of `fit`."""
    scorer, pairs = judged.scorer, judged.plain
    plain = fit(pairs, baselines(scorer.scale, fused=False))
    fused = fit(judged.fused, baselines(scorer.scale, fused=True)) if judged.fused else None
    calibration = JudgedCalibration(
        model=scorer.name,
        fingerprint=scorer.fingerprint,
        queries=len(np.unique(pairs.queries)),
        pairs=len(pairs.logits),
        relevant=int(pairs.relevant.sum()),
        plain=plain.fit,
        fused=fused.fit if fused else None,
        fusion_weight=judged.fusion_weight,
        feedback_weight=judged.feedback_weight,
        bins=BINS,
        made=made,
        depth=judged.depth,
    )
    return CalibrationReport(calibration, judged, plain, fused)


def baselines(scale: ScoreScale, *, fused: bool) -> dict[str, Curve]:
    """Curves to compare a fit with: the sigmoid, and the model's own curve if it has one."""
    model = scale if scale.source == "model" else scale.otherwise
    if model is None or model.source != "model":
        return {"none": SIGMOID}
    return {"none": SIGMOID, "model": model.fused if fused and model.fused else model.plain}


def fit(judged: JudgedLogits, baselines: Mapping[str, Curve]) -> HeldOutFit:
    """Choose the method with the lower log loss on held-out queries, and fit it to all pairs.

    `baselines` are other curves by name, measured on the same pairs. Raises `DatasetError` if
    judgments are too few, all relevant or do not rise with the logits, and `MissingExtra` without
    SciPy.
    """
    check(judged)
    folds, relevant = folds_of(judged.queries), judged.relevant
    held_out = {method: _held_out(judged, folds, method) for method in _METHODS}
    best = min(held_out, key=lambda method: log_loss(held_out[method], relevant))
    by_name = {name: curve(judged.logits) for name, curve in baselines.items()} | held_out
    best_fit = Fit(
        _METHODS[best](judged.logits, relevant),
        {name: log_loss(values, relevant) for name, values in by_name.items()},
        {name: calibration_error(values, relevant) for name, values in by_name.items()},
    )
    return HeldOutFit(best_fit, held_out[best])


def check(judged: JudgedLogits) -> None:
    """Raise `DatasetError` for judgments that no curve can be fitted to."""
    queries, relevant = len(np.unique(judged.queries)), int(judged.relevant.sum())
    if queries < MIN_QUERIES or relevant < MIN_RELEVANT:
        raise DatasetError(
            f"{queries} judged queries with {relevant} relevant documents among their candidates: "
            f"expected {MIN_QUERIES} and {MIN_RELEVANT}; judge {max(MIN_QUERIES - queries, 0)} "
            f"more queries and {max(MIN_RELEVANT - relevant, 0)} more relevant documents"
        )
    if judged.relevant.all():
        raise DatasetError(
            f"all {relevant} judged pairs are relevant: expected some that are not; count "
            "unjudged candidates as not relevant, or judge some"
        )
    if not platt_parameters(judged.logits, judged.relevant)[0] > 0:
        raise DatasetError(_NOT_RISING)


def folds_of(queries: Ints, folds: int = FOLDS) -> Ints:
    """The fold of each pair, from 0: random by query, but the same in each call.

    All pairs of a query are in one fold; otherwise a curve would be measured on queries that it was
    fitted on.
    """
    _, query_numbers = np.unique(queries, return_inverse=True)
    permuted = np.random.default_rng(0).permutation(int(query_numbers.max()) + 1)
    fold_by_pair: Ints = permuted[query_numbers] % folds
    return fold_by_pair


def _held_out(judged: JudgedLogits, folds: Ints, method: str) -> Floats:
    """The probability of each pair by a curve fitted on the other folds."""
    probabilities = np.empty(len(judged.logits))
    for fold in np.unique(folds):
        inside = folds == fold
        try:
            curve = _METHODS[method](judged.logits[~inside], judged.relevant[~inside])
        except ValueError as error:
            raise DatasetError(_NOT_RISING) from error
        probabilities[inside] = curve(judged.logits[inside])
    return probabilities


def platt(logits: Floats, relevant: Bools) -> Platt:
    """Platt's fit; raises `ValueError` if labels do not rise with the logits."""
    return Platt(*platt_parameters(logits, relevant))


def isotonic(logits: Floats, relevant: Bools) -> Isotonic:
    """The non-decreasing least-squares fit, interpolated between the centres of its blocks.

    Labels are smoothed as in Platt's fit, so that no block has probability 0 or 1.
    """
    distinct, indices, counts = np.unique(logits, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64)
    targets = np.bincount(indices, smoothed(relevant)) / weights
    regression = require("scipy.optimize", "eval").isotonic_regression
    blocks = np.asarray(regression(targets, weights=weights).blocks[:-1])
    totals = np.add.reduceat(weights, blocks)
    centres = np.add.reduceat(distinct * weights, blocks) / totals
    values = np.add.reduceat(targets * weights, blocks) / totals
    return Isotonic(tuple(centres.tolist()), tuple(float(f"{value:.6g}") for value in values))


_METHODS: Mapping[str, Callable[[Floats, Bools], Curve]] = {"platt": platt, "isotonic": isotonic}


def smoothed(relevant: Bools) -> Floats:
    """Platt's targets (1999): 0 and 1, moved inwards the more, the fewer pairs a label has."""
    positives = int(relevant.sum())
    negatives = len(relevant) - positives
    return np.where(relevant, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def platt_parameters(
    logits: Floats, relevant: Bools, weights: Floats | None = None
) -> tuple[float, float]:
    """Fit scale and bias of ``relevant ~ sigmoid(scale × logit + bias)`` by Newton's method.

    Both are NaN if a logit is not finite. Smoothed targets keep the scale finite if few pairs are
    perfectly separable. `weights` are weights of pairs; None weighs all alike.
    """
    if not np.isfinite(logits).all():
        return np.nan, np.nan
    targets = smoothed(relevant)
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    weights = np.ones(len(logits)) if weights is None else weights
    weights = weights / weights.sum()
    parameters = np.zeros(2)
    for _ in range(100):
        probabilities = 1 / (1 + np.exp(-np.clip(design @ parameters, -40, 40)))
        gradient = design.T @ (weights * (targets - probabilities))
        hessian = (design.T * (weights * probabilities * (1 - probabilities))) @ design
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))  # long steps overshoot
        parameters += step
        if np.abs(step).max() < 1e-9:
            break
    return float(parameters[0]), float(parameters[1])


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of similar probability: their number, mean probability and relevant share."""

    pairs: int
    probability: float
    relevant_share: float


def reliability(probabilities: Floats, relevant: Bools, bins: int = BINS) -> list[Bin]:
    """Group pairs into at most `bins` bins of rising probability and, except for ties, equal size.

    Bins have equal size, not equal width (Nixon et al. 2019), because most candidates have a
    probability near 0: bins of equal width would put nearly all pairs into the first.
    """
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])
    numbers = np.searchsorted(edges, probabilities, side="right")
    return [
        Bin(
            int(inside.sum()),
            float(probabilities[inside].mean()),
            float(relevant[inside].mean()),
        )
        for inside in (numbers == number for number in np.unique(numbers))
    ]


def calibration_error(probabilities: Floats, relevant: Bools, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017) over `reliability`'s bins.

    The mean over pairs of the difference between their bin's probability and relevant share.
    """
    total = sum(
        bin.pairs * abs(bin.probability - bin.relevant_share)
        for bin in reliability(probabilities, relevant, bins)
    )
    return total / len(probabilities)


def log_loss(probabilities: Floats, relevant: Bools) -> float:
    """Mean negative log of the probability of the true labels, in nats."""
    likelihoods = np.where(relevant, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(likelihoods, MIN_PROBABILITY)).mean())
