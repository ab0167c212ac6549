"""Many queries in one call: the same rankings as one by one, in fewer batches."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift import Candidate, Hit, InputError, QueryError, Reranker, Settings
from resift.errors import Overloaded
from resift.rerank import candidate_stream, many
from resift.rerank.candidate_stream import MIN_CANDIDATES
from resift.rerank.candidates import as_candidate
from resift.rerank.models import Batch
from texts import QUESTIONS, passages

POOL = passages(40, 300)
LISTS: list[list[Any]] = [
    POOL[:5],
    POOL[5:7],
    [Candidate(str(n), text, rank=n + 1, score=9.0 - n) for n, text in enumerate(POOL[7:15])],
    [],
    ["", None, POOL[15]],
    POOL[16:],
]
QUERIES = [QUESTIONS[n % len(QUESTIONS)] for n in range(len(LISTS))]


@pytest.fixture(params=["late_interaction", "cross_encoder"])
def model(request: pytest.FixtureRequest, bundled: Reranker, joint: Reranker) -> Reranker:
    """Each kind of model, in each runtime."""
    return bundled if request.param == "late_interaction" else joint


@pytest.fixture
def tiny(joint_folder: Path) -> Reranker:
    return Reranker(joint_folder, settings=Settings())


@pytest.mark.parametrize("options", [{}, {"top_n": 3}, {"min_score": 0.2}, {"exact": True}])
def test_rankings_are_those_of_one_call_each_bit_for_bit(
    model: Reranker, options: dict[str, Any]
) -> None:
    rankings = model.rank_many(QUERIES, LISTS, **options)
    for query, documents, ranking in zip(QUERIES, LISTS, rankings, strict=True):
        single = model.rank(query, documents, **options)
        assert ranking.query == query
        assert ranking.hits == single.hits
        for name in ("depth", "scored", "skipped", "tokens", "fusion_weight", "calibration"):
            assert getattr(ranking.receipt, name) == getattr(single.receipt, name), name


def test_rows_of_different_queries_share_batches(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    (stage,) = tiny._engine.model.stages

    def counted(batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        batches.append(len(batch.rows))
        return stage(batch)

    monkeypatch.setattr(tiny._engine.model, "stages", [counted])
    queries = [f"red {n % 7}" for n in range(40)]
    documents = [["blue sky", "red"] for _ in queries]
    rankings = tiny.rank_many(queries, documents)
    together = len(batches)
    assert sum(batches) == 80 and max(batches) > 2
    batches.clear()
    singles = [tiny.rank(*pair) for pair in zip(queries, documents, strict=True)]
    assert [ranking.hits for ranking in rankings] == [ranking.hits for ranking in singles]
    assert 4 * together < len(batches) == 40


def test_many_groups_are_all_answered(tiny: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "GROUP_TOKENS", 20)
    monkeypatch.setattr(tiny._engine._worker, "_max_waiting_tokens", 30)  # the next has to wait
    queries = ["red", "blue"] * 20
    rankings = tiny.rank_many(queries, [[f"sky {n}", "red"] for n in range(40)])
    assert [ranking.receipt.scored for ranking in rankings] == [2] * 40


def test_a_generator_of_queries_and_of_documents_is_read_once(tiny: Reranker) -> None:
    def documents() -> Iterator[Iterator[str]]:
        for n in range(3):
            yield (f"red {m}" for m in range(n + 1))

    rankings = tiny.rank_many((query for query in ("red", "blue", "sky")), documents())
    assert [len(ranking) for ranking in rankings] == [1, 2, 3]
    assert tiny.rank_many([], []) == []


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (["red", " "], r"^queries\[1\]: query: empty"),
        ([None], r"^queries\[0\]: query: expected text"),
        (["red", "word " * 600], r"^queries\[1\]: .*never cut"),
    ],
)
def test_a_bad_query_is_named_before_anything_runs(
    tiny: Reranker, queries: list[Any], message: str
) -> None:
    def never() -> Iterator[str]:
        raise AssertionError("read")
        yield

    with pytest.raises(QueryError, match=message):
        tiny.rank_many(queries, [never() for _ in queries])


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([["red"], "blue"], r"^documents\[1\]: documents: expected a list of them, got one str"),
        ([["red"], [3, 4]], r"^documents\[1\]: documents: the first of 2"),
        ([["red"]], "^documents: 1 lists for 2 queries"),
        ([["red"]] * 5, r"^documents: 5 lists .* pass \[documents\] \* len\(queries\)$"),
        (itertools.repeat(["red"]), "^documents: more than 2 lists for 2 queries"),
        ({"red", "blue"}, "^documents: expected a list of documents for each query, got set"),
        ("red", "^documents: expected a list of documents for each query, got str"),
        (3, "^documents: expected a list of them, got int"),
        ({"red": []}, "^documents: expected a list of documents for each query, got dict"),
    ],
)
def test_documents_that_are_none_are_named(tiny: Reranker, documents: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny.rank_many(["red", "blue"], documents)
    assert tiny.rank("red", ["red"]).receipt.scored == 1  # nothing is left waiting
    assert tiny._engine._worker._requests == []


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("red", r"^queries: expected a list of them, got one str: use \[query\]"),
        (b"red", "^queries: expected a list of texts, got bytes"),
        ({"red": 1}, r"^queries: expected a list of them, got dict: use list\(queries\)"),
        ({"red"}, "^queries: a set has no order: use sorted"),
        (itertools.repeat("red"), "^documents: 1 lists for more than 1 queries"),
    ],
)
def test_queries_that_are_not_a_list_are_refused(
    tiny: Reranker, queries: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tiny.rank_many(queries, [["blue"]])


def test_no_more_lists_are_read_than_queries_and_one(tiny: Reranker) -> None:
    lists = iter([["red"]] * 10)
    with pytest.raises(InputError, match=r"^documents: more than 2 lists for 2 queries"):
        tiny.rank_many(["red", "blue"], lists)
    assert len(list(lists)) == 7


def test_a_budget_is_for_all_queries_together(tiny: Reranker) -> None:
    late = tiny.rank_many(["red", "blue"], [["red", "blue"]] * 2, budget_ms=0)
    assert all(ranking.receipt.partial for ranking in late)
    assert [hit.status for ranking in late for hit in ranking] == ["late"] * 4
    rankings = tiny.rank_many(["red", "blue"], [["red", "blue"]] * 2, budget_ms=60_000)
    assert not any(ranking.receipt.partial for ranking in rankings)
    assert all(isinstance(hit, Hit) for ranking in rankings for hit in ranking)


def rows_of(number: int) -> list[dict[str, Any]]:
    """One hundred documents whose first-stage order is the reverse of the list."""
    return [{"text": f"red {number} {n}", "rank": 100 - n} for n in range(100)]


def test_lists_after_the_deadline_are_not_read_and_keep_their_order(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []

    def counted(name: str, document: object) -> Candidate | None:
        read.append(document)
        return as_candidate(name, document)

    monkeypatch.setattr(candidate_stream, "as_candidate", counted)
    rankings = tiny.rank_many(["red"] * 200, list(map(rows_of, range(200))), 3, budget_ms=0)
    assert len(read) == MIN_CANDIDATES  # in all, because their scores may be cached
    for number, ranking in enumerate(rankings):
        assert [hit.index for hit in ranking] == [99, 98, 97]
        assert ranking[0].text == f"red {number} 99" and ranking[0].status == "late"
        assert ranking.receipt.partial and ranking.receipt.depth == 100
        assert (ranking.receipt.reason or "").startswith("time was up")


@pytest.mark.parametrize("kind", ["str", "dict", "candidate"])
def test_a_list_after_the_deadline_costs_little(bundled: Reranker, kind: str) -> None:
    kinds: dict[str, Any] = {
        "str": lambda n: f"red sky {n}",
        "dict": lambda n: {"text": f"red sky {n}", "rank": n + 1},
        "candidate": lambda n: Candidate(str(n), f"red sky {n}", rank=n + 1),
    }
    queries = [f"red sky {n}" for n in range(400)]
    lists = [[kinds[kind](n) for n in range(100)] for _ in queries]
    took = []
    for _ in range(3):
        start = time.process_time()  # other processes have the cores as well
        bundled.rank_many(queries, lists, 10, budget_ms=0)
        took.append(time.process_time() - start)
    assert min(took) / len(queries) < 0.5e-3  # alone on a machine 0.3 ms


def test_slow_iterables_share_the_time_after_the_deadline(tiny: Reranker) -> None:
    def slow() -> Iterator[str]:
        for n in range(100):
            time.sleep(0.005)
            yield f"red {n}"

    start = time.perf_counter()
    rankings = tiny.rank_many(["red"] * 100, [slow() for _ in range(100)], budget_ms=0)
    assert time.perf_counter() - start < 0.25
    assert all(ranking.receipt.partial for ranking in rankings)
    assert "was left after 0 of them" in (rankings[-1].receipt.reason or "")
    fast = tiny.rank_many(["red"] * 100, [iter(["red"] * 30) for _ in range(100)], budget_ms=0)
    assert {len(ranking) for ranking in fast} == {30}


def test_the_budget_includes_the_check_of_the_queries(tiny: Reranker) -> None:
    def slow() -> Iterator[str]:
        time.sleep(0.1)
        yield "red"

    (ranking,) = tiny.rank_many(slow(), [["blue"]], budget_ms=90)
    assert [hit.status for hit in ranking] == ["late"]


def test_too_much_work_of_others_is_refused(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*requests: object) -> None:
        raise Overloaded(10, 1.0)

    monkeypatch.setattr(tiny._engine._worker, "submit", refuse)
    with pytest.raises(Overloaded):
        tiny.rank_many(["red"], [["red"]])
