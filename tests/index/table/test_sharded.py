"""Proves that an index of shards is searched as one index of the same documents."""

import gc
import json
import random
import re
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from index.sharded import ShardedShelf
from index.shelf import Shelf
from resift.errors import IndexMismatch, InputError, VersionGone
from resift.index.shards.layout import shard_of
from resift.index.table import base_snapshot
from resift.index.table.row_filters import RowFilter
from resift.index.table.sharded import OpenVersion, ShardedSnapshot
from resift.index.table.snapshot import Scored, View
from resift.index.table.where import parse_where

SHARDS = 4
QUERIES = (
    "w1 w7 max_memory_mb",
    "w3",
    "w2 w5 w11 w200",
    "ERR-1042 w4",
    "every running w9",
    "w250 w120 w90 w3",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenVersion, ShardedSnapshot]:
    """One index and four shards of 60 files with 10 rows each."""
    root = tmp_path_factory.mktemp("pair")
    sharded = ShardedShelf(root / "sharded", SHARDS)
    write_documents(sharded.docs)
    sharded.sync_shards()
    single = Shelf(root / "one")
    single.docs = sharded.docs
    single.sync()
    return single.snapshot(), sharded.whole()


def write_documents(folder: Path) -> None:
    random.seed(5)
    words = [f"w{number}" for number in range(300)]
    weights = [1 / (number + 1) for number in range(300)]
    for at in range(60):
        rows = []
        for row in range(10):
            text = random.choices(words, weights, k=random.randint(3, 40))
            text += random.choices(["max_memory_mb", "ERR-1042", "running runs", ""], k=1)
            rows.append({"id": f"r{at}-{row}", "text": " ".join(text), "year": 2000 + at % 7})
        rows[0]["only"] = f"v{at}"
        if at == 7:
            rows[1]["rare"] = "x"
        (folder / f"file{at}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def by_id(version: OpenVersion, scored: Scored) -> dict[str, float]:
    passages = version.view().passages([row for row, _ in scored])
    return {passage.id: score for passage, (_, score) in zip(passages, scored, strict=True)}


def assert_equal(pair: Sequence[OpenVersion], results: Sequence[Scored]) -> None:
    expected, actual = map(by_id, pair, results)
    assert len(actual) == len(expected)
    assert list(actual.values()) == pytest.approx(list(expected.values()), abs=1e-4)
    # Rows with the score of the last one may be others.
    last = min(expected.values(), default=0.0) + 2e-4
    above = {id_ for id_, score in expected.items() if score > last}
    assert above <= actual.keys()
    assert {id_: actual[id_] for id_ in above} == pytest.approx(
        {id_: expected[id_] for id_ in above}, abs=1e-4
    )


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("count", [1, 30, 600])
def test_bm25_scores_are_those_of_one_index(
    pair: tuple[OpenVersion, ShardedSnapshot], query: str, count: int
) -> None:
    results = [version.view().lexical(query, count) for version in pair]
    assert results[0]
    assert results[1] == sorted(results[1], key=lambda entry: (-entry[1], entry[0]))
    assert_equal(pair, results)


@pytest.mark.parametrize("count", [1, 30, 600])
def test_cosines_are_those_of_one_index(
    pair: tuple[OpenVersion, ShardedSnapshot], count: int
) -> None:
    vector = HashingEmbedder().embed_query("w3 w5 running")
    assert_equal(pair, [version.view().dense(vector, count) for version in pair])


@pytest.mark.parametrize(
    "where",
    [
        "year = 2003",
        "only = 'v7'",
        "rare = 'x'",
        "not (year = 2003)",
        "source starts with '/nowhere'",
    ],
)
def test_a_filter_selects_the_same_rows(
    pair: tuple[OpenVersion, ShardedSnapshot], where: str
) -> None:
    """Also if it compares a key that passages of one shard only have."""
    vector = HashingEmbedder().embed_query("w3 w5 running")
    views = [version.view() for version in pair]
    filters = [view.matching_rows(parse_where(where)) for view in views]
    assert filters[0].count == filters[1].count
    both = list(zip(views, filters, strict=True))
    assert_equal(pair, [view.lexical("w1 w3", 50, rows) for view, rows in both])
    assert_equal(pair, [view.dense(vector, 50, rows) for view, rows in both])


@pytest.mark.parametrize("where", ["yeer = 2003", "year = 'x'", "only = 3"])
def test_a_filter_that_no_shard_can_match_is_refused_with_the_same_words(
    pair: tuple[OpenVersion, ShardedSnapshot], where: str
) -> None:
    messages = []
    for version in pair:
        with pytest.raises(InputError) as refused:
            version.view().matching_rows(parse_where(where))
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_passages_and_states_are_in_the_order_of_the_rows(
    pair: tuple[OpenVersion, ShardedSnapshot],
) -> None:
    single, sharded = (version.view() for version in pair)
    expected = single.passages(rows_of(single.lexical("w1", 500)))
    rows = rows_of(sharded.lexical("w1", 500))[::-1]
    passages = sharded.passages(rows)
    assert len(rows) > 200
    by_row = zip(rows, passages, strict=True)
    assert {row: sharded.passages([row]) for row in rows[:5]} == {
        row: [passage] for row, passage in list(by_row)[:5]
    }
    assert sorted((passage.id, passage.text) for passage in passages) == sorted(
        (passage.id, passage.text) for passage in expected
    )
    assert sharded.passages([]) == []
    assert sharded.states(rows) == {}


def rows_of(scored: Scored) -> list[int]:
    return [row for row, _ in scored]


def test_passages_are_found_by_id_in_any_shard(pair: tuple[OpenVersion, ShardedSnapshot]) -> None:
    single, sharded = (version.view() for version in pair)
    ids = [passage.id for passage in single.passages(rows_of(single.lexical("w1 w2 w3", 150)))]
    passages = sharded.find([*ids, "nothing#0"])
    assert sorted(passage.id for passage in passages) == sorted(ids)


def test_a_query_without_terms_finds_nothing(pair: tuple[OpenVersion, ShardedSnapshot]) -> None:
    assert pair[1].view().lexical("\u200b", 10) == []
    assert not pair[1].view().has_terms("\u200b")
    assert pair[1].view().lexical("nosuchterm", 10) == []
    assert pair[1].view().has_terms("nosuchterm")


def test_local_shards_count_no_requests(pair: tuple[OpenVersion, ShardedSnapshot]) -> None:
    view = pair[1].view()
    view.lexical("w1", 10)
    assert (view.requests, view.bytes, pair[1].is_local) == (0, 0, True)


@pytest.fixture
def few(tmp_path: Path) -> ShardedShelf:
    """Two documents in four shards: at least two shards are empty."""
    few = ShardedShelf(tmp_path, SHARDS)
    few.write(cat="a cat", dog="a dog and a cat")
    few.sync_shards()
    return few


def test_shards_without_documents_are_not_read(few: ShardedShelf) -> None:
    opened = few.whole()
    assert 0 in opened.version.shards
    view = opened.view()
    assert len(view) == len(view.lexical("cat", 10)) == 2
    assert len(view.dense(few.embedder.embed_query("cat"), 10)) == 2
    assert view.matching_rows(parse_where("title != 'x'")).count == 2


def test_readers_stay_at_the_version_that_the_whole_names(few: ShardedShelf) -> None:
    """Also when a shard has published a newer version of its own."""
    before = few.whole()
    [shard] = {shard_of(few.uri("cat.txt"), SHARDS)}
    few.write(cat="a lion")
    newer = few.sync_shard(shard, ["cat.txt"])
    assert newer and newer.number == 2
    for opened in (before, few.whole()):
        assert len(opened.view().lexical("cat", 10)) == 2
        assert opened.view().lexical("lion", 10) == []
    numbers = list(before.version.shards)
    numbers[shard] = 2
    few.publish_whole(numbers)
    assert len(few.whole().view().lexical("lion", 10)) == 1
    assert len(few.whole(1).view().lexical("cat", 10)) == 2


@pytest.mark.parametrize("lost", ["versions", "passages.lance/data", "passages.lance/_indices"])
def test_a_shard_that_is_gone_is_an_error_of_the_whole(few: ShardedShelf, lost: str) -> None:
    """So that a search goes on with the newest version."""
    opened = few.whole() if lost != "versions" else None
    shard = next(at for at, number in enumerate(few.versions.find().shards) if number)
    shutil.rmtree(few.shard(shard).folder / lost)
    what = (
        "has lost shards/00" if lost == "versions" else "is not whole any more: files of shards/00"
    )
    message = re.escape(f"{few.location.uri}: version 1 {what}")
    with pytest.raises(VersionGone, match=message) as gone:
        opened = opened or few.whole()
        opened.view().passages(rows_of(opened.view().lexical("cat", 10)))
    assert gone.value.number == 1
    assert str(gone.value).count("version 1") == 1


def test_files_that_go_while_keys_are_checked_are_an_error_of_the_whole(
    few: ShardedShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = few.whole().view()
    shard = next(at for at, number in enumerate(few.versions.find().shards) if number)
    shutil.rmtree(few.shard(shard).folder / "passages.lance/data")
    monkeypatch.setattr(View, "rows_of", lambda view, sql: RowFilter(0, b""))  # before they went
    with pytest.raises(VersionGone, match=f"^{few.location.uri}: version 1 .*files of shards/00"):
        view.matching_rows(parse_where("year = 2003"))


def test_a_version_with_notes_is_opened_again_after_a_while(
    few: ShardedShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = few.whole().shards
    noted = ShardedSnapshot("u", few.newest(), shards, ("the store is down",))
    assert not noted.should_reload
    monkeypatch.setattr(base_snapshot, "RELOAD_AFTER_S", -1.0)
    assert noted.should_reload
    assert not ShardedSnapshot("u", few.newest(), shards).should_reload


def test_a_shard_with_other_vectors_is_refused(few: ShardedShelf) -> None:
    version = replace(few.newest(), number=2, fingerprint="another")
    assert few.versions.publish(version, {})
    with pytest.raises(IndexMismatch, match=r"shards/00\d: made by embedder hashing-64 and"):
        few.whole()


def test_an_open_version_is_released_without_the_garbage_collector(few: ShardedShelf) -> None:
    """It holds caches, and locks on copies."""
    opened = few.whole()
    opened.view().lexical("cat", 10)
    reference = weakref.ref(opened)
    gc.disable()
    try:
        del opened
        assert reference() is None
    finally:
        gc.enable()
