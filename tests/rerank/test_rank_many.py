"""Many queries in one call: the same rankings as one by one, in fewer batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift import Candidate, Hit, InputError, QueryError, Reranker, Settings
from resift.errors import Overloaded
from resift.rerank import many
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


def test_one_string_is_no_list_of_queries(tiny: Reranker) -> None:
    with pytest.raises(InputError, match=r"^queries: expected a list of them, got one str"):
        tiny.rank_many("red", [["blue"]])


def test_a_budget_is_for_all_queries_together(tiny: Reranker) -> None:
    late = tiny.rank_many(["red", "blue"], [["red", "blue"]] * 2, budget_ms=0)
    assert all(ranking.receipt.partial for ranking in late)
    assert [hit.status for ranking in late for hit in ranking] == ["late"] * 4
    rankings = tiny.rank_many(["red", "blue"], [["red", "blue"]] * 2, budget_ms=60_000)
    assert not any(ranking.receipt.partial for ranking in rankings)
    assert all(isinstance(hit, Hit) for ranking in rankings for hit in ranking)


def test_too_much_work_of_others_is_refused(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*requests: object) -> None:
        raise Overloaded(10, 1.0)

    monkeypatch.setattr(tiny._engine._worker, "submit", refuse)
    with pytest.raises(Overloaded):
        tiny.rank_many(["red"], [["red"]])
