"""Proves score fusion: its units and weights, its order, and that it loses and invents nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.index.table.snapshot import Scored
from resift.search.fusion import DENSE_WEIGHT, UNIT_PER_SPREAD, fuse

BM25 = st.dictionaries(st.integers(0, 50), st.floats(0.1, 60), max_size=30)
COSINES = st.dictionaries(st.integers(0, 50), st.floats(-1, 1), max_size=30)


def best_first(scores: dict[int, float]) -> Scored:
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))


def test_a_score_is_the_weighted_sum_of_units_above_the_lowest_of_each_list() -> None:
    lexical, dense = [(1, 8.0), (2, 2.0)], [(2, 0.9), (3, 0.4)]
    fused = dict(fuse(lexical, dense, 2, spread=0.2))
    unit = UNIT_PER_SPREAD * 0.2
    assert fused[1] == pytest.approx((1 - DENSE_WEIGHT) * 6 / np.std([8, 2]))
    assert fused[2] == pytest.approx(DENSE_WEIGHT * 0.5 / unit)
    assert fused[3] == 0


def test_the_only_match_of_a_rare_word_comes_first() -> None:
    dense = [(row, 0.5 - row / 1000) for row in range(300)]
    assert fuse([(299, 7.0)], dense, 300, spread=0.1)[0][0] == 299


def test_cosines_that_are_alike_decide_little() -> None:
    lexical = [(row, 10.0 - row) for row in range(10)]
    alike = [(row, 0.300 + row / 10_000) for row in reversed(range(10))]
    assert [row for row, _ in fuse(lexical, alike, 10, spread=0.1)] == list(range(10))


def test_cosines_that_differ_decide_against_the_words() -> None:
    lexical = [(row, 10.0 - row) for row in range(10)]
    clear = [(row, 0.1 * row) for row in reversed(range(10))]
    assert [row for row, _ in fuse(lexical, clear, 10, spread=0.1)] == list(reversed(range(10)))


def test_scores_that_are_equal_order_nothing() -> None:
    fused = fuse([(4, 2.0), (7, 2.0)], [(7, 0.5), (9, 0.2)], 2, spread=0.1)
    assert [row for row, _ in fused] == [7, 4, 9]
    assert dict(fused)[4] == dict(fused)[9] == 0


def test_without_a_known_spread_cosines_are_standardised() -> None:
    fused = dict(fuse([], [(1, 0.9), (2, 0.5)], 2, spread=0.0))
    assert fused == {1: pytest.approx(DENSE_WEIGHT * 0.4 / 0.2), 2: 0.0}


@given(BM25, COSINES, st.integers(1, 60), st.floats(0, 0.5))
def test_every_passage_once_best_first_with_finite_scores(
    bm25: dict[int, float], cosines: dict[int, float], count: int, spread: float
) -> None:
    fused = fuse(best_first(bm25), best_first(cosines), count, spread)
    assert {row for row, _ in fused} == bm25.keys() | cosines.keys()
    assert len(fused) == len(dict(fused))
    assert fused == best_first(dict(fused))
    assert all(np.isfinite(score) and score >= 0 for _, score in fused)


@given(BM25, st.floats(0.01, 0.5))
def test_one_result_keeps_its_order(bm25: dict[int, float], spread: float) -> None:
    lexical = best_first({row: round(score, 3) for row, score in bm25.items()})
    assert [row for row, _ in fuse(lexical, [], 1, spread)] == [row for row, _ in lexical]
