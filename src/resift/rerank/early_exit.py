"""The early exit: which candidates can still reach the top after a stage.

A candidate's gain is its final logit minus its logit at the exit. Quantiles of the gain, measured
on unlabelled pairs, are in the artifact (`Exit`). A candidate is pruned if its score plus a high
gain is below the `top_n`-th best of all scores plus a low gain. Pure: numbers in, indices out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Exit
from resift.rerank.ordering import Interpolation, Numbers

TOLERANCE = 0.05
"""The default. LOG.md has its cost; ``benchmarks/quality.py`` prints it as "early exit"."""


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """Settings of the early exit for the first `top_n` of a ranking.

    `interpolation` is added to the logits before they are compared. `tolerance` is the probability
    that a gain is below the low quantile, and the same for above the high one.
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
    """The `indices` of candidates that continue after an exit.

    `logits` are the latest logits of all candidates, ``(n,)``, NaN for those without one. Those
    marked `final` are from the last stage and gain nothing more. `means` are the documents' vectors
    for feedback.
    """
    low, high = (gain(exit_, level) for level in (early_exit.tolerance, 1 - early_exit.tolerance))
    scores = early_exit.interpolation.scores(logits, means)
    lowest = np.where(final, scores, scores + low)
    lowest = lowest[np.isfinite(lowest)]
    if len(lowest) <= early_exit.top_n:
        return list(indices)
    bar = np.partition(lowest, -early_exit.top_n)[-early_exit.top_n]
    return [index for index in indices if scores[index] + high >= bar]


def may_be_best(exit_: Exit, tolerance: float, logits: Numbers) -> NDArray[np.bool_]:
    """Which windows of a document may still have its highest logit, ``(n,)``, after an exit.

    Depends on this document alone, so its logit stays the same in any list.
    """
    low, high = gain(exit_, tolerance), gain(exit_, 1 - tolerance)
    possible: NDArray[np.bool_] = logits + high >= np.max(logits) + low
    return possible


def gain(exit_: Exit, level: float) -> float:
    """The quantile of an exit's gains at `level`, interpolated linearly."""
    return float(np.interp(level, exit_.levels, exit_.gains))
