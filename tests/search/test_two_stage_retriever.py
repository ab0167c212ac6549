"""`TwoStage`: any function is a first stage, and a search by it degrades and reports as one of an
index does. Nothing that a retriever returns is changed, lost without a word, or believed blindly.
"""

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from resift import TwoStage
from resift.errors import InputError, QueryError, RuntimeFailure
from resift.rerank.reranker import Reranker
from resift.types import Candidate, Document, DocumentLike, Ranking
from search.opened import Gate
from search.stand_ins import Backwards, Broken, Picky

TEXTS = {
    "d1": "A bucket has an owner.",
    "d2": "Object lock keeps an object from being deleted until a date.",
    "d3": "Functions run code when an event comes in.",
    "d4": "A queue keeps messages until a worker has handled them.",
}
QUERY = "what stops an object from being deleted"


def documents(query: str, k: int) -> list[Candidate]:
    return [
        Candidate(name, text, metadata={"at": name}, score=10.0 - at)
        for at, (name, text) in enumerate(TEXTS.items())
    ][:k]


def returning(items: Any) -> Callable[[str, int], Any]:
    return lambda query, k: items


def ids(ranking: Sequence[Any]) -> list[str]:
    return [hit.id for hit in ranking]


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker()


def test_the_order_is_that_of_the_reranker(reranker: Reranker) -> None:
    ranking = TwoStage(documents, reranker).search(QUERY, top_n=3)
    expected = reranker.rank(QUERY, documents(QUERY, 30), top_n=3)
    assert [
        (hit.id, hit.score, hit.first_stage_rank, hit.first_stage_score) for hit in ranking
    ] == [(hit.id, hit.score, hit.index + 1, hit.first_stage_score) for hit in expected]
    assert ranking[0].id == "d2" and ranking[0].metadata == {"at": "d2"}
    receipt = ranking.receipt
    assert (receipt.version, receipt.requests, receipt.bytes, receipt.partial) == (
        None,
        0,
        0,
        False,
    )
    assert (receipt.depth, receipt.model) == (4, reranker.name)
    assert {"retrieve", "total"} <= receipt.timings_ms.keys()
    assert ranking.neighbours is None


def test_the_retriever_gets_the_query_as_typed_and_the_depth() -> None:
    calls = []
    stages = TwoStage(lambda query, k: calls.append((query, k)) or [], Backwards())  # type: ignore[func-returns-value]
    stages.search("a\u00adb\tc", top_n=5, depth=3)
    stages.search("b", depth=50)
    assert calls == [("a\u00adb\tc", 5), ("b", 50)]


def test_documents_of_all_kinds_are_candidates_and_stay_as_they_are() -> None:
    items = ["text", Document("x", "b", "Title"), {"_id": 7, "text": "c", "page": 2}]
    before = copy.deepcopy(items)
    ranker = Backwards()
    TwoStage(returning(items), ranker).search("q")
    candidates = ranker.calls[0][0]
    assert [(c.id, c.text, c.title, c.rank) for c in candidates] == [
        ("0", "text", "", 1), ("x", "b", "Title", 2), ("7", "c", "", 3)
    ]  # fmt: skip
    assert candidates[2].metadata == {"page": 2} and items == before


def test_what_is_not_a_document_stays_with_its_status(reranker: Reranker) -> None:
    items = [Candidate("d2", TEXTS["d2"]), None, {"id": "n", "text": None}, Document("e", "")]
    ranking = TwoStage(returning(items), reranker).search(QUERY)
    statuses = {hit.id: hit.status for hit in ranking}
    assert statuses == {"d2": "ok", "1": "not_text", "n": "not_text", "e": "empty"}


@pytest.mark.parametrize("score", ["high", float("nan"), float("inf"), True, [1]])
def test_a_score_that_is_no_number_is_none(score: Any) -> None:
    ranker = Backwards()
    TwoStage(returning([{"id": "a", "text": "a", "score": score}]), ranker).search("q")
    assert ranker.calls[0][0][0].score is None


