"""Proves that `Index.asearch` gives what `search` gives, blocks no loop, and can be cancelled."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import InputError, VersionGone
from resift.index.table.snapshot import View
from resift.search.clock import Clock
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Candidate, Ranking
from search.opened import Gate
from search.stand_ins import Backwards, Picky


class AsyncRanker(Backwards):
    """A reranker with `arank`, which waits for `may_end`."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = True
        self.started = threading.Event()
        self.was_cancelled = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def arank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
        self.loop = asyncio.get_running_loop()
        self.started.set()
        try:
            while not self.may_end:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        return self.rank(query, documents, **arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("cat", "dog", "bird"):
        (docs / f"{name}.md").write_text(f"The {name} is an animal.")
    index_at(tmp_path).sync(str(docs))
    return tmp_path


def index_at(folder: Path, reranker: Any = None) -> Index:
    return Index(
        folder / "index", settings=Settings(), embedder=HashingEmbedder(), reranker=reranker
    )


@pytest.mark.parametrize("reranker", [Backwards(), AsyncRanker()], ids=["rank", "arank"])
@pytest.mark.parametrize("budget_ms", [None, 60_000])
def test_it_gives_what_a_search_gives(folder: Path, reranker: Any, budget_ms: float | None) -> None:
    index = index_at(folder, reranker)
    expected = index.search("dog", top_n=2, budget_ms=budget_ms)

    async def both() -> list[Ranking]:
        calls = (index.asearch("dog", top_n=2, budget_ms=budget_ms) for _ in range(2))
        return await asyncio.gather(*calls)

    for ranking in asyncio.run(both()):
        assert ranking.hits == expected.hits and len(ranking) == 2
        assert not ranking.receipt.partial
    plain = asyncio.run(index.asearch("dog", rerank=False))
    assert plain.hits == index.search("dog", rerank=False).hits


def test_arank_runs_in_the_callers_loop_with_the_same_arguments(folder: Path) -> None:
    class Both(AsyncRanker, Picky):
        pass

    reranker = Both()
    index = index_at(folder, reranker)

    async def search() -> asyncio.AbstractEventLoop:
        await index.asearch("dog", exact=True, tolerance=0.25, fusion_weight=0, min_score=0.5)
        await index.asearch("dog", long_documents="windows")
        return asyncio.get_running_loop()

    loop = asyncio.run(search())
    assert reranker.loop is loop
    assert reranker.arguments == [
        {"exact": True, "tolerance": 0.25, "fusion_weight": 0.0, "min_score": 0.5},
        {"long_documents": "windows"},
    ]


def test_wrong_arguments_are_refused_as_by_search(folder: Path) -> None:
    index = index_at(folder, Backwards())
    for arguments in ({"top_n": 0}, {"where": "lang ="}, {"budget_ms": -1}, {"tolerance": 2}):
        with pytest.raises(InputError) as expected:
            index.search("dog", **arguments)
        with pytest.raises(InputError) as raised:
            asyncio.run(index.asearch("dog", **arguments))
        assert str(raised.value) == str(expected.value)


def test_the_loop_goes_on_while_a_search_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(folder)
    with Gate() as gate:
        monkeypatch.setattr(View, "lexical", gate.hold(View.lexical))

        async def search() -> Ranking:
            task = asyncio.create_task(index.asearch("dog", rerank=False))
            while not gate.calls:  # the loop is free, or this would never end
                await asyncio.sleep(0.01)
            gate.open()
            return await task

        assert len(asyncio.run(search())) == 3


def test_a_cancelled_task_returns_at_once_and_reranks_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = Backwards()
    index = index_at(folder, reranker)
    with Gate() as gate:
        monkeypatch.setattr(View, "passages", gate.hold(View.passages))

        async def cancel() -> float:
            task = asyncio.create_task(index.asearch("dog"))
            while not gate.calls:
                await asyncio.sleep(0.01)
            start = time.perf_counter()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.perf_counter() - start

        assert asyncio.run(cancel()) < 10
        assert index._async_searches.wait(10), "the thread still waits"
    assert reranker.calls == []


def test_a_cancelled_task_cancels_arank(folder: Path) -> None:
    reranker = AsyncRanker()
    reranker.may_end = False
    index = index_at(folder, reranker)

    async def cancel() -> None:
        task = asyncio.create_task(index.asearch("dog"))
        while not reranker.started.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not reranker.was_cancelled.is_set():
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(cancel(), 30))
    assert index._async_searches.wait(10)


