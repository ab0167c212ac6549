"""Token starts are positions in the text, whatever embeds it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.index.measure import token_starts


def test_each_token_starts_where_it_stands() -> None:
    text = "Blue  whales sing."
    assert [text[start] for start in token_starts(text)] == ["B", "w", "s", "."]


def test_no_text_has_no_tokens() -> None:
    assert token_starts("").tolist() == []


@pytest.mark.timeout(60)
@given(st.text(max_size=200))
def test_starts_never_fall_and_lie_within_the_text(text: str) -> None:
    starts = token_starts(text)
    assert starts.dtype == np.int64
    assert np.all(np.diff(starts) >= 0)
    assert len(starts) == 0 or (starts[0] >= 0 and starts[-1] < len(text))
