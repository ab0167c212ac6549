"""Fits recover the curve that labels were drawn by, and are evaluated on held-out queries."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift import Candidate, Citation, Reranker
from resift.errors import DatasetError
from resift.evaluation.calibrate import (
    BINS,
    Bools,
    Floats,
    Grades,
    JudgedLogits,
    JudgedPairs,
    LabelOptions,
    baselines,
    calibrate,
    calibration_error,
    check,
    fit,
    folds_of,
    isotonic,
    label_pairs,
    log_loss,
    platt,
    reliability,
    smoothed,
)
from resift.evaluation.first_stage import doc_id
from resift.rerank.artifact import load_artifact
from resift.rerank.calibration import SIGMOID, Isotonic, Platt, ScoreScale
from resift.rerank.catalogue import BUNDLED
from resift.rerank.ordering import sigmoid
from resift.rerank.result import ScoredCandidates
from texts import QUESTIONS, passages

pytest.importorskip("scipy")

labels = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=1, max_size=80)


def test_platt_recovers_the_scale_and_bias_that_labels_were_drawn_by() -> None:
    judged = sampled(400)
    curve = platt(judged.logits, judged.relevant)
    assert (curve.scale, curve.bias) == pytest.approx((SCALE, BIAS), abs=0.05)


@given(labels)
@settings(deadline=None)  # the first call imports SciPy
def test_isotonic_is_scipys_regression_at_the_centres_of_its_blocks(
    pairs: list[tuple[int, bool]],
) -> None:
    from scipy import optimize

    logits = np.array([logit / 4 for logit, _ in pairs])
    relevant = np.array([label for _, label in pairs])
    order = np.argsort(logits, kind="stable")
    distinct, counts = np.unique(logits, return_counts=True)
    target = smoothed(relevant)
    means = np.array([target[logits == value].mean() for value in distinct])
    expected = optimize.isotonic_regression(means, weights=counts)
    curve = isotonic(logits, relevant)
    assert len(curve.logits) == len(expected.blocks) - 1
    for start, end, centre, probability in zip(
        expected.blocks[:-1], expected.blocks[1:], curve.logits, curve.probabilities, strict=True
    ):
        inside = logits[order][np.isin(logits[order], distinct[start:end])]
        assert centre == pytest.approx(inside.mean(), abs=1e-9)
        assert probability == pytest.approx(expected.x[start], rel=1e-5)


def test_isotonic_fits_labels_that_no_sigmoid_fits() -> None:
    """Probabilities that rise, level off and rise again."""
    rng = np.random.default_rng(3)
    logits = rng.uniform(-6, 6, 40_000)
    probabilities = np.interp(logits, [-6, -3, 3, 4, 6], [0.02, 0.4, 0.4, 0.9, 0.9])
    judged = JudgedLogits(logits, rng.random(len(logits)) < probabilities, np.arange(40_000) // 100)
    fitted = fit(judged, {})
    assert fitted.fit.curve.method == "isotonic"
    assert fitted.fit.log_loss["isotonic"] < fitted.fit.log_loss["platt"] - 0.01
    np.testing.assert_allclose(
        fitted.fit.curve(np.array([-2.0, 0.0, 5.0])), [0.4, 0.4, 0.9], atol=0.05
    )


def test_a_sigmoid_wins_where_labels_follow_one_and_are_few() -> None:
    fitted = fit(sampled(30), {})
    assert fitted.fit.curve.method == "platt"
    assert fitted.fit.log_loss["platt"] < fitted.fit.log_loss["isotonic"]


def test_probabilities_are_calibrated_on_unseen_queries() -> None:
    fitted, unseen = fit(sampled(300), {"none": SIGMOID}), sampled(300, seed=2)
    probabilities = fitted.fit.curve(unseen.logits)
    assert calibration_error(probabilities, unseen.relevant) < 0.012
    assert calibration_error(SIGMOID(unseen.logits), unseen.relevant) > 0.1
    np.testing.assert_allclose(probabilities, probabilities_of(unseen.logits), atol=0.05)
    assert fitted.fit.error < 0.012
    assert fitted.fit.calibration_error["none"] > 0.1


def test_a_fit_is_evaluated_on_held_out_queries() -> None:
    """Labels by query cannot be predicted for unseen queries, only for seen ones."""
    rng = np.random.default_rng(5)
    logits = np.repeat(np.sort(rng.normal(0, 1, 60)), 20)
    relevant = np.repeat(rng.random(60) < np.linspace(0.2, 0.8, 60), 20)
    judged = JudgedLogits(logits, relevant, np.repeat(np.arange(60), 20))
    fitted = fit(judged, {"none": SIGMOID})
    in_sample: Floats = isotonic(logits, relevant)(logits)
    assert log_loss(in_sample, relevant) < fitted.fit.log_loss["isotonic"] - 0.03
    assert fitted.fit.log_loss["none"] == pytest.approx(log_loss(SIGMOID(logits), relevant))
    assert fitted.fit.error == pytest.approx(calibration_error(fitted.held_out, relevant))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_folds_never_split_a_query_and_are_the_same_in_each_call(numbers: list[int]) -> None:
    queries = np.array(numbers)
    folds = folds_of(queries)
    assert all(len(set(folds[queries == query])) == 1 for query in set(numbers))
    assert folds_of(queries).tolist() == folds.tolist()
    sizes = [len(set(queries[folds == fold])) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_a_fit_is_the_same_every_time() -> None:
    first, second = (fit(sampled(40), {}) for _ in range(2))
    assert first.fit == second.fit


def test_few_separable_pairs_still_give_probabilities_between_0_and_1() -> None:
    logits = np.tile(np.linspace(-4, 4, 10), 12)
    for curve in (platt(logits, logits > 0.5), isotonic(logits, logits > 0.5)):
        probabilities = curve(logits)
        assert 0 < probabilities.min() < 0.05 and 0.95 < probabilities.max() < 1


def _refused(judged: JudgedLogits, *messages: str) -> None:
    for call in (lambda: check(judged), lambda: fit(judged, {})):
        with pytest.raises(DatasetError) as caught:
            call()
        assert "\n" not in str(caught.value)
        for message in messages:
            assert message in str(caught.value)


def test_too_few_judgments_are_refused_saying_how_many_more() -> None:
    all_pairs = sampled(200)
    indices = np.flatnonzero(all_pairs.relevant & (all_pairs.queries < 8))[:12]
    few = JudgedLogits(
        all_pairs.logits[indices], all_pairs.relevant[indices], all_pairs.queries[indices]
    )
    queries = len(set(few.queries))
    _refused(
        few,
        f"{queries} judged queries with 12",
        f"judge {10 - queries} more",
        "8 more relevant documents",
    )
    nothing = JudgedLogits(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.int64))
    _refused(nothing, "0 judged queries", "judge 10 more queries and 20 more relevant documents")


def test_relevant_pairs_alone_are_refused() -> None:
    judged = sampled(20)
    all_relevant = replace(judged, relevant=np.ones_like(judged.relevant))
    _refused(all_relevant, "all 1000 judged pairs are relevant")


def test_labels_that_do_not_rise_with_the_logits_are_refused() -> None:
    judged = sampled(40)
    _refused(replace(judged, logits=-judged.logits), "no higher logits than the rest")
    _refused(replace(judged, logits=np.zeros_like(judged.logits)), "no higher logits than the rest")


def test_equal_logits_are_one_block() -> None:
    curve = isotonic(np.zeros(10), np.arange(10) < 3)
    assert isinstance(curve, Isotonic)
    assert curve.logits == (0.0,) and curve.probabilities[0] == pytest.approx(0.3, abs=0.05)


SCALE, BIAS = 0.7, -2.5


def probabilities_of(logits: Floats) -> Floats:
    """The probabilities that the labels of `sampled` are drawn by."""
    return sigmoid(SCALE * logits + BIAS)


def sampled(queries: int, depth: int = 50, seed: int = 1) -> JudgedLogits:
    """Each query's logits are centred on a random value; labels are drawn by `probabilities_of`."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(-1, 1, (queries, 1)) + rng.normal(0, 3, (queries, depth))).ravel()
    relevant = rng.random(len(logits)) < probabilities_of(logits)
    return JudgedLogits(logits, relevant, np.repeat(np.arange(queries), depth))


