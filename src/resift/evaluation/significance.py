"""Is one run better than another, or was it these queries? Paired over queries. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 2007  # fixed, so that two reports of the same runs say the same
AT_ONCE = 2_000_000  # numbers drawn, so that thousands of queries need no gigabytes

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paired:
    """What changed from one run to another, over the same queries.

    `low` to `high` holds the mean difference with 95 % confidence (percentile bootstrap).
    `p_bootstrap` and `p_randomisation` are two-sided: how often a difference as large would come
    by chance of the queries, and by chance of which run is called which. Smucker, Allan,
    Carterette: A Comparison of Statistical Significance Tests for Information Retrieval Evaluation,
    CIKM 2007. https://doi.org/10.1145/1321440.1321528
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float
    better: int
    worse: int
    equal: int


def paired(before: Sequence[float], after: Sequence[float]) -> Paired:
    """Compare values of the same queries, in the same order; at least one."""
    differences = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    mean = float(differences.mean())
    resampled = _means(differences, _with_replacement)
    flipped = _means(differences, _with_either_sign)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Paired(
        before=float(np.mean(before)),
        after=float(np.mean(after)),
        difference=mean,
        low=float(low),
        high=float(high),
        p_bootstrap=_share_as_large(resampled - mean, mean),
        p_randomisation=_share_as_large(flipped, mean),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        equal=int((differences == 0).sum()),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the same order; never above 1."""
    corrected = [0.0] * len(p_values)
    least = 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - done) * p_values[place]))
        corrected[place] = least
    return corrected


def _means(differences: Numbers, draw: Callable[[Numbers, int, Generator], Numbers]) -> Numbers:
    """Means of `RESAMPLES` samples, ``(RESAMPLES,)``, drawn some at a time."""
    generator = np.random.default_rng(SEED)
    at_once = max(1, AT_ONCE // len(differences))
    parts = [
        draw(differences, min(at_once, RESAMPLES - start), generator).mean(axis=1)
        for start in range(0, RESAMPLES, at_once)
    ]
    return np.concatenate(parts)


def _with_replacement(differences: Numbers, samples: int, generator: Generator) -> Numbers:
    size = len(differences)
    return differences[generator.integers(0, size, (samples, size))]


def _with_either_sign(differences: Numbers, samples: int, generator: Generator) -> Numbers:
    signs = generator.integers(0, 2, (samples, len(differences)), dtype=np.int8)
    return differences * (2 * signs - 1)


def _share_as_large(means: Numbers, observed: float) -> float:
    """How often chance is as far from 0; never 0 itself, since the observed one is a case too."""
    as_large = int((np.abs(means) >= abs(observed) - 1e-12).sum())
    return (as_large + 1) / (len(means) + 1)
