"""Values in messages are short; whole numbers stay exact. What is a number: test_candidates."""

import numpy as np
import pytest

from resift.errors import shown
from resift.rerank.values import number, whole


@pytest.mark.parametrize("value", [10**5000, np.zeros((50, 50)), "a\nb" * 99], ids=type)
def test_a_value_in_a_message_is_one_short_line(value: object) -> None:
    assert "\n" not in shown(value) and 0 < len(shown(value)) <= 60


def test_a_whole_number_beyond_floats_stays_exact() -> None:
    assert whole(2**53 + 1) == 2**53 + 1 and whole(str(2**53 + 1), text=True) == 2**53 + 1
    assert number("3.5") is None and number("3.5", text=True) == 3.5