def test_of_more_documents_than_asked_the_first_are_ranked_and_the_receipt_says_so() -> None:
    stages = TwoStage(returning([f"text {n}" for n in range(9)]), Backwards())
    ranking = stages.search("q", top_n=2, depth=4)
    assert ranking.receipt.depth == 4 and ids(ranking) == ["3", "2"]
    assert ranking.receipt.notes == (
        "the first stage returned 9 documents for k=4: the others are left out",
    )
    endless = TwoStage(lambda query, k: iter(lambda: {"text": "a"}, None), Backwards())  # type: ignore[arg-type]
    assert "more than 4 documents" in endless.search("q", 2, 4).receipt.notes[0]


def test_of_two_documents_with_one_id_the_first_is_ranked_and_the_receipt_says_so() -> None:
    items: list[DocumentLike] = [Document("a", "1"), Document("b", "2"), Document("a", "3")]
    ranking = TwoStage(returning([*items, "no id"]), Backwards()).search("q")
    assert [(hit.id, hit.text) for hit in ranking] == [("3", "no id"), ("b", "2"), ("a", "1")]
    (note,) = ranking.receipt.notes
    assert "1 of 4 documents" in note and "'a'" in note
    numbered = TwoStage(returning([Document("1", "x"), "y"]), Backwards()).search("q")
    assert [hit.text for hit in numbered] == ["y", "x"]  # a missing id is no duplicate


@pytest.mark.parametrize(
    ("items", "message"),
    [(None, "NoneType"), ("text", "one str"), ({"text": "a"}, "dict"), ([1, 2], "int"),
     ({"a"}, "no order"), (3, "int")],
)  # fmt: skip
def test_what_is_no_list_of_documents_is_an_error(items: Any, message: str) -> None:
    with pytest.raises(InputError, match="the retriever's documents") as error:
        TwoStage(returning(items), Backwards()).search("q")
    assert message in str(error.value)


def test_an_empty_list_is_an_empty_ranking(reranker: Reranker) -> None:
    ranking = TwoStage(returning([]), reranker).search("q")
    assert (ids(ranking), ranking.receipt.partial, ranking.receipt.depth) == ([], False, 0)


def test_a_reranker_that_fails_leaves_the_order_of_the_first_stage() -> None:
    ranking = TwoStage(documents, Broken(RuntimeFailure("no memory"))).search(QUERY, top_n=2)
    assert ids(ranking) == ["d1", "d2"] and ranking.receipt.partial
    assert ranking.receipt.reason == "the reranker failed: RuntimeFailure: no memory"
    with pytest.raises(QueryError, match="rerank=False"):
        TwoStage(documents, Broken(QueryError("too long"))).search(QUERY)


def test_a_reranker_that_is_late_leaves_the_order_of_the_first_stage() -> None:
    with Gate() as gate:
        ranker = Backwards()
        ranker.rank = gate.hold(ranker.rank)  # type: ignore[method-assign]
        ranking = TwoStage(documents, ranker).search(QUERY, budget_ms=200)
    assert ids(ranking) == list(TEXTS) and ranking.receipt.partial
    assert ranking.receipt.reason == "time was up before the reranker answered"


def test_a_reranker_that_loses_candidates_leaves_the_order_of_the_first_stage() -> None:
    class Losing(Picky):
        def rank(self, query: str, documents: Sequence[Candidate], **arguments: Any) -> Ranking:
            return super().rank(query, documents[:2], **arguments)

    stages = TwoStage(documents, Losing())
    ranking = stages.search(QUERY)
    assert ids(ranking) == list(TEXTS) and ranking.receipt.partial
    assert "Losing: returned 2 hits" in str(ranking.receipt.reason)
    assert ids(stages.search(QUERY, min_score=0.0)) == ["d2", "d1"]  # others may be below it


