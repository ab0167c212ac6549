"""Arguments of a call: taken where they mean something, else refused in one typed line."""

import math
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resift import Reranker
from resift.errors import InputError
from resift.rerank.options import checked_budget, checked_count
from resift.settings import Settings

TEXTS = ["a lock", "a bucket", "a function"]
ODD = ["x", "100", "", True, False, np.True_, math.nan, -1, -math.inf, [5], {}, b"5", 1j, object(),
       np.array([1, 2]), np.zeros((9, 9)), Decimal("NaN"), -(10**400)]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model: what is tested here is the same for all."""
    return Reranker(joint_folder, settings=Settings())


def _refused(call: Any, name: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{name}=") and "expected" in message
    assert "\n" not in message and len(message) < 200


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "name", ["budget_ms", "top_n", "tolerance", "fusion_weight", "min_score", "abstain_below"]
)
def test_what_is_no_number_or_out_of_range_is_refused(
    tiny: Reranker, name: str, value: Any
) -> None:
    _refused(lambda: tiny.rank("lock", TEXTS, **{name: value}), name)


@pytest.mark.parametrize("value", ["no", "yes", "", 0, 1, None, [], math.nan])
def test_exact_is_true_or_false(tiny: Reranker, value: Any) -> None:
    _refused(lambda: tiny.rank("lock", TEXTS, exact=value), "exact")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_n", 0), ("top_n", 2.5), ("tolerance", 0), ("tolerance", 0.6), ("min_score", 1.1),
        ("fusion_weight", 1e300), ("fusion_weight", 10**400), ("abstain_below", math.inf),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(tiny: Reranker, name: str, value: Any) -> None:
    _refused(lambda: tiny.rank("lock", TEXTS, **{name: value}), name)


@pytest.mark.parametrize("budget_ms", [None, math.inf, np.inf, 1e308, 10**400, 1e13])
def test_more_than_anybody_waits_is_no_limit(tiny: Reranker, budget_ms: Any) -> None:
    assert checked_budget(budget_ms) is None
    assert not tiny.rank("lock", TEXTS, budget_ms=budget_ms).receipt.partial


@pytest.mark.parametrize("budget_ms", [100, np.float32(100), Decimal(100), np.int64(100)])
def test_milliseconds_may_be_of_any_library(budget_ms: Any) -> None:
    checked = checked_budget(budget_ms)
    assert checked == 100 and type(checked) is float


def test_the_longest_budget_can_be_waited_for() -> None:
    longest = checked_budget(math.nextafter(threading.TIMEOUT_MAX * 1000, 0))
    assert longest is not None and longest / 1000 <= threading.TIMEOUT_MAX
    event = threading.Event()
    event.set()
    event.wait(longest / 1000)


def test_no_time_is_the_first_stages_order_at_once(tiny: Reranker) -> None:
    start = time.perf_counter()
    ranking = tiny.rank("lock", TEXTS, budget_ms=0)
    assert time.perf_counter() - start < 10
    assert [hit.status for hit in ranking] == ["late"] * 3 and ranking.receipt.partial


@pytest.mark.parametrize("top_n", [2, np.int64(2), 2.0, np.float32(2), Decimal(2), np.array(2)])
def test_a_whole_number_of_any_library_is_a_count(tiny: Reranker, top_n: Any) -> None:
    assert len(tiny.rank("lock", TEXTS, top_n)) == 2
    assert len(tiny.score_candidates("lock", TEXTS).ranking(top_n)) == 2
    assert len(tiny.score_candidates("lock", TEXTS).order(depth=top_n)) == 2


def test_more_than_there_is_is_all(tiny: Reranker) -> None:
    assert checked_count("depth", 10**5000) == sys.maxsize
    assert len(tiny.rank("lock", TEXTS, 10**5000)) == 3
    assert len(tiny.score_candidates("lock", TEXTS).ranking(10**400, depth=10**400)) == 3


@pytest.mark.parametrize("value", [0, "2", True, 2.5])
def test_counts_of_a_reading_are_checked_too(tiny: Reranker, value: Any) -> None:
    scored = tiny.score_candidates("lock", TEXTS)
    _refused(lambda: scored.ranking(value), "top_n")
    _refused(lambda: scored.ranking(depth=value), "depth")
    _refused(lambda: scored.order(depth=value), "depth")


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.decimals(),
    st.fractions(), st.complex_numbers(), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(arguments=st.fixed_dictionaries({}, optional={
    name: ANYTHING for name in
    ("budget_ms", "top_n", "tolerance", "fusion_weight", "min_score", "abstain_below", "exact")
}))  # fmt: skip
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore:min_score and abstain_below")
def test_any_arguments_are_taken_or_refused_in_a_line(
    tiny: Reranker, arguments: dict[str, Any]
) -> None:
    try:
        ranking = tiny.rank("lock", TEXTS, **arguments)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert len(ranking) <= 3
