"""Rankings of any depth and weight, `min_score` and `abstain_below`: as rules, and in calls."""

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
from resift.rerank.result import above_min_score, abstains
from resift.types import Status
from texts import QUESTIONS, passages

QUERY = QUESTIONS[0]
POOL = passages(40, 200)

scores = st.lists(st.one_of(st.just(np.nan), st.floats(0, 1)), max_size=30)


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def _remaining(threshold: float | None, values: list[float], statuses: list[Status]) -> list[int]:
    indices = np.arange(len(values))
    remaining = above_min_score(indices, np.array(values, np.float64), statuses, threshold)
    return [int(index) for index in remaining]


@given(scores, st.floats(0, 1))
def test_of_scores_in_order_those_below_go_and_the_rest_stay(
    scores_: list[float], threshold: float
) -> None:
    known = sorted((score for score in scores_ if score == score), reverse=True)
    values = known + [np.nan] * (len(scores_) - len(known))
    remaining = _remaining(threshold, values, ["late"] * len(values))
    assert remaining == [n for n, score in enumerate(values) if not score < threshold]


def test_what_nobody_came_to_score_stays_and_what_cannot_be_read_goes() -> None:
    statuses: list[Status] = ["ok", "cut", "late", "failed", "not_reranked", "empty", "not_text"]
    values = [0.9, 0.1] + [np.nan] * 5
    assert _remaining(0.5, values, statuses) == [0, 2, 3, 4]
    assert _remaining(None, values, statuses) == list(range(7))


def test_a_score_just_as_high_is_not_below() -> None:
    assert _remaining(0.5, [0.5, 0.5, 0.4999], ["ok"] * 3) == [0, 1]


def test_what_a_race_let_go_does_not_come_up_behind_one_that_is_below() -> None:
    """It stands behind with an early estimate: it could not have overtaken what is below."""
    assert _remaining(0.5, [0.9, 0.2, 0.7], ["ok"] * 3) == [0]
    assert _remaining(0.5, [0.9, 0.8, 0.7, 0.4, 0.6], ["ok"] * 5) == [0, 1, 2]


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
    assert abstains(best, partial, abstain_below) is expected


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
    threshold = (_scores(whole)[9] + _scores(whole)[10]) / 2
    ranking = bundled.rank(QUERY, POOL, top_n, min_score=threshold)
    expected = whole[: min(10, top_n or 10)]
    assert [(hit.id, hit.rank) for hit in ranking] == [(hit.id, hit.rank) for hit in expected]
    assert ranking.receipt.below_min_score >= 30 and ranking.receipt.scored == 40
    assert whole.receipt.below_min_score == 0 and not ranking.abstained


def test_a_race_changes_nothing_of_what_is_kept(bundled: Reranker) -> None:
    """Not even where fewer than `top_n` are good enough, so that pruned ones come next."""
    texts = passages(60, 200)
    whole = bundled.rank(QUERY, texts, None)
    for count in (1, 2):
        threshold = (_scores(whole)[count - 1] + _scores(whole)[count]) / 2
        pruned = bundled.rank(QUERY, texts, 3, min_score=threshold)
        assert pruned.receipt.pruned > 0
        assert [hit.index for hit in pruned] == [hit.index for hit in whole[:count]]
        assert pruned.receipt.below_min_score == 60 - count


def test_unreadable_documents_are_left_out_and_late_ones_stay(bundled: Reranker) -> None:
    documents = [POOL[0], "", cast(str, None)]
    ranking = bundled.rank(QUERY, documents, min_score=0.0)
    assert [hit.index for hit in ranking] == [0]
    assert (ranking.receipt.skipped, ranking.receipt.below_min_score) == (2, 0)
    late = bundled.rank(QUERY, documents, min_score=1.0, abstain_below=1.0, budget_ms=0)
    assert [(hit.index, hit.status) for hit in late] == [(0, "late")]
    assert late.receipt.partial and not late.abstained


@pytest.mark.parametrize("top_n", [1, 3, None])
def test_abstaining_asks_the_best_score_whatever_is_asked_for(
    bundled: Reranker, top_n: int | None
) -> None:
    best = _scores(bundled.rank(QUERY, POOL, 1))[0]
    for threshold, expected in ((best * 0.99, False), (min(best * 1.01, 1.0), True)):
        ranking = bundled.rank(QUERY, POOL, top_n, abstain_below=threshold)
        assert ranking.abstained is ranking.receipt.abstained is expected
        assert len(ranking) == (top_n or 40)  # it is said, and nothing is left out
    assert not bundled.rank(QUERY, POOL, top_n).abstained


def test_late_ones_come_up_where_those_before_them_are_left_out(bundled: Reranker) -> None:
    """The first two of what stays, not what stays of the first two."""
    scored = bundled.score_candidates(QUERY, POOL[:6])
    for index in (4, 5):
        scored._state.documents[index].logits = ()
        scored._state.statuses[index] = "late"
    scored._state.note("time was up")
    ranking = scored.ranking(2, min_score=1.0, abstain_below=1.0)
    assert [(hit.rank, hit.index, hit.status) for hit in ranking] == [
        (1, 4, "late"),
        (2, 5, "late"),
    ]
    assert ranking.receipt.below_min_score == 4 and not ranking.abstained


