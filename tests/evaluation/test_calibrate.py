"""What is fitted is what drew the labels, and what is said of it was seen on other queries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.judged import BIAS, SCALE, chances_of, sampled
from resift.errors import DatasetError
from resift.evaluation.calibrate import (
    JudgedLogits,
    check,
    fit,
    folds_of,
    isotonic,
    platt,
    smoothed,
)
from resift.evaluation.reliability import Floats, calibration_error, log_loss
from resift.rerank.calibration import SIGMOID, Isotonic

pytest.importorskip("scipy")

labels = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=1, max_size=80)


def test_platt_recovers_the_scale_and_bias_that_labels_were_drawn_by() -> None:
    judged = sampled(400)
    found = platt(judged.logits, judged.relevant)
    assert (found.scale, found.bias) == pytest.approx((SCALE, BIAS), abs=0.05)


@given(labels)
@settings(deadline=None)  # the first call imports SciPy
def test_isotonic_is_scipys_regression_at_the_centres_of_its_blocks(
    own: list[tuple[int, bool]],
) -> None:
    from scipy import optimize

    logits = np.array([one / 4 for one, _ in own])
    relevant = np.array([other for _, other in own])
    order = np.argsort(logits, kind="stable")
    places, counts = np.unique(logits, return_counts=True)
    target = smoothed(relevant)
    means = np.array([target[logits == place].mean() for place in places])
    expected = optimize.isotonic_regression(means, weights=counts)
    found = isotonic(logits, relevant)
    assert len(found.logits) == len(expected.blocks) - 1
    for start, end, centre, chance in zip(
        expected.blocks[:-1], expected.blocks[1:], found.logits, found.probabilities, strict=True
    ):
        inside = logits[order][np.isin(logits[order], places[start:end])]
        assert centre == pytest.approx(inside.mean(), abs=1e-9)
        assert chance == pytest.approx(expected.x[start], rel=1e-5)


def test_isotonic_follows_what_no_sigmoid_can() -> None:
    """Chances that rise, level off and rise again."""
    rng = np.random.default_rng(3)
    logits = rng.uniform(-6, 6, 40_000)
    chances = np.interp(logits, [-6, -3, 3, 4, 6], [0.02, 0.4, 0.4, 0.9, 0.9])
    judged = JudgedLogits(logits, rng.random(len(logits)) < chances, np.arange(40_000) // 100)
    found = fit(judged, {})
    assert found.fit.curve.method == "isotonic"
    assert found.fit.log_loss["isotonic"] < found.fit.log_loss["platt"] - 0.01
    np.testing.assert_allclose(
        found.fit.curve(np.array([-2.0, 0.0, 5.0])), [0.4, 0.4, 0.9], atol=0.05
    )


def test_a_sigmoid_wins_where_labels_follow_one_and_are_few() -> None:
    found = fit(sampled(30), {})
    assert found.fit.curve.method == "platt"
    assert found.fit.log_loss["platt"] < found.fit.log_loss["isotonic"]


def test_chances_are_right_on_queries_that_were_not_seen() -> None:
    found, unseen = fit(sampled(300), {"none": SIGMOID}), sampled(300, seed=2)
    chances = found.fit.curve(unseen.logits)
    assert calibration_error(chances, unseen.relevant) < 0.012
    assert calibration_error(SIGMOID(unseen.logits), unseen.relevant) > 0.1
    np.testing.assert_allclose(chances, chances_of(unseen.logits), atol=0.05)
    assert found.fit.error < 0.012
    assert found.fit.calibration_error["none"] > 0.1


def test_what_is_said_of_a_fit_is_of_held_out_queries() -> None:
    """Labels that are each query's own cannot be foretold: only what was seen would look so."""
    rng = np.random.default_rng(5)
    logits = np.repeat(np.sort(rng.normal(0, 1, 60)), 20)
    relevant = np.repeat(rng.random(60) < np.linspace(0.2, 0.8, 60), 20)
    judged = JudgedLogits(logits, relevant, np.repeat(np.arange(60), 20))
    found = fit(judged, {"none": SIGMOID})
    seen: Floats = isotonic(logits, relevant)(logits)
    assert log_loss(seen, relevant) < found.fit.log_loss["isotonic"] - 0.03
    assert found.fit.log_loss["none"] == pytest.approx(log_loss(SIGMOID(logits), relevant))
    assert found.fit.error == pytest.approx(calibration_error(found.held_out, relevant))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_folds_never_part_a_query_and_are_drawn_alike(own: list[int]) -> None:
    queries = np.array(own)
    folds = folds_of(queries)
    assert all(len(set(folds[queries == query])) == 1 for query in set(own))
    assert folds_of(queries).tolist() == folds.tolist()
    sizes = [len(set(queries[folds == fold])) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_a_fit_is_the_same_every_time() -> None:
    one, other = (fit(sampled(40), {}) for _ in range(2))
    assert one.fit == other.fit


def test_few_pairs_that_part_cleanly_still_give_chances_between_0_and_1() -> None:
    logits = np.tile(np.linspace(-4, 4, 10), 12)
    for curve in (platt(logits, logits > 0.5), isotonic(logits, logits > 0.5)):
        chances = curve(logits)
        assert 0 < chances.min() < 0.05 and 0.95 < chances.max() < 1


def _refused(judged: JudgedLogits, *messages: str) -> None:
    for call in (lambda: check(judged), lambda: fit(judged, {})):
        with pytest.raises(DatasetError) as caught:
            call()
        assert "\n" not in str(caught.value)
        for message in messages:
            assert message in str(caught.value)


def test_too_few_judgments_are_refused_saying_how_many_more() -> None:
    few = sampled(200)
    places = np.flatnonzero(few.relevant & (few.queries < 8))[:12]
    own = JudgedLogits(few.logits[places], few.relevant[places], few.queries[places])
    queries = len(set(own.queries))
    _refused(
        own, f"{queries} judged queries with 12", f"judge {10 - queries} more", "8 more answers"
    )
    nothing = JudgedLogits(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64))
    _refused(nothing, "0 judged queries", "judge 10 more queries and 20 more answers")


def test_answers_only_are_refused() -> None:
    own = sampled(20)
    _refused(replace(own, relevant=np.ones_like(own.relevant)), "all 1000 judged pairs are answers")


def test_labels_that_do_not_rise_with_the_logits_are_refused() -> None:
    own = sampled(40)
    _refused(replace(own, logits=-own.logits), "no higher logits than the rest")
    _refused(replace(own, logits=np.zeros_like(own.logits)), "no higher logits than the rest")


def test_equal_logits_are_one_block() -> None:
    found = isotonic(np.zeros(10), np.arange(10) < 3)
    assert isinstance(found, Isotonic)
    assert found.logits == (0.0,) and found.probabilities[0] == pytest.approx(0.3, abs=0.05)
