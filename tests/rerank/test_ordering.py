"""Rankings are ordered by score, ties by logit and then by input; the unscored come last."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resift.rerank.ordering import (
    FEEDBACK_TEMPERATURE,
    feedback,
    fusion,
    order,
    sigmoid,
    standardised,
)

numbers = st.floats(-30, 30, allow_nan=False, width=32)
maybe = st.one_of(numbers, st.just(float("nan")))


def nobody(rows: int) -> NDArray[np.int8]:
    return np.zeros(rows, np.int8)


@given(st.lists(maybe, max_size=30))
def test_scored_rows_fall_and_unscored_follow_in_first_stage_order(values: list[float]) -> None:
    scores = np.array(values)
    ranks = list(range(len(values), 0, -1))
    indices = order(scores, scores, ranks, nobody(len(ranks)))
    ordered = scores[indices]
    scored = ordered[~np.isnan(ordered)]
    assert np.all(np.diff(scored) <= 0)
    assert np.isnan(ordered[len(scored) :]).all()
    assert [ranks[p] for p in indices[len(scored) :]] == sorted(
        ranks[p] for p in indices[len(scored) :]
    )


def test_ties_break_by_logit_then_input_order() -> None:
    scores = np.array([1.0, 2.0, 1.0, 1.0])
    logits = np.array([0.0, 0.0, 5.0, 0.0])
    assert order(scores, logits, [1, 2, 3, 4], nobody(4)).tolist() == [1, 2, 0, 3]


def test_who_was_let_go_stands_behind_by_how_early_whatever_the_score() -> None:
    scores = np.array([9.0, 1.0, np.nan, 8.0, 7.0, 2.0])
    behind = np.array([98, 0, 0, 99, 98, 0], np.int8)
    assert order(scores, scores, [1] * 6, behind).tolist() == [5, 1, 0, 4, 3, 2]


@given(st.lists(numbers, min_size=2, max_size=30), st.floats(0.1, 100), st.floats(-100, 100))
def test_fusion_sees_neither_scale_nor_offset(
    scores_: list[float], scale: float, offset: float
) -> None:
    values = np.array(scores_)
    if values.std() < 1e-3:
        return
    moved = values * scale + offset
    assert np.allclose(standardised(values), standardised(moved), atol=1e-6)


def test_equal_scores_of_a_first_stage_say_nothing() -> None:
    assert fusion([0.1, 0.1, 0.1], 5.0).tolist() == [0.0, 0.0, 0.0]


def test_the_sigmoid_neither_overflows_nor_leaves_its_range() -> None:
    values = sigmoid(np.array([-1e4, 0.0, 1e4]))
    assert values.tolist() == [0.0, 0.5, 1.0]


AXES = np.eye(4)


def test_feedback_is_the_cosine_with_what_the_leaders_have_in_common() -> None:
    means = np.stack([AXES[0], AXES[1], (AXES[0] + AXES[1]) / np.sqrt(2), AXES[2]])
    near = feedback(np.array([5.0, 5.0, -90.0, -90.0]), means)
    assert np.allclose(near, [np.sqrt(0.5), np.sqrt(0.5), 1.0, 0.0], atol=1e-6)


def test_a_clear_leader_is_alone_in_the_feedback() -> None:
    near = feedback(np.array([9.0, 0.0, 0.0]), np.stack([AXES[0], AXES[0], AXES[1]]))
    assert np.allclose(near, [1.0, 1.0, 0.0], atol=1e-6)


def test_who_is_a_temperature_behind_has_a_third_of_the_part() -> None:
    near = feedback(np.array([1.0, 1.0 - FEEDBACK_TEMPERATURE]), AXES[:2])
    assert near[1] / near[0] == np.exp(-1)


def test_what_has_no_score_has_no_part_in_the_feedback() -> None:
    scores = np.array([1.0, np.nan, 0.0])
    near = feedback(scores, AXES[[0, 1, 0]])
    assert np.isnan(near[1]) and np.allclose(near[[0, 2]], 1.0)
    assert np.isnan(feedback(np.array([np.nan]), AXES[:1])).all()
    assert feedback(np.array([]), np.empty((0, 4))).shape == (0,)
