"""What is fitted is what made the labels, and no source outweighs another."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.convert.exits import LEVELS, exit_bounds
from resift.rerank.artifact import Exit
from resift.rerank.calibration import ModelCalibration
from resift.rerank.ordering import feedback, fusion, sigmoid, standardised
from resift.training.fit import (
    FEEDBACK_WEIGHTS,
    FUSION_WEIGHTS,
    Scores,
    fit_calibration,
    fit_feedback,
    fit_fusion,
    mean_ndcg,
    ndcg,
    ndcg_by_source,
)

LISTS, DEPTH = 60, 40
SCALE, BIAS, WEIGHT = 0.7, -1.6, 0.5  # what labels are sampled by

Floats = NDArray[np.float64]


def best(worth: Floats, count: int = 4) -> NDArray[np.bool_]:
    relevant = np.zeros(len(worth), np.bool_)
    relevant[np.argsort(-worth)[:count]] = True
    return relevant


def judged(first_stage: float, seed: int = 1, source: str = "made") -> list[Scores]:
    """Lists in which ``logit + first_stage × first-stage score`` decides, both of deviation 1."""
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(LISTS):
        entry, other = (standardised(rng.normal(size=DEPTH)) for _ in range(2))
        lists.append(
            Scores(source, entry, entry, 20 + 3 * other, best(entry + first_stage * other))
        )
    return lists


def sampled(source: str, lists: int, seed: int, scale: float = SCALE) -> list[Scores]:
    """Lists whose labels are drawn with the probability that scale and bias give a logit."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(lists):
        final = rng.normal(-1, 3, DEPTH)
        probability = sigmoid(scale * final + BIAS)
        early = final - rng.gumbel(0.5, 1, DEPTH)
        result.append(Scores(source, early, final, final, rng.random(DEPTH) < probability))
    return result


def by_fused(lists: Sequence[Scores], seed: int) -> list[Scores]:
    """The same lists with a first stage of noise, and labels drawn by the fused logits."""
    rng = np.random.default_rng(seed)
    result = []
    for entry in lists:
        other = replace(entry, first_stage=rng.normal(9, 4, DEPTH))
        probability = sigmoid(SCALE * other.fused(WEIGHT) + BIAS)
        result.append(replace(other, relevant=rng.random(DEPTH) < probability))
    return result


