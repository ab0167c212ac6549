"""Many candidates: read as far as there is time, the rest ranked as they came, all of them hits.

Proves that a budget holds however many there are, that nothing that was handed in is lost or out of
the first stage's order, and that hits which are made late are the hits that they would have been.
"""

import asyncio
import copy
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from resift import Candidate, Document, Ranking, Reranker
from resift.errors import InputError
from resift.rerank.candidate_stream import (
    MAX_COPIED,
    MAX_DRAWN,
    MIN_CANDIDATES,
    UnreadCandidates,
    read_candidates,
)
from resift.rerank.deadline import Deadline
from resift.settings import Settings

QUERY = "red blue"
MANY = 60_000
KINDS: dict[str, Any] = {
    "str": lambda index: f"red sky {index}",
    "document": lambda index: Document(str(index), f"red sky {index}", "a title"),
    "candidate": lambda index: Candidate(str(index), "red sky", rank=index + 1, score=-1.0 * index),
    "dict": lambda index: {"id": str(index), "text": f"red sky {index}", "page": index},
}


@pytest.fixture(scope="module")
def tiny(joint_folder: Path) -> Reranker:
    """One small model."""
    return Reranker(joint_folder, settings=Settings())


def quickest(call: Callable[[], Ranking]) -> tuple[float, Ranking]:
    """Seconds of the best of four calls, others have the cores as well; and an answer."""
    took = []
    for _ in range(4):
        start = time.perf_counter()
        ranking = call()
        took.append(time.perf_counter() - start)
    return min(took), ranking


def read(documents: Any, deadline: Deadline) -> tuple[list[Candidate], UnreadCandidates]:
    steps = read_candidates(documents, deadline)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: tuple[list[Candidate], UnreadCandidates] = end.value
            return result


@pytest.mark.parametrize("kind", KINDS)
def test_many_candidates_answer_in_time_and_keep_their_order(tiny: Reranker, kind: str) -> None:
    documents = [KINDS[kind](index) for index in range(MANY)]
    tiny.rank(QUERY, documents[:5])
    seconds, ranking = quickest(lambda: tiny.rank(QUERY, documents, 10, budget_ms=100))
    assert seconds < 0.15
    receipt = ranking.receipt
    assert (receipt.depth, receipt.partial) == (MANY, True)
    assert receipt.reason and receipt.reason.startswith("time was up")
    everything = tiny.rank(QUERY, documents, None, budget_ms=0)
    assert len(everything) == MANY
    assert [everything[index].index for index in (0, 1500, MANY - 1)] == [0, 1500, MANY - 1]
    last = everything[-1]
    assert (last.status, last.score, last.rank, last.id) == ("late", None, MANY, str(MANY - 1))
    assert last.text.startswith("red sky")


def test_a_loop_is_not_blocked_by_many(tiny: Reranker) -> None:
    documents = [KINDS["dict"](index) for index in range(MANY)]
    gaps = []

    async def beat() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - start)

    async def beside() -> Ranking:
        beating = asyncio.create_task(beat())
        ranking = await tiny.arank(QUERY, documents, 10, budget_ms=100)
        beating.cancel()
        return ranking

    assert asyncio.run(beside()).receipt.partial
    assert sorted(gaps)[int(0.99 * len(gaps))] < 0.02


def test_the_rest_is_in_the_first_stages_order_wherever_it_stands(tiny: Reranker) -> None:
    size = 3 * MIN_CANDIDATES
    candidates = [Candidate(str(n), "red", rank=size - n) for n in range(size)]
    assert [hit.index for hit in tiny.rank(QUERY, candidates, 3, budget_ms=0)] == [
        size - 1,
        size - 2,
        size - 3,
    ]
    rows = [{"text": "red", "rank": size - n} for n in range(size)]
    assert tiny.rank(QUERY, rows, budget_ms=0)[0].index == size - 1
    odd: list[Any] = [
        Candidate(str(n), "red", rank=cast(Any, "x") if n else None) for n in range(size)
    ]
    assert [hit.index for hit in tiny.rank(QUERY, odd, 3, budget_ms=0)] == [0, 1, 2]


