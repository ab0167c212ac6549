"""Proves that lost, swapped and damaged shards are named, and never written to."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from index.shards.shelf import ShelfOfShards
from index.shelf import LOCAL, Shelf
from resift.errors import IndexMismatch, InputError, StoreError, VersionGone
from resift.index.embed import Models
from resift.index.plan import plan
from resift.index.publish import clean, rollback
from resift.index.sources.source import open_source
from resift.index.sync import sync
from resift.index.table.open import open_version
from resift.index.table.store import Store
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.shard_count import claimed_shards
from resift.settings import Settings

NOT_THE_SHARD = (
    r"index/shards/00\d: is not the shard that version 2 of /.*/index names: restore it, or build "
    "a new index$"
)
LOST = (
    r"^/.*/index: version 2 has lost shards/001: restore it, roll back to another version, or "
    "build a new index$"
)


@pytest.fixture
def two(shelf: ShelfOfShards) -> ShelfOfShards:
    """Two versions of all three shards, and a document that is not indexed yet."""
    names = [name for shard in range(3) for name in shelf.names_in(shard, 2)]
    shelf.write(**{name: f"text {name}" for name in names})
    shelf.sync()
    shelf.write(**{name: f"changed {name}" for name in names})
    shelf.sync()
    shelf.write(**{shelf.names_in(1, 3)[2]: "a new one"})
    return shelf


def folder(shelf: ShelfOfShards, number: int) -> Path:
    return shelf.index / "shards" / f"{number:03}"


def swap(shelf: ShelfOfShards) -> None:
    aside = shelf.index / "aside"
    folder(shelf, 0).rename(aside)
    folder(shelf, 1).rename(folder(shelf, 0))
    aside.rename(folder(shelf, 1))


def replace_by_shard_of_another(shelf: ShelfOfShards) -> None:
    other = ShelfOfShards(shelf.docs.parent)
    other.index = shelf.docs.parent / "other"
    other.sync()
    shutil.rmtree(folder(shelf, 1))
    shutil.copytree(folder(other, 1), folder(shelf, 1))


def search(shelf: ShelfOfShards) -> object:
    return open_version(shelf.location, Settings(), shelf.newest())


def plan_a_sync(shelf: ShelfOfShards) -> object:
    source = open_source(str(shelf.docs), LOCAL)
    return plan(source, shelf.versions, Models(shelf.embedder), shards=3)


def state(shelf: ShelfOfShards) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_mtime_ns) for path in shelf.files()]


EACH_USE: list[Callable[[ShelfOfShards], object]] = [
    search,
    plan_a_sync,
    lambda shelf: shelf.sync(),
    lambda shelf: shelf.rollback(2),
    lambda shelf: shelf.clean(keep=1),
    lambda shelf: shelf.versions.entries(shelf.newest()),  # of verify-citation
]


@pytest.mark.parametrize("swapped", [swap, replace_by_shard_of_another])
def test_another_table_in_the_place_of_a_shard_is_refused_everywhere(
    two: ShelfOfShards, swapped: Callable[[ShelfOfShards], None]
) -> None:
    swapped(two)
    before = state(two)
    for use in EACH_USE:
        with pytest.raises(IndexMismatch, match=NOT_THE_SHARD):
            use(two)
    assert state(two) == before


def test_a_table_that_was_exchanged_below_its_versions_is_not_written_to(
    two: ShelfOfShards,
) -> None:
    aside, table = two.index / "aside", "passages.lance"
    (folder(two, 0) / table).rename(aside)
    (folder(two, 1) / table).rename(folder(two, 0) / table)
    aside.rename(folder(two, 1) / table)
    before = state(two)
    with pytest.raises(StoreError):
        two.sync()
    assert state(two) == before
    with pytest.raises(IndexMismatch, match=r"shards/000: is not the shard that the index names"):
        two.clean(keep=1)
    tables = [file for file in before if table in file[0]]
    assert [file for file in state(two) if table in file[0]] == tables


def test_a_rollback_does_not_empty_another_table(shelf: ShelfOfShards) -> None:
    """The version had no documents in the shard."""
    (shelf.docs / "one").mkdir()
    for shard in (0, 2):
        shelf.path_in(shard, "one").write_text("a text")
        shelf.sync("one")
    assert [shelf.versions.get(number).shards for number in (1, 2)] == [(1, 0, 0), (1, 0, 1)]
    shutil.rmtree(folder(shelf, 2))
    shutil.copytree(folder(shelf, 0), folder(shelf, 2))
    before = state(shelf)
    with pytest.raises(IndexMismatch, match="shards/002: is not the shard that the index names"):
        shelf.rollback(1)
    assert state(shelf) == before


@pytest.mark.parametrize("lost", ["", "versions", "versions/00000002.json"])
def test_a_lost_shard_is_named_by_the_version_that_needs_it(two: ShelfOfShards, lost: str) -> None:
    path = folder(two, 1) / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    before = state(two)
    for use in EACH_USE:
        with pytest.raises(VersionGone, match=LOST):
            use(two)
    assert state(two) == before


def test_damage_to_a_shard_is_told_with_the_version_of_the_whole(two: ShelfOfShards) -> None:
    two.write(**{two.names_in(0)[0]: "changed once more"})
    two.sync()  # so that the shards' numbers are others than that of the whole
    two.write(**{two.names_in(0)[0]: "and again"})
    two.sync()
    numbers = two.newest().shards
    assert two.newest().number == 4 and numbers[2] == 2
    record = folder(two, 2) / "versions" / "00000002.json"
    manifest = folder(two, 2) / two.versions.shard(2).get(2).manifest
    content, entries = record.read_bytes(), manifest.read_bytes()
    remedy = "restore it, roll back to another version, or build a new index$"
    record.write_text("{")
    with pytest.raises(
        Damaged,
        match=rf"index: version 4: shards/002/versions/00000002.json is damaged \(.*\): {remedy}",
    ):
        two.sync()
    record.write_bytes(content)
    manifest.write_bytes(b"PAR1 no more")
    with pytest.raises(
        Damaged, match=rf"index: version 4: shards/002/manifests/.* is damaged: {remedy}"
    ):
        two.sync()
    manifest.unlink()
    with pytest.raises(StoreError, match="index: version 4: shards/002 has lost its manifest:"):
        two.sync()
    manifest.write_bytes(entries)
    (folder(two, 2) / "passages.lance" / two.versions.shard(2).get(2).files[0][0]).unlink()
    with pytest.raises(
        StoreError, match=rf"index: version 4: shards/002 has lost 1 of its \d+ files, .* {remedy}"
    ):
        two.sync()


def test_a_shard_is_not_written_to_alone(two: ShelfOfShards) -> None:
    location = two.versions.shard(1).location
    alone, models = Versions(location), Models(two.embedder)
    store, source = Store.open(location, two.embedder), open_source(str(two.docs), LOCAL)
    before = state(two)
    uses: list[Callable[[], object]] = [
        lambda: sync(source, alone, models),
        lambda: plan(source, alone, models),
        lambda: rollback(store, alone, 1),
        lambda: clean(store, alone, 1, 0),
    ]
    for use in uses:
        with pytest.raises(InputError, match=r"001: a shard, .* expected their index, /.*x$"):
            use()
    assert state(two) == before
    assert len(open_version(location, Settings(), alone.find())) == 2  # it may be searched
    shutil.rmtree(two.index / "versions")  # before the whole has a version
    with pytest.raises(InputError, match="a shard, which is changed only together"):
        sync(source, alone, models)


def test_a_copy_of_a_shard_is_an_ordinary_index_wherever_it_lies(two: ShelfOfShards) -> None:
    copy = Shelf(two.docs.parent)
    copy.index = two.docs.parent / "copy" / "shards" / "001"
    shutil.copytree(folder(two, 1), copy.index)
    assert copy.sync().added > 0


def test_a_lost_number_of_shards_is_restored_by_a_sync(two: ShelfOfShards) -> None:
    count = claimed_shards(two.location)
    assert count and count.table == two.newest().table
    (two.index / "shards" / "shards.json").unlink()
    two.sync()
    assert claimed_shards(two.location) == count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "garbage",
            r"shards\.json is damaged \(.*\): delete it, and the next sync",
        ),
        ('{"format": 6, "shards": 5, "table": "t"}', "names 5 shards of t, expected 3 of .*: del"),
        ('{"format": 6, "shards": 3, "table": "t"}', "names 3 shards of t, expected 3 of .*: del"),
    ],
)
def test_a_wrong_number_of_shards_is_named_and_not_acted_on(
    two: ShelfOfShards, content: str, message: str
) -> None:
    path = two.index / "shards" / "shards.json"
    path.write_text(content)
    before = state(two)
    with pytest.raises(Damaged, match=message):
        two.sync()
    assert state(two) == before
    path.unlink()
    assert two.sync().added == 1
