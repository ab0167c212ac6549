"""Values of any library become plain Python, and what is written as JSON is valid."""

import json
import math
from collections import UserDict
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift import Document
from resift.rerank.plain import as_json, number, shown, whole

EMPTY = {"id": "", "text": "b", "title": "", "metadata": {}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None), (-math.inf, None), (np.float32("nan"), None), (np.float32(0.5), 0.5),
        (np.int64(3), 3), (np.True_, True), (np.array(2.5), 2.5), ((1, {2}), [1, [2]]),
        (np.array([1.0, math.nan]), [1.0, None]), (UserDict({"a": math.nan}), {"a": None}),
        ({3: 1, None: 2}, {"3": 1, "None": 2}), (Document("a", "b"), {**EMPTY, "id": "a"}),
        ({np.int64(3): 1}, {"3": 1}), (b"a\xff", "a\\xff"), (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.5"), "1.5"), ("\udcff", "\udcff"), (10**400, 10**400), (np.str_("x"), "x"),
    ],
    ids=str,
)  # fmt: skip
def test_json_has_no_value_that_another_reader_refuses(value: Any, expected: Any) -> None:
    plain = as_json(value)
    assert plain == expected and type(plain) is type(expected)
    json.dumps(plain, allow_nan=False)


def test_a_value_that_holds_itself_or_is_too_deep_is_cut_off() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    json.dumps(as_json(ring), allow_nan=False)
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    json.dumps(as_json(deep), allow_nan=False)
    json.dumps(as_json({"digits": 10**5000}), allow_nan=False)


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
              st.decimals(), st.dates(), st.complex_numbers()),
    lambda values: st.one_of(st.lists(values), st.dictionaries(st.text() | st.integers(), values)),
))  # fmt: skip
def test_anything_can_be_written(value: object) -> None:
    json.loads(json.dumps(as_json(value), allow_nan=False))


@pytest.mark.parametrize("value", [10**5000, np.zeros((50, 50)), "a\nb" * 99], ids=type)
def test_a_value_in_a_message_is_one_short_line(value: object) -> None:
    assert "\n" not in shown(value) and 0 < len(shown(value)) <= 60


def test_a_whole_number_beyond_floats_stays_exact() -> None:
    assert whole(2**53 + 1) == 2**53 + 1 and whole(str(2**53 + 1), text=True) == 2**53 + 1
    assert number("3.5") is None and number("3.5", text=True) == 3.5
