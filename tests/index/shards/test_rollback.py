"""Proves that going back to a version of the whole loses nothing, and brings back nothing else."""

import shutil
from typing import Any

import pytest

from index.shards.shelf import ShelfOfShards
from resift.errors import IndexNotFound, StoreError, VersionGone
from resift.index.publish import rollback
from resift.index.shards import publish as publishing
from resift.index.versions.published import Versions
from resift.index.versions.record import Version


def test_rolling_back_restores_each_shard_and_later_syncs_go_on_from_there(
    shelf: ShelfOfShards,
) -> None:
    shelf.fill_shards()
    shelf.sync()
    before = shelf.passages()
    shelf.change(0, "changed")
    shelf.change(1, "changed too")
    version = shelf.rollback(1)
    assert (version.number, version.note, version.shards) == (4, "version 1 again", (3, 3, 1))
    assert (shelf.newest(), shelf.passages()) == (version, before)
    report = shelf.sync()
    assert (report.changed, report.passages_embedded) == (2, 0)  # their vectors are reused
    assert {"changed", "changed too"} <= set(shelf.texts())


def test_a_shard_that_had_no_documents_is_emptied(shelf: ShelfOfShards) -> None:
    (shelf.docs / "one").mkdir()
    (shelf.docs / "two").mkdir()
    first, second, other = (
        shelf.path_in(s, below) for s, below in [(0, "one"), (2, "one"), (2, "two")]
    )
    first.write_text("the first")
    shelf.sync("one")
    second.write_text("the second")
    shelf.sync("one")
    version = shelf.rollback(1)
    assert (version.passages, shelf.texts()) == (1, ["the first"])
    other.write_text("another source")
    shelf.sync("two")
    assert shelf.texts() == ["another source", "the first"]  # nothing undone came back
    shelf.sync("one")
    assert shelf.texts() == ["another source", "the first", "the second"]


def test_rolling_back_that_was_killed_can_be_repeated(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.fill_shards()
    shelf.sync()
    before = shelf.passages()
    for shard in range(3):
        shelf.change(shard, "changed")
    after = shelf.passages()
    calls: list[int] = []

    def killed(*arguments: Any) -> Version:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rollback(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publishing, "rollback", killed)
        shelf.rollback(1)
    assert shelf.passages() == after
    shelf.rollback(1)
    assert shelf.passages() == before


def test_a_version_that_lost_files_or_does_not_exist_is_not_gone_back_to(
    shelf: ShelfOfShards,
) -> None:
    shelf.fill_shards()
    shelf.sync()
    with pytest.raises(IndexNotFound, match="no version 7"):
        shelf.rollback(7)
    next((shelf.index / "shards" / "002").rglob("*.lance/data/*")).unlink()
    with pytest.raises(StoreError, match=r"index: version 1: shards/002 has lost 1 of its"):
        shelf.rollback(1)


def test_what_a_sync_publishes_during_a_rollback_is_undone_too(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a shard that was as the old version has it: a later sync would bring it back."""
    for below in ("one", "two"):
        (shelf.docs / below).mkdir()
    for shard in range(3):
        shelf.path_in(shard, "one").write_text("first")
    shelf.sync("one")
    shelf.path_in(1, "one").write_text("changed")
    shelf.sync("one")
    publish = Versions.publish

    def after_a_sync(versions: Versions, version: Version, entries: Any) -> bool:
        if version.shards:
            monkeypatch.setattr(Versions, "publish", publish)
            shelf.path_in(0, "one").write_text("by the other")
            shelf.sync("one")
        return publish(versions, version, entries)

    monkeypatch.setattr(Versions, "publish", after_a_sync)
    assert shelf.rollback(1).number == 4
    shelf.path_in(0, "two").write_text("another source")
    shelf.sync("two")
    assert shelf.texts() == ["another source", "first", "first", "first"]


def test_a_version_that_lost_a_shard_is_never_another_one(shelf: ShelfOfShards) -> None:
    """A shard's new version would be read in the place of the lost one if it had its number."""
    shelf.fill_shards()
    shelf.sync()
    backup = shelf.docs.parent / "backup"
    folder = shelf.versions.shard(1).location.folder
    shutil.copytree(folder, backup)
    shelf.fill_shards("changed")
    shelf.sync()
    (folder / "versions" / "00000002.json").unlink()
    assert shelf.rollback(1).shards == (3, 3, 3)
    with pytest.raises(VersionGone, match="version 2 has lost shards/001"):
        shelf.texts(2)
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)  # of a time before both
    assert shelf.rollback(1).shards == (4, 4, 4)
    for number in (2, 3):
        with pytest.raises(VersionGone, match=f"version {number} has lost shards/001"):
            shelf.texts(number)
    shelf.fill_shards("changed")
    shelf.sync()
    assert shelf.newest().shards == (5, 5, 5)


@pytest.fixture
def grown(shelf: ShelfOfShards) -> ShelfOfShards:
    """Version 1 has a document of one shard, version 2 one of another, and one without text."""
    (shelf.docs / "one").mkdir()
    shelf.path_in(0, "one").write_text("the first")
    shelf.sync("one")
    second = shelf.path_in(2, "one")
    second.write_text("the second")
    without_text = shelf.path_in(2, "one/below")
    without_text.parent.mkdir()
    without_text.write_bytes(b"")
    shelf.sync("one")
    return shelf


def test_an_emptied_shard_knows_no_object(grown: ShelfOfShards) -> None:
    first = grown.versions.entries(grown.versions.get(1))
    version = grown.rollback(1)
    assert grown.versions.entries(version) == first
    assert [name for name, _ in version.files] == ["shards/000", "shards/002"]
    report = grown.sync("one")
    assert (report.added, report.unchanged) == (1, 1)


def test_a_shard_whose_newest_version_is_damaged_is_emptied(grown: ShelfOfShards) -> None:
    folder = grown.versions.shard(2).location.folder
    (folder / "versions" / "00000001.json").write_text("{")
    assert grown.rollback(1).shards == (1, 0, 2)
    assert grown.texts() == ["the first"]