def test_ranks_of_short_lists_are_looked_at_on_a_busy_machine(
    tiny: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.rerank.candidate_stream.GRACE_S", -1.0)
    rows = [{"text": "red", "rank": 5 * MIN_CANDIDATES - n} for n in range(5 * MIN_CANDIDATES)]
    assert tiny.rank(QUERY, rows, budget_ms=0)[0].index == len(rows) - 1


def test_without_a_budget_all_are_read() -> None:
    documents: list[Any] = ["red"] * (2 * MIN_CANDIDATES) + [None]
    candidates, rest = read(documents, Deadline())
    assert len(candidates) == len(documents)
    assert not rest
    assert not rest.missing


def test_what_is_no_document_is_refused_although_time_is_up(tiny: Reranker) -> None:
    none: Any = range(100_000)
    some: list[Any] = [1] * 10 + ["red"] * 5_000
    with pytest.raises(InputError, match="of type int"):
        tiny.rank(QUERY, none, budget_ms=0)
    mixed = tiny.rank(QUERY, some, None, budget_ms=0)
    assert mixed[0].status == "not_text"


def test_a_slow_iterable_is_left_when_time_is_up_and_the_receipt_says_so(tiny: Reranker) -> None:
    def slow() -> Iterator[str]:
        for index in range(1_000):
            time.sleep(0.005)
            yield f"red {index}"

    start = time.perf_counter()
    ranking = tiny.rank(QUERY, slow(), None, budget_ms=50)
    assert time.perf_counter() - start < 1
    assert 0 < len(ranking) < 1_000
    assert ranking.receipt.partial
    assert f"left after {len(ranking)} of them" in (ranking.receipt.reason or "")
    quick = tiny.rank(QUERY, (f"red {index}" for index in range(500)), None, budget_ms=0)
    assert len(quick) == 500


def test_what_an_iterable_raises_goes_through(tiny: Reranker) -> None:
    def broken() -> Iterator[str]:
        yield "red"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tiny.rank(QUERY, broken(), budget_ms=100)


def test_hits_that_are_made_late_are_the_same_hits(tiny: Reranker) -> None:
    documents: list[Any] = [KINDS["dict"](index) for index in range(30)] + [
        " ",
        None,
        Document("x", "blue"),
    ]
    ranking = tiny.rank(QUERY, documents, None)
    assert ranking[3] is ranking[3] is list(ranking)[3]
    assert ranking[-1] is ranking[32]
    third = ranking[2]
    sliced = ranking[2:5]
    assert isinstance(sliced, tuple)
    assert type(ranking.hits) is tuple
    assert ranking.hits[2] is third
    assert sliced == ranking.hits[2:5]
    again = tiny.rank(QUERY, documents, None)
    assert again.hits == ranking.hits
    assert ranking[0] in again
    assert again.index(third) == 2
    with pytest.raises(IndexError):
        again[33]


def test_a_ranking_is_copied_pickled_and_written_as_it_was(tiny: Reranker) -> None:
    def ranked() -> Ranking:
        return tiny.rank(QUERY, ["red", "blue red", "sky"])

    ranking = ranked()
    for other in (
        pickle.loads(pickle.dumps(ranked())),
        copy.copy(ranked()),
        copy.deepcopy(ranked()),
        replace(ranked()),
    ):
        assert other.hits == ranking.hits
        assert len(other) == 3
        assert other == replace(other, receipt=other.receipt)
    assert asdict(ranked())["hits"][0]["id"] == ranking[0].id
    assert "hits=(Hit(rank=1" in repr(ranked())
    assert not hasattr(ranking, "nothing")
    assert not hasattr(ranking, "__array__")


def test_a_dict_that_changes_afterwards_changes_no_hit(tiny: Reranker) -> None:
    rows = [{"text": f"red {index}"} for index in range(2 * MIN_CANDIDATES)]
    ranking = tiny.rank(QUERY, rows, None, budget_ms=0)
    for row in rows:
        row["text"] = "changed"
    assert {hit.text for hit in ranking} == {f"red {index}" for index in range(2 * MIN_CANDIDATES)}


def test_of_many_hits_ten_are_written_out_and_made(tiny: Reranker) -> None:
    """Asyncio writes out what a task gave: of 100,000 hits that took seconds."""
    ranking = tiny.rank(QUERY, ["red"] * MANY, None, budget_ms=0)
    start = time.perf_counter()
    text = repr(ranking)
    assert time.perf_counter() - start < 0.1
    assert text.count("Hit(") == 10
    assert f"… {MANY - 10:,} more), receipt=" in text
    short = tiny.rank(QUERY, ["red"], None)
    assert repr(short) == (
        f"Ranking(query='red blue', hits={short.hits!r}, receipt={short.receipt!r})"
    )


def test_an_endless_iterable_is_left_in_time_and_little_of_it_is_held(tiny: Reranker) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "red sky " * 20

    for budget_ms in (0, 30, 300):
        seconds, ranking = quickest(partial(tiny.rank, QUERY, endless(), 10, budget_ms=budget_ms))
        assert seconds < (budget_ms + 50) / 1000
        receipt = ranking.receipt
        assert MIN_CANDIDATES <= receipt.depth <= MAX_DRAWN
        assert f"left after {receipt.depth} of them" in (receipt.reason or "")
        assert len(ranking) == 10


def test_a_slow_iterable_leaves_time_to_read_what_came(tiny: Reranker) -> None:
    def slow() -> Iterator[str]:
        while True:
            time.sleep(0.005)
            yield "red"

    ranking = tiny.rank(QUERY, slow(), budget_ms=200)
    assert ranking.receipt.scored > 0
    assert ranking[0].score is not None


def test_what_has_a_length_is_no_endless_iterable(tiny: Reranker) -> None:
    texts = np.array([f"red {index}" for index in range(2 * MAX_DRAWN)])
    assert tiny.rank(QUERY, texts, budget_ms=2_000).receipt.depth == len(texts)
    lazy = (str(text) for text in texts)
    assert len(read(lazy, Deadline())[0]) == len(texts)


def test_a_list_too_long_to_be_copied_is_ranked_where_it_is(tiny: Reranker) -> None:
    documents = [f"red {index}" for index in range(MAX_COPIED + 1)]
    ranking = tiny.rank(QUERY, documents, 10, budget_ms=20)
    assert ranking.receipt.depth == len(documents)
    assert len(ranking) == 10
    assert read(documents, Deadline(0))[1].documents is documents


def test_a_list_that_shrinks_meanwhile_costs_its_late_hits_their_texts() -> None:
    documents = ["red"] * (MAX_COPIED + 1)
    _, rest = read(documents, Deadline(0))
    del documents[-1]
    assert (rest.at(MAX_COPIED - 1), rest.at(MAX_COPIED)) == ("red", None)


def test_a_least_score_leaves_what_nobody_came_to_read(tiny: Reranker) -> None:
    documents: list[Any] = ["red", None] + ["red sky"] * 3 * MIN_CANDIDATES
    ranking = tiny.rank(QUERY, documents, None, budget_ms=0, min_score=0.5)
    assert [hit.index for hit in ranking[:2]] == [0, 2]
    assert len(ranking) == len(documents) - 1


def test_ranks_of_the_rest_stand_among_those_of_the_read(tiny: Reranker) -> None:
    size = 2 * MIN_CANDIDATES
    candidates = [Candidate(str(n), "red", rank=1 + (n * 7) % size) for n in range(size)]
    for top_n in (1, 7, size, None):
        ranking = tiny.rank(QUERY, candidates, top_n, budget_ms=0)
        assert [hit.first_stage_rank for hit in ranking] == list(range(1, (top_n or size) + 1))


def test_long_texts_under_titles_are_joined_only_where_they_are_read(tiny: Reranker) -> None:
    documents = [Document(str(n), f"{n} " + "red sky " * 60_000, "blue") for n in range(400)]
    expected = tiny.rank(QUERY, documents[:2], None)
    seconds, ranking = quickest(lambda: tiny.rank(QUERY, documents, 10, budget_ms=20))
    assert seconds < 0.1
    assert ranking.receipt.depth == 400
    assert expected[0].span[1] > 0
    assert [hit.logit for hit in tiny.rank(QUERY, documents[:2], None)] == [
        hit.logit for hit in expected
    ]
    alone = tiny.score(QUERY, [f"blue\n{documents[0].text}"])[0]
    assert {hit.index: hit.logit for hit in expected}[0] == alone