def test_a_first_stage_that_is_late_is_an_empty_ranking_with_a_reason() -> None:
    with Gate() as gate:
        ranking = TwoStage(gate.hold(documents), Backwards()).search(QUERY, budget_ms=50)
    assert (ids(ranking), ranking.receipt.partial) == ([], True)
    assert "time was up before the first stage answered" in str(ranking.receipt.reason)


def test_without_any_time_the_first_stage_is_not_called() -> None:
    with Gate() as gate:
        ranking = TwoStage(gate.hold(documents), Backwards()).search(QUERY, budget_ms=0)
        assert gate.calls == 0 and ranking.receipt.partial and ids(ranking) == []


@pytest.mark.parametrize("budget_ms", [None, 10_000])
def test_an_error_of_the_first_stage_is_raised(budget_ms: float | None) -> None:
    def fail(query: str, k: int) -> list[Document]:
        raise ConnectionError("refused")

    stages = TwoStage(fail, Backwards())
    with pytest.raises(ConnectionError, match="refused"):
        stages.search(QUERY, budget_ms=budget_ms)
    with pytest.raises(ConnectionError, match="refused"):
        asyncio.run(stages.asearch(QUERY, budget_ms=budget_ms))


def test_without_reranking_no_reranker_is_needed() -> None:
    ranking = TwoStage(documents, Broken(RuntimeFailure("x"))).search(QUERY, 2, rerank=False)
    assert ids(ranking) == ["d1", "d2"] and not ranking.receipt.partial
    assert ranking[0].status == "not_reranked" and ranking[0].first_stage_score == 10.0


def test_the_arguments_of_the_reranker_are_passed_on() -> None:
    picky = Picky()
    TwoStage(documents, picky).search(
        QUERY, exact=True, min_score=0.2, abstain_below=0.1, fusion_weight=0.0, tolerance=0.1
    )
    assert picky.arguments == [
        {"exact": True, "min_score": 0.2, "abstain_below": 0.1, "fusion_weight": 0.0,
         "tolerance": 0.1}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [{"top_n": 0}, {"top_n": "x"}, {"depth": 0}, {"budget_ms": -1}, {"collapse": "page"},
     {"rerank": 3}, {"min_score": 2}],
)  # fmt: skip
def test_invalid_arguments_are_told_before_anything_runs(arguments: dict[str, Any]) -> None:
    with Gate() as gate:
        with pytest.raises(InputError):
            TwoStage(gate.hold(documents), Backwards()).search(QUERY, **arguments)
        with pytest.raises(QueryError):
            TwoStage(gate.hold(documents), Backwards()).search(" ")
        assert gate.calls == 0


@pytest.mark.parametrize("retriever", [None, "elasticsearch", Backwards, 3])
def test_what_is_no_retriever_is_told(retriever: Any) -> None:
    with pytest.raises(InputError, match="expected a function"):
        TwoStage(retriever)
    with pytest.raises(InputError, match="reranker"):
        TwoStage(documents, "bundled")  # type: ignore[arg-type]


def test_asearch_gives_the_same_and_tells_the_first_stage() -> None:
    stages = TwoStage(documents, Backwards())
    first: list[Ranking] = []

    async def run() -> Ranking:
        async def tell(ranking: Ranking) -> None:
            first.append(ranking)

        return await stages.asearch(QUERY, 2, on_first_stage=tell)

    ranking = asyncio.run(run())
    assert ids(ranking) == ids(stages.search(QUERY, 2)) == ["d4", "d3"]
    assert ids(first[0]) == ["d1", "d2"]


class Both:
    """A retriever with a coroutine, which is used in an event loop."""

    name = "both"

    def __init__(self, wait_s: float = 0) -> None:
        self.wait_s = wait_s
        self.events: list[str] = []

    def __call__(self, query: str, k: int) -> list[Candidate]:
        self.events.append("call")
        return documents(query, k)

    async def aretrieve(self, query: str, k: int) -> list[Candidate]:
        self.events.append("aretrieve")
        try:
            await asyncio.sleep(self.wait_s)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        return documents(query, k)

    def close(self) -> None:
        self.events.append("close")


