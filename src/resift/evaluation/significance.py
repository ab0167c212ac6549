"""Paired significance tests over queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 2007  # fixed, so that reports of the same runs agree
MAX_DRAWN = 2_000_000  # numbers per batch, to limit memory with thousands of queries

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The change from one run to another, over the same queries.

    `low` to `high` is the 95 % confidence interval of the mean difference (percentile bootstrap).
    `p_bootstrap` and `p_randomisation` are two-sided. Smucker, Allan, Carterette: A Comparison of
    Statistical Significance Tests for Information Retrieval Evaluation, CIKM 2007.
    https://doi.org/10.1145/1321440.1321528
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

    @property
    def p(self) -> float:
        """The larger of the two p-values."""
        return max(self.p_bootstrap, self.p_randomisation)


def paired_test(before: Sequence[float], after: Sequence[float]) -> PairedTest:
    """Compare values of the same queries, in the same order; needs at least one."""
    differences = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    mean = float(differences.mean())
    resampled = _sample_means(differences, _with_replacement)
    flipped = _sample_means(differences, _with_random_signs)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return PairedTest(
        before=float(np.mean(before)),
        after=float(np.mean(after)),
        difference=mean,
        low=float(low),
        high=float(high),
        p_bootstrap=_p_value(resampled - mean, mean),
        p_randomisation=_p_value(flipped, mean),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        equal=int((differences == 0).sum()),
    )


def paired_test_by_query(before: Mapping[str, float], after: Mapping[str, float]) -> PairedTest:
    """Compare the queries of `after`, all of which are in `before`."""
    return paired_test([before[query_id] for query_id in after], list(after.values()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979), in the same order; at most 1."""
    corrected = [0.0] * len(p_values)
    previous = 0.0
    for done, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        previous = max(previous, min(1.0, (len(p_values) - done) * p_values[index]))
        corrected[index] = previous
    return corrected


def _sample_means(
    differences: Numbers, draw: Callable[[Numbers, int, Generator], Numbers]
) -> Numbers:
    """The means of `RESAMPLES` samples, ``(RESAMPLES,)``."""
    generator = np.random.default_rng(SEED)
    batch = max(1, MAX_DRAWN // len(differences))
    parts = [
        draw(differences, min(batch, RESAMPLES - start), generator).mean(axis=1)
        for start in range(0, RESAMPLES, batch)
    ]
    return np.concatenate(parts)


def _with_replacement(differences: Numbers, samples: int, generator: Generator) -> Numbers:
    size = len(differences)
    return differences[generator.integers(0, size, (samples, size))]


def _with_random_signs(differences: Numbers, samples: int, generator: Generator) -> Numbers:
    signs = generator.integers(0, 2, (samples, len(differences)), dtype=np.int8)
    return differences * (2 * signs - 1)


def _p_value(means: Numbers, observed: float) -> float:
    """The share of means as far from 0 as the observed one, which counts too; so never 0."""
    as_large = int((np.abs(means) >= abs(observed) - 1e-12).sum())
    return (as_large + 1) / (len(means) + 1)
