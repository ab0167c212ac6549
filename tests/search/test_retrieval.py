"""Proves reciprocal rank fusion: its formula, its order, and that it loses and invents nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.search.retrieval import reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 50), unique=True, max_size=30), max_size=4)


def test_a_score_is_the_sum_of_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([[7, 3], [3, 9]])
    assert [entry for entry, _ in fused] == [3, 7, 9]
    assert [score for _, score in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])


def test_ties_are_in_order_of_id() -> None:
    assert [row_id for row_id, _ in reciprocal_rank_fusion([[9], [2]])] == [2, 9]


@given(RANKINGS)
def test_every_id_once_best_first_whatever_the_order_of_rankings(
    rankings: list[list[int]],
) -> None:
    fused = reciprocal_rank_fusion(rankings)
    ids = [entry for entry, _ in fused]
    assert sorted(ids) == sorted({entry for ranking in rankings for entry in ranking})
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
    backwards = dict(reciprocal_rank_fusion(rankings[::-1]))
    assert backwards == pytest.approx(dict(fused))


@given(st.lists(st.integers(0, 50), unique=True))
def test_one_ranking_keeps_its_order(ranking: list[int]) -> None:
    assert [entry for entry, _ in reciprocal_rank_fusion([ranking, ranking])] == ranking
