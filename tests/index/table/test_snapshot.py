"""What the two retrievers return from one version, with and without a filter, and what is read."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from index.shelf import Shelf, passage, texts_found
from resift.errors import IndexMismatch, StoreError, VersionGone
from resift.index.table.dataset import open_table
from resift.index.table.open import check_embedder, open_version
from resift.index.table.snapshot import Snapshot, View
from resift.index.table.where import parse_where
from resift.settings import Settings
from resift.types import Precomputed

TEXTS = ("red fox", "red fox red", "blue whale sings", "green")


@pytest.fixture
def colours(shelf: Shelf) -> Iterator[Snapshot]:
    shelf.add(*(passage(f"/d/{n}", text, page=n + 1) for n, text in enumerate(TEXTS)))
    shelf.publish()
    yield shelf.snapshot()


def test_a_passage_comes_back_as_it_went_in(shelf: Shelf) -> None:
    precomputed = Precomputed("model", b"hash", b"tokens", b"states")
    rows = [
        passage("/d/it's.txt", "one"),
        passage("/d/b.jsonl", "two", title="T", page=None, row=7, precomputed=precomputed),
    ]
    shelf.add(*rows)
    shelf.publish()
    view = shelf.snapshot().view()
    ids = [row_id for row_id, _ in view.dense(shelf.embedder.embed(["one"])[0], 10)]
    read = [
        rows[0],
        replace(rows[1], precomputed=replace(precomputed, states=b""), has_states=True),
    ]
    assert sorted(view.passages(ids), key=lambda p: p.text) == read
    assert view.passages(ids[::-1]) == view.passages(ids)[::-1]
    assert view.passages([ids[1]]) == view.passages(ids)[1:]
    assert (view.passages([]), view.states([])) == ([], {})
    assert list(view.states(ids).values()) == [b"states"]


def test_dense_scores_are_cosines_in_order(shelf: Shelf, colours: Snapshot) -> None:
    query = shelf.embedder.embed(["red fox"])[0]
    expected = shelf.embedder.embed([f"H > I\n{text}" for text in TEXTS]) @ query
    scores = [score for _, score in colours.view().dense(query, 3)]
    assert scores == pytest.approx(sorted(expected, reverse=True)[:3], abs=1e-5)


def test_equal_scores_are_in_order_of_row_id(shelf: Shelf) -> None:
    shelf.add(*(passage(f"/d/{n}", "the same llama") for n in range(9)))
    shelf.publish()
    view = shelf.snapshot().view()
    for scored in (view.lexical("llama", 9), view.dense(shelf.embedder.embed(["llama"])[0], 9)):
        assert len({score for _, score in scored}) == 1
        assert scored == sorted(scored)


def test_words_are_found_in_title_and_heading_and_by_their_stem(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "nothing of note", title="Running shoes"), passage("/d/b", "other"))
    shelf.publish()
    assert texts_found(shelf.snapshot(), "shoe runs") == ["nothing of note"]


@pytest.mark.parametrize(
    "query", ["", "!!!", "the", '"llama', "llama AND -(", "llama'; --", "text:llama^2", "\0", "🦙"]
)
def test_any_string_is_a_query_without_operators(shelf: Shelf, query: str) -> None:
    shelf.add(passage("/d/a", "a llama"), passage("/d/b", "something else"))
    shelf.publish()
    expected = ["a llama"] if "llama" in query else []
    assert texts_found(shelf.snapshot(), query) == expected


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("page > 1", {"/d/1", "/d/2", "/d/3"}),
        ("doc_id in ('/d/0', '/d/2')", {"/d/0", "/d/2"}),
        ("exists(deep.a)", set()),
        ("tags = 'ä' and page = 1", {"/d/0"}),
    ],
)
def test_a_filter_applies_before_the_best_are_chosen_in_both_retrievers(
    shelf: Shelf, colours: Snapshot, where: str, names: set[str]
) -> None:
    view = colours.view()
    allowed = view.matching_rows(parse_where(where))
    vector = shelf.embedder.embed(["red fox"])[0]
    dense = view.dense(vector, len(names) or 1, allowed)
    assert {p.doc_id for p in view.passages([row_id for row_id, _ in dense])} == names
    lexical = view.lexical("red blue green", len(names) or 1, allowed)
    assert {p.doc_id for p in view.passages([row_id for row_id, _ in lexical])} == names


def test_local_files_cost_no_requests(shelf: Shelf, colours: Snapshot) -> None:
    view = colours.view()
    view.lexical("red", 3)
    assert colours.is_local and (view.requests, view.bytes) == (0, 0)


def test_requests_are_counted_by_search_and_only_grow(shelf: Shelf, colours: Snapshot) -> None:
    location, version = shelf.location, colours.version

    def table() -> object:
        return open_table(location, version=version.table_version)

    remote = Snapshot(colours.uri, version, table, is_local=False)
    view, other = remote.view(), remote.view()
    seen = [(0, 0)]
    for read in (
        lambda: view.lexical("red", 3),
        lambda: view.dense(shelf.embedder.embed(["red"])[0], 3),
        lambda: view.passages([row_id for row_id, _ in view.lexical("red", 3)]),
    ):
        read()
        seen.append((view.requests, view.bytes))
        assert seen[-1] > seen[-2] and seen[-1][1] > seen[-2][1]
        assert (view.requests, view.bytes) == seen[-1]
    assert other.requests < view.requests


def test_threads_share_a_snapshot(shelf: Shelf, colours: Snapshot) -> None:
    together = threading.Barrier(4)

    def search(word: str) -> list[str]:
        together.wait()
        return [text for _ in range(10) for text in texts_found(colours, word)]

    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(search, ["whale", "green", "whale", "green"]))
    assert texts == [["blue whale sings"] * 10, ["green"] * 10] * 2


def test_vectors_of_another_embedder_are_refused_with_what_to_do(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "x"))
    version = shelf.publish()
    with pytest.raises(IndexMismatch, match=r"by embedder hashing-64 .*RESIFT_EMBEDDER=hashing"):
        check_embedder(shelf.location, version, "other")


def test_a_version_that_is_gone_is_one_line_that_names_the_location(shelf: Shelf) -> None:
    shelf.add(passage("/d/a", "x"))
    version = replace(shelf.publish(), table_version=99)
    with pytest.raises(StoreError) as raised:
        open_version(shelf.location, Settings(), version).view()
    assert str(raised.value).startswith(f"{shelf.index}: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "read",
    [
        lambda view: view.dense(np.ones(64, np.float32) / 8, 3),
        lambda view: view.matching_rows(parse_where("year = 2003")),
        lambda view: view.keys(),
        lambda view: view.passages([0]),
    ],
)
def test_files_that_were_deleted_while_it_was_open_are_a_version_that_is_gone(
    shelf: Shelf, colours: Snapshot, read: Callable[[View], object]
) -> None:
    """In a folder too, so that a search goes on with the newest version."""
    view = colours.view()
    shutil.rmtree(shelf.index / "passages.lance" / "data")
    with pytest.raises(VersionGone, match="version 1 is not whole any more"):
        read(view)


def test_a_larger_k_than_passages_returns_all(shelf: Shelf, colours: Snapshot) -> None:
    view = colours.view()
    assert len(colours) == 4
    assert len(view.dense(np.zeros(64, np.float32), 1_000)) == 4
    assert len(view.lexical("red", 1_000)) == 2