def test_a_budget_ends_an_arank_that_does_not_keep_it(folder: Path) -> None:
    reranker = AsyncRanker()
    reranker.may_end = False
    index = index_at(folder, reranker)
    index.search("dog", rerank=False)
    ranking = asyncio.run(index.asearch("dog", budget_ms=300))
    assert ranking.receipt.partial and len(ranking) == 3
    assert ranking.receipt.reason == "time was up before the reranker answered"


def test_a_cancelled_clock_ends_every_wait() -> None:
    from search.opened import NEVER

    clock = Clock()
    assert clock.remaining_ms() is None
    threading.Timer(0.05, clock.cancel).start()
    clock.wait_for([NEVER])
    assert clock.remaining_ms() == 0
    clock.wait_for([NEVER, NEVER], first=True)


def test_500_searches_that_wait_for_the_reranker_hold_no_thread(folder: Path) -> None:
    reranker = AsyncRanker()
    reranker.may_end = False
    index = index_at(folder, reranker)

    async def search() -> Ranking:
        waiting = [asyncio.create_task(index.asearch("dog")) for _ in range(500)]
        while not reranker.started.is_set():
            await asyncio.sleep(0.01)
        other = await index.asearch("dog", rerank=False)
        assert not any(task.done() for task in waiting)
        reranker.may_end = True
        rankings = await asyncio.gather(*waiting)
        assert all(ranking.hits == rankings[0].hits for ranking in rankings)
        return other

    assert len(asyncio.run(asyncio.wait_for(search(), 120))) == 3


def test_a_search_that_gets_no_thread_in_time_ends_with_its_budget(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(folder)
    with Gate() as gate:
        monkeypatch.setattr(View, "lexical", gate.hold(View.lexical))

        async def search() -> Ranking:
            blocking = [asyncio.create_task(index.asearch("dog", rerank=False)) for _ in range(32)]
            while gate.calls < 16:
                await asyncio.sleep(0.01)
            ranking = await index.asearch("dog", rerank=False, budget_ms=50)
            gate.open()
            await asyncio.gather(*blocking)
            return ranking

        ranking = asyncio.run(asyncio.wait_for(search(), 120))
    assert ranking.receipt.partial and len(ranking) == 0
    assert "time was up before" in (ranking.receipt.reason or "")


def test_the_first_stage_is_told_before_the_reranker_begins(folder: Path) -> None:
    reranker = AsyncRanker()
    told: list[tuple[Ranking, bool]] = []

    async def tell(ranking: Ranking) -> None:
        told.append((ranking, reranker.started.is_set()))

    index = index_at(folder, reranker)
    ranking = asyncio.run(index.asearch("dog", top_n=2, on_first_stage=tell))
    ((first, reranking),) = told
    assert not reranking and len(first) == 2
    assert {hit.status for hit in first} == {"not_reranked"}
    assert first.receipt.version == ranking.receipt.version == 1
    assert {hit.id for hit in ranking} <= {hit.id for hit in index.search("dog")}


def test_a_search_whose_version_is_gone_reads_the_newest_in_a_loop_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_at(folder)
    real = View.lexical
    calls = []

    def gone_once(view: View, *arguments: Any, **options: Any) -> Any:
        calls.append(view)
        if len(calls) == 1:
            raise VersionGone("version 1 was deleted", 1)
        return real(view, *arguments, **options)

    monkeypatch.setattr(View, "lexical", gone_once)
    ranking = asyncio.run(index.asearch("dog", rerank=False, mode="lexical"))
    assert len(ranking) and ranking.receipt.notes == ("version 1 was gone: the newest was read",)
