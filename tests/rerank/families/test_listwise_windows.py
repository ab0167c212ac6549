"""Windows slide from the end to the front, so that the best documents arrive there."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.rerank.families.listwise_windows import slide, windows_of
from resift.transport.endpoint import EndpointError

LATER = 1e12


def test_the_windows_of_the_paper() -> None:
    assert list(windows_of(30, 20, 10)) == [range(10, 30), range(20)]
    assert list(windows_of(25, 20, 10)) == [range(5, 25), range(15)]
    assert list(windows_of(20, 20, 10)) == [range(20)]
    assert list(windows_of(3, 20, 10)) == [range(3)]
    assert list(windows_of(1, 20, 10)) == list(windows_of(0, 20, 10)) == []
    assert list(windows_of(5, 2, 1)) == [range(3, 5), range(2, 4), range(1, 3), range(2)]


@given(st.integers(0, 90), st.integers(2, 20), st.integers(1, 20))
def test_windows_cover_the_list_and_end_at_its_front(count: int, size: int, step: int) -> None:
    windows = list(windows_of(count, size, min(step, size)))
    assert count < 2 or windows[-1].start == 0
    assert {position for window in windows for position in window} == set(
        range(count if count > 1 else 0)
    )
    assert all(len(window) <= size for window in windows)


def _perfect(documents: Sequence[int]) -> tuple[list[int], int]:
    """Higher numbers are better."""
    return sorted(range(len(documents)), key=lambda position: -documents[position]), 7


@given(st.permutations(list(range(40))))
def test_the_best_reach_the_front_in_one_pass_and_nothing_is_lost(order: list[int]) -> None:
    result = slide(order, 20, 10, 1, _perfect, LATER)
    assert result.order[:10] == list(range(39, 29, -1))
    assert sorted(result.order) == list(range(40))
    assert (result.windows, result.refused, result.passes, result.tokens) == (3, 0, 1, 21)


def test_more_passes_sort_more() -> None:
    result = slide(list(range(40)), 10, 5, 7, _perfect, LATER)
    assert result.order == list(range(39, -1, -1)) and result.passes == 7


def test_a_window_without_an_order_keeps_its_own_and_counts() -> None:
    def ask(documents: Sequence[int]) -> tuple[list[int] | None, int]:
        return (None, 1) if 0 in documents else _perfect(documents)

    result = slide(list(range(6)), 4, 2, 1, ask, LATER)
    assert result.order == [0, 1, 5, 4, 3, 2] and (result.windows, result.refused) == (2, 1)


def test_a_pass_that_does_not_reach_the_front_is_no_order() -> None:
    asked = []

    def ask(documents: Sequence[int]) -> tuple[list[int], int]:
        asked.append(list(documents))
        time.sleep(0.02)
        return _perfect(documents)

    with pytest.raises(EndpointError, match="time was up"):
        slide(list(range(40)), 10, 5, 1, ask, time.monotonic() + 0.03)
    assert 0 < len(asked) < 7


def test_an_error_after_a_whole_pass_leaves_the_order_of_that_pass() -> None:
    calls = 0

    def ask(documents: Sequence[int]) -> tuple[list[int], int]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise EndpointError("503")
        return _perfect(documents)

    result = slide(list(range(6)), 4, 2, 2, ask, LATER)
    assert result.passes == 1 and result.order == [5, 4, 1, 0, 3, 2]
