"""Pools hold the best documents of each system, once, in an order by hash."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.small_collection import DOCUMENTS, QUERIES, make_collection, make_run
from index.fakes import HashingEmbedder
from resift.errors import DatasetError, InputError, QueryError, RuntimeFailure
from resift.evaluation.collection import open_collection
from resift.evaluation.first_stage import doc_id
from resift.evaluation.pool import (
    ELLIPSIS,
    Pool,
    PrefetchedPools,
    pool,
    pools_of_index,
    pools_of_runs,
)
from resift.evaluation.trec import read_run
from resift.search.index import Index
from resift.search.options import MODES, Mode
from resift.settings import Settings
from resift.types import Document, Ranking
from search.stand_ins import Backwards, Broken

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=2), max_size=12)

QUERY = "the dog"
TEXTS = {
    "words": "A dog, many other words stand here and make it long. " * 3,
    "near": "the the the the",
    "cat": "The cat is an animal.",
    "last": "A hen is one.",
}
"""Each system puts another one first: words alone, vectors, and the reranker that turns it all."""


def ids(made: Pool) -> list[str]:
    return [document.id for document in made.documents]


def ranking(*names: str) -> list[Document]:
    return [Document(name, f"text of {name}") for name in names]


def first(hits: Ranking) -> str:
    return doc_id(hits[0])


def passage(doc_id: str, start: int) -> Document:
    return Document(doc_id, f"{doc_id} from {start}", metadata={"start": start})


@given(st.lists(NAMES, max_size=4), st.integers(1, 6))
def test_a_pool_is_the_first_documents_of_each_ranking(
    rankings: list[list[str]], size: int
) -> None:
    made = pool("q", [ranking(*names) for names in rankings], size)
    firsts = [list(dict.fromkeys(names))[:size] for names in rankings]
    assert sorted(ids(made)) == sorted({name for names in firsts for name in names})
    assert made.problems == ()


@given(st.lists(NAMES, min_size=1, max_size=4), st.randoms())
def test_the_order_does_not_depend_on_systems_and_ranks(
    rankings: list[list[str]], random: Any
) -> None:
    made = pool("q", [ranking(*names) for names in rankings], 99)
    shuffled = [random.sample(names, len(names)) for names in rankings]
    random.shuffle(shuffled)
    assert ids(pool("q", [ranking(*names) for names in shuffled], 99)) == ids(made)


def test_another_query_has_another_order() -> None:
    names = [f"d{number}" for number in range(20)]
    first, second = (ids(pool(query_id, [ranking(*names)], 20)) for query_id in ("q1", "q2"))
    assert sorted(first) == sorted(second) and first != second and first != names


def test_passages_of_a_document_are_one_candidate_and_leave_room_for_others() -> None:
    ranking = [passage("a", 50), passage("a", 0), passage("b", 7), passage("c", 0)]
    made = {document.id: document.text for document in pool("q", [ranking], 2).documents}
    assert made == {"a": "a from 50", "b": "b from 7"}


def test_a_document_is_shown_by_the_best_passage_of_each_system_in_its_own_order() -> None:
    first, second = [passage("a", 50), passage("a", 7)], [passage("a", 0)]
    (made,) = pool("q", [first, second, first], 5).documents
    assert made.text == f"a from 0{ELLIPSIS}a from 50"


def test_a_document_with_an_invalid_id_is_left_out_and_named() -> None:
    made = pool("q", [ranking("a\tb", "good", "\ud800")], 5)
    assert ids(made) == ["good"]
    assert [problem.split()[0] for problem in made.problems] == ["'\\ud800'", "'a\\tb'"]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    pytest.importorskip("lance")
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.md").write_text(text)
    made = Index(
        str(tmp_path / "index"), settings=Settings(), embedder=HashingEmbedder(),
        reranker=Backwards(),
    )  # fmt: skip
    made.sync(str(folder))
    return made


def test_the_pool_of_an_index_has_the_best_of_each_mode_and_of_the_reranker(
    index: Index,
) -> None:
    made = pools_of_index(index, {"q": QUERY}, 1)("q")
    best = {mode: first(index.search(QUERY, 1, 100, mode, rerank=False)) for mode in MODES}
    reranked = first(index.search(QUERY, 1, 100))
    assert len({best["lexical"], best["dense"], reranked}) == 3
    assert set(ids(made)) == {*best.values(), reranked}
    assert made.problems == ()


def test_no_system_is_left_out(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[tuple[str, bool]] = []
    search = index.search

    def noted(
        query: str, top_n: int, depth: int, mode: Mode = "hybrid", rerank: bool = True
    ) -> Ranking:
        searches.append((mode, rerank))
        return search(query, top_n, depth, mode, rerank)

    monkeypatch.setattr(index, "search", noted)
    pools_of_index(index, {"q": QUERY}, 10)("q")
    assert set(searches) == {
        ("lexical", False), ("dense", False), ("hybrid", False), ("hybrid", True)
    }  # fmt: skip


@pytest.mark.parametrize("error", [QueryError("too long"), RuntimeFailure("too long")])
def test_a_failed_reranker_is_named_and_the_first_stages_are_pooled(
    index: Index, error: Exception
) -> None:
    broken = Index(
        index.uri, settings=Settings(), embedder=HashingEmbedder(),
        reranker=Broken(error),
    )  # fmt: skip
    made = pools_of_index(broken, {"q": "dog"}, 3)("q")
    assert "words.md" in ids(made)
    assert "too long" in made.problems[0]


def test_a_pool_of_runs_has_documents_of_all_runs(tmp_path: Path) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    files = [
        make_run(tmp_path / "one", {"q1": ["d1", "d2", "d3"]}),
        make_run(tmp_path / "other", {"q1": ["d4", "d3"], "q2": ["d2"]}),
    ]
    runs = {file: read_run(file) for file in files}
    pools = pools_of_runs(collection, QUERIES, runs, 1)
    assert {document.id: document.text for document in pools("q1").documents} == {
        name: DOCUMENTS[name] for name in ("d1", "d4")
    }
    assert ids(pools("q2")) == ["d2"]


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        ({"q9": ["d1"]}, "1 queries are not in the collection, the first is q9"),
        ({"q1": ["d8", "d9"]}, "2 documents are not in the collection, the first is d8"),
    ],
)
def test_a_run_of_another_collection_is_refused(
    tmp_path: Path, ranked: dict[str, Sequence[str]], message: str
) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    file = make_run(tmp_path / "run", ranked)
    with pytest.raises(DatasetError, match=message) as caught:
        pools_of_runs(collection, QUERIES, {file: read_run(file)}, 10)
    assert str(caught.value).startswith(str(file))


def test_documents_beyond_the_pool_may_be_missing(tmp_path: Path) -> None:
    collection = open_collection(make_collection(tmp_path / "made"))
    file = make_run(tmp_path / "run", {"q1": ["d1", "absent"]})
    assert ids(pools_of_runs(collection, QUERIES, {file: read_run(file)}, 1)("q1")) == ["d1"]


def test_a_pool_of_size_0_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pool=0"):
        pools_of_index(Index(str(tmp_path)), {}, 0)


def test_the_next_pool_is_made_in_the_background() -> None:
    made: list[str] = []
    second = threading.Event()

    def make(query_id: str) -> Pool:
        made.append(query_id)
        if query_id == "b":
            second.set()
        return Pool(tuple(ranking(query_id)))

    with PrefetchedPools(make, ["a", "b", "c"]) as pools:
        assert ids(pools("a")) == ["a"]
        assert second.wait(10)
        assert ids(pools("a")) == ["a"] and ids(pools("b")) == ["b"]
    assert made[:2] == ["a", "b"] and len(made) == len(set(made))


def test_an_error_is_raised_when_its_pool_is_requested_and_tried_again() -> None:
    wrong = [InputError("not now")]

    def make(query_id: str) -> Pool:
        if query_id == "b" and wrong:
            raise wrong.pop()
        return Pool(tuple(ranking(query_id)))

    with PrefetchedPools(make, ["a", "b"]) as pools:
        pools("a")
        with pytest.raises(InputError, match="not now"):
            pools("b")
        assert ids(pools("b")) == ["b"]
