"""Proves that versions of the whole are published and cleaned without loss."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from index.shards.shelf import ShelfOfShards
from index.shelf import Shelf
from resift.errors import IndexBusy, IndexMismatch
from resift.index.shards import publish as publishing
from resift.index.shards.publish import Whole, publish_whole, summarise
from resift.index.versions.published import Versions
from resift.index.versions.record import VectorIndex, Version, read_record, write_record
from resift.index.versions.shard_count import ShardCount


def at_first_call(
    patch: pytest.MonkeyPatch, owner: type, name: str, work: Callable[[], object]
) -> None:
    """Do something before the first call of a method."""
    original = getattr(owner, name)

    def method(*arguments: Any) -> Any:
        patch.setattr(owner, name, original)
        work()
        return original(*arguments)

    patch.setattr(owner, name, method)


def test_what_another_sync_publishes_meanwhile_is_not_lost(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    for below in ("one", "two"):
        (shelf.docs / below).mkdir()
        for shard in range(3):
            shelf.path_in(shard, below).write_text("text")
        shelf.sync(below)
    version_of = publishing._version_of

    def another_sync(*arguments: Any) -> Version:
        monkeypatch.setattr(publishing, "_version_of", version_of)
        made = version_of(*arguments)
        shelf.path_in(2, "two").write_text("by the other")
        shelf.sync("two")
        return made

    monkeypatch.setattr(publishing, "_version_of", another_sync)
    shelf.path_in(0, "one").write_text("by the first")
    assert shelf.sync("one").version == 4
    assert [shelf.versions.get(n).shards for n in (2, 3, 4)] == [(2, 2, 2), (2, 2, 3), (3, 2, 3)]
    assert {"by the first", "by the other"} <= set(shelf.texts())


def test_an_older_version_of_a_shard_is_never_named_again(shelf: ShelfOfShards) -> None:
    shelf.fill_shards()
    shelf.sync()
    first = shelf.versions.shard(1).get(1)
    shelf.change(1, "newer")
    newest = shelf.newest()
    whole = Whole(ShardCount(3, newest.table), shelf.embedder, newest.analyser)
    assert publish_whole(shelf.versions, whole, {1: first}, {}) == newest


def test_syncs_at_once_end_well_and_lose_nothing(shelf: ShelfOfShards) -> None:
    shelf.fill_shards()
    shelf.sync()
    errors: list[BaseException] = []

    def run(below: str) -> None:
        try:
            shelf.sync(below)
        except BaseException as error:
            errors.append(error)

    for below in ("one", "two"):
        (shelf.docs / below).mkdir()
        for number in range(6):
            (shelf.docs / below / f"{number}.txt").write_text(f"{below} {number}")
    threads = [threading.Thread(target=run, args=(below,)) for below in ("one", "two", "one")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(shelf.passages()) == shelf.newest().passages == 18


def test_an_index_where_others_publish_all_the_time_is_busy(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.fill_shards()
    monkeypatch.setattr("resift.index.publish.time.sleep", lambda seconds: None)
    publish = Versions.publish

    def lose(versions: Versions, version: Version, entries: Any) -> bool:
        return not version.shards and publish(versions, version, entries)

    monkeypatch.setattr(Versions, "publish", lose)
    with pytest.raises(IndexBusy, match=r"others published there each time .* run the sync again"):
        shelf.sync()


def test_a_publication_whose_answer_was_lost_is_one_version(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.fill_shards()
    shelf.sync()
    newest = shelf.newest()
    assert shelf.versions.publish(newest, {})
    assert not shelf.versions.publish(replace(newest, shards=(1, 1, 2)), {})


def test_another_sync_without_shards_is_refused(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf.fill_shards()
    single = Shelf(tmp_path)
    with monkeypatch.context() as patch:
        at_first_call(patch, Versions, "publish", single.sync)
        with pytest.raises(IndexMismatch, match="made without shards by another sync"):
            shelf.sync()
    shelf.write(new="a new text")
    with pytest.raises(IndexMismatch, match="made without shards by another sync"):
        shelf.sync()
    assert single.newest().shards == ()


def test_another_sync_with_shards_is_refused(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shelf.fill_shards()
    single = Shelf(tmp_path)
    with monkeypatch.context() as patch:
        at_first_call(patch, Versions, "publish", shelf.sync)
        with pytest.raises(IndexMismatch, match="made with shards by another sync"):
            single.sync()
    assert len(shelf.newest().shards) == 3


@pytest.fixture
def four(shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch) -> ShelfOfShards:
    """Versions of 40, 30, 20 and 10 days ago: the last three change shards 0, 1 and 0."""
    shelf.fill_shards()
    for number, shard in enumerate([2, 0, 1, 0], 1):
        created = (datetime.now(UTC) - timedelta(days=50 - 10 * number)).isoformat
        for module in ("resift.index.publish.now", "resift.index.shards.publish.now"):
            monkeypatch.setattr(module, created)
        shelf.change(shard, f"changed {number}")
    return shelf


def test_cleaning_deletes_what_no_remaining_version_names(four: ShelfOfShards) -> None:
    assert four.shard_numbers() == [[1, 2, 3], [1, 2], [1]]
    texts = {number: four.texts(number) for number in four.versions.numbers()}
    assert four.clean(keep=1, older_than_s=25 * 86_400)[0] == [1]
    assert four.shard_numbers() == [[2, 3], [1, 2], [1]]
    assert four.clean(keep=2)[0] == [2]
    assert (four.versions.numbers(), four.shard_numbers()) == ([3, 4], [[2, 3], [2], [1]])
    assert {number: four.texts(number) for number in (3, 4)} == {n: texts[n] for n in (3, 4)}
    removed, freed = four.clean(keep=1)
    assert removed == [3] and freed > 0
    assert (four.shard_numbers(), four.texts()) == ([[3], [2], [1]], texts[4])


def test_cleaning_leaves_versions_that_a_running_sync_will_name(
    four: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("unnamed", "unnamed too"):
        four.write(**{four.names_in(1)[0]: text})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("resift.index.shards.sync.publish_whole", stop)
            four.sync()
    four.clean(keep=1)
    assert four.shard_numbers() == [[3], [2, 3, 4], [1]]  # either sync may be the running one
    four.sync()
    assert "unnamed too" in four.texts()


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_the_summary_of_vectors_pools_those_of_the_shards() -> None:
    assert summarise([]) == VectorIndex()
    exact = VectorIndex(spread=0.1)
    assert summarise([(exact, 10), (exact, 90)], 0.2).spread == 0.2
    first = VectorIndex("IVF_HNSW_SQ", 900, 2, 200, 0.98, 100, 0.3)
    both = summarise([(first, 1_000), (exact, 3_000), (VectorIndex(), 5)])
    assert (both.kind, both.rows, both.partitions, both.effort) == ("IVF_HNSW_SQ", 900, 2, 200)
    assert both.recall == pytest.approx((0.98 * 1_000 + 3_005) / 4_005)


def test_the_record_of_the_whole_is_read_as_it_was_written(shelf: ShelfOfShards) -> None:
    shelf.fill_shards()
    shelf.sync()
    newest = shelf.newest()
    body = write_record(newest)
    assert (json.loads(body)["format"], read_record(body, 1, "/index")) == (6, newest)
    assert [name for name, _ in newest.files] == ["shards/000", "shards/001", "shards/002"]
    sizes = [sum(s for _, s in v.files) for v in shelf.versions.shard_versions(newest) if v]
    assert [size for _, size in newest.files] == sizes
    single = json.loads(write_record(shelf.versions.shard(0).get(1)))
    assert single["format"] == 5 and "shards" not in single  # older versions of resift read it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": []}, "expected the versions of at least 2 shards"),
        ({"shards": [1]}, "expected the versions of 2 to 1,000 shards"),
        ({"shards": [1] * 1_001}, "expected the versions of 2 to 1,000 shards"),
        ({"shards": [0, 0]}, "expected a version of at least one shard"),
        ({"shards": [1, -1]}, "expected a whole number from 0"),
        ({"shards": [1, True]}, "expected a whole number from 0"),
        ({"shards": None}, "expected the versions of 2 to 1,000 shards"),
        ({"manifest": "manifests/a.parquet"}, "none for an index of shards"),
        ({"shard_tables": ["a", "b"]}, "expected the table of each shard that has a version"),
        ({"shard_tables": ["a", "b", ""]}, "expected the table of each shard that has a version"),
        ({"shard_tables": ["a", "b", "../c"]}, "expected a path inside of the index"),
        ({"shard_tables": ["a", "b", 3]}, "expected a text"),
        ({"shard_tables": "abc"}, "expected the tables of 2 to 1,000 shards"),
    ],
)
def test_a_malformed_record_of_the_whole_is_damaged(
    shelf: ShelfOfShards, changes: dict[str, Any], message: str
) -> None:
    shelf.fill_shards()
    shelf.sync()
    record = json.loads(write_record(shelf.newest()))
    with pytest.raises(ValueError, match=message):
        read_record(json.dumps(record | changes).encode(), 1, "/index")


def test_a_record_without_shards_has_a_manifest(shelf: ShelfOfShards) -> None:
    shelf.fill_shards()
    shelf.sync()
    record = json.loads(write_record(shelf.versions.shard(0).get(1)))
    assert read_record(json.dumps(record | {"shards": [1, 1]}).encode(), 1, "/index").shards == ()
    with pytest.raises(ValueError, match="manifest: expected a name"):
        read_record(json.dumps(record | {"manifest": ""}).encode(), 1, "/index")
