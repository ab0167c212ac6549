"""Rankings into one: pure functions on lists of ids."""

from collections import defaultdict
from collections.abc import Sequence


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[int]], k: int = 60, weights: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """Fuse rankings of ids, each best first; give (id, score), best first, ties by id.

    An id's score is the sum of ``weight / (k + rank)`` over the rankings that have it. Ranks
    count from 1; a weight is 1 where none are given. Only ranks count, so arms whose scores have
    nothing to do with each other can be put together.

    Cormack, Clarke, Buettcher: Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods, SIGIR 2009. https://doi.org/10.1145/1571941.1572114
    """
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, entry in enumerate(ranking, start=1):
            scores[entry] += weight / (k + rank)
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
