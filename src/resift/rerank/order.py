"""The order of a ranking: logits, the first stage's scores where there are any, and ties.

Pure: numbers in, places out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def standardised(scores: Numbers) -> Numbers:
    """Scores of one list with mean 0 and deviation 1; all 0 where they are all equal."""
    if not len(scores):
        return scores
    centred = scores - scores.mean()
    deviation = float(centred.std())
    if deviation <= 1e-12 * float(np.abs(scores).max(initial=1e-300)):  # rounding, not a difference
        return np.zeros_like(centred)
    result: Numbers = centred / deviation
    return result


def fused(logits: Numbers, first_stage: Sequence[float | None], weight: float) -> Numbers:
    """``logit + weight × standardised first-stage score``, ``(n,)``; NaN stays NaN.

    Every row with a logit needs a first-stage score; scores of the others count as well.
    """
    known = np.array([np.nan if score is None else score for score in first_stage], np.float64)
    finite = np.isfinite(known)
    known[finite] = standardised(known[finite])
    return logits + weight * known


def order(scores: Numbers, logits: Numbers, first_stage_ranks: Sequence[int]) -> NDArray[np.intp]:
    """Places from best to worst: by score, ties by logit, then input order.

    Rows without a score (NaN) come last, in first-stage order.
    """
    unscored = np.isnan(scores)
    ranks = np.asarray(first_stage_ranks, np.float64)
    primary = np.where(unscored, ranks, -scores)
    secondary = np.where(unscored, 0.0, -logits)
    return np.lexsort((np.arange(len(scores)), secondary, primary, unscored))


def sigmoid(scores: Numbers) -> Numbers:
    """Scores in 0..1, strictly rising with the logit as far as float64 tells them apart."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-scores))
