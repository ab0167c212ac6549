"""Calls of event loops share one thread: none blocks its loop, and those too many are refused."""

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
        async def one(number: int) -> list[float]:
            deadline = Deadline()
            steps = engine.steps(QUERY, ["red " * (1 + number % 9), "sky"], deadline)
            return list((await engine.arun(steps, deadline)).logits)

        before = threading.active_count()
        tasks = [asyncio.create_task(one(number)) for number in range(200)]
        await asyncio.sleep(0)
        assert threading.active_count() <= before + 2
        return await asyncio.gather(*tasks)

    found = asyncio.run(all_at_once())
    assert found == [[1.5 + number % 9, 0.5] for number in range(200)]


def test_calls_at_once_are_answered_in_time_or_refused(bundled: Reranker) -> None:
    texts = passages(50)
    bundled.score(QUERY, texts[:5])

    async def all_at_once() -> list[object]:
        calls = (bundled.arank(QUERY, texts, budget_ms=50) for _ in range(500))
        return await asyncio.gather(*calls, return_exceptions=True)

    start = time.perf_counter()
    found = asyncio.run(all_at_once())
    assert time.perf_counter() - start < 15  # one after the other they take a minute
    refused = [own for own in found if isinstance(own, Overloaded)]
    assert len(refused) < 500
    assert all("calls are waiting already" in str(own) for own in refused)
    answered = [own for own in found if not isinstance(own, Overloaded)]
    assert not [own for own in answered if isinstance(own, BaseException)]
    assert not bundled._engine._async_calls._calls.open


def test_calls_without_a_deadline_refuse_nobody_who_has_one() -> None:
    engine = Engine(WordCountModel())
    engine._async_calls._last_step_s = 0.1

    async def beside() -> object:
        patiences = [Deadline() for _ in range(20)]
        steps = [engine.steps(QUERY, [LONG], own) for own in patiences]
        busy = [
            asyncio.create_task(engine.arun(*own)) for own in zip(steps, patiences, strict=True)
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


def test_a_desk_that_dies_is_heard_by_all_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(WordCountModel())

    def dies(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    async def rank() -> object:
        deadline = Deadline()
        return await engine.arun(engine.steps(QUERY, ["red"], deadline), deadline)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncCalls, "_step", dies)
        with pytest.raises(RuntimeFailure, match="ZeroDivisionError"):
            asyncio.run(asyncio.wait_for(rank(), 30))
    assert asyncio.run(asyncio.wait_for(rank(), 30)) is not None


def test_loops_of_many_threads_share_a_desk() -> None:
    engine = Engine(WordCountModel())

    async def rank(number: int) -> list[float]:
        deadline = Deadline()
        steps = engine.steps(QUERY, ["red " * (1 + number)], deadline)
        return list((await engine.arun(steps, deadline)).logits)

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda number: asyncio.run(rank(number)), range(24)))
    assert found == [[1.5 + number] for number in range(24)]


def test_a_ranking_of_long_texts_is_written_out_short(bundled: Reranker) -> None:
    """Asyncio writes out what its main task gave, when it ends: that took half a second."""
    ranking = bundled.rank("red", ["red sky " * 200_000], budget_ms=5_000)
    assert len(repr(ranking)) < 5_000
    assert not ranking[0].dropped_counted and ranking[0].tokens_dropped > 0
    assert bundled.rank("red", ["red sky " * 1_000])[0].dropped_counted
