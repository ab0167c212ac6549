"""Proves that `Index.close` closes each loaded model once, after the last call that uses it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift import Reranker, RerankerClosed
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Candidate, Document, Ranking
from search.opened import Gate
from search.stand_ins import Backwards

WAIT_S = 30


class Closable(Backwards):
    """Refuses what it is asked after its close, and what it was asked before."""

    fingerprint = "closable"

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self.closed = 0
        self.started = threading.Event()
        self.gate = gate

    def close(self) -> None:
        self.closed += 1

    def rank(self, query: str, documents: Sequence[Candidate], **options: Any) -> Ranking:
        self._hold()
        return super().rank(query, documents, **options)

    def precompute(self, documents: Sequence[Document], *, states: bool = True) -> list[Any]:
        self._hold()
        return [None] * len(documents)

    def _hold(self) -> None:
        self.started.set()
        if self.gate:
            self.gate.hold(lambda: None)()
        if self.closed:
            raise RerankerClosed("closed")


class Models:
    """The rerankers that an index loads, in order; `gate` holds the loading."""

    def __init__(self) -> None:
        self.loaded: list[Closable] = []
        self.gate: Gate | None = None
        self.use_gate: Gate | None = None

    def load(self, **_: object) -> Closable:
        gate, use_gate = self.gate, self.use_gate
        if gate:
            gate.hold(lambda: None)()
        self.loaded.append(Closable(use_gate))
        return self.loaded[-1]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    models = Models()
    monkeypatch.setattr("resift.rerank.families.names.open_ranker", models.load)
    return models


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("cat", "dog", "bird"):
        (folder / f"{name}.md").write_text(f"The {name} is an animal.")
    return folder


@pytest.fixture
def uri(tmp_path: Path, docs: Path) -> str:
    index = index_at(str(tmp_path / "index"))
    index.sync(str(docs))
    return index.uri


def index_at(uri: str, **options: Any) -> Index:
    return Index(uri, settings=Settings(), embedder=HashingEmbedder(), **options)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_model_whose_load_ends_after_the_close_is_closed(
    uri: str, models: Models, gate: Gate
) -> None:
    models.gate = gate
    index = index_at(uri)
    assert index.search("animal", budget_ms=30).receipt.partial
    wait_until(lambda: gate.calls)
    index.close()
    models.gate = None
    assert not index.search("animal").receipt.partial  # with another model
    (second,) = models.loaded
    gate.open()
    wait_until(lambda: len(models.loaded) == 2 and models.loaded[1].closed == 1)
    assert second.closed == 0 and not index.search("animal").receipt.partial
    index.close()
    assert [model.closed for model in models.loaded] == [1, 1]


def test_a_search_that_waits_for_the_model_gets_it_despite_a_close(
    uri: str, models: Models, gate: Gate
) -> None:
    models.gate = gate
    index = index_at(uri)
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(index.search, "animal")
        wait_until(lambda: gate.calls)
        index.close()
        gate.open()
        assert not search.result(WAIT_S).receipt.partial
    (model,) = models.loaded
    wait_until(lambda: model.closed == 1)


def test_a_load_that_fails_after_the_close_leaves_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr("resift.rerank.families.names.open_ranker", lambda **_: gate.hold(fail)())
    index = index_at(uri)
    assert index.search("animal", budget_ms=30).receipt.partial
    wait_until(lambda: gate.calls)
    index.close()
    gate.open()
    index.close()
    with pytest.raises(MemoryError):
        index.search("animal")


SEARCHES: dict[str, Callable[[Index], Ranking]] = {
    "search": lambda index: index.search("animal"),
    "budget": lambda index: index.search("animal", budget_ms=60_000),
    "asearch": lambda index: asyncio.run(index.asearch("animal")),
}


@pytest.mark.parametrize("how", SEARCHES)
def test_searches_under_way_finish_with_their_model_and_the_last_closes_it(
    uri: str, models: Models, gate: Gate, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    models.use_gate = gate
    index = index_at(uri)
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(SEARCHES[how], index) for _ in range(3)]
        wait_until(lambda: gate.calls == 3)
        index.close()
        (model,) = models.loaded
        assert model.closed == 0
        models.use_gate = None
        assert not index.search("animal").receipt.partial
        gate.open()
        for search in searches:
            assert not search.result(WAIT_S).receipt.partial
    assert [loaded.closed for loaded in models.loaded] == [1, 0]
    index.close()
    assert [loaded.closed for loaded in models.loaded] == [1, 1]
    assert not caplog.records


def test_a_search_that_fails_releases_the_model(uri: str, models: Models) -> None:
    index = index_at(uri)
    index.load()
    (model,) = models.loaded
    with pytest.raises(TypeError):
        index.search("animal", fusion_weight=1.0)
    index.close()
    assert model.closed == 1


def test_a_sync_under_way_finishes_with_its_model(
    tmp_path: Path, docs: Path, models: Models, gate: Gate
) -> None:
    models.use_gate = gate
    index = index_at(str(tmp_path / "states"))
    with ThreadPoolExecutor(1) as pool:
        sync = pool.submit(index.sync, str(docs), token_states=True)
        wait_until(lambda: gate.calls)
        index.close()
        gate.open()
        assert sync.result(WAIT_S).added == 3
    assert [model.closed for model in models.loaded] == [1]


def test_closes_during_searches_degrade_none(uri: str, models: Models) -> None:
    index = index_at(uri)
    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(index.search, "animal") for _ in range(60)]
        while not all(search.done() for search in searches):
            index.close()
            time.sleep(0.002)
    assert not any(search.result().receipt.partial for search in searches)
    index.close()
    assert {model.closed for model in models.loaded} == {1}


@pytest.mark.parametrize("how", SEARCHES)
def test_a_reranker_that_is_closed_already_is_a_mistake(uri: str, how: str) -> None:
    reranker = Reranker()
    reranker.close()
    index = index_at(uri, reranker=reranker)
    with pytest.raises(RerankerClosed, match="this reranker was closed; open another one"):
        SEARCHES[how](index)
    assert len(index.search("animal", rerank=False)) == 3


def test_a_ranking_of_a_closed_index_stays_readable_but_cannot_be_explained(uri: str) -> None:
    with index_at(uri) as index:
        ranking = index.search("animal")
        assert ranking.explain(0).parts
    assert len(ranking) == 3 and not ranking.receipt.partial
    with pytest.raises(RerankerClosed):
        ranking.explain(0)
