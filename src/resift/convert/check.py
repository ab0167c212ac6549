"""Does an int8 model order candidates as its float32 model does? If not, layers stay float32.

Logits of both are compared on candidate lists that did not set the activation ranges. The rank
correlation over all pairs decides, and that within lists, which a ranking shows, may not be low.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError
from resift.rerank import artifact

MIN_SPEARMAN = 0.995
MIN_WITHIN_QUERY = 0.98  # so that logits that differ between queries hide no order turned round
MAX_FLOAT_SHARE = 0.5  # of the work; with more of it float32, int8 is not worth its errors
TOP = 10
ROUNDING = 1e-3
"""Logits of a list whose standard deviation is below this do not vary: other float32 programs give
the same model's logits in another order."""

M = TypeVar("M")
"""A model as the caller makes and runs it: one graph, or the graphs of all stages."""

Logits = Sequence[NDArray[Any]]
"""Logits of candidates, one array ``(candidates,)`` a query."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two models order pairs.

    `spearman` is the rank correlation over all pairs, None if their float32 logits do not vary.
    `within_query` is its mean over lists, `top10_overlap` the share of a list's best ten that are
    the same; None if no list's logits vary. `max_difference` is over all logits.
    """

    spearman: float | None
    within_query: float | None
    top10_overlap: float | None
    pairs: int
    max_difference: float

    @property
    def is_close(self) -> bool:
        """Whether the order is kept well enough; true if there is no order."""
        within = self.within_query is None or self.within_query >= MIN_WITHIN_QUERY
        return within and (self.spearman is None or self.spearman >= MIN_SPEARMAN)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check of an int8 model found, for the manifest.

    `is_int8` is false if the float32 model has to be kept; `agreement` is then that of the best
    int8 model. `float_layers` are the layers that stay float32 in it. `seconds` is the time of
    the check.
    """

    is_int8: bool
    agreement: Agreement
    float_layers: tuple[str, ...]
    quantiser: str
    seconds: float

    def recorded(self) -> artifact.Agreement:
        """As the manifest has it."""
        measured = self.agreement
        return artifact.Agreement(
            is_int8=self.is_int8,
            spearman=_rounded(measured.spearman),
            within_query=_rounded(measured.within_query),
            top10_overlap=_rounded(measured.top10_overlap),
            pairs=measured.pairs,
            max_difference=round(measured.max_difference, 5),
            float_layers=self.float_layers,
            quantiser=self.quantiser,
        )

    def __str__(self) -> str:
        agreement = self.agreement
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
        if not self.is_int8:
            return f"kept in float32: int8 is not close enough to it ({measured})"
        layers = f"; {len(self.float_layers)} layers in float32" if self.float_layers else ""
        return f"int8 against float32: {measured}{layers}"


@dataclass(frozen=True, slots=True)
class Candidate(Generic[M]):
    """An int8 model with some layers in float32."""

    model: M
    float_layers: tuple[str, ...]
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
        within_query=float(np.mean([_spearman(x, y) for x, y in ordered])) if ordered else None,
        top10_overlap=float(np.mean([_overlap(x, y) for x, y in ordered])) if ordered else None,
        pairs=sum(sizes),
        max_difference=max(float(np.abs(x - y).max()) for x, y in lists if len(x)),
    )


def checked(
    quantise: Callable[[frozenset[str]], M],
    logits: Callable[[M], Logits],
    exact: Logits,
    harmful: Callable[[], Sequence[str]],
    work: Mapping[str, float],
    quantiser: str,
) -> tuple[M | None, CheckReport]:
    """Make an int8 model that orders candidates as the float32 model, whose logits are `exact`.

    `quantise` makes it with a set of layers in float32, and `logits` runs it. As long as it is too
    far from `exact`, more of the layers that do most harm stay float32. `harmful` names layers,
    worst first, and is called only then; `work` has the cost of each layer. The model is None if
    more than half of the work would be float32.
    """
    started = time.perf_counter()

    def attempt(layers: Sequence[str]) -> Candidate[M]:
        model = quantise(frozenset(layers))
        return Candidate(model, tuple(layers), compare(exact, logits(model)))

    candidate = attempt(())
    if not candidate.agreement.is_close:
        candidate = _with_float_layers(candidate, attempt, harmful(), work)
    report = CheckReport(
        is_int8=candidate.agreement.is_close,
        agreement=candidate.agreement,
        float_layers=candidate.float_layers,
        quantiser=quantiser,
        seconds=round(time.perf_counter() - started, 2),
    )
    return (candidate.model if report.is_int8 else None), report


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
        if candidate.agreement.is_close:
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
    while len(close.float_layers) - too_few > 1:
        count = (len(close.float_layers) + too_few) // 2
        candidate = attempt(order[:count])
        if candidate.agreement.is_close:
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


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 5)


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Correlation of ranks; 0 if all of `y` are equal, for then it has no order."""
    ranks = [_ranks(values) for values in (x, y)]
    if min(float(np.ptp(values)) for values in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


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
