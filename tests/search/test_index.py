"""Proves the public Index: what it refuses, what it loads when, and that threads may share it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexNotFound, InputError, ModelNotFound, SourceError, StoreError
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards


def index_at(path: Path, **options: Any) -> Index:
    return Index(str(path / "index"), settings=Settings(), embedder=HashingEmbedder(), **options)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("cat", "dog", "bird"):
        (folder / f"{name}.md").write_text(f"# About\n\nThe {name} is an animal.")
    return folder


def test_sync_then_search(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    assert index.sync(str(docs)).added == 3
    assert "dog" in index.search("dog", rerank=False)[0].text
    assert "dog" in index.search("dog", top_n=3)[2].text


def test_a_search_after_a_sync_sees_it(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    assert len(index.search("llama", mode="lexical", rerank=False)) == 0
    (docs / "llama.txt").write_text("llama")
    index.sync(str(docs))
    assert len(index.search("llama", mode="lexical", rerank=False)) == 1


def test_making_an_index_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIFT_CONFIG", "/nowhere/settings.toml")
    Index(str(tmp_path / "index"))
    Index("s3://no-such-bucket/index")
    assert not list(tmp_path.iterdir())


def test_the_settings_name_the_embedder(tmp_path: Path) -> None:
    index = Index(str(tmp_path / "index"), settings=Settings(embedder="no-such-embedder"))
    with pytest.raises(ModelNotFound, match="no-such-embedder: no such embedder"):
        index.search("dog")


def test_a_search_where_there_is_no_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="no index there: make one with"):
        index_at(tmp_path).search("cat", rerank=False)
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_missing_begins_no_index(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder or file"):
        index_at(tmp_path).sync(str(tmp_path / "missing"))
    assert not list(tmp_path.iterdir())


def test_an_index_inside_a_file_is_a_store_error(tmp_path: Path, docs: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as raised:
        index_at(tmp_path / "file").sync(str(docs))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, "query: expected some words"),
        ({"query": " \n"}, "query: expected some words"),
        ({"query": None}, "query: expected some words"),
        ({"top_n": 0}, "top_n=0: expected 1 or more"),
        ({"depth": 0}, "depth=0: expected 1 or more"),
        ({"mode": "fuzzy"}, "mode='fuzzy': expected one of hybrid, dense, lexical"),
        ({"budget_ms": 0}, "budget_ms=0: expected more than 0"),
    ],
)
def test_what_no_search_can_use_is_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        index_at(tmp_path).search(**{"query": "cat", **arguments})


def test_more_hits_than_there_are_is_all_of_them(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    assert len(index.search("animal", top_n=500, rerank=False)) == 3


def test_threads_share_an_index(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    index.sync(str(docs))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: [h.id for h in index.search("dog")], range(40)))
    assert all(answer == answers[0] for answer in answers)
