"""Weights are rounded so that outputs, rather than weights, are close."""

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.convert.rounding import round_kernel

INPUTS, OUTPUTS, TOKENS = 150, 7, 2000


@pytest.fixture(scope="module")
def x() -> NDArray[np.float64]:
    """Correlated inputs: few directions have most of the variance."""
    rng = np.random.default_rng(4)
    return rng.normal(0, 1, (TOKENS, 10)) @ rng.normal(0, 1, (10, INPUTS)) + rng.normal(
        0, 0.1, (TOKENS, INPUTS)
    )


def mean_products(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return (x.T @ x / len(x)).astype(np.float32)


@pytest.fixture(scope="module")
def kernel() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(0, 1, (INPUTS, OUTPUTS)).astype(np.float32)


def test_outputs_are_closer_than_by_nearest_rounding(
    x: NDArray[np.float64], kernel: NDArray[np.float32]
) -> None:
    rounded = round_kernel(kernel, mean_products(x))
    nearest = np.rint(kernel / rounded.steps) * rounded.steps
    errors = [float(((x @ (kernel - values)) ** 2).mean()) for values in (rounded.values, nearest)]
    assert errors[0] < 0.3 * errors[1]


def test_uncorrelated_inputs_round_to_the_nearest(kernel: NDArray[np.float32]) -> None:
    rounded = round_kernel(kernel, np.eye(INPUTS, dtype=np.float32))
    np.testing.assert_array_equal(rounded.codes, np.rint(kernel / rounded.steps))


def test_codes_use_the_whole_range_of_each_output(
    x: NDArray[np.float64], kernel: NDArray[np.float32]
) -> None:
    rounded = round_kernel(kernel * np.arange(1, OUTPUTS + 1), mean_products(x))
    assert rounded.codes.dtype == np.int8
    assert rounded.steps.shape == (OUTPUTS,)
    assert np.abs(rounded.codes).max() == 127
    assert rounded.codes.min() >= -127


def test_zero_weights_and_inputs_without_variance_are_fine(kernel: NDArray[np.float32]) -> None:
    zero = round_kernel(np.zeros_like(kernel), np.zeros((INPUTS, INPUTS), np.float32))
    assert not zero.codes.any()
    constant = round_kernel(kernel, np.zeros((INPUTS, INPUTS), np.float32))
    np.testing.assert_allclose(constant.values, kernel, atol=float(constant.steps.max()))
