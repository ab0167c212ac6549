"""Calls of event loops share one thread: none blocks its loop, and too many are refused."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from inspect import getgeneratorstate

import pytest

from artifacts import WordCountModel
from resift import Reranker
from resift.errors import Overloaded, QueryError, RuntimeFailure
from resift.rerank.async_calls import AsyncCalls
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.request import Steps
from texts import passages

QUERY = "red blue"
LONG = "red sky " * 2_000_000


@pytest.fixture(scope="module")
def bundled(in_one_runtime: Reranker) -> Reranker:
    """In one runtime: what is asked here is decided around it."""
    return in_one_runtime


def call(engine: Engine, texts: list[str], budget_ms: float | None = None) -> Steps[object]:
    return engine.steps(QUERY, texts, Deadline(budget_ms))


def test_many_calls_of_a_loop_are_answered_by_one_thread() -> None:
    engine = Engine(WordCountModel())

    async def all_at_once() -> list[list[float]]:
        async def rank(number: int) -> list[float]:
            deadline = Deadline()
            steps = engine.steps(QUERY, ["red " * (1 + number % 9), "sky"], deadline)
            return list((await engine.arun(steps, deadline)).logits)

        before = threading.active_count()
        tasks = [asyncio.create_task(rank(number)) for number in range(200)]
        await asyncio.sleep(0)
        assert threading.active_count() <= before + 2
        return await asyncio.gather(*tasks)

    results = asyncio.run(all_at_once())
    assert results == [[1.5 + number % 9, 0.5] for number in range(200)]


def test_calls_at_once_are_answered_in_time_or_refused(bundled: Reranker) -> None:
    texts = passages(50)
    bundled.score(QUERY, texts[:5])

    async def all_at_once() -> list[object]:
        calls = (bundled.arank(QUERY, texts, budget_ms=50) for _ in range(500))
        return await asyncio.gather(*calls, return_exceptions=True)

    start = time.perf_counter()
    results = asyncio.run(all_at_once())
    assert time.perf_counter() - start < 15  # one after the other they take a minute
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(refused) < 500
    assert all("calls are waiting already" in str(result) for result in refused)
    answered = [result for result in results if not isinstance(result, Overloaded)]
    assert not [result for result in answered if isinstance(result, BaseException)]
    assert not bundled._engine._async_calls._calls.open


def test_calls_without_a_deadline_refuse_no_call_with_one() -> None:
    engine = Engine(WordCountModel())
    engine._async_calls._last_step_s = 0.1

    async def beside() -> object:
        deadlines = [Deadline() for _ in range(20)]
        steps = [engine.steps(QUERY, [LONG], deadline) for deadline in deadlines]
        busy = [
            asyncio.create_task(engine.arun(*call)) for call in zip(steps, deadlines, strict=True)
        ]
        await asyncio.sleep(0)
        deadline = Deadline(200)
        try:
            return await engine.arun(engine.steps(QUERY, ["red"], deadline), deadline)
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    assert asyncio.run(beside()) is not None


def test_errors_reach_the_caller(bundled: Reranker) -> None:
    for query, documents in (("", ["red"]), ("red " * 9000, ["red"])):
        with pytest.raises(QueryError):
            asyncio.run(bundled.arank(query, documents))


def test_a_long_call_does_not_hold_up_a_short_one() -> None:
    engine = Engine(WordCountModel())

    async def both() -> bool:
        long_ = Deadline()
        slow = asyncio.create_task(engine.arun(call(engine, [LONG]), long_))
        await asyncio.sleep(0.05)
        deadline = Deadline(5_000)
        await engine.arun(engine.steps(QUERY, ["red"], deadline), deadline)
        first = not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        return first

    assert asyncio.run(both())


def test_a_task_that_is_cancelled_while_it_is_read_stops_costing() -> None:
    engine = Engine(WordCountModel())

    async def cancelled() -> None:
        deadline = Deadline()
        steps = engine.steps(QUERY, [LONG], deadline)
        task = asyncio.create_task(engine.arun(steps, deadline))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        end = time.monotonic() + 30
        while engine._async_calls._calls.open and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert (
            getgeneratorstate(steps) == "GEN_CLOSED"
        )  # given up in the middle, for to its end takes seconds

    asyncio.run(cancelled())
    assert not engine._async_calls._calls.open


def test_a_thread_that_dies_is_told_to_all_callers_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(WordCountModel())

    def dies(*_: object) -> None:
        raise ZeroDivisionError("an unexpected error")

    async def rank() -> object:
        deadline = Deadline()
        return await engine.arun(engine.steps(QUERY, ["red"], deadline), deadline)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncCalls, "_step", dies)
        with pytest.raises(RuntimeFailure, match="ZeroDivisionError"):
            asyncio.run(asyncio.wait_for(rank(), 30))
    assert asyncio.run(asyncio.wait_for(rank(), 30)) is not None


def test_loops_of_many_threads_share_the_thread() -> None:
    engine = Engine(WordCountModel())

    async def rank(number: int) -> list[float]:
        deadline = Deadline()
        steps = engine.steps(QUERY, ["red " * (1 + number)], deadline)
        return list((await engine.arun(steps, deadline)).logits)

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda number: asyncio.run(rank(number)), range(24)))
    assert results == [[1.5 + number] for number in range(24)]


def test_a_ranking_of_long_texts_is_written_out_short(bundled: Reranker) -> None:
    """Asyncio writes out what its main task gave, when it ends: that took half a second."""
    ranking = bundled.rank("red", ["red sky " * 200_000], budget_ms=5_000)
    assert len(repr(ranking)) < 5_000
    assert not ranking[0].dropped_counted and ranking[0].tokens_dropped > 0
    assert bundled.rank("red", ["red sky " * 1_000])[0].dropped_counted
