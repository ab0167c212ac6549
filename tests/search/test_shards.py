"""Proves that `Index` maintains an index of shards as any other one."""

import pickle
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder, InProcessParsers
from resift.errors import IndexMismatch, InputError
from resift.index.source_options import SourceOptions
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards

FRUITS = "pear plum fig lemon cherry grape melon mango papaya peach quince lime".split()


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number}.txt").write_text(f"common {FRUITS[number]}")
    return docs


def open_index(docs: Path, shards: int | None = None) -> Index:
    uri = docs.parent / "index"
    return Index(
        uri,
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
        shards=shards,
    )


def texts(index: Index, query: str) -> list[str]:
    return sorted(hit.text for hit in index.search(query, mode="lexical", rerank=False, top_n=99))


def test_it_is_synced_searched_gone_back_to_and_cleaned(docs: Path) -> None:
    with open_index(docs, 3) as index:
        assert index.sync(str(docs)).added == 12
        assert len(texts(index, "common")) == 12
        (docs / "3.txt").write_text("common changed")
        assert index.plan(str(docs)).changed == 1
    with open_index(docs) as index:  # the number of shards is the recorded one
        assert index.sync(str(docs)).changed == 1
        assert texts(index, "changed") == ["common changed"]
        first, second = index.versions()
        assert (len(first.shards), first.passages, second.passages) == (3, 12, 12)
        assert index.rollback(1).note == "version 1 again"
        assert (texts(index, "changed"), texts(index, "lemon")) == ([], ["common lemon"])
        assert index.clean(keep=1, older_than_days=0)[0] == [1, 2]
        assert texts(index, "lemon") == ["common lemon"]
        assert index.source_options(str(docs)) == SourceOptions()


def test_another_number_of_shards_is_refused(docs: Path) -> None:
    open_index(docs, 3).sync(str(docs))
    for other in (1, 4):
        index = open_index(docs, other)
        for refused in (index.sync, index.plan, index.search):
            with pytest.raises(IndexMismatch, match=f"shards={other}: it has 3, and this never"):
                refused(str(docs))
    assert open_index(docs, 3).sync(str(docs)).unchanged == 12


def test_one_shard_is_an_index_without_shards(docs: Path) -> None:
    open_index(docs, 1).sync(str(docs))
    assert open_index(docs).versions()[0].shards == ()
    assert not (docs.parent / "index" / "shards").exists()
    with pytest.raises(IndexMismatch, match="shards=3: it has none"):
        open_index(docs, 3).sync(str(docs))


@pytest.mark.parametrize("shards", [0, -1, 1_001, 2.5, "many", True, float("nan"), [3]])
def test_an_impossible_number_of_shards_is_refused(docs: Path, shards: int) -> None:
    with pytest.raises(InputError, match=r"shards=.*: expected a whole number from 1 to 1,000"):
        open_index(docs, shards)


def test_a_pickle_holds_the_number_of_shards(docs: Path) -> None:
    index = pickle.loads(pickle.dumps(open_index(docs, 3)))
    index.sync(str(docs))
    assert len(index.versions()[0].shards) == 3