pytest.importorskip("scipy")

POOL = passages(12)
WINDOW = [Candidate(f"d{n}", text, score=30.0 - n) for n, text in enumerate(POOL)]
GRADES = {"d0": 2, "d1": 1, "d2": 0, "absent": 3}
MANIFEST = load_artifact(BUNDLED).manifest


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: these tests do not depend on it."""
    return in_one_runtime


@pytest.fixture(scope="module")
def scored(bundled: Reranker) -> ScoredCandidates:
    return bundled.score_candidates(QUESTIONS[0], WINDOW)


def _counts(judged: JudgedPairs) -> tuple[int, int]:
    """Pairs, and relevant ones among them."""
    return len(judged.plain.logits), int(judged.plain.relevant.sum())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (LabelOptions(), (12, 2)),
        (LabelOptions(min_grade=2), (12, 1)),
        (LabelOptions(judged_only=True), (3, 2)),
        (LabelOptions(min_grade=2, judged_only=True), (3, 1)),
    ],
)
def test_grades_and_unjudged_candidates_count_as_the_options_say(
    scored: ScoredCandidates, how: LabelOptions, expected: tuple[int, int]
) -> None:
    assert _counts(label_pairs([(scored, GRADES)], how)) == expected


def test_logits_are_plain_and_fused(
    scored: ScoredCandidates,
) -> None:
    judged = label_pairs([(scored, GRADES), (scored, {})], LabelOptions())
    ranking = scored.ranking()
    assert judged.fused is not None
    assert judged.plain.logits[:12].tolist() == [hit.logit for hit in ranking]
    assert judged.fused.logits[:12].tolist() == [
        (hit.logit or 0) + hit.fusion + hit.feedback for hit in ranking
    ]
    assert judged.plain.queries.tolist() == judged.fused.queries.tolist() == [0] * 12 + [1] * 12
    weights = judged.fusion_weight, judged.feedback_weight
    assert weights == (MANIFEST.fusion_weight, MANIFEST.feedback_weight)


def test_without_first_stage_scores_there_is_no_fused_scale(bundled: Reranker) -> None:
    plain = bundled.score_candidates(QUESTIONS[0], POOL)
    judged = label_pairs(
        [(bundled.score_candidates(QUESTIONS[0], WINDOW), {}), (plain, {})], LabelOptions()
    )
    assert judged.fused is None and judged.fusion_weight == 0


def test_a_candidate_without_a_logit_is_no_pair(bundled: Reranker) -> None:
    scored = bundled.score_candidates(QUESTIONS[0], [*WINDOW, Candidate("d12", "", score=0.0)])
    assert _counts(label_pairs([(scored, {"d12": 1})], LabelOptions())) == (12, 0)
    empty = bundled.score_candidates(QUESTIONS[0], [])
    assert _counts(label_pairs([(empty, GRADES)], LabelOptions())) == (0, 0)


def test_the_best_passage_of_a_relevant_document_counts(bundled: Reranker) -> None:
    parts = [Candidate(f"p{n}", text, score=1.0 * n,
                       citation=Citation("u", f"d{n % 3}", 0, 9))
             for n, text in enumerate(POOL)]  # fmt: skip
    scored = bundled.score_candidates(QUESTIONS[0], parts)
    judged = label_pairs([(scored, {"d1": 1, "d2": 0})], LabelOptions())
    assert _counts(judged) == (9, 1)
    best = next(hit for hit in scored.ranking() if doc_id(hit) == "d1")
    assert judged.plain.logits[judged.plain.relevant].tolist() == [best.logit]


def test_a_fit_is_compared_with_the_models_own_curve_if_it_has_one() -> None:
    model = ScoreScale("model", Platt(2, 0), Platt(3, 0))
    judged = ScoreScale("judged", Platt(5, 1), None, otherwise=model)
    for scale in (model, judged):  # a judged scale is no baseline: it was fitted in the same way
        assert baselines(scale, fused=False) == {"none": SIGMOID, "model": Platt(2, 0)}
        assert baselines(scale, fused=True) == {"none": SIGMOID, "model": Platt(3, 0)}
    for scale in (ScoreScale("none", SIGMOID, SIGMOID), ScoreScale("judged", Platt(5, 1), None)):
        assert baselines(scale, fused=False) == {"none": SIGMOID}


def test_no_query_at_all_is_refused() -> None:
    with pytest.raises(DatasetError, match="no query has judgments"):
        label_pairs([], LabelOptions())


def test_a_calibration_records_what_it_was_fitted_on(bundled: Reranker) -> None:
    judged = label_pairs(_queries(bundled), LabelOptions())
    report = calibrate(judged, {"at": "a day"})
    calibration = report.calibration
    assert (calibration.model, calibration.fingerprint) == (MANIFEST.name, MANIFEST.fingerprint)
    assert (calibration.queries, calibration.pairs, calibration.relevant) == (12, 144, 24)
    assert (calibration.fusion_weight, calibration.feedback_weight) == (0.3, 4.0)
    assert calibration.made == {"at": "a day"} and calibration.bins == 15
    for scale in (calibration.plain, calibration.fused):
        assert scale is not None
        assert set(scale.log_loss) == set(scale.calibration_error) == {
            "none", "model", "platt", "isotonic",
        }  # fmt: skip
        best = min(("platt", "isotonic"), key=lambda method: scale.log_loss[method])
        assert scale.curve.method == best
        assert scale.error == scale.calibration_error[best]


def _queries(bundled: Reranker) -> list[tuple[ScoredCandidates, Grades]]:
    """Twelve queries, each the words of a passage; that one and the next are relevant."""
    return [
        (
            bundled.score_candidates(" ".join(POOL[n].split()[:12]), WINDOW),
            {f"d{n}": 1, f"d{(n + 1) % len(POOL)}": 1},
        )
        for n in range(12)
    ]


Pairs = list[tuple[float, bool]]
pairs: st.SearchStrategy[Pairs] = st.lists(
    st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60
)


def _right(size: int = 60_000) -> tuple[Floats, Bools]:
    rng = np.random.default_rng(1)
    probabilities = rng.beta(0.3, 3, size)
    return probabilities, rng.random(size) < probabilities


def _arrays(pairs: Pairs) -> tuple[Floats, Bools]:
    return np.array([probability for probability, _ in pairs]), np.array(
        [label for _, label in pairs]
    )


def test_calibrated_probabilities_have_almost_no_error() -> None:
    probabilities, relevant = _right()
    assert calibration_error(probabilities, relevant) < 0.005


@pytest.mark.parametrize("shift", [0.05, 0.2])
def test_the_error_of_shifted_probabilities_is_the_shift(shift: float) -> None:
    probabilities, relevant = _right()
    assert calibration_error(probabilities + shift, relevant) == pytest.approx(shift, abs=0.005)


def test_errors_of_both_signs_do_not_cancel() -> None:
    probabilities = np.repeat([0.2, 0.8], 100)
    relevant = np.tile([True, False], 100)
    assert calibration_error(probabilities, relevant) == pytest.approx(0.3)
    assert probabilities.mean() == pytest.approx(relevant.mean())


@given(pairs)
def test_bins_hold_all_pairs_once_and_rise(pairs: Pairs) -> None:
    probabilities, relevant = _arrays(pairs)
    bins = reliability(probabilities, relevant)
    assert 1 <= len(bins) <= BINS
    assert sum(each.pairs for each in bins) == len(pairs)
    means = [each.probability for each in bins]
    assert means == sorted(means)
    relevant_pairs = sum(each.pairs * each.relevant_share for each in bins)
    assert relevant_pairs == pytest.approx(float(relevant.sum()))


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(pairs: Pairs, random: Random) -> None:
    """Equal probabilities are in one bin, whatever the order of pairs."""
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert calibration_error(*_arrays(shuffled)) == pytest.approx(
        calibration_error(*_arrays(pairs))
    )


def test_bins_have_equal_size_where_probabilities_differ() -> None:
    probabilities, relevant = _right(1_500)
    assert {each.pairs for each in reliability(probabilities, relevant)} == {100}


def test_equal_probabilities_are_one_bin() -> None:
    probabilities, relevant = np.full(40, 0.25), np.arange(40) < 10
    assert [(each.pairs, each.relevant_share) for each in reliability(probabilities, relevant)] == [
        (40, 0.25)
    ]
    assert calibration_error(probabilities, relevant) == 0


def test_the_log_loss_equals_a_manual_calculation() -> None:
    probabilities, relevant = np.array([0.8, 0.4]), np.array([True, False])
    assert log_loss(probabilities, relevant) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)


def test_a_wrong_certainty_costs_much_but_not_infinity() -> None:
    assert 30 < log_loss(np.array([0.0]), np.array([True])) < 40
