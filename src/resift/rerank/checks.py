"""What is asked of a model's numbers, each with its bound. Pure: numbers in, `ModelCheck`s out.

Reference pairs are few, 6 or 8, so the bounds are far from anything a sound model gives, and what
few pairs cannot tell is not asked. What is needed of many is asked of every query with every text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from resift.rerank.artifact import Exit
from resift.rerank.early_exit import gain
from resift.rerank.references import Numbers, ReferenceLogits

FURTHEST, MEAN = 0.15, 0.06
"""Of the range of float32's logits: how far int8's may be from them. Sound models: .11 and .05."""

ORDER = 0.8
"""Kendall's tau. One swap among six pairs is .87; unrelated numbers reach .8 in 1 of 120 cases."""

FEWEST = 3  # comparisons; below that an order says nothing
FLAT = 0.01  # of float32's range: what spans less is the same number everywhere
ALONE = 1e-3  # between a pair's logit alone and among others; sums in another order make 1e-5

WIDER = 1.25
"""How much more an exit may leave open than the one before. Sound exits: .9 at most; one that
knows nothing leaves 1.4 times as much open as no exit at all does, a reversed one twice."""

OUTSIDE = 0.2  # of gains may be outside an exit's bounds. Sound exits: .04, by two in a thousand
CROSSED = 16  # pairs; below that nothing is said of exits


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """`value` is of what `what` says; it is to be `bound` at most, or where `is_least` at least."""

    name: str
    what: str
    value: float
    bound: float
    is_least: bool
    passed: bool

    def __str__(self) -> str:
        limit = "at least" if self.is_least else "allowed"
        return f"{self.what} {_written(self.value)}, {limit} {_written(self.bound)}"


def at_most(name: str, what: str, value: float, bound: float) -> ModelCheck:
    """A check that NaN fails."""
    return ModelCheck(name, what, float(value), float(bound), False, bool(value <= bound))


def at_least(name: str, what: str, value: float, bound: float) -> ModelCheck:
    """A check that NaN fails."""
    return ModelCheck(name, what, float(value), float(bound), True, bool(value >= bound))


def finite(readings: ReferenceLogits, number: str) -> ModelCheck:
    """Without this nothing else means anything."""
    found = np.concatenate([readings.alone, readings.crossed.ravel()])
    odd = int(np.count_nonzero(~np.isfinite(found)))
    return at_most("finite", f"{number}s that are NaN or infinite", odd, 0)


def head(found: Numbers, exact: Numbers, tolerance: float) -> Iterator[ModelCheck]:
    """Whether the logits differ at all; not asked where the references hardly do."""
    span = np.ptp(exact)
    if span > 2 * tolerance:
        yield at_least("head", "range of all reference pairs", np.ptp(found), FLAT * span)


def float32(found: Numbers, exact: Numbers, tolerance: float, number: str) -> Iterator[ModelCheck]:
    """Whether quantisation left the model what it was."""
    off, span = np.abs(found - exact), np.ptp(exact)
    where = f"{number} from float32's"
    yield at_most("float32", f"furthest {where}", off.max(), max(2 * tolerance, FURTHEST * span))
    yield at_most("float32", f"mean {where}", off.mean(), max(2 * tolerance, MEAN * span))
    tau = agreement(found, exact, 2 * tolerance)
    if tau is not None:
        yield at_least("order", "Kendall's tau with float32", tau, ORDER)


def alone(readings: ReferenceLogits) -> ModelCheck:
    """Whether a pair's number depends on what is read beside it."""
    off = np.abs(readings.alone - readings.among_others).max()
    return at_most("alone", "furthest between a pair alone and among others", off, ALONE)


def exits(crossed: Numbers, known: Sequence[Exit]) -> Iterator[ModelCheck]:
    """Whether each exit says more of the last logit than the one before, and keeps its bounds.

    A early_exit is among one query's texts, so what an exit misses of all of them alike is left out.
    `crossed` is ``(stages, queries, texts)``. An exit that is worse than the one before costs time
    and no result where its bounds are its own: therefore this is no check of loading.
    """
    *early, final = crossed
    if final.size < CROSSED or final.shape[1] < 2:
        return
    gains = [final - own for own in early]
    open_ = [_within(own).std() for own in [final, *gains]]
    for place, (before, own) in enumerate(pairwise(open_), 1):
        share = own / before if before else float(own > 0)
        what = f"what exit {place} leaves open, against the step before,"
        yield at_most(f"exit {place}", what, share, WIDER)
    for place, (own, kept) in enumerate(zip(gains, known, strict=False), 1):
        middle = own - np.median(own, axis=1, keepdims=True) + gain(kept, 0.5)
        out = np.mean((middle < kept.gains[0]) | (middle > kept.gains[-1]))
        yield at_most(f"exit {place}", f"share outside the bounds of exit {place}", out, OUTSIDE)
    widths = [gain(own, 0.95) - gain(own, 0.05) for own in known]
    for place, (before, own) in enumerate(pairwise(widths), 2):
        what = f"width of the bounds of exit {place}, against the exit before,"
        yield at_most(f"exit {place}", what, own / before if before else float(own > 0), WIDER)


def agreement(found: Numbers, exact: Numbers, apart: float) -> float | None:
    """Kendall's tau over pairs of numbers that are more than `apart` in `exact`; None for few."""
    one, other = np.triu_indices(len(exact), 1)
    wanted, given = exact[one] - exact[other], found[one] - found[other]
    told = np.abs(wanted) > apart
    if told.sum() < FEWEST:
        return None
    return float((np.sign(wanted) * np.sign(given))[told].mean())


def _within(values: Numbers) -> Numbers:
    """Less each query's mean."""
    centred: Numbers = values - values.mean(axis=1, keepdims=True)
    return centred


def _written(value: float) -> str:
    return f"{value:.4f}" if 0 < abs(value) < 1 else f"{value:.4g}"
