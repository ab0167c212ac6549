"""Proves that the queue is bounded, and that ``Retry-After`` is the time until there is room."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import Overloaded
from resift.rerank.first_stage import first_stage_ranking
from resift.serve import admission
from resift.serve.admission import BUDGET_SHARE, Admission, estimated_tokens
from resift.types import Receipt


class Clock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr("resift.serve.admission.time.perf_counter", clock.perf_counter)
    yield clock


def measured(clock: Clock, tokens_per_s: int, **options: int) -> Admission:
    """An admission that has seen calls at a speed."""
    queue = Admission(**options)
    for _ in range(2_000):
        with queue.admit(tokens_per_s):
            clock.now += 1
    return queue


def test_a_single_call_is_admitted_whatever_its_size() -> None:
    with Admission(max_tokens=1_000).admit(1_000_000, budget_ms=1):
        pass


def test_calls_are_admitted_until_the_bound(clock: Clock) -> None:
    queue = measured(clock, 1_000, max_tokens=10_000)
    with ExitStack() as open_calls:
        for _ in range(10):
            open_calls.enter_context(queue.admit(1_000))
        with pytest.raises(Overloaded) as refused, queue.admit(1_000):
            pass
        assert queue.waiting_tokens == 10_000 and queue.open_calls == 10
    assert refused.value.retry_after_s == pytest.approx(1, rel=0.01)
    assert queue.waiting_tokens == 0 and queue.open_calls == 0


def test_after_the_time_that_a_refusal_names_the_call_is_admitted(clock: Clock) -> None:
    queue = measured(clock, 1_000, max_tokens=5_000)
    calls = [queue.admit(1_000) for _ in range(5)]
    for call in calls:
        call.__enter__()
    with pytest.raises(Overloaded) as refused, queue.admit(3_000):
        pass
    done = 0.0
    while done + 1 <= refused.value.retry_after_s + 0.01:  # a call a second ends
        clock.now += 1
        calls.pop(0).__exit__(None, None, None)
        done += 1
    with queue.admit(3_000):
        pass


def test_a_call_that_cannot_be_done_within_its_budget_is_refused_at_once(clock: Clock) -> None:
    queue = measured(clock, 1_000)
    with queue.admit(4_000):
        with queue.admit(1_000, budget_ms=5_100 / BUDGET_SHARE):
            pass
        with pytest.raises(Overloaded) as refused, queue.admit(1_000, budget_ms=2_000):
            pass
    expected = 5 - 2 * BUDGET_SHARE
    assert refused.value.retry_after_s == pytest.approx(expected, rel=0.05)


def test_time_without_calls_does_not_count(clock: Clock) -> None:
    queue = measured(clock, 1_000)
    clock.now += 1_000_000
    with queue.admit(1_000):
        clock.now += 1
    assert queue.seconds(1_000) == pytest.approx(1, rel=0.01)


def test_a_failed_call_leaves_the_queue_and_says_nothing_of_the_speed(clock: Clock) -> None:
    queue = measured(clock, 1_000)
    before = queue.seconds(1_000)
    with pytest.raises(KeyError), queue.admit(1_000_000):
        raise KeyError
    assert queue.seconds(1_000) == before and queue.open_calls == 0


def test_parallel_calls_count_the_same_seconds_once(clock: Clock) -> None:
    queue = measured(clock, 1_000)
    for _ in range(500):
        first, second = queue.admit(1_000), queue.admit(1_000)
        first.__enter__()
        second.__enter__()
        clock.now += 2
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
    assert queue.seconds(1_000) == pytest.approx(1, rel=0.02)


def test_the_real_clock_is_used() -> None:
    queue = Admission()
    for _ in range(300):
        with queue.admit(100):
            time.sleep(0.001)
    assert 0.001 <= queue.seconds(100) < 0.1


@given(st.text(), st.lists(st.one_of(st.text(), st.integers(), st.none())))
def test_any_texts_have_an_estimate(query: str, texts: list[object]) -> None:
    tokens = estimated_tokens(query, texts)
    assert tokens >= admission.CALL_TOKENS
    assert estimated_tokens(query, [*texts, "more " * 100]) > tokens


def test_a_long_text_counts_as_much_as_a_model_reads_of_it() -> None:
    assert estimated_tokens("", ["x" * 10_000_000]) == admission.CALL_TOKENS + admission.LONGEST


def receipt(depth: int, late: int) -> Receipt:
    return replace(first_stage_ranking("q", [], 1).receipt, depth=depth, late=late)


def test_calls_that_run_out_of_time_do_not_make_the_speed_look_higher(clock: Clock) -> None:
    queue = measured(clock, 1_000)
    for _ in range(500):
        with queue.admit(10_000) as admitted:
            clock.now += 1
            admitted.note(receipt(50, 45), receipt(50, 45))
    assert queue.seconds(1_000) == pytest.approx(1, rel=0.01)
    admitted.note(receipt(0, 0))
    assert admitted.share == 1