def calibration_error(probabilities: Floats, relevant: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) over bins of like size."""
    order = np.argsort(probabilities)
    parts = np.array_split(order, bins)
    gaps = [abs(probabilities[part].mean() - relevant[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(probabilities))


@pytest.mark.parametrize("depth", [3, 10, 11, 100])
def test_ndcg_is_what_ir_measures_says(depth: int) -> None:
    measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(depth)
    for relevant_documents in {1, 2, depth // 2, depth}:
        scores = rng.permutation(depth).astype(np.float64)
        relevant = np.zeros(depth, bool)
        relevant[rng.permutation(depth)[: max(relevant_documents, 1)]] = True
        run = {"q": {f"d{index}": float(score) for index, score in enumerate(scores)}}
        qrels = {"q": {f"d{index}": int(single) for index, single in enumerate(relevant)}}
        result = measures.calc_aggregate([measures.nDCG @ 10], qrels, run)[measures.nDCG @ 10]
        assert ndcg(scores, relevant) == pytest.approx(result, abs=1e-9)


@pytest.mark.parametrize("cutoff", [2, 3, 10])
def test_ndcg_is_the_gain_over_that_of_the_best_order(cutoff: int) -> None:
    def gain(order: Sequence[int], relevant: NDArray[np.bool_]) -> float:
        return float(
            sum(relevant[entry] / np.log2(rank + 1) for rank, entry in enumerate(order, 1))
        )

    rng = np.random.default_rng(cutoff)
    for count in (1, 2, 4):
        relevant = best(rng.normal(size=5), count)
        scores = rng.normal(size=5)
        ideal = max(gain(entry[:cutoff], relevant) for entry in itertools.permutations(range(5)))
        order = sorted(range(5), key=lambda index: -scores[index])[:cutoff]
        assert ndcg(scores, relevant, cutoff) == pytest.approx(gain(order, relevant) / ideal)


def test_ndcg_is_one_for_the_best_order_and_less_for_any_other() -> None:
    relevant = np.array([True, True, False])
    assert ndcg(np.array([3.0, 2.0, 1.0]), relevant) == 1.0
    assert ndcg(np.array([3.0, 1.0, 2.0]), relevant) == pytest.approx(1.5 / (1 + 1 / np.log2(3)))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_constant_logits_get_no_credit_for_the_lists_order(value: float) -> None:
    """Lists begin with what a first stage found best, or with the answers themselves."""
    relevant = best(np.arange(DEPTH)[::-1].astype(np.float64), 1)
    nothing = np.full(DEPTH, value)
    assert ndcg(nothing, relevant) == ndcg(nothing, relevant[::-1])


def test_fused_logits_are_those_that_rank_at_run_time() -> None:
    entry = judged(1.0)[0]
    for weight in (0.0, 0.3, 1.5):
        result = entry.final + fusion(entry.first_stage.tolist(), weight)
        np.testing.assert_allclose(entry.fused(weight), result, rtol=1e-12)


def test_fused_logits_with_feedback_are_those_that_rank_at_run_time() -> None:
    means = unit_rows(DEPTH, seed=3)
    entry = replace(judged(1.0)[0], means=means)
    interpolated = entry.fused(0.3)
    np.testing.assert_allclose(
        entry.fused(0.3, 2.0), interpolated + 2.0 * feedback(interpolated, means)
    )


def unit_rows(rows: int, seed: int) -> Floats:
    made: Floats = np.random.default_rng(seed).normal(size=(rows, 8))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def clustered(alike: bool, seed: int = 5) -> list[Scores]:
    """Lists in which the answers are like each other and noise hides all but the best of them.

    Not `alike`, it is what is no answer that the best answer is like.
    """
    lists = []
    for number, entry in enumerate(judged(0.0, seed)):
        rng = np.random.default_rng(number)
        logits = entry.final + 2 * rng.normal(size=DEPTH)
        logits[np.flatnonzero(entry.relevant)[0]] = logits.max() + 3
        likely = entry.relevant if alike else ~entry.relevant
        likely = likely | (np.arange(DEPTH) == int(logits.argmax()))
        means = unit_rows(DEPTH, number)
        means[likely] += 2 * unit_rows(1, number + 1000)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        lists.append(replace(entry, final=logits, means=means))
    return lists


def test_similar_relevant_documents_give_feedback_its_full_weight() -> None:
    lists = clustered(alike=True)
    weight = fit_feedback(lists, 0.0)
    assert weight == max(FEEDBACK_WEIGHTS)
    gained = mean_ndcg(lists, lambda entry: entry.fused(0.0, weight))
    assert gained > mean_ndcg(lists, lambda entry: entry.final) + 0.05


def test_a_misleading_leader_gives_feedback_no_weight() -> None:
    assert fit_feedback(clustered(alike=False), 0.0) == 0.0


def test_a_model_without_vectors_has_no_feedback() -> None:
    assert fit_feedback(judged(0.3), 0.3) == 0.0


def test_an_informative_first_stage_gets_a_large_weight() -> None:
    lists = judged(first_stage=1.0)
    weight = fit_fusion(lists)
    assert weight >= 0.8
    gained = mean_ndcg(lists, lambda entry: entry.fused(weight))
    assert gained > mean_ndcg(lists, lambda entry: entry.final) + 0.1
    assert gained > mean_ndcg(lists, lambda entry: entry.first_stage) + 0.1


def test_the_more_a_first_stage_decides_the_more_it_weighs() -> None:
    weights = [fit_fusion(judged(first_stage)) for first_stage in (0.0, 0.3, 0.6, 1.0)]
    assert weights == sorted(weights)
    assert weights[0] < 0.2 < weights[1] < weights[3]


@pytest.mark.parametrize("seed", range(3))
def test_a_first_stage_of_noise_beside_perfect_logits_gets_little_or_nothing(seed: int) -> None:
    lists = judged(first_stage=0.0, seed=seed)
    weight = fit_fusion(lists)
    assert weight <= 0.1
    assert mean_ndcg(lists, lambda entry: entry.fused(weight)) > 0.99


def test_a_first_stage_that_misleads_gets_nothing() -> None:
    assert fit_fusion(judged(first_stage=-1.0)) == 0.0


@pytest.mark.parametrize("margin", [0.0, 100.0])
def test_equally_good_weights_give_the_largest(
    margin: float,
) -> None:
    """No weight moves a logit that stands apart from the others, or a list of equal scores."""
    lists = [replace(entry, final=entry.final + margin * entry.relevant) for entry in judged(0.0)]
    if not margin:
        lists = [replace(entry, first_stage=np.full(DEPTH, 7.0)) for entry in lists]
    assert fit_fusion(lists) == max(FUSION_WEIGHTS)


@pytest.mark.parametrize("first_stage", [0.1, 0.4, 0.8])
def test_the_weight_is_the_largest_within_one_standard_error_of_the_best(
    first_stage: float,
) -> None:
    lists = judged(first_stage, source="a") + judged(first_stage / 2, seed=2, source="b")[:20]

    def quality(weight: float) -> dict[str, Floats]:
        values = [ndcg(entry.fused(weight), entry.relevant) for entry in lists]
        return {name: np.array([v for v, entry in zip(values, lists, strict=True)
                                if entry.source == name]) for name in "ab"}  # fmt: skip

    result = {weight: quality(weight) for weight in FUSION_WEIGHTS}
    means = {
        weight: (entry["a"].mean() + entry["b"].mean()) / 2 for weight, entry in result.items()
    }
    top = max(means, key=lambda weight: means[weight])

    def standard_error(weight: float) -> float:
        parts = [result[top][name] - result[weight][name] for name in "ab"]
        return float(np.sqrt(sum(entry.var() / len(entry) for entry in parts)) / 2)

    within = [entry for entry in means if means[top] - means[entry] <= standard_error(entry)]
    assert fit_fusion(lists) == max(within)


def test_a_source_of_many_lists_fuses_as_one_of_few() -> None:
    helped, misled = judged(1.0, source="helped"), judged(-1.0, seed=2, source="misled")
    assert fit_fusion(helped) > 0.5
    assert fit_fusion(helped + misled) == fit_fusion(helped * 9 + misled) == 0.0


def test_means_are_over_sources_and_not_over_lists() -> None:
    single, other = judged(0.0, source="one"), judged(-2.0, seed=2, source="other")
    small = mean_ndcg(single + other, lambda entry: entry.final)
    assert mean_ndcg(single * 9 + other, lambda entry: entry.final) == pytest.approx(small)
    first, second = ndcg_by_source(single + other, lambda entry: entry.final)
    assert (len(first), len(second)) == (LISTS, LISTS)
    assert small == pytest.approx((first.mean() + second.mean()) / 2)


def test_calibration_recovers_the_scale_and_bias_that_labels_were_drawn_by() -> None:
    fitted = calibrated(sampled("made", 500, seed=1), WEIGHT)
    assert (fitted.plain.scale, fitted.plain.bias) == pytest.approx((SCALE, BIAS), abs=0.05)
    assert fitted.pairs == 500 * DEPTH


def test_fused_logits_have_a_fit_of_their_own() -> None:
    lists = by_fused(sampled("made", 500, seed=1), seed=2)
    fitted = calibrated(lists, WEIGHT)
    assert (fitted.fused.scale, fitted.fused.bias) == pytest.approx((SCALE, BIAS), abs=0.05)
    assert fitted.plain.scale < fitted.fused.scale  # blind to a part of what decides


def test_probabilities_are_calibrated_on_unseen_pairs() -> None:
    fitted = calibrated(sampled("made", 250, seed=1), WEIGHT)
    unseen = sampled("made", 500, seed=2)
    logits, relevant = (
        np.concatenate([getattr(entry, name) for entry in unseen]) for name in ("final", "relevant")
    )
    assert calibration_error(fitted.plain(logits), relevant) < 0.01
    assert calibration_error(sigmoid(logits), relevant) > 0.05  # as they come they are not


def test_a_source_of_many_pairs_calibrates_as_one_of_few() -> None:
    steep, flat = sampled("steep", 60, seed=1, scale=1.5), sampled("flat", 60, seed=2, scale=0.3)
    small, many = (calibrated(steep * copies + flat, WEIGHT) for copies in (1, 9))
    assert numbers(many) == pytest.approx(numbers(small), abs=0.02)  # smoothing
    assert numbers(calibrated(steep, WEIGHT)) != pytest.approx(numbers(small), abs=0.1)


def calibrated(scores: Sequence[Scores], weight: float) -> ModelCalibration:
    """A fit that there is: labels rise with the logits."""
    fitted = fit_calibration(scores, weight)
    assert fitted is not None
    return fitted


def test_labels_that_do_not_rise_with_the_logits_are_not_calibrated() -> None:
    lists = sampled("one", 20, seed=1)
    averse = [replace(entry, final=-entry.final, first_stage=-entry.first_stage) for entry in lists]
    unsure = [replace(entry, final=np.full_like(entry.final, np.nan)) for entry in lists]
    assert fit_calibration(averse, WEIGHT) is None
    assert fit_calibration(unsure, WEIGHT) is None


def numbers(fitted: ModelCalibration) -> list[float]:
    curves = (fitted.plain, fitted.fused)
    return [number for curve in curves for number in (curve.scale, curve.bias)]


def test_few_separable_pairs_give_probabilities_between_0_and_1() -> None:
    small = [replace(entry, final=entry.final + entry.relevant) for entry in judged(0.0)[:5]]
    fitted = calibrated(small, 0.0)
    assert np.isfinite(numbers(fitted)).all()
    probabilities = fitted.plain(small[0].final)
    relevant = small[0].relevant
    assert probabilities[relevant].min() > 0.5 > probabilities[~relevant].max()


def fit_exit(lists: Sequence[Scores]) -> Exit:
    return exit_bounds(np.concatenate([entry.final - entry.early for entry in lists]))


def test_an_exits_gains_are_the_quantiles_of_what_the_last_stage_adds() -> None:
    lists = sampled("one", 5, seed=1) + sampled("other", 3, seed=2)
    gains = np.concatenate([entry.final - entry.early for entry in lists])
    result = fit_exit(lists)
    assert result.levels == LEVELS and result.pairs == 8 * DEPTH
    np.testing.assert_allclose(result.gains, np.quantile(gains, LEVELS), atol=5.1e-5, rtol=0)
    assert list(result.gains) == sorted(result.gains)


def test_quantiles_hold_for_unseen_pairs() -> None:
    result = fit_exit(sampled("made", 500, seed=1))
    gains = np.concatenate([entry.final - entry.early for entry in sampled("made", 500, seed=2)])
    for level, gain in zip(result.levels, result.gains, strict=True):
        error = 4 * np.sqrt(2 * level * (1 - level) / len(gains))  # both are samples
        assert np.mean(gains <= gain) == pytest.approx(level, abs=error)
