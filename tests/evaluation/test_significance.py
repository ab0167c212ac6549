"""Significance tests find real differences, and none in noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.evaluation.significance import paired_test

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def _two_runs(difference: float, size: int = 60) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(3)
    before = generator.uniform(0, 1, size)
    return list(before), list(before + generator.normal(difference, 0.2, size))


@given(VALUES)
def test_a_run_does_not_differ_from_itself(values: list[float]) -> None:
    result = paired_test(values, values)
    assert (result.p_bootstrap, result.p_randomisation) == (1.0, 1.0)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)
    assert (result.better, result.worse, result.equal) == (0, 0, len(values))


def test_a_known_difference_is_significant() -> None:
    result = paired_test(*_two_runs(0.15))
    assert result.p_bootstrap < 0.001 and result.p_randomisation < 0.001
    assert 0 < result.low < result.difference < result.high
    assert result.low < 0.15 < result.high


def test_noise_is_not_significant() -> None:
    generator = np.random.default_rng(5)
    rejected = []
    for _ in range(200):
        before, noise = generator.uniform(0, 1, 40), generator.normal(0, 0.2, 40)
        result = paired_test(list(before), list(before + noise))
        rejected.append((result.p_bootstrap < 0.05, result.p_randomisation < 0.05))
    wrong = np.mean(rejected, axis=0)
    assert (wrong < 0.11).all() and (wrong > 0.005).all()  # 5 % are wrong by definition


@pytest.mark.parametrize("difference", [0.02, 0.05, -0.04])
def test_both_tests_agree_with_scipy(difference: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    before, after = _two_runs(difference, 35)
    ours = paired_test(before, after)
    differences = np.subtract(after, before)
    flips = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1
    )
    drawn = stats.bootstrap((differences,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert ours.p_randomisation == pytest.approx(flips.pvalue, abs=0.015)
    interval = drawn.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.004)
    shifted = drawn.bootstrap_distribution - differences.mean()
    expected = np.mean(np.abs(shifted) >= abs(differences.mean()))
    assert ours.p_bootstrap == pytest.approx(expected, abs=0.015)


@given(VALUES, VALUES)
def test_swapped_runs_give_the_mirror_image(left: list[float], right: list[float]) -> None:
    size = min(len(left), len(right))
    there, back = paired_test(left[:size], right[:size]), paired_test(right[:size], left[:size])
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert there.low == pytest.approx(-back.high, abs=0.05)
    assert (there.better, there.worse) == (back.worse, back.better)
    assert there.p_bootstrap == pytest.approx(back.p_bootstrap, abs=0.02)


def test_thousands_of_queries_need_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = _two_runs(0.01, 500)
    whole = paired_test(before, after)
    monkeypatch.setattr("resift.evaluation.significance.MAX_DRAWN", 5_000)
    parts = paired_test(before, after)
    assert parts.p_randomisation == pytest.approx(whole.p_randomisation, abs=0.02)
