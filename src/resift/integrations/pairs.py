"""Scores of pairs of many queries, in input order, with batches across the queries."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import InputError, QueryError, shown
from resift.rerank.candidates import as_candidate, candidate_or_empty, check_query
from resift.rerank.deadline import Deadline
from resift.rerank.options import checked_budget
from resift.rerank.ranker import Ranker, checked_ranking
from resift.types import Candidate, Ranking

Scores = NDArray[np.float32]

PAIRS_AT_ONCE = 20_000
"""Pairs that are in memory with their tokens at the same time, at least those of one query."""


def score_pairs(
    reranker: Ranker, pairs: Iterable[Any], budget_ms: float | None = None
) -> tuple[Scores, Scores]:
    """Logits and scores of pairs ``(query, document)``, float32 ``(n,)``, in input order.

    NaN for a document that cannot be read, and for one that was not scored within `budget_ms`,
    which is for all. Pairs of many queries share batches if the ranker has `rank_many`. Raises
    `QueryError`, `InputError` for what is no pair, and `RerankerError` for what is no ranking.
    """
    deadline = Deadline(checked_budget(budget_ms))
    groups: dict[str, list[tuple[int, Candidate]]] = {}
    count = 0
    for number, pair in enumerate(pairs):
        query, document = _checked_pair(number, pair)
        groups.setdefault(query, []).append((number, document))
        count += 1
    logits, scores = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)
    for portion in _portions(groups):
        rankings = _rankings(reranker, portion, deadline)
        for ranking, rows in zip(rankings, portion.values(), strict=True):
            for hit in checked_ranking(ranking, len(rows), reranker, None):
                number, _ = rows[hit.index]
                logits[number], scores[number] = number_or_nan(hit.logit), number_or_nan(hit.score)
    return logits, scores


def number_or_nan(value: float | None) -> float:
    """The number; NaN for None."""
    return np.nan if value is None else value


def _checked_pair(number: int, pair: Any) -> tuple[str, Candidate]:
    """The query as plain text, and the document as a candidate, perhaps without a text."""
    if isinstance(pair, str | Mapping) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise InputError(f"inputs[{number}]={shown(pair)}: expected a pair (query, document)")
    query, document = pair
    try:
        text = check_query(query)
    except QueryError as error:
        raise QueryError(f"inputs[{number}]: {error}") from None
    return text, candidate_or_empty(str(number), as_candidate(str(number), document))


def _rankings(
    reranker: Any, groups: Mapping[str, Sequence[tuple[int, Candidate]]], deadline: Deadline
) -> Iterable[Ranking]:
    lists = [[document for _, document in rows] for rows in groups.values()]
    if hasattr(reranker, "rank_many"):
        rankings: list[Ranking] = reranker.rank_many(list(groups), lists, budget_ms=_ms(deadline))
        return rankings
    return (
        reranker.rank(query, documents, budget_ms=_ms(deadline))
        for query, documents in zip(groups, lists, strict=True)
    )


def _ms(deadline: Deadline) -> float | None:
    remaining_s = deadline.remaining_s
    return None if remaining_s is None else remaining_s * 1000


def _portions(groups: Mapping[str, list[Any]]) -> Iterator[dict[str, list[Any]]]:
    """The queries in order, in portions of at least `PAIRS_AT_ONCE` pairs, but for the last."""
    portion: dict[str, list[Any]] = {}
    size = 0
    for query, rows in groups.items():
        portion[query] = rows
        size += len(rows)
        if size >= PAIRS_AT_ONCE:
            yield portion
            portion, size = {}, 0
    if portion:
        yield portion
