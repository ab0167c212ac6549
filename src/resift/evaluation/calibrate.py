"""Judged logits in, a curve from logit to chance out: Platt's or the isotonic one.

The one with less log loss on queries that it was not fitted on. Knows arrays, no model and no
files. Folds never part a query's candidates: those are alike in more than their logits, and a curve
that had seen some of them would look better than it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.errors import DatasetError
from resift.evaluation.reliability import Bools, Floats, calibration_error, log_loss
from resift.extras import require
from resift.rerank.calibration import Curve, Fit, Isotonic, Platt

FOLDS = 5
LEAST_QUERIES, LEAST_RELEVANT = 10, 20

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class JudgedLogits:
    """What an order is by, of judged pairs, ``(n,)`` each; `queries` numbers the query of each."""

    logits: Floats
    relevant: Bools
    queries: Ints


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit, and the chances that curves of its method gave to queries they had not seen."""

    fit: Fit
    held_out: Floats


def fit(judged: JudgedLogits, before: Mapping[str, Curve]) -> Fitted:
    """The better curve, fitted on all of it, with what it does on held-out queries.

    `before` are curves that were fitted elsewhere, by name, to be measured on the same pairs.

    Raises `DatasetError` where the judgments are too few, all of one kind, or do not rise with the
    logits, and `MissingExtra` without SciPy.
    """
    check(judged)
    folds, relevant = folds_of(judged.queries), judged.relevant
    chances = {method: _held_out(judged, folds, method) for method in _METHODS}
    best = min(chances, key=lambda method: log_loss(chances[method], relevant))
    everyone = {name: curve(judged.logits) for name, curve in before.items()} | chances
    found = Fit(
        _METHODS[best](judged.logits, relevant),
        {name: log_loss(own, relevant) for name, own in everyone.items()},
        {name: calibration_error(own, relevant) for name, own in everyone.items()},
    )
    return Fitted(found, chances[best])


_FALLING = (
    "answers have no higher logits than the rest, so that there is nothing to fit: are these the "
    "judgments of this collection, and its run?"
)


def check(judged: JudgedLogits) -> None:
    """Raise `DatasetError` for judgments that no curve can be fitted on."""
    queries, relevant = len(np.unique(judged.queries)), int(judged.relevant.sum())
    if queries < LEAST_QUERIES or relevant < LEAST_RELEVANT:
        raise DatasetError(
            f"{queries} judged queries with {relevant} answers among their candidates: expected "
            f"{LEAST_QUERIES} and {LEAST_RELEVANT}; judge {max(LEAST_QUERIES - queries, 0)} more "
            f"queries and {max(LEAST_RELEVANT - relevant, 0)} more answers"
        )
    if judged.relevant.all():
        raise DatasetError(
            f"all {relevant} judged pairs are answers: expected some that are not; count the "
            "unjudged candidates as such, or judge some"
        )
    if not platt_parameters(judged.logits, judged.relevant)[0] > 0:
        raise DatasetError(_FALLING)


def folds_of(queries: Ints, folds: int = FOLDS) -> Ints:
    """The fold of each pair, from 0, drawn by query and always alike."""
    _, own = np.unique(queries, return_inverse=True)
    drawn = np.random.default_rng(0).permutation(int(own.max()) + 1)
    found: Ints = drawn[own] % folds
    return found


def _held_out(judged: JudgedLogits, folds: Ints, method: str) -> Floats:
    """The chance of each pair by a curve that was fitted on the other folds."""
    chances = np.empty(len(judged.logits))
    for fold in np.unique(folds):
        out = folds == fold
        try:
            curve = _METHODS[method](judged.logits[~out], judged.relevant[~out])
        except ValueError as error:
            raise DatasetError(_FALLING) from error
        chances[out] = curve(judged.logits[out])
    return chances


def platt(logits: Floats, relevant: Bools) -> Platt:
    """Raises `ValueError` where labels do not rise with the logits."""
    return Platt(*platt_parameters(logits, relevant))


def isotonic(logits: Floats, relevant: Bools) -> Isotonic:
    """Least squares among all that never fall, its blocks joined at their centres.

    Labels are smoothed as Platt's are, so that no block is quite sure.
    """
    own, place, count = np.unique(logits, return_inverse=True, return_counts=True)
    weights = count.astype(np.float64)
    shares = np.bincount(place, smoothed(relevant)) / weights
    regression = require("scipy.optimize", "eval").isotonic_regression
    blocks = np.asarray(regression(shares, weights=weights).blocks[:-1])
    total = np.add.reduceat(weights, blocks)
    centres = np.add.reduceat(own * weights, blocks) / total
    chances = np.add.reduceat(shares * weights, blocks) / total
    return Isotonic(tuple(centres.tolist()), tuple(float(f"{own:.6g}") for own in chances))


_METHODS: Mapping[str, Callable[[Floats, Bools], Curve]] = {"platt": platt, "isotonic": isotonic}


def smoothed(relevant: Bools) -> Floats:
    """Platt's targets: a little inside 0 and 1, the further the fewer there are of a kind."""
    answers = int(relevant.sum())
    return np.where(relevant, (answers + 1) / (answers + 2), 1 / (len(relevant) - answers + 2))


def platt_parameters(
    logits: Floats, relevant: Bools, weights: Floats | None = None
) -> tuple[float, float]:
    """Newton's method on ``relevant ~ sigmoid(scale × logit + bias)``; both NaN for odd logits.

    With Platt's smoothed targets (1999): few pairs that part cleanly would ask for endless scales.
    `weights` are the pairs', all alike with None.
    """
    if not np.isfinite(logits).all():
        return np.nan, np.nan
    y = smoothed(relevant)
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    weights = np.ones(len(logits)) if weights is None else weights
    weights = weights / weights.sum()
    parameters = np.zeros(2)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(design @ parameters, -40, 40)))
        gradient = design.T @ (weights * (y - chance))
        curvature = (design.T * (weights * chance * (1 - chance))) @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))  # far steps overshoot
        parameters += step
        if np.abs(step).max() < 1e-9:
            break
    return float(parameters[0]), float(parameters[1])
