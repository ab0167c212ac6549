"""A reranker that was closed has freed what it held, and says so when it is called."""

import asyncio
import copy
import gc
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resift import Reranker, RerankerClosed, Settings

TEXTS = ["red sky", "blue"]


@pytest.fixture
def tiny(joint_folder: Path) -> Reranker:
    return Reranker(joint_folder, settings=Settings())


CALLS: dict[str, Callable[[Reranker], Any]] = {
    "rank": lambda reranker: reranker.rank("red", TEXTS),
    "rank of nothing": lambda reranker: reranker.rank("red", []),
    "arank": lambda reranker: asyncio.run(reranker.arank("red", TEXTS)),
    "rank_many": lambda reranker: reranker.rank_many(["red"], [TEXTS]),
    "score": lambda reranker: reranker.score("red", TEXTS),
    "score_candidates": lambda reranker: reranker.score_candidates("red", TEXTS),
    "explain": lambda reranker: reranker.explain("red", TEXTS[0]),
    "precompute": lambda reranker: reranker.precompute(TEXTS),
    "precomputes_states": lambda reranker: reranker.precomputes_states,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_after_close_is_a_clear_error(tiny: Reranker, call: str) -> None:
    with tiny as reranker:
        assert reranker is tiny
        CALLS[call](tiny)
    with pytest.raises(RerankerClosed, match="was closed; open another one"):
        CALLS[call](tiny)
    with pytest.raises(RerankerClosed, match="was closed; open another one"), tiny:
        raise AssertionError("entered")
    tiny.close()  # again


def test_a_ranking_stays_readable_and_is_not_explained(tiny: Reranker) -> None:
    ranking = tiny.rank("red", TEXTS)
    tiny.close()
    assert [hit.text for hit in ranking] and tiny.name and tiny.fingerprint
    with pytest.raises(RerankerClosed):
        ranking.explain(0)


def test_the_model_is_freed_and_the_thread_ends(tiny: Reranker) -> None:
    ranking = tiny.rank("red", TEXTS)
    model = weakref.ref(tiny._engine.model)
    thread = tiny._engine._worker._thread
    assert thread is not None and thread.is_alive()
    tiny.close()
    assert not thread.is_alive()
    gc.collect()
    assert model() is None
    assert ranking.explainer is not None  # and holds nothing


def test_another_reranker_of_the_same_model_goes_on(tiny: Reranker, joint_folder: Path) -> None:
    other = Reranker(joint_folder, settings=Settings())
    expected = other.rank("red", TEXTS).hits
    tiny.close()
    assert other.rank("red", TEXTS).hits == expected


def test_a_cache_file_can_be_opened_by_the_next(joint_folder: Path, tmp_path: Path) -> None:
    settings = Settings(cache_file=str(tmp_path / "pairs.db"))
    with Reranker(joint_folder, settings=settings) as first:
        first.rank("red", TEXTS)
        file = first._engine._cache._file  # type: ignore[union-attr]
    assert file is not None and file._open is None
    (tmp_path / "pairs.db").rename(tmp_path / "moved.db")  # Windows refuses this for an open file
    settings = Settings(cache_file=str(tmp_path / "moved.db"))
    with Reranker(joint_folder, settings=settings) as second:
        assert second.rank("red", TEXTS).receipt.cached == 2


def test_a_call_under_way_ends_with_the_error(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gate = threading.Event(), threading.Event()
    (stage,) = tiny._engine.model.stages

    def gated(batch: Any) -> Any:
        began.set()
        assert gate.wait(30)
        return stage(batch)

    monkeypatch.setattr(tiny._engine.model, "stages", [gated])
    errors: list[BaseException] = []

    def call() -> None:
        try:
            tiny.rank("red", TEXTS)
        except RerankerClosed as error:
            errors.append(error)

    caller, closer = threading.Thread(target=call), threading.Thread(target=tiny.close)
    caller.start()
    assert began.wait(30)
    closer.start()
    caller.join(30)  # although the batch still runs
    assert len(errors) == 1 and not caller.is_alive()
    gate.set()
    closer.join(30)
    assert not closer.is_alive()


def test_a_pickle_opens_a_closed_one_again(tiny: Reranker) -> None:
    data = pickle.dumps(tiny)
    first = pickle.loads(data)
    first.close()
    again = pickle.loads(data)
    assert again is not first and len(again.rank("red", TEXTS)) == 2
    assert pickle.loads(data) is again
    assert copy.copy(first) is first


def test_a_loop_is_not_held_up(tiny: Reranker) -> None:
    async def run() -> None:
        await tiny.arank("red", TEXTS)
        start = time.perf_counter()
        tiny.close()
        assert time.perf_counter() - start < 5
        with pytest.raises(RerankerClosed):
            await tiny.arank("red", TEXTS)

    asyncio.run(run())
