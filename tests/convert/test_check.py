"""The check compares orders within queries, and leaves as few layers in float32 as it must."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from resift.convert.check import Agreement, CheckReport, checked, compare
from resift.errors import InputError

LAYERS = tuple(f"layer{index}" for index in range(10))
WORK = dict.fromkeys(LAYERS, 1.0)
EXACT = [np.linspace(0, 1, 20), np.linspace(5, 7, 20)]


def test_equal_logits_agree() -> None:
    assert compare(EXACT, EXACT) == Agreement(1.0, 1.0, 40, 0.0)


def test_rank_correlation_is_that_of_the_textbook() -> None:
    exact, rounded = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 5, 4])
    agreement = compare([exact], [rounded])
    assert agreement.spearman == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 Σd² / n(n² - 1)
    assert agreement.max_difference == 1


def test_a_shift_of_a_whole_query_changes_no_order() -> None:
    shifted = [EXACT[0] + 10, EXACT[1] - 10]
    agreement = compare(EXACT, shifted)
    assert agreement.spearman == pytest.approx(1)
    assert agreement.max_difference == pytest.approx(10)


def test_only_the_order_within_a_query_counts() -> None:
    """Pooled, the two queries' distance would hide that each is turned round."""
    agreement = compare(EXACT, [EXACT[0][::-1], EXACT[1][::-1]])
    assert agreement.spearman == pytest.approx(-1)
    assert agreement.top10_overlap == 0


def test_ties_have_their_mean_rank() -> None:
    exact, rounded = np.array([1.0, 2, 3, 4]), np.array([0.0, 0.0, 1.0, 2.0])
    expected = np.corrcoef([0, 1, 2, 3], [0.5, 0.5, 2, 3])[0, 1]
    assert compare([exact], [rounded]).spearman == pytest.approx(expected)


def test_int8_logits_that_are_all_equal_have_no_order() -> None:
    assert compare([EXACT[0]], [np.zeros(20)]).spearman == 0


def test_lists_whose_float32_logits_do_not_vary_are_left_out() -> None:
    rng = np.random.default_rng(3)
    flat = 0.3 + rng.normal(0, 1e-5, 20)
    noise = flat + rng.normal(0, 1e-4, 20)
    assert compare([EXACT[0], flat], [EXACT[0], noise]).spearman == pytest.approx(1)
    agreement = compare([flat], [noise])
    assert agreement.spearman is None
    assert agreement.top10_overlap is None
    assert agreement.is_close


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
) -> tuple[frozenset[str] | None, CheckReport]:
    result = checked(model.quantise, model.logits, EXACT, lambda: order, work, "test 1")
    made, report = result
    return made, report


def result_of(
    model: Model, order: Sequence[str] = LAYERS
) -> tuple[frozenset[str] | None, CheckReport]:
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
    assert report.agreement.is_close


def test_float32_is_kept_if_more_than_half_of_the_work_would_be_float32() -> None:
    model = Model(harmful=LAYERS[:6])
    made, report = result_of(model)
    assert made is None
    assert not report.is_int8
    assert max(len(layers) for layers in model.attempts) == 5
    assert "kept in float32" in str(report)


def test_the_costs_of_layers_count() -> None:
    model = Model(harmful=LAYERS[:2])
    work = WORK | {LAYERS[0]: 100.0}
    made, _ = made_with(model, LAYERS, work)
    assert made is None
    assert model.attempts == [frozenset()]


def test_the_report_says_what_was_measured() -> None:
    _, report = result_of(Model(harmful=LAYERS[:1]))
    assert "Spearman 1.0000 within queries, top-10 overlap 1.000; 40 pairs" in str(report)
    assert "1 layers in float32" in str(report)
    flat = CheckReport(True, Agreement(None, None, 4, 0.0), (), "test 1", 0.1)
    assert "do not vary" in str(flat)
