"""Fuses the results of both retrievers by their scores.

BM25 scores and cosines have different scales, so each becomes a number of units first. Fusing the
ranks alone loses how far apart the candidates are (benchmarks/fusion.py compares both).
"""

import numpy as np
from numpy.typing import NDArray

from resift.index.table.snapshot import Scored

# Both were chosen on development collections and tested on others (LOG.md, 2026-11-26).
DENSE_WEIGHT = 0.6
"""The share of dense retrieval in a fused score."""

UNIT_PER_SPREAD = 0.45
"""The unit of cosines, as a share of the spread of cosines between passages of the index."""

Scores = NDArray[np.float64]


def fuse(lexical: Scored, dense: Scored, count: int, spread: float) -> Scored:
    """Fuse two results, each best first, into (row id, score), best first, ties by row id.

    Each retriever was asked for the `count` best passages; a passage that it did not return counts
    as one with the lowest of its scores. `spread` is the standard deviation of cosines between
    passages of the index, 0 if it is unknown.

    The unit of a BM25 score is the standard deviation in its list, because these scores depend on
    the length of the query. The unit of a cosine is the same for all queries of an index: if the
    embedder knows nothing about a query, all its cosines are alike and decide little.

    Weighted sums of standardised scores: Bruch, Gai, Ingber: An Analysis of Fusion Functions for
    Hybrid Retrieval, TOIS 2023. https://arxiv.org/abs/2210.11934
    """
    fused: dict[int, float] = {}
    cosines = _scores(dense)
    unit = UNIT_PER_SPREAD * spread or float(np.std(cosines)) if dense else 0.0
    _add(fused, dense, cosines, DENSE_WEIGHT, unit)
    matches = _scores(lexical, count)
    unit = float(np.std(matches)) if lexical else 0.0
    _add(fused, lexical, matches, 1 - DENSE_WEIGHT, unit)
    return sorted(fused.items(), key=lambda entry: (-entry[1], entry[0]))


def _scores(result: Scored, count: int = 0) -> Scores:
    """The scores of a result; zeros up to `count`, because other passages have no term."""
    scores = np.zeros(max(len(result), count))
    scores[: len(result)] = [score for _, score in result]
    return scores


def _add(
    fused: dict[int, float], result: Scored, scores: Scores, weight: float, unit: float
) -> None:
    """Add a retriever's part of the scores; 0 for all if its scores do not differ."""
    if not result:
        return
    units = (scores - scores.min()) / unit if unit > 1e-9 else np.zeros_like(scores)
    for (row_id, _), score in zip(result, (weight * units).tolist(), strict=False):
        fused[row_id] = fused.get(row_id, 0.0) + score
