"""The check compares orders over all pairs and within queries, and leaves as few layers in float32
as it must.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from resift.convert.check import (
    MIN_SPEARMAN,
    MIN_WITHIN_QUERY,
    checked,
    compare,
    described,
    is_close,
)
from resift.errors import InputError
from resift.rerank.artifact import Agreement

LAYERS = tuple(f"layer{index}" for index in range(10))
WORK = dict.fromkeys(LAYERS, 1.0)
EXACT = [np.linspace(0, 1, 20), np.linspace(5, 7, 20)]


def test_equal_logits_agree() -> None:
    assert compare(EXACT, EXACT) == Agreement(1.0, 1.0, 1.0, 40, 0.0)


def test_rank_correlation_is_that_of_the_textbook() -> None:
    exact, rounded = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 5, 4])
    agreement = compare([exact], [rounded])
    assert agreement.spearman == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 Σd² / n(n² - 1)
    assert agreement.max_difference == 1


def test_a_shift_of_a_whole_query_changes_the_order_over_all_pairs_only() -> None:
    shifted = [EXACT[0] + 10, EXACT[1] - 10]
    agreement = compare(EXACT, shifted)
    assert agreement.within_query == pytest.approx(1)
    assert agreement.spearman is not None and agreement.spearman < 0
    assert agreement.max_difference == pytest.approx(10)
    assert not is_close(agreement)


def test_lists_that_are_each_turned_round_are_not_close_however_far_apart_they_are() -> None:
    """Over all pairs, the distances between queries hide that each list is turned round."""
    exact = [np.linspace(0, 1, 4) + 10 * number for number in range(40)]
    agreement = compare(exact, [values[::-1] for values in exact])
    assert agreement.spearman is not None and agreement.spearman > MIN_SPEARMAN
    assert agreement.within_query == pytest.approx(-1)
    assert not is_close(agreement)


@pytest.mark.parametrize(
    ("spearman", "within_query", "expected"),
    [
        (MIN_SPEARMAN, MIN_WITHIN_QUERY, True),
        (MIN_SPEARMAN - 1e-6, 1.0, False),
        (1.0, MIN_WITHIN_QUERY - 1e-6, False),
        (1.0, None, True),
        (None, None, True),
    ],
)
def test_both_orders_must_be_kept(
    spearman: float | None, within_query: float | None, expected: bool
) -> None:
    assert is_close(Agreement(spearman, within_query, 1.0, 40, 0.1)) is expected


def test_within_queries_each_list_counts_the_same() -> None:
    agreement = compare(EXACT, [EXACT[0], EXACT[1][::-1]])
    assert agreement.within_query == pytest.approx(0)
    assert agreement.top10_overlap == 0.5


def test_ties_have_their_mean_rank() -> None:
    exact, rounded = np.array([1.0, 2, 3, 4]), np.array([0.0, 0.0, 1.0, 2.0])
    expected = np.corrcoef([0, 1, 2, 3], [0.5, 0.5, 2, 3])[0, 1]
    assert compare([exact], [rounded]).spearman == pytest.approx(expected, abs=1e-5)


def test_int8_logits_that_are_all_equal_have_no_order() -> None:
    assert compare([EXACT[0]], [np.zeros(20)]).spearman == 0


def test_lists_whose_float32_logits_do_not_vary_are_left_out() -> None:
    rng = np.random.default_rng(3)
    flat = 0.3 + rng.normal(0, 1e-5, 20)
    noise = flat + rng.normal(0, 1e-4, 20)
    both = compare([EXACT[0], flat], [EXACT[0], noise])
    assert both.within_query == pytest.approx(1)
    assert both.spearman is not None and both.spearman < 1
    agreement = compare([flat], [noise])
    assert agreement.spearman is None
    assert agreement.within_query is None
    assert agreement.top10_overlap is None
    assert is_close(agreement)


def test_logits_of_other_candidates_are_an_error() -> None:
    with pytest.raises(InputError, match=r"logits of \[20\] and \[19\] candidates"):
        compare([EXACT[0]], [EXACT[0][:-1]])
    with pytest.raises(InputError, match="at least one"):
        compare([], [])


class Model:
    """Logits are off by the noise of the layers that are not float32."""

    def __init__(self, harmful: Sequence[str], noise: float = 0.5) -> None:
        self.attempts: list[frozenset[str]] = []
        self._harmful, self._noise = harmful, noise

    def quantise(self, layers: frozenset[str]) -> frozenset[str]:
        self.attempts.append(layers)
        return layers

    def logits(self, layers: frozenset[str]) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        count = sum(layer not in layers for layer in self._harmful)
        rng = np.random.default_rng(1)
        return [values + self._noise * count * rng.normal(0, 1, 20) for values in EXACT]


def made_with(
    model: Model, order: Sequence[str], work: Mapping[str, float]
) -> tuple[frozenset[str] | None, Agreement]:
    result = checked(model.quantise, model.logits, EXACT, lambda: order, work, "test 1")
    made, report = result
    return made, report


def result_of(
    model: Model, order: Sequence[str] = LAYERS
) -> tuple[frozenset[str] | None, Agreement]:
    return made_with(model, order, WORK)


def test_a_close_model_is_taken_as_it_is() -> None:
    model = Model(harmful=())
    made, report = result_of(model)
    assert made == frozenset()
    assert report.is_int8
    assert report.float_layers == ()
    assert report.quantiser == "test 1"
    assert len(model.attempts) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_as_many_layers_as_needed_stay_float(count: int) -> None:
    made, report = result_of(Model(harmful=LAYERS[:count]))
    assert report.float_layers == LAYERS[:count]
    assert made == frozenset(LAYERS[:count])
    assert report.is_int8
    assert is_close(report)


def test_float32_is_kept_if_more_than_half_of_the_work_would_be_float32() -> None:
    model = Model(harmful=LAYERS[:6])
    made, report = result_of(model)
    assert made is None
    assert not report.is_int8
    assert max(len(layers) for layers in model.attempts) == 5
    assert "kept in float32" in described(report)


def test_the_costs_of_layers_count() -> None:
    model = Model(harmful=LAYERS[:2])
    work = WORK | {LAYERS[0]: 100.0}
    made, _ = made_with(model, LAYERS, work)
    assert made is None
    assert model.attempts == [frozenset()]


def test_the_report_says_what_was_measured() -> None:
    _, report = result_of(Model(harmful=LAYERS[:1]))
    expected = "Spearman 1.0000, 1.0000 within queries, top-10 overlap 1.000; 40 pairs"
    assert expected in described(report)
    assert "1 layers in float32" in described(report)
    assert "do not vary" in described(Agreement(None, None, None, 4, 0.0))
