"""Documents are cut and measured before a ranking: a few at a time, and not after the deadline."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from resift import QueryError, Reranker
from resift.background import Background
from resift.rerank.deadline import Deadline
from resift.serve.admission import Admission
from resift.serve.lengths import AT_ONCE, Lengths
from resift.serve.problems import TooLong
from resift.serve.service import Service

LONG = "the office is closed on sundays " * 300


@pytest.fixture
def background() -> Background:
    return Background(2, "test-lengths")


class Recorder:
    """Stands in for a reranker: cuts each text in two, and notes what it was asked at a time."""

    max_tokens = 512

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.asked: list[int] = []
        self._gate = gate

    def cut(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        self.asked.append(len(texts))
        if self._gate is not None:
            self._gate.wait(10)
        return [text[: len(text) // 2] for text in texts]

    def dropped(self, query: str, texts: Sequence[str]) -> list[int]:
        self.asked.append(len(texts))
        return [max(len(text) - 10, 0) for text in texts]


def lengths(reranker: Any, background: Background, budget_ms: float | None = None) -> Lengths:
    return Lengths(reranker, background, Deadline(budget_ms))


def test_documents_keep_their_order_in_steps(background: Background) -> None:
    recorder = Recorder()
    texts = [f"{number:04}" for number in range(2 * AT_ONCE + 5)]
    cut = asyncio.run(lengths(recorder, background).cut(texts, 3))
    assert cut == [text[:2] for text in texts]
    assert recorder.asked == [AT_ONCE, AT_ONCE, 5]


def test_nothing_is_read_after_the_deadline(background: Background) -> None:
    recorder = Recorder()
    texts = ["text"] * 3 * AT_ONCE
    cut = asyncio.run(lengths(recorder, background, budget_ms=0).cut(texts, 3))
    asyncio.run(lengths(recorder, background, budget_ms=0).check("query", ["x" * 99]))
    assert cut == texts and not recorder.asked


def test_a_caller_that_goes_away_stops_it(background: Background) -> None:
    gate = threading.Event()
    recorder = Recorder(gate)

    async def cancel() -> None:
        work = asyncio.ensure_future(lengths(recorder, background).cut(["text"] * 99 * AT_ONCE, 3))
        while not recorder.asked:
            await asyncio.sleep(0.001)
        work.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel())
    assert background.wait(10) and len(recorder.asked) == 1


def test_the_event_loop_goes_on_meanwhile(background: Background) -> None:
    gate = threading.Event()

    async def both() -> list[str]:
        work = asyncio.ensure_future(lengths(Recorder(gate), background).cut(["text"], 3))
        await asyncio.sleep(0)
        gate.set()  # a loop that waited for the work would never come here
        return await work

    assert asyncio.run(both()) == ["te"]


def test_the_first_document_that_would_be_cut_is_named(background: Background) -> None:
    texts = ["short"] * (AT_ONCE + 7) + ["x" * 14] + ["x" * 99]
    with pytest.raises(TooLong) as raised:
        asyncio.run(lengths(Recorder(), background).check("query", texts))
    error = raised.value
    assert (error.index, error.dropped, error.max_tokens) == (AT_ONCE + 7, 4, 512)
    assert str(error) == (
        f"documents[{AT_ONCE + 7}]: 516 tokens with the query, but this model reads 512; "
        "shorten it, or let it be cut"
    )


def rank(reranker: Reranker, documents: list[Any], **options: Any) -> Any:
    service = Service({"bundled": reranker}, {}, Admission())
    return asyncio.run(service.rank("office", documents, **options))


def test_a_ranking_reads_the_beginnings(in_one_runtime: Reranker) -> None:
    ranking = rank(in_one_runtime, ["the office is closed", LONG], max_tokens_per_doc=2)
    assert [hit.text for hit in ranking] == ["the office", "the office"]
    assert {hit.tokens_seen for hit in ranking} == {2}


def test_more_tokens_than_the_model_reads_change_nothing(in_one_runtime: Reranker) -> None:
    (plain,) = rank(in_one_runtime, [LONG])
    (same,) = rank(in_one_runtime, [LONG], max_tokens_per_doc=4096)
    assert same == plain and same.tokens_dropped > 0


def test_windows_are_made_of_the_beginning(in_one_runtime: Reranker) -> None:
    options = {"long_documents": "windows", "max_tokens_per_doc": 1024}
    (hit,) = rank(in_one_runtime, [LONG], **options)
    assert hit.windows > 1 and hit.tokens_seen + hit.tokens_dropped == 1024


def test_without_truncation_nothing_long_is_ranked(in_one_runtime: Reranker) -> None:
    texts = ["short", LONG]
    with pytest.raises(TooLong, match=r"^documents\[1\]: "):
        rank(in_one_runtime, texts, truncate=False)
    with pytest.raises(QueryError, match="empty"):
        asyncio.run(
            Service({"bundled": in_one_runtime}, {}, Admission()).rank(" ", texts, truncate=False)
        )
    assert len(rank(in_one_runtime, texts, truncate=False, max_tokens_per_doc=100)) == 2
    assert len(rank(in_one_runtime, texts)) == 2


def test_cutting_takes_its_part_of_the_budget(in_one_runtime: Reranker) -> None:
    ranking = rank(in_one_runtime, [LONG] * 600, max_tokens_per_doc=500, budget_ms=50)
    assert ranking.receipt.partial and ranking.receipt.scored < 600
    assert any(hit.text == LONG for hit in ranking)  # there was no time to cut it
