"""The order of a ranking: logits, first-stage interpolation, pseudo-relevance feedback, ties."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEEDBACK_TEMPERATURE = 0.5
"""In logits: a candidate this much behind the best has a third of its weight in the feedback."""

Numbers = NDArray[np.float64]


def standardised(scores: Numbers) -> Numbers:
    """Scores of one list with mean 0 and standard deviation 1; all 0 if they are equal."""
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
    """First-stage interpolation: ``weight × standardised score``, to add to each logit.

    ``(n,)``, NaN without a score.
    """
    scores = np.array([np.nan if score is None else score for score in first_stage], np.float64)
    finite = np.isfinite(scores)
    scores[finite] = standardised(scores[finite])
    return weight * scores


def feedback(scores: Numbers, means: Numbers) -> Numbers:
    """Cosine of each document with the leading ones, ``(n,)``; NaN stays NaN.

    Pseudo-relevance feedback (Rocchio 1971; with vectors Li et al. 2021,
    https://arxiv.org/abs/2108.11044): the average of the leading documents is a second query. Here
    it is the average of all unit vectors `means`, ``(n, dim)``, weighted by the softmax of their
    scores, so that a clear leader has nearly all the weight.
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
    """The terms that are added to the logits of a list before it is ordered.

    `fusion` is the first-stage term, ``(n,)``, with `weight`; `feedback_weight` is the weight of
    `feedback`. `left_out` says why existing first-stage scores are not used.
    """

    fusion: Numbers
    weight: float = 0.0
    feedback_weight: float = 0.0
    left_out: str | None = None

    def feedback(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """The feedback term, ``(n,)``; NaN stays NaN; 0 if `means` is None."""
        if not self.feedback_weight or means is None:
            return np.zeros(len(logits))
        return self.feedback_weight * feedback(logits + self.fusion, means)

    def scores(self, logits: Numbers, means: Numbers | None) -> Numbers:
        """The sums that order the list, ``(n,)``; NaN stays NaN."""
        return logits + self.fusion + self.feedback(logits, means)


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
    """Scores in 0..1, strictly rising with the logit within the precision of float64."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-scores))
