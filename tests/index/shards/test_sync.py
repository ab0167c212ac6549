"""Proves that an index of shards follows its source as one index does, also if it is interrupted.

What any history of changes, kills and other runs leads to is in `test_any_history`.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.shards.shelf import ShelfOfShards
from index.shelf import LOCAL, Shelf
from resift.errors import IndexMismatch, MassDeletion, SourceError
from resift.index.analysis.spec import AnalyserChoice
from resift.index.embed import Models
from resift.index.plan import plan
from resift.index.publish import publish
from resift.index.report import SyncReport
from resift.index.shards import publication
from resift.index.shards import sync as syncing
from resift.index.shards.sync import shard_count, sync_shards
from resift.index.source_options import SourceOptions
from resift.index.sources.patterns import Globs
from resift.index.sources.source import open_source
from resift.index.storage.location import locate
from resift.index.table.store import Store
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.shard_count import claim_shards, claimed_shards


class Killed(BaseException):
    """A process that ends there and then."""


def killed(*_: Any, **__: Any) -> NoReturn:
    raise Killed


def fill(shelf: Shelf, count: int = 12, word: str = "common") -> None:
    shelf.write(**{f"n{number}": f"{word} word{number}" for number in range(count)})


def fill_each(shelf: ShelfOfShards) -> None:
    """Write four documents of each shard, whatever folder the test runs in."""
    shelf.write(**{n: "common" for shard in range(3) for n in shelf.names_in(shard, 4)})


def counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.deleted, report.unchanged


def test_the_report_is_that_of_one_index(shelf: ShelfOfShards, tmp_path: Path) -> None:
    fill(shelf)
    (shelf.docs / "picture.png").write_bytes(b"\x89PNG")
    (shelf.docs / "empty.txt").write_bytes(b"")
    (shelf.docs / "rows.jsonl").write_text('{"text": "a row"}\n{"no": "text"}\n')
    (shelf.docs / "link.txt").symlink_to(shelf.docs / "n0.txt")
    other = Shelf(tmp_path)
    other.index = tmp_path / "one"
    for step in range(3):
        if step == 1:
            shelf.write(n1="changed text", n99="a new one")
            (shelf.docs / "n2.txt").unlink()
            (shelf.docs / "n3.txt").write_bytes(b"")
        reports = [each.sync() for each in (shelf, other)]
        assert [facts(report) for report in reports] == [facts(reports[1])] * 2
        assert [p.text for p in shelf.passages()] == [p.text for p in other.passages()]
        assert [p.id for p in shelf.passages()] == [p.id for p in other.passages()]
    newest, single = shelf.newest(), other.newest()
    assert (newest.number, newest.passages, newest.documents) == (2, 12, 12)
    assert (newest.passages, newest.documents) == (single.passages, single.documents)
    assert newest.source_options == single.source_options
    assert not any(v.source_options for v in shelf.versions.shard_versions(newest) if v)


def facts(report: SyncReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in SyncReport.__slots__ if name != "seconds"}


def test_a_changed_document_opens_and_publishes_its_shard_only(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_each(shelf)
    shelf.sync()
    opened: list[str] = []
    open_store = Store.open

    def open_and_count(location: Any, *arguments: Any) -> Store:
        opened.append(location.uri)
        return open_store(location, *arguments)

    monkeypatch.setattr(Store, "open", open_and_count)
    [name] = shelf.names_in(1)
    shelf.write(**{name: "another text"})
    assert counts(shelf.sync()) == (0, 1, 0, 11)
    assert set(opened) == {f"{shelf.location.uri}/shards/001"}
    assert (shelf.shard_numbers(), shelf.newest().shards) == ([[1], [1, 2], [1]], (1, 2, 1))
    opened.clear()
    assert counts(shelf.sync()) == (0, 0, 0, 12)
    assert (opened, shelf.versions.numbers()) == ([], [1, 2])


def test_a_shard_without_documents_has_no_version(shelf: ShelfOfShards) -> None:
    [name] = shelf.names_in(2)
    shelf.write(**{name: "the only one"})
    shelf.sync()
    # The first shard always has a table: by it a source recognises an index of shards.
    assert (shelf.newest().shards, shelf.texts()) == ((1, 0, 1), ["the only one"])
    [other] = shelf.names_in(1)
    shelf.write(**{other: "one more"})
    shelf.sync()
    assert (shelf.newest().shards, shelf.texts()) == ((1, 1, 1), ["one more", "the only one"])


def test_readers_see_nothing_of_a_sync_that_was_killed_between_shards(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_each(shelf)
    shelf.sync()
    before = shelf.passages()
    shelf.write(**{name: "changed" for shard in range(3) for name in shelf.names_in(shard, 2)})
    calls: list[int] = []

    def publish_twice(*arguments: Any) -> Any:
        calls.append(1)
        return killed() if len(calls) == 3 else publish(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(publication, "publish", publish_twice)
        shelf.sync()
    assert shelf.shard_numbers() == [[1, 2], [1, 2], [1]]
    assert (shelf.versions.numbers(), shelf.passages()) == ([1], before)
    report = shelf.sync()
    assert (report.passages_embedded, report.passages_resumed) == (0, 6)
    assert (shelf.newest().shards, shelf.texts().count("changed")) == ((2, 2, 2), 6)


def test_a_first_sync_that_was_killed_is_gone_on_with_in_as_many_shards(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(shelf)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(syncing, "publish_whole", killed)
        shelf.sync()
    assert shelf.versions.numbers() == []
    assert shard_count(shelf.versions, None, None) == 3
    with pytest.raises(IndexMismatch, match="shards=8: it has 3"):
        shard_count(shelf.versions, None, 8)
    report = shelf.sync()
    assert (counts(report), report.passages_embedded) == ((12, 0, 0, 0), 0)


def test_two_first_syncs_with_other_numbers_of_shards_do_not_mix(shelf: ShelfOfShards) -> None:
    fill(shelf)
    Store.open(shelf.versions.shard(0).location, shelf.embedder)
    claim_shards(shelf.location, 5)  # by the other one, after this one has looked
    with pytest.raises(IndexMismatch, match="shards=3: it has 5"):
        shelf.sync()
    assert shelf.store_is_empty(0)


def test_a_new_index_has_shards_only_if_they_are_chosen(shelf: ShelfOfShards) -> None:
    assert shard_count(shelf.versions, None, None) == 1
    assert shard_count(shelf.versions, None, 8) == 8
    other = Shelf(shelf.docs.parent)
    fill(other)
    Shelf.sync(other)
    newest = other.newest()
    assert shard_count(other.versions, newest, None) == shard_count(other.versions, newest, 1) == 1
    with pytest.raises(IndexMismatch, match="shards=8: it has none"):
        shard_count(other.versions, newest, 8)


def test_a_damaged_number_of_shards_is_named(shelf: ShelfOfShards) -> None:
    fill(shelf)
    shelf.sync()
    path = shelf.index / "shards" / "shards.json"
    for content, message in [
        ("{}", "None: expected a whole number"),
        (json.dumps({"format": 6, "shards": 1, "table": "t"}), "expected a whole number from 2"),
        (json.dumps({"format": 6, "shards": 3, "table": "../t"}), "inside of the index"),
    ]:
        path.write_text(content)
        with pytest.raises((Damaged, IndexMismatch), match=message):
            claimed_shards(shelf.location)
    path.write_text(json.dumps({"format": 7, "shards": 3}))
    with pytest.raises(IndexMismatch, match="format 7, expected 6: update resift"):
        claimed_shards(shelf.location)


def test_a_mass_deletion_is_one_of_the_whole_and_not_of_a_shard(shelf: ShelfOfShards) -> None:
    fill(shelf, 90)
    shelf.sync()
    in_one = [n for n in shelf.names_in(0, 90) if (shelf.docs / f"{n}.txt").exists()]
    assert in_one  # all documents of the shard, but not most of the whole
    for name in in_one:
        (shelf.docs / f"{name}.txt").unlink()
    assert counts(shelf.sync()) == (0, 0, len(in_one), 90 - len(in_one))
    for path in list(shelf.docs.iterdir())[5:]:
        path.unlink()
    rest = 85 - len(in_one)
    with pytest.raises(MassDeletion, match=f"{rest} of {rest + 5} indexed documents would leave"):
        shelf.sync()
    assert len(shelf.passages()) == 90 - len(in_one)


def test_documents_that_lost_their_text_count_over_all_shards(shelf: ShelfOfShards) -> None:
    fill(shelf, 60)
    shelf.sync()
    for number in range(40):
        (shelf.docs / f"n{number}.txt").write_bytes(b"")
    numbers = shelf.shard_numbers()
    with pytest.raises(MassDeletion, match=r"40 of 60 .*give no text any more"):
        shelf.sync()
    assert (shelf.shard_numbers(), len(shelf.passages())) == (numbers, 60)
    assert shelf.sync(allow_deletes=True).emptied == 40
    assert len(shelf.passages()) == 20


def test_a_moved_document_is_not_embedded_again_in_another_shard(shelf: ShelfOfShards) -> None:
    fill(shelf)
    shelf.sync()
    for number in range(12):
        (shelf.docs / f"n{number}.txt").rename(shelf.docs / f"moved{number}.txt")
    report = shelf.sync()
    assert (counts(report)[:3], report.passages_embedded) == ((12, 0, 12), 0)
    assert report.passages_reused == 12


def test_progress_is_of_all_shards(shelf: ShelfOfShards) -> None:
    fill(shelf)
    shelf.sync()
    assert {p.total_objects for p in shelf.progress} == {12}
    size = sum(path.stat().st_size for path in shelf.docs.iterdir())
    assert {p.total_bytes for p in shelf.progress} == {size}
    for name in ("done_objects", "passages", "bytes", "work"):
        values = [getattr(p, name) for p in shelf.progress]
        assert values == sorted(values)
    last = shelf.progress[-1]
    assert (last.done_objects, last.passages, last.bytes) == (12, 12, size)
    assert last.work == pytest.approx(1)


def test_changed_options_alone_are_published_and_open_no_shard(
    shelf: ShelfOfShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_each(shelf)
    shelf.sync()
    monkeypatch.setattr(Store, "open", killed)
    report = shelf.sync(source_options=SourceOptions(globs=Globs(exclude=("*.pdf",))))
    assert (report.version, report.options_changed, shelf.newest().shards) == (2, True, (1, 1, 1))
    assert shelf.versions.get(1).source_options != shelf.newest().source_options


def test_shards_made_later_have_the_analyser_of_the_first(shelf: ShelfOfShards) -> None:
    def sync_with(choice: AnalyserChoice) -> None:
        source = open_source(str(shelf.docs), LOCAL)
        sync_shards(source, shelf.versions, Models(shelf.embedder, analyser=choice), 3)

    for shard, choice in [(0, AnalyserChoice(language="german")), (1, AnalyserChoice())]:
        [name] = shelf.names_in(shard)
        shelf.write(**{name: "die Häuser"})
        sync_with(choice)
    languages = [v.analyser.language for v in shelf.versions.shard_versions(shelf.newest()) if v]
    assert (languages, shelf.newest().analyser.language) == (["german"] * 2, "german")
    with pytest.raises(IndexMismatch, match="language german, not words for french"):
        sync_with(AnalyserChoice(language="french"))


def test_a_plan_counts_the_requests_of_each_changed_shard(shelf: ShelfOfShards) -> None:
    fill_each(shelf)
    source, models = open_source(str(shelf.docs), LOCAL), Models(shelf.embedder)
    single = plan(source, shelf.versions, models)
    of_shards = plan(source, shelf.versions, models, shards=3)
    assert of_shards.requests - single.requests == 2 * (40 + 7)
    assert (of_shards.added, of_shards.passages) == (single.added, single.passages) == (12, 12)


def test_an_index_of_shards_among_documents_is_no_document(shelf: ShelfOfShards) -> None:
    fill_each(shelf)
    shelf.sync()
    inside = shelf.docs / "index"
    shelf.index.rename(inside)
    (shelf.docs / "shards").mkdir()
    (shelf.docs / "shards" / "a.txt").write_text("a folder of documents with this name")
    listing = open_source(str(shelf.docs), LOCAL).list()
    assert len(listing.objects) == 13
    assert [Path(uri).name for uri, _ in listing.not_documents] == ["shards", "versions"]
    for below in ("shards", "shards/001", "versions", "shards/001/versions"):
        with pytest.raises(SourceError, match="an index, or a part of one"):
            open_source(str(inside / below), LOCAL)


def test_a_shard_that_is_a_link_out_of_the_index_is_refused(
    shelf: ShelfOfShards, tmp_path: Path
) -> None:
    fill_each(shelf)
    shelf.sync()
    outside = tmp_path / "outside"
    (shelf.index / "shards" / "001").rename(outside)
    (shelf.index / "shards" / "001").symlink_to(outside)
    shelf.write(**{shelf.names_in(1)[0]: "changed"})
    with pytest.raises(Exception, match="a link that leads out of the index"):
        shelf.sync()
    assert Versions(locate(str(outside))).numbers() == [1]
