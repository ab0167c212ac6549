"""The order of a ranking: logits, first-stage interpolation, pseudo-relevance feedback, ties."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEEDBACK_TEMPERATURE = 0.5
"""In logits: a candidate this much behind the best has a third of its weight in the feedback."""

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
    """First-stage interpolation: what is added to each logit, ``weight × standardised score``.

    ``(n,)``, NaN where there is no score.
    """
    scores = np.array([np.nan if score is None else score for score in first_stage], np.float64)
    finite = np.isfinite(scores)
    scores[finite] = standardised(scores[finite])
    return weight * scores


def feedback(scores: Numbers, means: Numbers) -> Numbers:
    """Cosine of each document with the leading ones, ``(n,)``; NaN stays NaN.

    Pseudo-relevance feedback (Rocchio 1971; with vectors Li et al. 2021,
    https://arxiv.org/abs/2108.11044): what the leading documents have in common is a second query.
    Here it is the average of all documents' unit vectors `means`, ``(n, dim)``, weighted by the
    softmax of their scores: one clear leader decides it alone, several share it.
    """
    scored = np.isfinite(scores)
    cosines = np.full(len(scores), np.nan)
    if not scored.any():
        return cosines
    weights = np.exp((scores[scored] - scores[scored].max()) / FEEDBACK_TEMPERATURE)
    centre = weights @ means[scored]
    cosines[scored] = means[scored] @ (centre / max(float(np.linalg.norm(centre)), 1e-12))
    return cosines


@dataclass(frozen=True, slots=True)
class Interpolation:
    """What is added to the logits of a list before it is ordered.

    `fusion` is the first-stage part, ``(n,)``, at `weight`; `feedback_weight` is that of
    `feedback`. `left_out` says why first-stage scores are not used although there are some.
    """

    fusion: Numbers
    weight: float = 0.0
    feedback_weight: float = 0.0
    left_out: str | None = None

    def feedback(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """The feedback that is added, ``(n,)``; NaN stays NaN, 0 where `means` is None."""
        if not self.feedback_weight or means is None:
            return np.zeros(len(logits))
        return self.feedback_weight * feedback(logits + self.fusion, means)

    def scores(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """The sums that a list is ordered by, ``(n,)``; NaN stays NaN."""
        return logits + self.fusion + self.feedback(logits, means)


def fused(logits: Numbers, first_stage: Sequence[float | None], weight: float) -> Numbers:
    """Logits with first-stage interpolation, ``(n,)``; NaN stays NaN.

    Every row with a logit needs a first-stage score; the scores of other rows count as well.
    """
    return logits + fusion(first_stage, weight)


def order(
    scores: Numbers, logits: Numbers, first_stage_ranks: Sequence[int], behind: NDArray[np.int8]
) -> NDArray[np.intp]:
    """Indices from best to worst: by score, ties by logit, then input order.

    Rows with a higher `behind` follow all rows with a lower one, whatever their score: they were
    pruned earlier. Rows without a score (NaN) come last, in first-stage order.
    """
    unscored = np.isnan(scores)
    ranks = np.asarray(first_stage_ranks, np.float64)
    primary = np.where(unscored, ranks, -scores)
    secondary = np.where(unscored, 0.0, -logits)
    group = np.where(unscored, 127, behind)
    return np.lexsort((np.arange(len(scores)), secondary, primary, group))


def sigmoid(scores: Numbers) -> Numbers:
    """Scores in 0..1, strictly rising with the logit as far as float64 can."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-scores))
