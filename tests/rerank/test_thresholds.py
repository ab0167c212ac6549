"""Who is left out for a score, who is not, and when nothing answers: the rules, and in calls."""

import asyncio
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Candidate, Ranking, Reranker
from resift.errors import InputError
from resift.rerank.thresholds import Thresholds
from resift.types import Status
from texts import QUESTIONS, passages

QUERY = QUESTIONS[0]
POOL = passages(40, 200)

scores = st.lists(st.one_of(st.just(np.nan), st.floats(0, 1)), max_size=30)


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def _kept(least: float | None, values: list[float], statuses: list[Status]) -> list[int]:
    places = np.arange(len(values))
    kept = Thresholds(least).kept(places, np.array(values, np.float64), statuses)
    return [int(place) for place in kept]


@given(scores, st.floats(0, 1))
def test_of_scores_in_order_those_below_go_and_the_rest_stay(
    own: list[float], least: float
) -> None:
    known = sorted((score for score in own if score == score), reverse=True)
    values = known + [np.nan] * (len(own) - len(known))
    kept = _kept(least, values, ["late"] * len(values))
    assert kept == [n for n, score in enumerate(values) if not score < least]


def test_what_nobody_came_to_score_stays_and_what_cannot_be_read_goes() -> None:
    statuses: list[Status] = ["ok", "cut", "late", "failed", "not_reranked", "empty", "not_text"]
    values = [0.9, 0.1] + [np.nan] * 5
    assert _kept(0.5, values, statuses) == [0, 2, 3, 4]
    assert _kept(None, values, statuses) == list(range(7))


def test_a_score_just_as_high_is_not_below() -> None:
    assert _kept(0.5, [0.5, 0.5, 0.4999], ["ok"] * 3) == [0, 1]


def test_what_a_race_let_go_does_not_come_up_behind_one_that_is_below() -> None:
    """It stands behind with an early estimate: it could not have overtaken what is below."""
    assert _kept(0.5, [0.9, 0.2, 0.7], ["ok"] * 3) == [0]
    assert _kept(0.5, [0.9, 0.8, 0.7, 0.4, 0.6], ["ok"] * 5) == [0, 1, 2]


@pytest.mark.parametrize(
    ("abstain_below", "best", "partial", "expected"),
    [
        (0.5, 0.4, False, True),
        (0.5, 0.5, False, False),
        (0.5, 0.4, True, False),
        (None, 0.0, False, False),
        (0.0, np.nan, False, True),
        (0.5, np.nan, True, False),
    ],
)
def test_nothing_answers_where_all_was_read_and_the_best_is_below(
    abstain_below: float | None, best: float, partial: bool, expected: bool
) -> None:
    assert Thresholds(abstain_below=abstain_below).abstains(best, partial) is expected


@pytest.mark.parametrize("name", ["min_score", "abstain_below"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "high"])
def test_what_no_score_can_be_is_refused(joint: Reranker, name: str, value: Any) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(InputError) as caught:
        joint.rank(QUERY, POOL[:2], **given)
    assert f"{name}={value!r}: expected a number from 0 to 1" in str(caught.value)
    with pytest.raises(InputError, match=name):
        asyncio.run(joint.arank(QUERY, POOL[:2], **given))


def _scores(ranking: Ranking) -> list[float]:
    return [cast(float, hit.score) for hit in ranking]


@pytest.mark.parametrize("top_n", [3, 15, None])
def test_a_ranking_is_cut_at_the_least_score(bundled: Reranker, top_n: int | None) -> None:
    whole = bundled.rank(QUERY, POOL, None)
    least = (_scores(whole)[9] + _scores(whole)[10]) / 2
    found = bundled.rank(QUERY, POOL, top_n, min_score=least)
    expected = whole[: min(10, top_n or 10)]
    assert [(hit.id, hit.rank) for hit in found] == [(hit.id, hit.rank) for hit in expected]
    assert found.receipt.below_min_score >= 30 and found.receipt.scored == 40
    assert whole.receipt.below_min_score == 0 and not found.abstained


