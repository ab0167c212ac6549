"""Ranges are those of tokens, whatever the batches and the padding."""

import numpy as np

from convert import tiny_graphs
from resift.convert.ranges import measure_ranges

LENGTHS = (4, 6, 4, 8, 4)


def test_ranges_are_those_of_the_samples() -> None:
    samples = tiny_graphs.samples(LENGTHS)
    ranges = measure_ranges(tiny_graphs.shared(), samples)
    tokens = np.concatenate([sample["x"][0] for sample in samples])
    np.testing.assert_allclose(ranges.largest("x"), np.abs(tokens).max(axis=0), rtol=1e-6)
    lowest, highest = ranges.span("x", np.ones(tiny_graphs.DIM, np.float32))
    assert (lowest, highest) == (float(tokens.min()), float(tokens.max()))
    expected = tokens.T @ tokens / len(tokens)
    np.testing.assert_allclose(ranges.products["x"], expected, rtol=1e-4, atol=1e-5)


def test_padding_does_not_count() -> None:
    model = tiny_graphs.shared()
    exact = measure_ranges(model, tiny_graphs.samples((4, 8)))
    padded = measure_ranges(model, tiny_graphs.samples((4, 8), padding=4))
    factors = np.ones(tiny_graphs.DIM, np.float32)
    assert padded.span("x", factors) == exact.span("x", factors)
    assert padded.span("first.activated", factors)[1] < 100
