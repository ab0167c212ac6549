"""Proves that an adapter opens its model once, closes only that, and passes on what is set."""

import asyncio
import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from integrations.stand_ins import Reversing
from resift import Candidate, InputError, ModelNotFound, Reranker
from resift.integrations import lazy_ranker
from resift.integrations.lazy_ranker import LazyRanker, rank_arguments

DOCUMENTS = [Candidate("a", "a cat"), Candidate("b", "a dog")]


class Model(Reversing):
    """Stands in for `Reranker`; opening waits for a gate."""

    opened: list[str | None]
    gate = threading.Event()

    def __init__(self, name: str | None) -> None:
        super().__init__()
        assert self.gate.wait(60)
        self.opened.append(name)
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> type[Model]:
    monkeypatch.setattr(lazy_ranker, "open_ranker", Model)
    monkeypatch.setattr(Model, "opened", [], raising=False)
    Model.gate.set()
    return Model


def test_nothing_is_opened_before_the_first_call_and_then_once_for_all(model: type[Model]) -> None:
    ranker = LazyRanker("some-model")
    copies = [copy.copy(ranker), copy.deepcopy(ranker)]
    assert model.opened == []
    with ThreadPoolExecutor(8) as pool:
        rankers = list(pool.map(lambda _: ranker.open(), range(8)))
    assert model.opened == ["some-model"]
    assert {id(opened) for opened in rankers} == {id(copied.open()) for copied in copies}


def test_the_event_loop_goes_on_while_a_model_opens(model: type[Model]) -> None:
    model.gate.clear()
    ranker = LazyRanker()

    async def call() -> list[str]:
        ranking = asyncio.ensure_future(ranker.arank("q", DOCUMENTS, top_n=1))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not ranking.done()
        model.gate.set()
        return [hit.id for hit in await ranking]

    assert asyncio.run(call()) == ["b"]


def test_a_cancelled_call_does_not_end_the_opening_for_the_others(model: type[Model]) -> None:
    model.gate.clear()
    ranker = LazyRanker()

    async def call() -> Any:
        first, second = (asyncio.ensure_future(ranker.aopen()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return await second

    assert isinstance(asyncio.run(call()), model)


def test_what_failed_is_opened_again(model: type[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str | None) -> Model:
        raise ModelNotFound("no such model")

    ranker = LazyRanker("later")
    with monkeypatch.context() as patch, pytest.raises(ModelNotFound):
        patch.setattr(lazy_ranker, "open_ranker", fail)
        ranker.open()
    assert isinstance(ranker.open(), model)


def test_close_closes_what_this_object_opened_and_nothing_else(model: type[Model]) -> None:
    ranker = LazyRanker()
    ranker.close()
    opened = ranker.open()
    ranker.close()
    ranker.close()
    assert opened.closed and ranker.open() is not opened
    given = Model(None)
    LazyRanker(reranker=given).close()
    assert not given.closed


def test_a_pickle_has_the_arguments(in_one_runtime: Reranker) -> None:
    copied = pickle.loads(pickle.dumps(LazyRanker(reranker=in_one_runtime)))
    assert copied.rank("cat", DOCUMENTS)[0].id == in_one_runtime.rank("cat", DOCUMENTS)[0].id
    assert pickle.loads(pickle.dumps(LazyRanker("x")))._arguments == ("x", None)


@pytest.mark.parametrize("reranker", ["a-model", Reranker, object()])
def test_what_is_no_ranker_is_refused(reranker: Any) -> None:
    with pytest.raises(InputError, match="reranker="):
        LazyRanker(reranker=reranker)


def test_a_model_beside_a_ranker_is_refused() -> None:
    with pytest.raises(InputError, match="model='x': expected None beside a reranker"):
        LazyRanker("x", Reversing())


def test_only_what_is_set_is_passed_on() -> None:
    assert rank_arguments() == {}
    assert rank_arguments(budget_ms=5, exact=True, min_score=0.5, long_documents="windows") == {
        "budget_ms": 5.0,
        "exact": True,
        "min_score": 0.5,
        "long_documents": "windows",
    }
    assert rank_arguments(use_scores=True, fusion_weight=0.0) == {"fusion_weight": 0.0}


@pytest.mark.parametrize(
    "options",
    [
        {"budget_ms": -1},
        {"min_score": 2},
        {"exact": "no"},
        {"long_documents": "all"},
        {"fusion_weight": 0.5},
        {"fusion_weight": -1, "use_scores": True},
        {"use_scores": "yes"},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        rank_arguments(**options)