def test_the_best_score_counts_for_abstaining_though_it_is_left_out(bundled: Reranker) -> None:
    best = _scores(bundled.rank(QUERY, POOL, 1))[0]
    ranking = bundled.rank(QUERY, POOL, min_score=1.0, abstain_below=best / 2)
    assert list(ranking) == [] and not ranking.abstained


@pytest.mark.parametrize("documents", [[], [""], ["", cast(str, None)]])
def test_where_there_is_nothing_to_read_nothing_answers(
    bundled: Reranker, documents: list[str]
) -> None:
    assert bundled.rank(QUERY, documents, abstain_below=0.0).abstained
    assert not bundled.rank(QUERY, documents).abstained


def test_the_same_without_blocking(bundled: Reranker) -> None:
    ranking = asyncio.run(bundled.arank(QUERY, POOL, min_score=0.3, abstain_below=0.3))
    assert ranking.hits == bundled.rank(QUERY, POOL, min_score=0.3, abstain_below=0.3).hits
    assert ranking.receipt.below_min_score > 0


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
    threshold = _scores(whole)[5]
    assert bundled.rank(QUERY, window, None, min_score=threshold).hits == whole.hits[:6]


DELETING = "how do I keep an object from being deleted"


def _candidates(size: int) -> list[Candidate]:
    texts = passages(size, 300)
    texts[3] = ""
    return [Candidate(str(n), text, rank=n + 1, score=30.0 - n) for n, text in enumerate(texts)]


def _order(ranking: Ranking) -> list[tuple[str, str]]:
    return [(hit.id, hit.status) for hit in ranking]


def _logits(ranking: Ranking) -> list[float]:
    return [np.nan if hit.logit is None else hit.logit for hit in ranking]


@pytest.mark.parametrize("weight", [None, 0.0, 2.0])
@pytest.mark.parametrize("depth", [1, 5, 12, None])
def test_any_depth_and_weight_is_what_ranking_it_gives(
    bundled: Reranker, depth: int | None, weight: float | None
) -> None:
    window = _candidates(12)
    scored = bundled.score_candidates(DELETING, window)
    derived = scored.ranking(depth=depth, fusion_weight=weight)
    order = scored.order(depth=depth, fusion_weight=weight)
    assert order == [hit.index for hit in derived]
    ranked = bundled.rank(DELETING, window[:depth], None, fusion_weight=weight)
    assert _order(derived) == _order(ranked)
    np.testing.assert_allclose(_logits(derived), _logits(ranked), atol=2e-4)
    assert derived.receipt.depth == ranked.receipt.depth
    assert derived.receipt.scored == ranked.receipt.scored
    assert derived.receipt.tokens == ranked.receipt.tokens


def test_reading_in_steps_changes_nothing_but_the_clock(joint: Reranker) -> None:
    window = _candidates(10)
    whole, steps = (
        joint.score_candidates(DELETING, window),
        joint.score_candidates(DELETING, window, depths=(7, 2, 40)),
    )
    assert _order(whole.ranking()) == _order(steps.ranking())
    np.testing.assert_allclose(
        _logits(whole.ranking()), _logits(steps.ranking()), atol=2e-4, equal_nan=True
    )
    assert list(steps.took_ms) == [2, 7, 10] and list(whole.took_ms) == [10]
    assert sorted(steps.took_ms.values()) == list(steps.took_ms.values())
    assert steps.ranking().receipt.tokens == whole.ranking().receipt.tokens


def test_the_order_is_by_what_the_hits_say_it_is(bundled: Reranker) -> None:
    hits = [hit for hit in bundled.rank(DELETING, _candidates(12), None) if hit.logit is not None]
    sums = [hit.logit + hit.fusion + hit.feedback for hit in hits if hit.logit is not None]
    assert sums == sorted(sums, reverse=True)
    assert any(hit.fusion for hit in hits) and any(hit.feedback for hit in hits)


def test_a_depth_below_one_is_refused(bundled: Reranker) -> None:
    with pytest.raises(InputError, match="depth=0"):
        bundled.score_candidates(DELETING, ["a text"]).ranking(depth=0)


def test_the_receipt_counts_what_became_of_each_document(bundled: Reranker) -> None:
    documents = [*POOL, "", "word " * 2_000]
    done = bundled.rank(QUERY, documents, top_n=3).receipt
    assert (done.depth, done.scored, done.cut) == (42, 41, 1)
    assert (done.skipped, done.late, done.failed) == (1, 0, 0)
    late = bundled.rank(QUERY, documents, top_n=3, budget_ms=0).receipt
    assert late.depth == late.scored + late.skipped + late.late + late.failed
    assert late.late == 41 - late.scored > 0
