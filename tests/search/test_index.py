"""Proves the public Index: what it refuses, what it loads when, and that threads may share it."""

import copy
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.fakes import HashingEmbedder
from resift.errors import (
    IndexMismatch,
    IndexNotFound,
    InputError,
    ModelNotFound,
    SourceError,
    StoreError,
)
from resift.index import publish
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards, Picky


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


def test_half_a_character_is_no_query(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    for call in (index.search, index.retrieve):
        with pytest.raises(InputError, match="lone surrogates"):
            call("dog \ud800")


def test_what_is_retrieved_is_what_a_search_would_rerank(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    index.sync(str(docs))
    retrieved = index.retrieve("dog", depth=2)
    first = index.search("dog", top_n=2, depth=2, rerank=False)
    assert [candidate.id for candidate in retrieved.candidates] == [hit.id for hit in first]
    assert [candidate.score for candidate in retrieved.candidates] == [
        hit.first_stage_score for hit in first
    ]
    assert (retrieved.depth, retrieved.version, retrieved.reason) == (2, 1, None)
    with pytest.raises(InputError, match="depth=0"):
        index.retrieve("dog", depth=0)


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


def test_the_settings_name_the_embedder(tmp_path: Path, docs: Path) -> None:
    index_at(tmp_path).sync(str(docs))
    index = Index(str(tmp_path / "index"), settings=Settings(embedder="no-such-embedder"))
    with pytest.raises(ModelNotFound, match="no-such-embedder: no such embedder"):
        index.sync(str(tmp_path))


def test_a_search_without_an_index_is_an_error(tmp_path: Path) -> None:
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
        ({"query": ""}, "query: empty"),
        ({"query": " \n"}, "query: empty"),
        ({"query": None}, "query: expected text, got NoneType"),
        ({"top_n": 0}, "top_n=0: expected a whole number from 1"),
        ({"top_n": None}, "top_n=None: expected a whole number from 1"),
        ({"top_n": 2.5}, "top_n=2.5: expected a whole number from 1"),
        ({"depth": True}, "depth=True: expected a whole number from 1"),
        ({"depth": "20"}, "depth='20': expected a whole number from 1"),
        ({"depth": float("nan")}, "depth=nan: expected a whole number from 1"),
        ({"depth": 0}, "depth=0: expected a whole number from 1"),
        ({"mode": "fuzzy"}, "mode='fuzzy': expected one of hybrid, dense, lexical"),
        ({"mode": ["dense"]}, r"mode=\['dense'\]: expected one of"),
        ({"mode": None}, "mode=None: expected one of"),
        ({"budget_ms": -1}, "budget_ms=-1: expected milliseconds from 0"),
        ({"budget_ms": float("nan")}, "budget_ms=nan: expected milliseconds from 0"),
        ({"budget_ms": True}, "budget_ms=True: expected milliseconds from 0"),
        ({"budget_ms": "50"}, "budget_ms='50': expected milliseconds from 0"),
        ({"max_requests": 0}, "max_requests=0: expected a whole number from 1, or None"),
        ({"exact": "yes"}, "exact='yes': expected True or False"),
        ({"tolerance": 0.6}, "tolerance=0.6: expected a number over 0, up to 0.5"),
        ({"tolerance": 0.1, "rerank": False}, "rerank=False: tolerance needs the reranker"),
        ({"fusion_weight": -1}, "fusion_weight=-1: expected a number from 0 to"),
        ({"fusion_weight": "big"}, "fusion_weight='big': expected a number from 0 to"),
        ({"long_documents": "all"}, "long_documents='all': expected cut or windows"),
        (
            {"long_documents": "windows", "rerank": False},
            "rerank=False: long_documents needs the reranker",
        ),
        ({"exact": True, "rerank": False}, "rerank=False: exact needs the reranker"),
        ({"where": 5}, "where=5: expected text, or None"),
        ({"where": "lang ="}, "where, character 7: expected"),
        ({"where": ""}, "where, character 1: expected a name, found the end"),
    ],
)
def test_what_no_search_can_use_is_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        index_at(tmp_path).search(**{"query": "cat", **arguments})


