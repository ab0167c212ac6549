"""Fuses the lexical and the dense list of an engine that cannot fuse them itself. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from resift.types import Candidate

RRF_K = 60
"""The constant of reciprocal rank fusion, from the paper."""

DEEPER = 3
"""How many times `k` each list should have: a document that both have late may be relevant."""


def fuse(lists: Sequence[Iterable[Candidate]], k: int) -> list[Candidate]:
    """The best `k` candidates of several lists, each best first, by reciprocal rank fusion.

    A candidate's score is the sum of 1 / (60 + rank) over the lists that have it; ties are in the
    order of ids. Where several lists have an id, the first list's candidate is returned, with its
    new rank and score. A list counts each id once, at its best rank.

    Only ranks count, because the scores of two retrievers have different scales and an engine does
    not tell the statistics that would make them comparable. Cormack, Clarke, Büttcher: Reciprocal
    Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods, SIGIR 2009.
    """
    candidates: dict[str, Candidate] = {}
    scores: dict[str, float] = {}
    for candidates_of_list in lists:
        distinct: dict[str, Candidate] = {}
        for candidate in candidates_of_list:
            distinct.setdefault(candidate.id, candidate)
        for rank, candidate in enumerate(distinct.values(), start=1):
            candidates.setdefault(candidate.id, candidate)
            scores[candidate.id] = scores.get(candidate.id, 0.0) + 1 / (RRF_K + rank)
    best = sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
    return [
        replace(candidates[name], rank=rank, score=score)
        for rank, (name, score) in enumerate(best, start=1)
    ]
