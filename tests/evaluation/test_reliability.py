"""Chances that are right have next to no error, others the error that they were made with."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.evaluation.reliability import (
    BINS,
    Bools,
    Floats,
    calibration_error,
    log_loss,
    reliability,
)

Pairs = list[tuple[float, bool]]
pairs: st.SearchStrategy[Pairs] = st.lists(
    st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60
)


def _right(size: int = 60_000) -> tuple[Floats, Bools]:
    rng = np.random.default_rng(1)
    chances = rng.beta(0.3, 3, size)
    return chances, rng.random(size) < chances


def _arrays(own: Pairs) -> tuple[Floats, Bools]:
    return np.array([one for one, _ in own]), np.array([other for _, other in own])


def test_chances_that_are_right_have_next_to_no_error() -> None:
    chances, relevant = _right()
    assert calibration_error(chances, relevant) < 0.005


@pytest.mark.parametrize("shift", [0.05, 0.2])
def test_chances_that_are_too_high_have_that_error(shift: float) -> None:
    chances, relevant = _right()
    assert calibration_error(chances + shift, relevant) == pytest.approx(shift, abs=0.005)


def test_errors_both_ways_do_not_make_up_for_each_other() -> None:
    chances = np.repeat([0.2, 0.8], 100)
    relevant = np.tile([True, False], 100)
    assert calibration_error(chances, relevant) == pytest.approx(0.3)
    assert chances.mean() == pytest.approx(relevant.mean())


@given(pairs)
def test_bins_hold_all_pairs_once_and_rise(own: Pairs) -> None:
    chances, relevant = _arrays(own)
    found = reliability(chances, relevant)
    assert 1 <= len(found) <= BINS
    assert sum(one.pairs for one in found) == len(own)
    means = [one.chance for one in found]
    assert means == sorted(means)
    answers = sum(one.pairs * one.share for one in found)
    assert answers == pytest.approx(float(relevant.sum()))


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_pairs_decides_nothing(own: Pairs, random: Random) -> None:
    """Equal chances are in one bin, so that none is parted by where it stood."""
    shuffled = list(own)
    random.shuffle(shuffled)
    assert calibration_error(*_arrays(shuffled)) == pytest.approx(calibration_error(*_arrays(own)))


def test_bins_are_of_like_size_where_chances_differ() -> None:
    chances, relevant = _right(1_500)
    assert {one.pairs for one in reliability(chances, relevant)} == {100}


def test_one_chance_for_all_is_one_bin() -> None:
    chances, relevant = np.full(40, 0.25), np.arange(40) < 10
    assert [(one.pairs, one.share) for one in reliability(chances, relevant)] == [(40, 0.25)]
    assert calibration_error(chances, relevant) == 0


def test_the_loss_is_what_it_is_by_hand() -> None:
    chances, relevant = np.array([0.8, 0.4]), np.array([True, False])
    assert log_loss(chances, relevant) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)


def test_being_sure_and_wrong_costs_much_and_not_everything() -> None:
    assert 30 < log_loss(np.array([0.0]), np.array([True])) < 40
