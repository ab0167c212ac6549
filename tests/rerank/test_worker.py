"""Threads share one worker: batches are merged, shares are fair, cancelled calls cost nothing."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts import WordCountModel
from resift import Reranker
from resift.errors import Overloaded, RuntimeFailure
from resift.rerank import engine as engine_module
from resift.rerank import worker as worker_module
from resift.rerank.batching import padded_rows
from resift.rerank.call import Call
from resift.rerank.deadline import Deadline
from resift.rerank.engine import Engine
from resift.rerank.models import Batch, Stage
from resift.rerank.request import Request
from resift.rerank.state import CallState, DocumentState
from resift.rerank.tuning import Tuning
from texts import passages

QUERY = "red blue"
SOON = 30.0


class Gated(WordCountModel):
    """Each batch waits for the gate; `seen` keeps what stood in each, by number of words."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.began = threading.Event()
        self.seen: list[list[int]] = []
        self.stages = [self._gated(stage) for stage in self.stages]

    def _gated(self, stage: Stage) -> Stage:
        def gated(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            self.began.set()
            assert self.gate.wait(SOON)
            self.seen.append([row.seen for row in batch.rows])
            return stage(batch)

        return gated


@contextmanager
def busy(model: Gated, engine: Engine) -> Iterator[ThreadPoolExecutor]:
    """A worker that holds a batch of one row until the gate opens, so that what follows waits."""
    with ThreadPoolExecutor(20) as threads:
        threads.submit(engine.score, QUERY, ["sky"])
        assert model.began.wait(SOON)
        try:
            yield threads
        finally:
            model.gate.set()


def waiting(engine: Engine, requests: int) -> None:
    _until(lambda: len(engine._worker._requests) == requests)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_rows_of_many_calls_run_in_one_batch_and_reach_their_callers() -> None:
    model = Gated()
    engine = Engine(model)
    texts = [["red " * (call + 1), "blue sky"] for call in range(6)]
    with busy(model, engine) as threads:
        calls = [
            threads.submit(engine.score, f"{QUERY} w{n}", texts_of_call)
            for n, texts_of_call in enumerate(texts)
        ]
        waiting(engine, 7)
        model.gate.set()
        results = [call.result(SOON).logits.tolist() for call in calls]
    assert results == [[call + 1.5, 1.5] for call in range(6)]
    assert sorted(model.seen[2]) == sorted([1, 2, 3, 4, 5, 6, *[2] * 6])


def test_a_batch_of_many_calls_needs_no_added_rows() -> None:
    model = Gated()
    engine = Engine(model)
    with busy(model, engine) as threads:
        calls = [
            threads.submit(engine.score, f"{QUERY} w{n}", ["red " * 40] * 3) for n in range(15)
        ]
        waiting(engine, 16)
        model.gate.set()
        for call in calls:
            call.result(SOON)
    largest = max(map(len, model.seen))
    assert 3 < largest < 45 and padded_rows(largest) == largest


def test_a_small_call_does_not_wait_behind_a_large_one() -> None:
    model = Gated()
    engine = Engine(model)
    with busy(model, engine) as threads:
        large = threads.submit(engine.score, QUERY, ["red " * 30] * 1000)
        waiting(engine, 2)
        small = threads.submit(engine.score, QUERY, ["red " * 29] * 20)
        waiting(engine, 3)
        model.gate.set()
        small.result(SOON)
        large.result(SOON)
    last = max(number for number, lengths in enumerate(model.seen) if 29 in lengths)
    assert sum(len(lengths) for lengths in model.seen[:last]) < 300


def test_calls_alike_are_served_alike() -> None:
    model = Gated()
    engine = Engine(model)
    with busy(model, engine) as threads:
        calls = [
            threads.submit(engine.score, QUERY, ["red " * (20 + call)] * 60) for call in range(4)
        ]
        waiting(engine, 5)
        model.gate.set()
        [call.result(SOON) for call in calls]
    first = [n for lengths in model.seen[2:] for n in lengths][:120]
    assert {words: first.count(words) for words in first}.keys() == {20, 21, 22, 23}
    assert min(first.count(words) for words in (20, 21, 22, 23)) >= 20


def test_a_batch_of_many_that_fails_costs_only_the_row_at_fault() -> None:
    class Faulty(Gated):
        def _first(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            if any(row.seen == 3 for row in batch.rows):
                raise RuntimeFailure("the row at fault")
            return super()._first(batch)

    model = Faulty()
    engine = Engine(model)
    with busy(model, engine) as threads:
        bad = threads.submit(engine.score, QUERY, ["red", "red red red"])
        good = threads.submit(engine.score, QUERY, ["blue", "blue blue"])
        waiting(engine, 3)
        model.gate.set()
        spoilt, whole = bad.result(SOON), good.result(SOON)
    assert spoilt.statuses == ["ok", "failed"] and spoilt.reason == "the row at fault"
    assert whole.logits.tolist() == [1.5, 2.5] and not whole.partial


def test_an_unexpected_error_reaches_the_caller_and_the_next_call_works() -> None:
    class Broken(WordCountModel):
        def _first(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            if len(batch.rows) == 2:
                raise MemoryError("no more")
            return super()._first(batch)

    engine = Engine(Broken())
    with pytest.raises(MemoryError, match="no more"):
        engine.score(QUERY, ["red", "blue"])
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


@pytest.mark.parametrize("step", ["_next_batch", "_measure", "_scatter"])
def test_a_worker_that_dies_is_told_to_all_callers_and_replaced(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Gated()
    engine = Engine(model)

    def dies(*_: object) -> None:
        raise ZeroDivisionError("an unexpected error")

    with busy(model, engine) as threads:
        calls = [threads.submit(engine.score, QUERY, ["red", "blue"]) for _ in range(3)]
        waiting(engine, 4)
        monkeypatch.setattr(engine._worker, step, dies)
        model.gate.set()
        for call in calls:
            with pytest.raises(
                RuntimeFailure, match="ZeroDivisionError: an unexpected error"
            ) as caught:
                call.result(SOON)
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
    monkeypatch.undo()
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


def test_a_tuning_that_makes_no_sense_is_an_error_and_no_hang() -> None:
    class Odd(Tuning):
        token_budget = property(lambda _: 512.5)

    engine = Engine(WordCountModel(), tuning=Odd("key", None))
    with ThreadPoolExecutor(1) as threads, pytest.raises(RuntimeFailure, match="thread ended"):
        threads.submit(engine.score, QUERY, ["red"] * 100).result(SOON)


def test_a_thread_that_cannot_be_started_is_an_error_and_no_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    engine = Engine(WordCountModel())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeFailure, match="can't start new thread"):
            engine.score(QUERY, ["red"])
    assert not engine._worker._requests
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


def test_a_budget_ends_while_a_batch_still_runs() -> None:
    model = Gated()
    engine = Engine(model)
    with busy(model, engine):
        start = time.perf_counter()
        state = engine.score(QUERY, ["red", "blue"], Deadline(budget_ms=50))
        assert 0.05 <= time.perf_counter() - start < SOON / 2
    assert state.statuses == ["late", "late"]
    assert state.partial and state.reason == "time was up"


def test_what_comes_after_the_budget_is_not_written() -> None:
    model = Gated()
    engine = Engine(model)
    deadline = Deadline(budget_ms=600_000)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(engine.score, QUERY, ["red"], deadline)
        assert model.began.wait(SOON)
        deadline.at = time.perf_counter()
        deadline.finish()
        state = call.result(SOON)
    model.gate.set()
    _until(lambda: bool(model.calls))
    engine.score(QUERY, ["sky"])
    assert np.isnan(state.logits).all() and state.statuses == ["late"]


def test_a_caller_that_leaves_between_two_stages_affects_no_other_in_its_batch() -> None:
    """What a batch needs was taken with it: the states of who leaves are gone a moment later."""
    model = WordCountModel()
    engine = Engine(model)
    worker = engine._worker
    requests = []
    for text in ("red", "blue blue"):
        query, state = model.query_row(QUERY), CallState.of([text])
        document = state.documents[0] = DocumentState(0, text)
        document.row = model.rows(query, [text])[0]
        call = Call(model, QUERY, query, [text], Deadline(), "count", state)
        requests.append(engine._request(call, [document], None))
    engine._worker._requests.extend(requests)
    pairs = worker._next_batch()
    worker._run(model.stages[0], pairs)
    worker._scatter(pairs)
    pairs = worker._next_batch()
    worker.leave(requests[0])
    worker._run(model.stages[1], pairs)
    worker._scatter(pairs)
    assert [(pair.failure, pair.logit) for pair in pairs] == [(None, 1.5), (None, 2.5)]
    assert requests[0].state.logits.tolist() == [1.0]
    assert requests[1].state.logits.tolist() == [2.5] and requests[1].finished


def test_a_caller_that_goes_away_stops_costing() -> None:
    model = Gated()
    engine = Engine(model)
    with busy(model, engine) as threads:
        deadline = Deadline()
        call = threads.submit(engine.score, QUERY, ["red " * 9] * 500, deadline)
        waiting(engine, 2)
        deadline.cancel()
        state = call.result(SOON)
        assert not [request for request in engine._worker._requests if request.deadline is deadline]
    assert state.reason == "the caller went away"
    assert sum(size for _, size in model.calls) < 10


def test_a_task_that_is_cancelled_stops_costing(bundled: Reranker) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(bundled.arank(QUERY, passages(300), top_n=None))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        start = time.perf_counter()
        ranking = await bundled.arank(QUERY, ["red", "sky"])
        assert len(ranking) == 2
        assert time.perf_counter() - start < SOON

    asyncio.run(cancelled())
    assert not bundled._engine._worker._requests


def test_a_call_from_a_loop_is_the_same_ranking(bundled: Reranker) -> None:
    texts = passages(5)
    expected = bundled.rank(QUERY, texts)
    results = asyncio.run(bundled.arank(QUERY, texts))
    assert [hit.index for hit in results] == [hit.index for hit in expected]


def test_too_much_waiting_work_is_refused_with_a_time() -> None:
    model = Gated()
    engine = Engine(model, max_waiting_tokens=2_000)
    with busy(model, engine) as threads:
        threads.submit(engine.score, QUERY, ["red " * 20] * 100)
        waiting(engine, 2)
        with pytest.raises(Overloaded, match=r"tokens are waiting already; try again in") as caught:
            engine.score(QUERY, ["red"])
        assert caught.value.retry_after_s > 0 and caught.value.waiting_tokens > 2_000
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


def test_an_idle_engine_refuses_no_call() -> None:
    engine = Engine(WordCountModel(), max_waiting_tokens=10)
    assert len(engine.score(QUERY, ["red " * 20] * 100).logits) == 100


def test_a_worker_with_nothing_to_do_ends_and_another_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "IDLE_S", 0.05)
    engine = Engine(WordCountModel())
    engine.score(QUERY, ["red"])
    _until(lambda: engine._worker._thread is None)
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


def test_an_interruption_leaves_the_engine_usable() -> None:
    model = Gated()
    engine = Engine(model)

    class Interrupted(Deadline):
        def wait(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.score(QUERY, ["red"] * 50, Interrupted())
    assert not engine._worker._requests
    model.gate.set()
    assert engine.score(QUERY, ["red"]).logits.tolist() == [1.5]


FORKED = """
import os, sys
import numpy as np
from resift import Reranker
from resift.settings import Settings
texts = [f"a red sky {index} " * (index + 1) for index in range(12)]
reranker = Reranker(settings=Settings(runtime=sys.argv[1]))
expected = reranker.score("red", texts)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        os._exit(int(np.abs(reranker.score("red", texts) - expected).max() > 1e-5))
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
assert np.abs(reranker.score("red", texts) - expected).max() <= 1e-5
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_processes_rank_as_their_parent_does(runtime: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED, runtime], check=True, timeout=100)


def test_threads_that_compete_for_the_first_load_share_a_session() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: Reranker(), range(8)))
    assert len({id(reranker._engine.model.stages[0].encoder) for reranker in made}) == 1  # type: ignore[attr-defined]


def test_states_keep_to_the_memory_there_is() -> None:
    class Wide(WordCountModel):
        def __init__(self) -> None:
            super().__init__()
            self.state_bytes = 100_000
            self.most = 0

        def _second(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
            self.most = max(self.most, sum(map(_documents_with_states, engine._worker._requests)))
            return super()._second(batch)

    model = Wide()
    engine = Engine(model, max_memory_mb=engine_module.BATCH_MB + 100)
    texts = ["red " * (1 + index % 30) for index in range(200)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: engine.score(QUERY, texts), range(8)))
    expected = [1.5 + index % 30 for index in range(200)]
    assert all(state.logits.tolist() == expected for state in results)
    tokens = 100e6 / 100_000
    assert 0 < model.most <= tokens / 5  # a row has 5 tokens at least


def _documents_with_states(request: Request) -> int:
    return sum(document.states is not None for document in request.state.documents.values())
