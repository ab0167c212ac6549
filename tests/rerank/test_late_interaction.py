"""MaxSim both ways and the cosine equal their definitions written out, whatever the padding."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resift.rerank.late_interaction import (
    FEATURES,
    LateInteractionWeights,
    features,
    query_states,
    unit,
)

Floats = NDArray[np.float32]


def _by_definition(query: Floats, document: Floats) -> list[float]:
    """One pair, no padding: what the papers write."""
    q, d = unit(query[1:-1]), unit(document[1:-1])
    similar = q @ d.T
    cosine = float(unit(query.mean(axis=0)) @ unit(document.mean(axis=0)))
    return [float(similar.max(axis=1).mean()), float(similar.max(axis=0).mean()), cosine]


@given(st.integers(3, 8), st.lists(st.integers(3, 12), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_padded_batches_agree_with_the_definition(
    query_tokens: int, lengths: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(query_tokens, 16)).astype(np.float32)
    longest = max(lengths) + 3
    states = rng.normal(size=(len(lengths), longest, 16)).astype(np.float32)  # padding is noise
    mask = np.array([[int(i < length) for i in range(longest)] for length in lengths])
    found = features(query_states(query), states, mask)
    for row, length in enumerate(lengths):
        expected = _by_definition(query, states[row, :length])
        assert np.allclose(found[row], expected, atol=1e-5)


def test_logits_are_the_weighted_sum() -> None:
    weights = LateInteractionWeights(1.0, 2.0, 3.0, bias=0.5)
    assert [getattr(weights, name) for name in FEATURES] == [1.0, 2.0, 3.0]
    found = weights.logits(np.array([[0.1, 0.2, 0.3]], np.float32))
    assert np.allclose(found, [0.1 + 0.4 + 0.9 + 0.5])
