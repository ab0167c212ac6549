"""Proves that a sync which would take most of an index away stops, changes nothing, and says so."""

import shutil
from pathlib import Path

import pytest

from index.fakes import InProcessParsers
from index.parsing.pdfs import make_pdf
from index.shelf import LOCAL, Shelf
from resift.errors import MassDeletion, SourceError
from resift.index.embed import Models
from resift.index.parsing.options import Columns
from resift.index.plan import SyncPlan, plan
from resift.index.source_options import SourceOptions
from resift.index.sources.patterns import Globs
from resift.index.sources.source import open_source


@pytest.fixture(autouse=True)
def _parsers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)


def many(shelf: Shelf, count: int, below: str = ".") -> None:
    (shelf.docs / below).mkdir(exist_ok=True)
    for n in range(count):
        (shelf.docs / below / f"{n:02}.txt").write_text(f"text {below} {n}")


def stops(shelf: Shelf, source_options: SourceOptions | None = None, below: str = "") -> str:
    """The message of a sync that stops, and proof that nothing is published by it."""
    version, texts = shelf.newest().number, shelf.texts()
    with pytest.raises(MassDeletion) as raised:
        shelf.sync(below, source_options)
    assert (shelf.newest().number, shelf.texts()) == (version, texts)
    return str(raised.value)


def plan_of(shelf: Shelf) -> SyncPlan:
    return plan(open_source(str(shelf.docs), LOCAL), shelf.versions, Models(shelf.embedder))


@pytest.mark.parametrize("count", [1, 3, 50])
def test_a_disk_that_is_not_mounted_stops_a_sync_however_little_is_indexed(
    shelf: Shelf, count: int
) -> None:
    many(shelf, count)
    shelf.sync()
    shutil.rmtree(shelf.docs)
    shelf.docs.mkdir()
    message = stops(shelf)
    assert f"{count} of {count} indexed documents would leave the index" in message
    assert f"{count} are not there any more (like {shelf.uri('00.txt')})" in message
    assert "--allow-deletes (allow_deletes=True)" in message
    assert shelf.sync(allow_deletes=True).deleted == count
    assert shelf.texts() == []


def test_a_folder_that_is_not_there_stops_it_too(shelf: Shelf) -> None:
    many(shelf, 3)
    shelf.sync()
    shutil.rmtree(shelf.docs)
    with pytest.raises(SourceError, match="no such folder"):
        shelf.sync(allow_deletes=True)
    assert len(shelf.texts()) == 3


@pytest.mark.parametrize(
    ("indexed", "deleted", "asks"),
    [(39, 19, False), (39, 20, True), (40, 20, False), (40, 21, True), (10, 9, False)],
)
def test_more_than_half_and_twenty_are_too_many(
    shelf: Shelf, indexed: int, deleted: int, asks: bool
) -> None:
    many(shelf, indexed)
    shelf.sync()
    for n in range(deleted):
        (shelf.docs / f"{n:02}.txt").unlink()
    if asks:
        assert f"{deleted} of {indexed} indexed" in stops(shelf)
    else:
        assert shelf.sync().deleted == deleted


def test_another_disk_at_that_path_stops_it(shelf: Shelf) -> None:
    many(shelf, 30)
    shelf.sync()
    for path in shelf.docs.iterdir():
        path.unlink()
    shelf.write(**{f"other{n}": f"other text {n}" for n in range(100)})
    assert "30 of 30 indexed" in stops(shelf)


@pytest.mark.parametrize("count", [1, 2, 19])
def test_all_gone_stops_it_whatever_is_new(shelf: Shelf, count: int) -> None:
    many(shelf, count)
    shelf.sync()
    for path in shelf.docs.iterdir():
        path.unlink()
    shelf.write(new="something else that is new")
    message = stops(shelf)
    assert f"{count} of {count} indexed" in message
    assert str(plan_of(shelf).refusal) == message
    assert shelf.sync(allow_deletes=True).deleted == count
    assert shelf.texts() == ["something else that is new"]


def test_another_text_of_the_same_size_is_no_moved_document(shelf: Shelf) -> None:
    """Listed alone, it could be one that was copied; its bytes say that it is not."""
    shelf.write(a="alpha")
    shelf.sync()
    (shelf.docs / "a.txt").unlink()
    shelf.write(b="gamma")
    message = stops(shelf)
    assert "1 of 1 indexed" in message
    assert str(plan_of(shelf).refusal) == message


@pytest.mark.parametrize("count", [1, 2, 30])
def test_documents_under_new_names_and_new_times_are_not_lost(shelf: Shelf, count: int) -> None:
    """A copy has another ETag, and so has what git checks out under another name."""
    many(shelf, count)
    shelf.sync()
    for path in sorted(shelf.docs.glob("*.txt")):
        (shelf.docs / f"new-{path.name}").write_bytes(path.read_bytes())
        path.unlink()
    assert plan_of(shelf).refusal is None
    report = shelf.sync()
    assert (report.added, report.deleted, report.passages_embedded) == (count, count, 0)