def test_a_race_changes_nothing_of_what_is_kept(bundled: Reranker) -> None:
    """Not even where fewer than are raced for are good enough, so that the let go come next."""
    texts = passages(60, 200)
    whole = bundled.rank(QUERY, texts, None)
    for count in (1, 2):
        least = (_scores(whole)[count - 1] + _scores(whole)[count]) / 2
        raced = bundled.rank(QUERY, texts, 3, min_score=least)
        assert raced.receipt.pruned > 0
        assert [hit.index for hit in raced] == [hit.index for hit in whole[:count]]
        assert raced.receipt.below_min_score == 60 - count


def test_unreadable_documents_are_left_out_and_late_ones_stay(bundled: Reranker) -> None:
    documents = [POOL[0], "", cast(str, None)]
    found = bundled.rank(QUERY, documents, min_score=0.0)
    assert [hit.index for hit in found] == [0]
    assert (found.receipt.skipped, found.receipt.below_min_score) == (2, 0)
    late = bundled.rank(QUERY, documents, min_score=1.0, abstain_below=1.0, budget_ms=0)
    assert [(hit.index, hit.status) for hit in late] == [(0, "late")]
    assert late.receipt.partial and not late.abstained


@pytest.mark.parametrize("top_n", [1, 3, None])
def test_abstaining_asks_the_best_score_whatever_is_asked_for(
    bundled: Reranker, top_n: int | None
) -> None:
    best = _scores(bundled.rank(QUERY, POOL, 1))[0]
    for least, expected in ((best * 0.99, False), (min(best * 1.01, 1.0), True)):
        found = bundled.rank(QUERY, POOL, top_n, abstain_below=least)
        assert found.abstained is found.receipt.abstained is expected
        assert len(found) == (top_n or 40)  # it is said, and nothing is left out
    assert not bundled.rank(QUERY, POOL, top_n).abstained


def test_late_ones_come_up_where_those_before_them_are_left_out(bundled: Reranker) -> None:
    """The first two of what stays, not what stays of the first two."""
    scored = bundled.score_candidates(QUERY, POOL[:6])
    for index in (4, 5):
        scored.outcome.documents[index].logits = ()
        scored.outcome.statuses[index] = "late"
    scored.outcome.note("time was up")
    found = scored.ranking(2, thresholds=Thresholds(1.0, 1.0))
    assert [(hit.rank, hit.index, hit.status) for hit in found] == [(1, 4, "late"), (2, 5, "late")]
    assert found.receipt.below_min_score == 4 and not found.abstained


def test_the_best_score_counts_for_abstaining_though_it_is_left_out(bundled: Reranker) -> None:
    best = _scores(bundled.rank(QUERY, POOL, 1))[0]
    found = bundled.rank(QUERY, POOL, min_score=1.0, abstain_below=best / 2)
    assert list(found) == [] and not found.abstained


@pytest.mark.parametrize("documents", [[], [""], ["", cast(str, None)]])
def test_where_there_is_nothing_to_read_nothing_answers(
    bundled: Reranker, documents: list[str]
) -> None:
    assert bundled.rank(QUERY, documents, abstain_below=0.0).abstained
    assert not bundled.rank(QUERY, documents).abstained


def test_the_same_without_blocking(bundled: Reranker) -> None:
    found = asyncio.run(bundled.arank(QUERY, POOL, min_score=0.3, abstain_below=0.3))
    assert found.hits == bundled.rank(QUERY, POOL, min_score=0.3, abstain_below=0.3).hits
    assert found.receipt.below_min_score > 0


def test_scores_that_are_not_calibrated_are_warned_of_once(joint_folder: Path) -> None:
    reranker = Reranker(joint_folder)
    with pytest.warns(UserWarning, match="not calibrated.*resift calibrate") as caught:
        reranker.rank(QUERY, POOL[:3], min_score=0.1)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reranker.rank(QUERY, POOL[:3], abstain_below=0.1)
        Reranker(joint_folder).rank(QUERY, POOL[:3])
    with pytest.warns(UserWarning, match="not calibrated"):
        asyncio.run(Reranker(joint_folder).arank(QUERY, POOL[:3], abstain_below=0.1))


def test_the_fused_score_is_what_is_compared(bundled: Reranker) -> None:
    window = [Candidate(str(n), text, score=float(-n)) for n, text in enumerate(POOL)]
    whole = bundled.rank(QUERY, window, None)
    least = _scores(whole)[5]
    assert bundled.rank(QUERY, window, None, min_score=least).hits == whole.hits[:6]
