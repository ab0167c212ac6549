"""Judged logits whose chances are known."""

import numpy as np

from resift.evaluation.calibrate import JudgedLogits
from resift.evaluation.reliability import Floats
from resift.rerank.ordering import sigmoid

SCALE, BIAS = 0.7, -2.5


def chances_of(logits: Floats) -> Floats:
    """What the labels of `sampled` are drawn by."""
    return sigmoid(SCALE * logits + BIAS)


def sampled(queries: int, depth: int = 50, seed: int = 1) -> JudgedLogits:
    """Each query's logits lie about a place of its own; labels are drawn by `chances_of`."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(-1, 1, (queries, 1)) + rng.normal(0, 3, (queries, depth))).ravel()
    relevant = rng.random(len(logits)) < chances_of(logits)
    return JudgedLogits(logits, relevant, np.repeat(np.arange(queries), depth))
