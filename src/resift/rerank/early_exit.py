"""The early exit: which candidates can still reach the top after a stage.

What a candidate's logit gains from an exit to the end was measured on unlabelled pairs, and the
quantiles of it are in the artifact (`Exit`). A candidate is pruned where its estimate with its
highest likely gain stays below the `top_n`-th best of all estimates with their lowest likely gains.
Pure: numbers in, indices out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Exit
from resift.rerank.ordering import Interpolation, Numbers

TOLERANCE = 0.05
"""LOG.md has its measured cost; ``benchmarks/quality.py`` prints it as "early exit"."""


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """A caller wants the first `top_n` of a ranking, at some risk.

    `interpolation` is what the order adds to the logits. `tolerance` is the probability, on either
    side, that a logit gains more or less than expected.
    """

    top_n: int
    interpolation: Interpolation
    tolerance: float = TOLERANCE


def survivors(
    early_exit: EarlyExit,
    exit_: Exit,
    indices: Sequence[int],
    logits: Numbers,
    final: NDArray[np.bool_],
    means: Numbers | None = None,
) -> list[int]:
    """Those of `indices` that go on after an exit.

    `logits` are the best estimates of all candidates, ``(n,)``, NaN where there is none yet; where
    `final` an estimate is the model's last and gains nothing more. `means` are the documents'
    vectors for feedback, which is computed from the estimates.
    """
    low, high = (gain(exit_, level) for level in (early_exit.tolerance, 1 - early_exit.tolerance))
    scores = early_exit.interpolation.scores(logits, means)
    lowest = np.where(final, scores, scores + low)
    lowest = lowest[np.isfinite(lowest)]
    if len(lowest) <= early_exit.top_n:
        return list(indices)
    bar = np.partition(lowest, -early_exit.top_n)[-early_exit.top_n]
    return [index for index in indices if scores[index] + high >= bar]


def gain(exit_: Exit, level: float) -> float:
    """The quantile of the gain at a level, interpolated linearly."""
    return float(np.interp(level, exit_.levels, exit_.gains))