def test_one_copy_replaces_one_document_only(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.write(**{f"old{n}": "alpha" for n in range(30)})
    shelf.sync()
    for path in shelf.docs.iterdir():
        path.unlink()
    shelf.write(new="alpha", **{f"other{n}": "gamma" for n in range(29)})
    assert "29 of 30 indexed" in stops(shelf)
    for path in shelf.docs.glob("other*"):
        path.unlink()
    shelf.write(new="omega")
    monkeypatch.delattr("resift.index.run.ParserPool")  # the listing tells it before any is read
    assert "29 of 30 indexed" in stops(shelf)


def test_a_moved_document_without_text_under_its_new_name_is_lost(shelf: Shelf) -> None:
    shelf.write(a="no table")
    shelf.sync()
    (shelf.docs / "a.txt").rename(shelf.docs / "a.csv")
    message = stops(shelf)
    assert "1 of 1 indexed" in message
    assert str(plan_of(shelf).refusal) == message


def test_all_without_text_stops_it_whatever_is_new(shelf: Shelf) -> None:
    many(shelf, 3)
    shelf.sync()
    for n in range(3):
        (shelf.docs / f"{n:02}.txt").write_text("\0")
    shelf.write(new="new")
    message = stops(shelf)
    assert "3 of 3 indexed" in message
    assert str(plan_of(shelf).refusal) == message


def test_documents_that_were_moved_are_not_lost(shelf: Shelf) -> None:
    many(shelf, 30)
    shelf.sync()
    (shelf.docs / "new").mkdir()
    for path in sorted(shelf.docs.glob("*.txt")):
        path.rename(shelf.docs / "new" / path.name)
    report = shelf.sync()
    assert (report.added, report.deleted, report.passages_embedded) == (30, 30, 0)


def test_patterns_that_leave_most_out_stop_it(shelf: Shelf) -> None:
    many(shelf, 30)
    shelf.sync()
    assert "30 of 30" in stops(shelf, SourceOptions(Globs(("*.md",))))
    assert "25 of 30" in stops(shelf, SourceOptions(Globs((), ("0[5-9].txt", "[12]*"))))


def test_each_source_of_an_index_is_guarded_by_itself(shelf: Shelf) -> None:
    many(shelf, 25, "one")
    many(shelf, 100, "two")
    shelf.sync("one")
    report = shelf.sync("two")
    assert report.other_sources == (shelf.uri("one"),)
    shutil.rmtree(shelf.docs / "one")
    (shelf.docs / "one").mkdir()
    assert "25 of 25" in stops(shelf, below="one")
    assert shelf.sync("two").unchanged == 100


def test_other_columns_that_are_in_no_file_stop_it(shelf: Shelf) -> None:
    columns = SourceOptions(columns=Columns(text="answer"))
    for n in range(3):
        (shelf.docs / f"{n}.csv").write_text(f"question,answer\nq{n},a{n}\n")
    shelf.sync(source_options=columns)
    message = stops(shelf, SourceOptions())
    assert "3 of 3 indexed documents would leave the index: 3 give no text any more" in message
    assert "no column 'text' in it" in message
    # What is remembered is how it was read when it was published.
    report = shelf.sync()
    assert (report.unchanged, report.changed, report.passages_embedded) == (3, 0, 0)


def test_documents_that_lost_their_text_stop_it_and_are_counted_as_that(shelf: Shelf) -> None:
    for n in range(41):
        (shelf.docs / f"{n:02}.pdf").write_bytes(make_pdf([f"page of {n}"]))
    shelf.sync()
    for n in range(21):
        (shelf.docs / f"{n:02}.pdf").write_bytes(b"%PDF-1.4 cut")
    message = stops(shelf)
    assert "21 of 41" in message and "21 give no text any more" in message
    assert "not a readable PDF" in message
    report = shelf.sync(allow_deletes=True)
    assert (report.emptied, report.deleted, report.unchanged, report.unindexed) == (21, 0, 20, 21)
    assert len(shelf.texts()) == 20


def test_some_gone_and_some_empty_are_counted_together(shelf: Shelf) -> None:
    many(shelf, 30)
    shelf.sync()
    for n in range(12):
        (shelf.docs / f"{n:02}.txt").unlink()
    for n in range(12, 20):
        (shelf.docs / f"{n:02}.txt").write_text("")
    message = stops(shelf)
    assert "20 of 30" in message and "12 are not there" in message and "8 give no text" in message


def test_what_is_in_a_locked_folder_stays(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    many(shelf, 3)
    many(shelf, 25, "locked")
    shelf.sync()
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if Path(os.fsdecode(path)).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr("resift.index.sources.folder.os.scandir", refuse)
        shelf.write(new="new text")
        report = shelf.sync()
    assert (report.added, report.deleted, report.unchanged, report.unindexed) == (1, 0, 3, 0)
    assert (report.unread, report.listed) == (25, 29)
    assert [uri for uri, _ in report.skipped] == [shelf.uri("locked")]
    assert len(shelf.texts()) == 29
