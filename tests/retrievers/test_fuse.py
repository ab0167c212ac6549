"""Reciprocal rank fusion: sums of 1 / (60 + rank), ties by id, each id once a list."""

import pytest

from resift.retrievers.fuse import fuse
from resift.types import Candidate


def candidates(*names: str) -> list[Candidate]:
    return [Candidate(name, name, score=5.0, rank=9, metadata={"n": name}) for name in names]


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = fuse([candidates("a", "b", "c"), candidates("c", "a")], 3)
    assert [(c.id, c.rank) for c in fused] == [("a", 1), ("c", 2), ("b", 3)]
    assert fused[0].score == pytest.approx(1 / 61 + 1 / 62)
    assert fused[1].score == pytest.approx(1 / 63 + 1 / 61)
    assert fused[0].metadata == {"n": "a"}


def test_ties_are_in_the_order_of_ids_and_k_cuts() -> None:
    assert [c.id for c in fuse([candidates("z"), candidates("b"), candidates("a")], 2)] == [
        "a",
        "b",
    ]


def test_an_id_counts_once_a_list_at_its_best_rank() -> None:
    fused = fuse([candidates("a", "b", "a"), []], 9)
    assert [c.id for c in fused] == ["a", "b"]
    assert [c.score for c in fused] == pytest.approx([1 / 61, 1 / 62])


def test_the_lists_stay_as_they_are() -> None:
    lists = [candidates("a", "b"), candidates("b")]
    fuse(lists, 1)
    assert lists == [candidates("a", "b"), candidates("b")]
    assert fuse([], 3) == [] and fuse([[], []], 3) == []
