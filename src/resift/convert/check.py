"""Does an int8 model order candidates as its float32 model does? If not, layers stay float32.

Logits of both are compared on candidate lists that did not set the activation ranges. The rank
correlation over all pairs decides, and that within lists, which a ranking shows, may not be low.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, ParityError
from resift.rerank.artifact import Agreement

MIN_SPEARMAN = 0.995
MIN_WITHIN_QUERY = 0.98  # so that logits that differ between queries hide no order turned round
MAX_FLOAT_SHARE = 0.5  # of the work; with more of it float32, int8 is not worth its errors
TOP = 10
_DIGITS = 5  # of what is recorded
ROUNDING = 1e-3
"""Logits of a list whose standard deviation is below this do not vary: other float32 programs give
the same model's logits in another order."""

M = TypeVar("M")
"""A model as the caller makes and runs it: one graph, or the graphs of all stages."""

Logits = Sequence[NDArray[Any]]
"""Logits of candidates, one array ``(candidates,)`` a query."""


def check_finite(logits: Logits, folder: Path) -> None:
    """Raise `ParityError` for float32 logits that are not finite."""
    if not all(np.isfinite(values).all() for values in logits):
        raise ParityError(
            f"{folder}: its logits are not finite in float32; this checkpoint cannot be used"
        )


def is_close(agreement: Agreement) -> bool:
    """Whether int8 keeps the order well enough; true if there is no order."""
    within = agreement.within_query is None or agreement.within_query >= MIN_WITHIN_QUERY
    return within and (agreement.spearman is None or agreement.spearman >= MIN_SPEARMAN)


def described(agreement: Agreement) -> str:
    """An agreement as a line for people."""
    if agreement.spearman is None:
        order = "float32 logits do not vary, so there is no order to compare"
    else:
        order = f"Spearman {agreement.spearman:.4f}"
    if agreement.within_query is not None and agreement.top10_overlap is not None:
        order += (
            f", {agreement.within_query:.4f} within queries, top-{TOP} overlap "
            f"{agreement.top10_overlap:.3f}"
        )
    measured = f"{order}; {agreement.pairs} pairs, difference {agreement.max_difference:.3f}"
    if not agreement.is_int8:
        return f"kept in float32: int8 is not close enough to it ({measured})"
    count = len(agreement.float_layers)
    return f"int8 against float32: {measured}" + (f"; {count} layers in float32" if count else "")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[M]):
    """An int8 model with some layers in float32."""

    model: M
    agreement: Agreement


def compare(exact: Logits, rounded: Logits) -> Agreement:
    """Compare logits of the same candidates. Raises `InputError` for lists that do not match."""
    sizes = [len(values) for values in exact]
    if sizes != [len(values) for values in rounded] or not sum(sizes):
        raise InputError(
            f"logits of {sizes} and {[len(values) for values in rounded]} candidates; expected the "
            "same numbers, and at least one"
        )
    both = zip(exact, rounded, strict=True)
    lists = [(x.astype(np.float64), y.astype(np.float64)) for x, y in both]
    every, other = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    ordered = [(x, y) for x, y in lists if len(x) > 1 and float(x.std()) > ROUNDING]
    return Agreement(
        spearman=_spearman(every, other) if float(every.std()) > ROUNDING else None,
        within_query=_mean([_spearman(x, y) for x, y in ordered]),
        top10_overlap=_mean([_overlap(x, y) for x, y in ordered]),
        pairs=sum(sizes),
        max_difference=round(float(np.abs(every - other).max()), _DIGITS),
    )


def checked(
    quantise: Callable[[frozenset[str]], M],
    logits: Callable[[M], Logits],
    exact: Logits,
    harmful: Callable[[], Sequence[str]],
    work: Mapping[str, float],
    quantiser: str,
) -> tuple[M | None, Agreement]:
    """Make an int8 model that orders candidates as the float32 model, whose logits are `exact`.

    `quantise` makes it with a set of layers in float32, and `logits` runs it. As long as it is too
    far from `exact`, more of the layers that do most harm stay float32. `harmful` names layers,
    worst first, and is called only then; `work` has the cost of each layer. The model is None if
    more than half of the work would be float32.
    """

    def attempt(layers: Sequence[str]) -> Candidate[M]:
        model = quantise(frozenset(layers))
        agreement = compare(exact, logits(model))
        return Candidate(model, replace(agreement, float_layers=tuple(layers), quantiser=quantiser))

    candidate = attempt(())
    if not is_close(candidate.agreement):
        candidate = _with_float_layers(candidate, attempt, harmful(), work)
    if is_close(candidate.agreement):
        return candidate.model, candidate.agreement
    return None, replace(candidate.agreement, is_int8=False)


def _with_float_layers(
    first: Candidate[M],
    attempt: Callable[[Sequence[str]], Candidate[M]],
    order: Sequence[str],
    work: Mapping[str, float],
) -> Candidate[M]:
    """The first close model with 1, 2, 4, … layers in float32, then with as few as suffice.

    Returns the closest model if none is close.
    """
    best, too_few = first, 0
    limit = _most_layers(order, work)
    counts = sorted({min(2**step, limit) for step in range(limit.bit_length() + 1)} - {0})
    for count in counts:
        candidate = attempt(order[:count])
        best = max(best, candidate, key=_closeness)
        if is_close(candidate.agreement):
            return _fewest(candidate, too_few, attempt, order)
        too_few = count
    return best


def _fewest(
    close: Candidate[M],
    too_few: int,
    attempt: Callable[[Sequence[str]], Candidate[M]],
    order: Sequence[str],
) -> Candidate[M]:
    """Halve the interval between too few layers and those of a close model."""
    while len(close.agreement.float_layers) - too_few > 1:
        count = (len(close.agreement.float_layers) + too_few) // 2
        candidate = attempt(order[:count])
        if is_close(candidate.agreement):
            close = candidate
        else:
            too_few = count
    return close


def _most_layers(order: Sequence[str], work: Mapping[str, float]) -> int:
    """How many of the layers, from the first, are at most half of the work."""
    limit = MAX_FLOAT_SHARE * sum(work.values())
    costs = np.cumsum([work[layer] for layer in order])
    return int((costs <= limit).sum())


def _closeness(candidate: Candidate[Any]) -> float:
    spearman = candidate.agreement.spearman
    return 1.0 if spearman is None else spearman


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), _DIGITS) if values else None


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Correlation of ranks; 0 if all of `y` are equal, for then it has no order."""
    ranks = [_ranks(values) for values in (x, y)]
    if min(float(np.ptp(values)) for values in ranks) == 0:
        return 0.0
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), _DIGITS)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (last - counts + last - 1) / 2
    return means[inverse]


def _overlap(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The share of the best `TOP` that are the same; equal logits keep their order."""
    best = [set(np.argsort(-values, kind="stable")[:TOP].tolist()) for values in (x, y)]
    return len(best[0] & best[1]) / len(best[0])
