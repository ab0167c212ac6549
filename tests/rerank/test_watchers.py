"""Each batch is told of: its stage, rows, tokens, positions with padding, and seconds."""

import time
from collections.abc import Callable

from artifacts import WordCountModel
from resift import Reranker
from resift.rerank.batching import padded_length
from resift.rerank.engine import Engine
from resift.rerank.watchers import BatchRun, Watchers
from texts import passages

QUERY = "red blue"


def until(true: Callable[[], bool]) -> None:
    """Wait for what the model's thread does after its callers have their scores."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_every_batch_of_every_stage_is_told_of() -> None:
    model, batches = WordCountModel(), list[BatchRun]()
    engine = Engine(model)
    texts = passages(40)
    with engine.watchers.watched(batches.append):
        state = engine.score(QUERY, texts)
    assert [(batch.stage + 1, batch.rows) for batch in batches] == model.calls
    first = [batch for batch in batches if batch.stage == 0]
    assert sum(batch.tokens for batch in first) == state.tokens
    assert sum(batch.positions for batch in first) == state.positions
    assert state.positions > state.tokens
    assert all(batch.seconds > 0 for batch in batches)


def test_nothing_is_told_after_the_end_of_the_block() -> None:
    engine, batches = Engine(WordCountModel()), list[BatchRun]()
    with engine.watchers.watched(batches.append):
        engine.score(QUERY, ["red"])
    count = len(batches)
    engine.score(QUERY, ["blue"])
    assert count == len(batches) == 2


def test_several_are_told_and_each_ends_alone() -> None:
    watchers = Watchers()
    first, second = list[BatchRun](), list[BatchRun]()
    with watchers.watched(first.append):
        with watchers.watched(second.append):
            watchers.tell(0, [10, 20], 0.5)
        watchers.tell(1, [30], 0.25)
    batch = BatchRun(0, 2, 30, 2 * padded_length(20), 0.5)
    assert second == [batch]
    assert first == [batch, BatchRun(1, 1, 30, padded_length(30), 0.25)]


def test_a_reranker_tells_of_its_batches(in_one_runtime: Reranker) -> None:
    batches = list[BatchRun]()
    with in_one_runtime.watched(batches.append):
        receipt = in_one_runtime.rank(QUERY, passages(20), exact=True).receipt
    until(lambda: sum(batch.tokens for batch in batches if batch.stage == 0) == receipt.tokens)
    stages = {batch.stage for batch in batches}
    assert stages == set(range(len(stages)))
    assert all(sum(b.rows for b in batches if b.stage == stage) == 20 for stage in stages)
