"""Proves that an index follows its source: added, changed, deleted, left alone, interrupted."""

import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest

from index.fakes import InProcessParsers
from index.parsing.office import make_docx
from index.parsing.pdfs import make_pdf
from index.shelf import LOCAL, Shelf
from resift.errors import (
    IndexMismatch,
    InputError,
    MassDeletion,
    SourceError,
    SourceLost,
    StoreError,
    Unreadable,
    Vanished,
)
from resift.index.diff import Diff
from resift.index.embed import Models
from resift.index.parsing import formats
from resift.index.parsing.options import Columns, ParseLimits
from resift.index.plan import plan
from resift.index.publish import rollback
from resift.index.report import SyncReport
from resift.index.run import Progress
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions
from resift.index.sources.listing import Fetched
from resift.index.sources.patterns import Globs
from resift.index.sources.source import Source, open_source
from resift.index.sync import expected_entries
from resift.index.table.store import Store
from resift.index.versions.published import Versions


def counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.deleted, report.unchanged


def reasons(report: SyncReport) -> dict[str, str]:
    return {Path(uri).name: reason for uri, reason in report.skipped}


def broken_off(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def test_a_first_run_indexes_everything(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    (shelf.docs / "pic.png").write_bytes(b"\x89PNG")
    report = shelf.sync()
    assert counts(report) == (2, 0, 0, 0)
    assert (report.passages_embedded, report.passed_over, report.skipped) == (2, {".png": 1}, ())
    assert report.listed == 3
    assert report.version == 1
    assert shelf.texts() == ["alpha", "beta"]
    assert shelf.progress[-1] == Progress(2, 2, 2, len("alphabeta"), len("alphabeta"), 1.0)


def test_a_run_without_changes_embeds_and_writes_nothing(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    first = shelf.sync()
    files = shelf.files()
    shelf.embedder.embedded = 0
    second = shelf.sync()
    assert counts(second) == (0, 0, 0, 2)
    assert (second.passages_embedded, second.version) == (0, first.version)
    assert shelf.embedder.embedded == 0
    assert shelf.files() == files


def test_changed_files_are_replaced_and_deleted_ones_gone(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta", c="gamma")
    first = shelf.sync()
    shelf.write(b="better beta", d="delta")
    (shelf.docs / "c.txt").unlink()
    report = shelf.sync()
    assert counts(report) == (1, 1, 1, 1)
    assert report.passages_embedded == 2
    assert report.version == first.version + 1
    assert shelf.texts() == ["alpha", "better beta", "delta"]


def test_what_cannot_be_read_is_reported_each_time_and_read_again_once_it_changes(
    shelf: Shelf,
) -> None:
    shelf.write(a="alpha", b="nul \0 byte")
    (shelf.docs / "locked.pdf").write_bytes(make_pdf(["x"], locked=True))
    (shelf.docs / "c.jsonl").write_text('{"_id":"1","text":"good line"}\nbad line\n')
    report = shelf.sync()
    assert counts(report) == (2, 0, 0, 0)
    assert reasons(report).keys() == {"b.txt", "locked.pdf", "c.jsonl"}
    assert reasons(report)["c.jsonl"].startswith("line 2: not JSON")
    assert shelf.texts() == ["alpha", "good line"]
    again = shelf.sync()
    assert again.skipped == report.skipped
    assert (again.version, again.unchanged, again.unindexed) == (report.version, 2, 2)
    shelf.write(b="fixed")
    fixed = shelf.sync()
    assert (counts(fixed), fixed.unindexed) == ((0, 1, 0, 2), 1)
    assert reasons(fixed).keys() == {"locked.pdf", "c.jsonl"}
    assert shelf.texts() == ["alpha", "fixed", "good line"]


def test_what_a_limit_has_skipped_is_tried_again_under_another(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="b" * 200)
    tight = SourceOptions(limits=ParseLimits(max_bytes=100))
    assert reasons(shelf.sync(source_options=tight)) == {
        "b.txt": "200 bytes, over the limit of 100 (max_bytes)"
    }
    assert counts(shelf.sync(source_options=tight)) == (0, 0, 0, 1)
    assert counts(shelf.sync()) == (0, 0, 0, 1)  # as before: it is remembered
    assert counts(shelf.sync(source_options=DEFAULT_OPTIONS)) == (0, 1, 0, 1)
    assert shelf.texts() == ["alpha", "b" * 200]


def test_a_lower_limit_takes_out_what_is_over_it(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="b" * 200, c="\0")
    first = shelf.sync()
    assert not first.options_changed
    lower = SourceOptions(limits=ParseLimits(max_bytes=100))
    report = shelf.sync(source_options=lower)
    assert (counts(report), report.emptied, report.unindexed) == ((0, 0, 0, 1), 1, 2)
    assert reasons(report)["b.txt"] == "200 bytes, over the limit of 100 (max_bytes)"
    assert report.options_changed and shelf.texts() == ["alpha"]
    again = shelf.sync()
    assert (again.version, again.skipped) == (report.version, report.skipped)
    assert not again.options_changed


def test_under_lower_limits_of_another_kind_files_are_read_again_and_stay_if_they_can(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    (shelf.docs / "three.pdf").write_bytes(make_pdf(["one", "two", "three"]))
    (shelf.docs / "one.pdf").write_bytes(make_pdf(["only"]))
    shelf.write(a="alpha")
    first = shelf.sync()
    read: list[str] = []
    really = Source.read

    def noted(self: Source, key: str, *more: Any) -> Fetched:
        read.append(key)
        return really(self, key, *more)

    monkeypatch.setattr(Source, "read", noted)
    shelf.embedder.embedded = 0
    report = shelf.sync(source_options=SourceOptions(limits=ParseLimits(max_pages=2)))
    assert sorted(read) == ["one.pdf", "three.pdf"]
    assert (counts(report), report.emptied) == ((0, 0, 0, 2), 1)
    assert reasons(report) == {"three.pdf": "it has 3 pages: the limit is 2 (max_pages)"}
    assert (report.passages_embedded, report.passages_reused, shelf.embedder.embedded) == (0, 0, 0)
    read.clear()
    report = shelf.sync(
        source_options=SourceOptions(limits=ParseLimits(max_pages=2, max_seconds=30))
    )
    assert sorted(read) == ["a.txt", "one.pdf", "three.pdf"]  # what was skipped is tried again
    assert (counts(report), report.version) == ((0, 0, 0, 2), first.version + 2)
    read.clear()
    assert counts(shelf.sync(source_options=SourceOptions(limits=ParseLimits(max_pages=2)))) == (
        0,
        0,
        0,
        2,
    )
    assert set(read) <= {"three.pdf"}  # a higher one: what is indexed is left alone


def test_problems_of_a_file_are_reported_in_its_order(shelf: Shelf) -> None:
    rows = [f'{{"text": "row {n}"}}' if n not in (2, 10) else "bad" for n in range(1, 12)]
    (shelf.docs / "rows.jsonl").write_text("\n".join(rows))
    shelf.write(bad="\0")
    for report in (shelf.sync(), shelf.sync()):
        lines = [reason.split(":")[0] for uri, reason in report.skipped if uri.endswith("jsonl")]
        assert lines == ["line 2", "line 10"]
        assert report.partly_read == (shelf.uri("rows.jsonl"),)


def test_a_file_that_turned_unreadable_is_found_no_more(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    shelf.write(b="\0\0")
    report = shelf.sync()
    assert (counts(report), report.emptied, report.unindexed) == ((0, 0, 0, 1), 1, 1)
    assert reasons(report) == {"b.txt": "not text: it has control bytes, as binary files have"}
    assert shelf.texts() == ["alpha"]
    (shelf.docs / "b.txt").unlink()
    assert shelf.sync().skipped == ()
    assert shelf.versions.entries(shelf.newest()).keys() == {shelf.uri("a.txt")}


def test_a_file_that_vanishes_while_reading_costs_only_itself(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="alpha", b="beta")
    read = Source.read

    def fail_for_a(self: Source, key: str, max_bytes: int | None = None) -> Fetched:
        (shelf.docs / "a.txt").unlink(missing_ok=True)
        return read(self, key, max_bytes)

    monkeypatch.setattr(Source, "read", fail_for_a)
    report = shelf.sync()
    assert reasons(report) == {"a.txt": "gone since the source was listed"}
    assert shelf.texts() == ["beta"]


def test_a_file_that_vanished_and_came_back_as_it_was_is_read_then(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket gives the same content the same ETag, whatever happened in between."""
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    shelf.write(a="alpha, changed", c="gamma")

    def gone(self: Source, key: str, max_bytes: int | None = None) -> NoReturn:
        raise Vanished("gone since the source was listed")

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", gone)
        assert reasons(shelf.sync()).keys() == {"a.txt", "c.txt"}
    assert shelf.texts() == ["beta"]
    report = shelf.sync()
    assert (counts(report), report.skipped) == ((2, 0, 0, 1), ())
    assert shelf.texts() == ["alpha, changed", "beta", "gamma"]


def test_what_cannot_be_read_this_time_stays_as_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="alpha", b="beta")
    first = shelf.sync()
    shelf.write(a="another alpha", c="gamma")

    def fail(self: Source, key: str, max_bytes: int | None = None) -> NoReturn:
        raise Unreadable("cannot be read: the server does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", fail)
        report = shelf.sync()
    assert (counts(report), report.unread, report.unindexed) == ((0, 0, 0, 1), 1, 1)
    assert reasons(report).keys() == {"a.txt", "c.txt"}
    assert (report.version, shelf.texts()) == (first.version, ["alpha", "beta"])
    assert counts(shelf.sync()) == (1, 1, 0, 1)
    assert shelf.texts() == ["another alpha", "beta", "gamma"]


def test_a_source_that_is_lost_keeps_what_was_committed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", 1)
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    for number in range(30):
        shelf.write(**{f"{number:02}": f"text {number}"})
    read = Source.read

    def expired(self: Source, key: str, max_bytes: int | None = None) -> Fetched:
        if key >= "20":
            raise SourceLost("the session token has expired")
        return read(self, key, max_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", expired)
        with pytest.raises(SourceLost, match="expired"):
            shelf.sync()
    shelf.embedder.embedded = 0
    report = shelf.sync()
    assert (report.passages_embedded, shelf.embedder.embedded) == (10, 10)
    assert counts(report) == (30, 0, 0, 0)
    assert len(shelf.texts()) == 30


def test_a_run_that_was_killed_is_gone_on_with(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", 3)
    for name in "abcd":
        rows = "".join(f'{{"text":"{name} {number}"}}\n' for number in range(3))
        (shelf.docs / f"{name}.jsonl").write_text(rows)
    append, calls = Store.append, []

    def break_off(self: Store, batches: Any, problems: Any) -> None:
        calls.append(batches)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, batches, problems)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", break_off)
        with pytest.raises(KeyboardInterrupt):
            shelf.sync()
    assert shelf.versions.numbers() == []
    report = shelf.sync()
    assert (counts(report), report.passages_embedded) == ((4, 0, 0, 0), 6)
    assert shelf.texts() == sorted(f"{name} {number}" for name in "abcd" for number in range(3))


def test_an_object_of_which_passages_are_missing_is_read_again(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    passage = replace(shelf.passages()[0], passages=2)
    shelf.store().remove([shelf.versions.entries(shelf.newest())[passage.origin.uri]])
    shelf.add(replace(passage, origin=replace(passage.origin, attempt="3")))
    shelf.write(c="gamma")
    assert counts(shelf.sync()) == (1, 1, 0, 1)
    assert shelf.texts() == ["alpha", "beta", "gamma"]


def test_rows_written_but_not_published_are_published_by_the_next_run(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="alpha")
    with monkeypatch.context() as patch:
        patch.setattr(Versions, "publish", broken_off)
        with pytest.raises(KeyboardInterrupt):
            shelf.sync()
    report = shelf.sync()
    assert (counts(report), report.passages_embedded) == ((1, 0, 0, 0), 0)
    assert (report.passages_reused, report.passages_resumed) == (1, 1)
    assert shelf.texts() == ["alpha"]


def break_off_before_publishing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("resift.index.sync.publish", broken_off)
        with pytest.raises(KeyboardInterrupt):
            shelf.sync()


def test_a_report_says_what_changes_for_readers_whoever_has_read_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(**{f"old{n:02}": f"old text {n}" for n in range(20)})
    shelf.sync()
    shelf.write(old00="changed 0", old01="changed 1", old02="changed 2")
    shelf.write(**{f"new{n:02}": f"new text {n}" for n in range(14)})
    break_off_before_publishing(shelf, monkeypatch)
    (shelf.docs / "old19.txt").unlink()
    (shelf.docs / "new13.txt").unlink()  # no reader has ever seen it
    shelf.write(old18="\0", new12="\0", late="late text")
    shelf.embedder.embedded = 0
    report = shelf.sync()
    assert counts(report) == (13, 3, 1, 15)
    assert (report.emptied, report.unindexed) == (1, 2) and adds_up(report)
    assert (report.passages_embedded, report.passages_reused, report.passages_resumed) == (
        1,
        15,
        15,
    )
    assert shelf.embedder.embedded == 1
    assert len(shelf.texts()) == 31


def test_what_a_killed_run_could_not_read_of_a_file_is_reported_by_the_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shelf.docs / "rows.jsonl"
    rows.write_text('{"text": "good"}\nbad\n')
    break_off_before_publishing(shelf, monkeypatch)
    reason = "line 2: not JSON"
    first = shelf.sync()
    assert reasons(first)["rows.jsonl"].startswith(reason) and first.partly_read
    shelf.write(a="alpha")
    assert reasons(shelf.sync())["rows.jsonl"].startswith(reason)
    rows.write_text('{"text": "good"}\n\nbad\n{"text": "more"}\n')
    shelf.write(b="beta")
    break_off_before_publishing(shelf, monkeypatch)
    later = shelf.sync()
    assert reasons(later)["rows.jsonl"].startswith("line 3")
    assert (counts(later), later.passages_embedded) == ((1, 1, 0, 1), 0)
    assert shelf.sync().skipped == later.skipped


def test_documents_that_a_killed_run_has_moved_or_replaced_are_not_lost(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard compares with what readers have, as the report does."""
    shelf.write(same="same", **{f"a{n}": f"text {n}" for n in range(3)})
    shelf.sync()
    for n in range(3):
        (shelf.docs / f"a{n}.txt").unlink()
    shelf.write(**{f"b{n}": f"other text {n}" for n in range(3)})
    break_off_before_publishing(shelf, monkeypatch)
    assert counts(shelf.sync()) == (3, 0, 3, 1)


def test_what_a_killed_run_has_read_is_not_published_once_the_file_is_as_before(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shelf.docs / "a.txt"

    def write(text: str, moment: int) -> None:
        file.write_text(text)
        os.utime(file, ns=(moment, moment))

    write("alpha", 1_000)
    shelf.sync()
    write("gamma", 2_000)
    with monkeypatch.context() as patch:
        patch.setattr(Versions, "publish", broken_off)
        with pytest.raises(KeyboardInterrupt):
            shelf.sync()
    write("alpha", 1_000)
    shelf.write(b="beta")
    shelf.sync()
    assert shelf.texts() == ["alpha", "beta"]


def test_an_index_can_hold_several_sources(shelf: Shelf) -> None:
    for name in ("one", "one more"):
        (shelf.docs / name).mkdir()
        (shelf.docs / name / "a.txt").write_text(name)
        shelf.sync(name)
    assert shelf.texts() == ["one", "one more"]
    (shelf.docs / "one" / "b.txt").write_text("two")
    (shelf.docs / "one" / "a.txt").unlink()
    assert counts(shelf.sync("one", allow_deletes=True)) == (1, 0, 1, 0)
    assert shelf.texts() == ["one more", "two"]


def test_patterns_say_what_is_in_and_what_they_leave_out_goes(shelf: Shelf) -> None:
    (shelf.docs / "old").mkdir()
    (shelf.docs / "old" / "a.txt").write_text("old alpha")
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    report = shelf.sync(source_options=SourceOptions(Globs(("*.txt",), ("old/*", "b*"))))
    assert (counts(report), shelf.texts()) == ((0, 0, 2, 1), ["alpha"])


def test_other_columns_and_another_parser_read_only_what_they_concern(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="alpha")
    (shelf.docs / "rows.jsonl").write_text('{"text": "one", "body": "two"}\n')
    shelf.sync()
    source_options = SourceOptions(columns=Columns(text="body"))
    assert counts(shelf.sync(source_options=source_options)) == (0, 1, 0, 1)
    assert shelf.texts() == ["alpha", "two"]
    text = replace(formats._FORMAT_BY_SUFFIX[".txt"], version=99)
    monkeypatch.setitem(formats._FORMAT_BY_SUFFIX, ".txt", text)
    assert counts(shelf.sync(source_options=source_options)) == (0, 1, 0, 1)
    assert shelf.passages()[0].origin.made_by.startswith("text 99,")


def test_a_source_without_documents_is_an_error_unless_it_had_some(shelf: Shelf) -> None:
    with pytest.raises(SourceError, match="no documents there"):
        shelf.sync()
    shelf.write(a="alpha")
    shelf.sync()
    (shelf.docs / "a.txt").unlink()
    with pytest.raises(MassDeletion, match="1 of 1 indexed documents would leave the index"):
        shelf.sync()
    assert counts(shelf.sync(allow_deletes=True)) == (0, 0, 1, 0)
    assert shelf.texts() == []


def test_a_source_of_which_nothing_can_be_read_is_published_and_reported(shelf: Shelf) -> None:
    shelf.write(a="\0")
    report = shelf.sync()
    assert (counts(report), len(report.skipped), report.version) == ((0, 0, 0, 0), 1, 1)
    assert shelf.texts() == []


def test_passages_know_where_they_stand(shelf: Shelf) -> None:
    (shelf.docs / "g.md").write_text("# Guide\n\n" + "First words here. " * 150 + "\n## End\nBye.")
    (shelf.docs / "c.jsonl").write_text('{"_id":"x","text":"Line.","year":1999}')
    shelf.sync()
    line, *guide = shelf.passages()
    text = (shelf.docs / "g.md").read_text()
    assert (line.id, line.row) == (f"{shelf.uri('c.jsonl')}#x#0", 1)
    assert line.metadata == {"year": 1999}
    assert [p.id for p in guide] == [f"{shelf.uri('g.md')}#{n}" for n in range(len(guide))]
    assert len(guide) > 2
    assert all(p.text == text[p.start : p.end] and p.title == "Guide" for p in guide)
    assert {(p.doc_id, p.row, p.passages) for p in guide} == {("g.md", None, len(guide))}


def test_what_was_read_is_what_the_index_says_was_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes between listing and reading has its new ETag, and is not read again."""
    shelf.write(a="alpha")
    read = Source.read

    def late(self: Source, key: str, max_bytes: int | None = None) -> Fetched:
        shelf.write(a="alpha, later")
        return read(self, key, max_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "read", late)
        shelf.sync()
    assert (shelf.texts(), counts(shelf.sync())) == (["alpha, later"], (0, 0, 0, 1))


def test_another_embedder_is_refused_before_anything_is_read(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    files = shelf.files()
    shelf.embedder.fingerprint = "other"
    with pytest.raises(IndexMismatch, match=r"made by embedder hashing-64.*not by hashing-64"):
        shelf.sync()
    assert shelf.files() == files and shelf.progress[-1].done_objects == 1


def test_a_clock_that_is_behind_does_not_make_news_old(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    monkeypatch.setattr("resift.index.sync.new_attempt", lambda: "19990101T000000.000000Z-aaaaaa")
    for text in ("changed", "changed again"):
        shelf.write(a=text)
        assert counts(shelf.sync()) == (0, 1, 0, 0)
        assert shelf.texts() == [text]


def test_without_states_it_does_not_matter_which_model_precomputed_some(shelf: Shelf) -> None:
    def no_keeper() -> NoReturn:
        raise AssertionError("no model is needed to compare")

    assert (
        expected_entries(Models(shelf.embedder, no_keeper), SourceOptions()).precomputed_by is None
    )


def test_what_was_skipped_for_want_of_a_parser_is_read_once_that_is_installed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    (shelf.docs / "a.docx").write_bytes(make_docx([("Normal", "alpha")], []))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "kreuzberg", None)
        patch.setattr("resift.index.sync.optional_parsers", lambda: "")
        ((_, reason),) = shelf.sync().skipped
    assert "pip install 'resift[office]'" in reason
    pytest.importorskip("kreuzberg")
    assert shelf.sync().changed == 1
    assert shelf.texts() == ["alpha"]


def test_progress_counts_what_there_is_to_read_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: property = vars(Diff)["to_read"]
    calls: list[int] = []

    def counted(diff: Diff) -> Any:
        calls.append(1)
        return listed.__get__(diff)

    monkeypatch.setattr(Diff, "to_read", property(counted))
    shelf.write(**{f"f{n}": "text" for n in range(20)})
    shelf.sync()
    assert len(calls) == 1 and shelf.progress[-1].total_objects == 20


def adds_up(report: SyncReport) -> bool:
    held = (report.added, report.changed, report.unchanged, report.unread)
    return report.listed == sum(held) + report.unindexed + sum(report.passed_over.values())


def test_the_report_adds_up_whatever_becomes_of_a_file(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    shelf.write(same="same", late="late", gone="gone", bad="bad", locked="locked", left="left")
    (shelf.docs / "pic.png").write_bytes(b"x")
    (shelf.docs / "link.md").symlink_to("same.txt")
    (shelf.docs / "tab\t.md").write_text("x")
    report = shelf.sync()
    assert adds_up(report) and report.listed == 9
    assert (counts(report), report.unindexed) == ((6, 0, 0, 0), 2)
    again = shelf.sync()
    assert adds_up(again) and (counts(again), again.version) == ((0, 0, 0, 6), report.version)
    shelf.write(late="later", gone="going", bad="\0", locked="locked, changed", new="new")
    (shelf.docs / "left.txt").unlink()
    read = Source.read

    def failing(self: Source, key: str, max_bytes: int | None = None) -> Fetched:
        if key == "locked.txt":
            raise Unreadable("cannot be read: permission denied")
        if key == "gone.txt":
            raise Vanished("gone since the source was listed")
        return read(self, key, max_bytes)

    monkeypatch.setattr(Source, "read", failing)
    report = shelf.sync()
    assert adds_up(report) and report.listed == 9
    assert counts(report) == (1, 1, 2, 1)  # gone and left are deleted
    assert report.unread == 1  # locked is there, and its content is unknown
    assert (report.emptied, report.unindexed) == (1, 4)  # bad, gone, link and tab
    assert shelf.texts() == ["later", "locked", "new", "same"]


def test_a_sync_after_a_rollback_embeds_nothing_that_was_embedded(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    shelf.write(a="another alpha", c="gamma")
    (shelf.docs / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    shelf.sync()
    for number in (1, 2, 1):  # however often
        rollback(shelf.store(), shelf.versions, number)
    shelf.embedder.embedded = 0
    report = shelf.sync()
    assert (report.added, report.changed, report.unchanged) == (2, 1, 1)
    assert (report.passages_embedded, report.passages_reused) == (0, 4)
    assert shelf.embedder.embedded == 0
    assert shelf.texts() == ["another alpha", "beta", "gamma", "one", "two"]


def test_progress_is_by_the_work_that_is_done(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by bytes read alone: the embedding of the last commit would not be seen."""
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)
    monkeypatch.setattr("resift.index.writer._EMBED", 10)
    shelf.write(**{f"f{n:03}": f"text number {n:03}" for n in range(100)})
    shelf.sync()
    work = [progress.work for progress in shelf.progress]
    assert work == sorted(work) and work[-1] == 1.0
    read = [progress.work for progress in shelf.progress if progress.passages == 0]
    assert max(read) <= 0.101
    steps = [after - before for before, after in pairwise(work)]
    assert max(steps) < 0.1


def test_an_index_below_its_own_source_is_none_of_its_documents(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.index = shelf.docs / "index"
    shelf.write(a="alpha")
    first = shelf.sync()
    for _ in range(2):
        again = shelf.sync()
        assert (again.version, again.added, again.unchanged) == (first.version, 0, 1)
        assert again.passed_over == {"index": 3}
    shelf.index = shelf.docs  # in the very same folder it is a slip
    before = sorted(shelf.docs.rglob("*"))
    with pytest.raises(InputError, match="would be among the documents"):
        shelf.sync()
    assert sorted(shelf.docs.rglob("*")) == before


@pytest.mark.parametrize("below", ["passages.lance", "passages.lance/x", "versions", "manifests/x"])
def test_an_index_in_an_index_is_refused_before_anything_is_written(
    shelf: Shelf, below: str
) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    files = shelf.files()
    shelf.index = shelf.index / below
    with pytest.raises(InputError, match=f"{below}: lies in an index; name another folder"):
        shelf.sync()
    with pytest.raises(InputError, match="lies in an index"):
        plan(open_source(str(shelf.docs), LOCAL), shelf.versions, Models(shelf.embedder))
    shelf.index = Path(str(shelf.index).removesuffix(f"/{below}"))
    assert shelf.files() == files


@pytest.mark.parametrize("harm", ["unlink", "cut"])
def test_an_index_that_has_lost_a_file_is_an_error(tmp_path: Path, harm: str) -> None:
    """A sync that finds no changes would report success, and no search would work."""
    shelf = Shelf(tmp_path)
    shelf.write(a="alpha")
    shelf.sync()
    file = next((shelf.index / "passages.lance" / "data").iterdir())
    if harm == "unlink":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"version 1 has lost 1 of its .* files, data/"):
        shelf.sync()
