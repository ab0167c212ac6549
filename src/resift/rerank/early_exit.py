"""Who is still in the early exit after an exit: a candidate that cannot reach the top any more is let go.

What a candidate's logit gains from an exit to the end was measured on unlabelled pairs, and its
quantiles are kept in the artifact (`Exit`). A candidate whose estimate and highest likely gain
stay below the `top_n`-th best of all estimates with their lowest likely gains is let go.
Pure: numbers in, places out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import Exit
from resift.rerank.ordering import Interpolation, Numbers

TOLERANCE = 0.05
"""Settled in LOG.md by what it costs; ``benchmarks/quality.py`` says so, column "early exit"."""


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """What a caller wants of a ranking: its first `top_n`, at how much risk.

    `say` is what the order adds to the logits. `tolerance` is the chance, on either side, that a
    logit gains more or less than is reckoned with.
    """

    top_n: int
    interpolation: Interpolation
    tolerance: float = TOLERANCE


def survivors(
    early_exit: EarlyExit,
    exit_: Exit,
    places: Sequence[int],
    logits: Numbers,
    final: NDArray[np.bool_],
    means: Numbers | None = None,
) -> list[int]:
    """Those of `places` that go on after an exit.

    `logits` are all rows' best estimates, ``(n,)``, NaN where there is none yet; where `final`
    an estimate is the model's last word and gains nothing more. `means` are the documents' vectors
    for feedback, which is reckoned with as the estimates have it.
    """
    low, high = (gain(exit_, level) for level in (early_exit.tolerance, 1 - early_exit.tolerance))
    scores = early_exit.interpolation.scores(logits, means)
    least = np.where(final, scores, scores + low)
    known = least[np.isfinite(least)]
    if len(known) <= early_exit.top_n:
        return list(places)
    bar = np.partition(known, -early_exit.top_n)[-early_exit.top_n]
    return [place for place in places if scores[place] + high >= bar]


def gain(exit_: Exit, level: float) -> float:
    """The quantile of the gain at a level, on a straight line between those that are kept."""
    return float(np.interp(level, exit_.levels, exit_.gains))