def test_a_coroutine_is_awaited_in_an_event_loop() -> None:
    both = Both()
    with TwoStage(both, Backwards()) as stages:
        assert ids(asyncio.run(stages.asearch(QUERY, 1))) == ids(stages.search(QUERY, 1)) == ["d4"]
    assert both.events == ["aretrieve", "call", "close"]
    assert stages.name == "both" and repr(stages) == "<TwoStage both>"


def test_a_coroutine_that_is_late_or_not_wanted_any_more_is_cancelled() -> None:
    late = Both(60)
    ranking = asyncio.run(TwoStage(late, Backwards()).asearch(QUERY, budget_ms=50))
    assert ids(ranking) == [] and ranking.receipt.partial
    assert late.events == ["aretrieve", "cancelled"]

    async def cancel(stages: TwoStage) -> None:
        task = asyncio.ensure_future(stages.asearch(QUERY))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    slow = Both(60)
    asyncio.run(cancel(TwoStage(slow, Backwards())))
    assert slow.events == ["aretrieve", "cancelled"]


def test_a_cancelled_search_waits_no_longer_for_a_thread() -> None:
    async def cancel(stages: TwoStage, gate: Gate) -> None:
        task = asyncio.ensure_future(stages.asearch(QUERY, budget_ms=60_000))
        while not gate.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ranker = Backwards()
    with Gate() as gate:
        stages = TwoStage(gate.hold(documents), ranker)
        asyncio.run(cancel(stages, gate))
        assert stages._async_searches.wait(10), "the thread still waits"
    assert ranker.calls == []


@pytest.mark.parametrize("given", [False, True])
def test_it_closes_the_reranker_that_it_has_loaded_and_no_other(
    given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closable(Backwards):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    ranker = Closable()
    monkeypatch.setattr("resift.rerank.families.names.open_ranker", lambda **_: ranker)
    with TwoStage(documents, ranker if given else None) as stages:
        stages.load()
        assert ids(stages.search(QUERY, 1)) == ["d4"] and ranker.closed == 0
    assert ranker.closed == (0 if given else 1)


def test_an_async_function_needs_asearch() -> None:
    async def retrieve(query: str, k: int) -> list[Candidate]:
        return documents(query, k)

    for retriever in (retrieve, partial(retrieve)):
        stages = TwoStage(retriever, Backwards())  # type: ignore[arg-type]
        assert ids(asyncio.run(stages.asearch(QUERY, 1))) == ["d4"]
        with pytest.raises(InputError, match="asearch"):
            stages.search(QUERY)


def test_threads_share_it() -> None:
    barrier = threading.Barrier(8)

    def retrieve(query: str, k: int) -> list[Candidate]:
        barrier.wait(30)  # all are inside at once
        return [Candidate(query, "text")]

    stages = TwoStage(retrieve, Backwards())
    with ThreadPoolExecutor(8) as threads:
        queries = [f"q{n}" for n in range(8)]
        rankings = list(threads.map(lambda query: stages.search(query, budget_ms=30_000), queries))
    assert [ids(ranking) for ranking in rankings] == [[query] for query in queries]


def test_a_copy_opens_the_same_again() -> None:
    stages = pickle.loads(pickle.dumps(TwoStage(documents)))
    assert ids(stages.search(QUERY, 2, rerank=False)) == ["d1", "d2"]


def test_its_description_has_nothing_of_a_repr() -> None:
    class Secret:
        def __repr__(self) -> str:
            return "password"

        def __call__(self, query: str, k: int) -> list[str]:
            return []

    assert "password" not in repr(TwoStage(Secret())) and "Secret" in TwoStage(Secret()).name
