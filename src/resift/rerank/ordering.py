"""The order of a ranking: logits, the first stage's scores where there are any, and ties.

Pure: numbers in, places out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEEDBACK_TEMPERATURE = 0.5
"""In logits: a candidate so much behind the best has a third of its part in the feedback."""

Numbers = NDArray[np.float64]


def standardised(scores: Numbers) -> Numbers:
    """Scores of one list with mean 0 and deviation 1; all 0 where they are all equal."""
    if not len(scores):
        return scores
    peak = float(np.abs(scores).max())
    scores = np.ldexp(scores, -np.frexp(peak)[1])  # to 1 or less, so that no square is lost
    centred = scores - scores.mean()
    deviation = float(centred.std())
    if deviation <= 1e-12:  # rounding, not a difference
        return np.zeros_like(centred)
    result: Numbers = centred / deviation
    return result


def fusion(first_stage: Sequence[float | None], weight: float) -> Numbers:
    """What the first stage adds to each logit, ``(n,)``: ``weight × standardised score``.

    NaN where there is no score.
    """
    known = np.array([np.nan if score is None else score for score in first_stage], np.float64)
    finite = np.isfinite(known)
    known[finite] = standardised(known[finite])
    return weight * known


def feedback(scores: Numbers, means: Numbers) -> Numbers:
    """How like each document is to those that lead, ``(n,)``, a cosine; NaN stays NaN.

    Pseudo-relevance feedback (Rocchio 1971; with vectors Li et al. 2021,
    https://arxiv.org/abs/2108.11044): what the leaders have in common is a second query. Here it
    is the mean of all documents' unit vectors `means`, ``(n, dim)``, weighted by the softmax of
    their scores, so that a clear leader is alone in it and a crowd shares it.
    """
    scored = np.isfinite(scores)
    near = np.full(len(scores), np.nan)
    if not scored.any():
        return near
    parts = np.exp((scores[scored] - scores[scored].max()) / FEEDBACK_TEMPERATURE)
    centre = parts @ means[scored]
    near[scored] = means[scored] @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
    return near


@dataclass(frozen=True, slots=True)
class Interpolation:
    """What the order of a list adds to its logits.

    `fusion` is the first stage's part, ``(n,)``, at `weight`; `feedback_weight` is that of `feedback`.
    `left_out` says why the first stage's scores are not in it although there are some.
    """

    fusion: Numbers
    weight: float = 0.0
    feedback_weight: float = 0.0
    left_out: str | None = None

    def feedback(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """What feedback_weight to the leaders adds, ``(n,)``; NaN stays NaN, 0 where `means` is None."""
        if not self.feedback_weight or means is None:
            return np.zeros(len(logits))
        return self.feedback_weight * feedback(logits + self.fusion, means)

    def scores(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """What the order is by, ``(n,)``; NaN stays NaN. `means` is None where there are none."""
        return logits + self.fusion + self.feedback(logits, means)


def fused(logits: Numbers, first_stage: Sequence[float | None], weight: float) -> Numbers:
    """Logits with the first stage's interpolation, ``(n,)``; NaN stays NaN.

    Every row with a logit needs a first-stage score; scores of the others count as well.
    """
    return logits + fusion(first_stage, weight)


def order(
    scores: Numbers, logits: Numbers, first_stage_ranks: Sequence[int], behind: NDArray[np.int8]
) -> NDArray[np.intp]:
    """Places from best to worst: by score, ties by logit, then input order.

    Rows that `behind` says more than 0 of come after all that it says less of, whatever their
    score: they were let go that much earlier. Rows without a score (NaN) come last, in first-stage
    order.
    """
    unscored = np.isnan(scores)
    ranks = np.asarray(first_stage_ranks, np.float64)
    primary = np.where(unscored, ranks, -scores)
    secondary = np.where(unscored, 0.0, -logits)
    group = np.where(unscored, 127, behind)
    return np.lexsort((np.arange(len(scores)), secondary, primary, group))


def sigmoid(scores: Numbers) -> Numbers:
    """Scores in 0..1, strictly rising with the logit as far as float64 tells them apart."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-scores))