def test_a_condition_is_given_in_words(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    index.sync(str(docs))
    ranking = index.search("animal", where="doc_id = 'dog.md' or doc_id starts with 'b'")
    assert {Path(hit.id).name for hit in ranking} == {"dog.md#0", "bird.md#0"}


def test_more_hits_than_there_are_is_all_of_them(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    assert len(index.search("animal", top_n=500, rerank=False)) == 3


def texts(index: Index) -> list[str]:
    return sorted(str(hit.text) for hit in index.search("animal", rerank=False))


def test_a_search_stays_with_its_version_until_a_refresh(tmp_path: Path, docs: Path) -> None:
    writer = index_at(tmp_path)
    writer.sync(str(docs))
    reader, pinned = index_at(tmp_path), index_at(tmp_path, version=1)
    before = texts(reader)
    (docs / "cat.md").write_text("# About\n\nThe llama is an animal.")
    writer.sync(str(docs))
    assert texts(reader) == texts(pinned) == before != texts(writer)
    reader.refresh()
    pinned.refresh()
    assert (texts(reader), texts(pinned)) == (texts(writer), before)
    assert reader.search("llama", rerank=False).receipt.version == 2


def test_a_pinned_index_cannot_be_changed(tmp_path: Path, docs: Path) -> None:
    index_at(tmp_path).sync(str(docs))
    pinned = index_at(tmp_path, version=1)
    for change in (lambda: pinned.sync(str(docs)), lambda: pinned.rollback(1)):
        with pytest.raises(InputError, match="version=1: a version never changes: leave it out"):
            change()
    with pytest.raises(IndexNotFound, match="no version 2: resift versions"):
        index_at(tmp_path, version=2).search("cat", rerank=False)


def test_versions_are_listed_gone_back_to_and_cleaned(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    before = texts(index)
    (docs / "cat.md").unlink()
    index.sync(str(docs))
    assert [(version.number, version.documents) for version in index.versions()] == [(1, 3), (2, 2)]
    assert index.rollback(1).number == 3
    assert texts(index) == before
    assert index.clean() == ([], 0)
    removed, freed = index.clean(older_than_days=0)
    assert removed == [1, 2] and freed > 0
    assert [version.number for version in index.versions()] == [3]
    assert texts(index) == before


def test_a_sync_deletes_versions_that_were_replaced_long_ago(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, numbers = index_at(tmp_path), []
    for days in (40, 20, 0):
        created = datetime.now(UTC) - timedelta(days)
        monkeypatch.setattr(publish, "now", created.isoformat)
        (docs / "cat.md").write_text(f"The cat is {days} days old.")
        number = index.sync(str(docs)).version
        record = tmp_path / "index" / "versions" / f"{number:08}.json"
        os.utime(record, (created.timestamp(), created.timestamp()))
        numbers.append([version.number for version in index.versions()])
    assert numbers == [[1], [1, 2], [2, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0}, "keep=0: expected a whole number from 1"),
        ({"older_than_days": -1}, "older_than_days=-1: expected 0 or more"),
        ({"older_than_days": float("nan")}, "older_than_days=nan: expected 0 or more"),
    ],
)
def test_cleaning_what_cannot_be_is_refused(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        index_at(tmp_path).clean(**arguments)


def test_where_nothing_is_there_are_no_versions_and_none_is_made(tmp_path: Path) -> None:
    index = index_at(tmp_path)
    calls: list[Callable[[], object]] = [index.versions, lambda: index.rollback(1), index.clean]
    for call in calls:
        with pytest.raises(IndexNotFound):
            call()
    assert not list(tmp_path.iterdir())


def test_a_plan_counts_and_writes_nothing(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    assert (index.plan(str(docs)).added, index.plan(str(docs)).passages) == (3, 3)
    assert not (tmp_path / "index").exists()


def test_an_index_is_opened_with_the_embedder_it_was_made_by(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str | None] = []

    def open_by_name(name: str | None, settings: Settings) -> HashingEmbedder:
        opened.append(name)
        return HashingEmbedder(str(name))

    monkeypatch.setattr("resift.search.components.open_embedder", open_by_name)
    uri = str(tmp_path / "index")
    Index(uri, settings=Settings(), embedder=HashingEmbedder("wordllama")).sync(str(docs))
    Index(uri, settings=Settings()).search("cat", rerank=False)
    Index(uri, settings=Settings()).sync(str(docs))
    assert opened == ["wordllama", "wordllama"]
    with pytest.raises(IndexMismatch, match="RESIFT_EMBEDDER=wordllama"):
        Index(uri, settings=Settings(embedder="other")).search("cat", rerank=False)


def test_an_index_does_not_choose_where_queries_are_sent(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str | None] = []

    def open_by_name(name: str | None, settings: Settings) -> HashingEmbedder:
        opened.append(name)
        return HashingEmbedder("mine")

    monkeypatch.setattr("resift.search.components.open_embedder", open_by_name)
    uri = str(tmp_path / "index")
    theirs = HashingEmbedder("http://elsewhere/v1#model")
    Index(uri, settings=Settings(), embedder=theirs).sync(str(docs))
    with pytest.raises(IndexMismatch, match="made by embedder http://elsewhere"):
        Index(uri, settings=Settings()).search("cat", rerank=False)
    assert opened == [None]


def test_a_citation_is_verified_by_a_hits_id(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    hit = index.search("dog", rerank=False)[0]
    assert index.verify_citation(hit.id).status == "verified"
    (docs / "dog.md").write_text("Foreword.\n\n# About\n\nThe dog is an animal.")
    assert index.verify_citation(hit.id).status == "still_there"
    (docs / "dog.md").write_text("# About\n\nThe dog is a friend.")
    assert index.verify_citation(hit.id).status == "changed"
    (docs / "dog.md").unlink()
    assert index.verify_citation(hit.id).status == "gone"
    assert index.verify_citation("nothing").status == "unknown"


def test_threads_share_an_index(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    index.sync(str(docs))
    with ThreadPoolExecutor(8) as pool:
        rankings = list(pool.map(lambda _: [h.id for h in index.search("dog")], range(40)))
    assert all(ranking == rankings[0] for ranking in rankings)


@pytest.mark.parametrize("name", ["min_score", "abstain_below"])
def test_thresholds_need_scores_and_sense(tmp_path: Path, docs: Path, name: str) -> None:
    index = index_at(tmp_path, reranker=Picky())
    index.sync(str(docs))
    least: dict[str, Any] = {name: 0.5}
    assert len(index.search("dog", **least)) == 3
    with pytest.raises(InputError, match=f"rerank=False: {name} needs the reranker"):
        index.search("dog", rerank=False, **least)
    with pytest.raises(InputError, match=f"{name}=5: expected a number from 0 to 1"):
        index.search("dog", **(least | {name: 5}))


def test_a_pickled_index_opens_again_in_another_process(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, version=1, reranker=Backwards())
    index_at(tmp_path).sync(str(docs))
    expected = [hit.id for hit in index.search("dog")]
    for opened in (index, pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        ranking = opened.search("dog")
        assert [hit.id for hit in ranking] == expected and ranking.receipt.version == 1


def test_a_closed_index_opens_again(tmp_path: Path, docs: Path) -> None:
    with index_at(tmp_path) as index:
        index.sync(str(docs))
        assert len(index.search("dog", rerank=False)) == 3
        index.close()
        assert len(index.search("dog", rerank=False)) == 3
    index.close()


def test_a_closed_index_releases_the_models_that_it_has_loaded(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str | None] = []

    def open_by_name(name: str | None, settings: Settings) -> HashingEmbedder:
        loaded.append(name)
        return HashingEmbedder()

    index_at(tmp_path).sync(str(docs))
    monkeypatch.setattr("resift.search.components.open_embedder", open_by_name)
    reranker = Backwards()
    with Index(tmp_path / "index", settings=Settings(), reranker=reranker) as index:
        for _ in range(2):
            index.search("dog")
        assert len(loaded) == 1
    assert len(index.search("dog")) == 3
    assert len(loaded) == 2 and len(reranker.calls) == 3


def test_a_closed_index_closes_the_reranker_that_it_has_loaded_and_no_other(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closable(Backwards):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    given, loaded = Closable(), Closable()
    monkeypatch.setattr("resift.rerank.families.names.open_ranker", lambda **_: loaded)
    index_at(tmp_path).sync(str(docs))
    for reranker in (given, None):
        with index_at(tmp_path, reranker=reranker) as index:
            assert len(index.search("dog")) == 3
        index.close()
    assert (given.closed, loaded.closed) == (0, 1)


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2)])
def test_numpy_numbers_are_numbers(tmp_path: Path, docs: Path, number: Any) -> None:
    index = index_at(tmp_path)
    index.sync(str(docs))
    budgets: list[Any] = [np.float32(60_000), np.int64(60_000), 1e308, float("inf")]
    for budget_ms in budgets:
        ranking = index.search("dog", number, number, rerank=False, budget_ms=budget_ms)
        assert len(ranking) == 2 and not ranking.receipt.partial


def test_a_top_n_over_the_depth_raises_the_depth(tmp_path: Path, docs: Path) -> None:
    index = index_at(tmp_path, reranker=Backwards())
    index.sync(str(docs))
    ranking = index.search("animal", top_n=3, depth=1)
    assert len(ranking) == 3 and ranking.receipt.scored == 3
    assert len(index.search("animal", top_n=10**30, depth=10**30, rerank=False)) == 3


def test_what_is_loaded_beforehand_is_not_loaded_by_a_search(
    tmp_path: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def open_by_name(name: str | None, settings: Settings) -> HashingEmbedder:
        loaded.append("embedder")
        return HashingEmbedder()

    index_at(tmp_path).sync(str(docs))
    monkeypatch.setattr("resift.search.components.open_embedder", open_by_name)
    index = Index(tmp_path / "index", settings=Settings(), reranker=Backwards())
    index.load()
    assert loaded == ["embedder"]
    index.search("dog")
    assert loaded == ["embedder"]
