"""Proves that an index follows its source: added, changed, deleted, left alone, half-written."""

from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from index.pdfs import make_pdf
from resift.errors import SourceError
from resift.index.source import Source, SourceObject, open_source
from resift.index.store import Store, open_snapshot
from resift.index.sync import Progress, SyncReport, sync
from resift.settings import StorageSettings

LOCAL = StorageSettings()


class Place:
    """A folder of documents and its index."""

    def __init__(self, root: Path) -> None:
        self.docs = root / "docs"
        self.docs.mkdir()
        self.index = root / "index"
        self.embedder = HashingEmbedder()
        self.progress: list[Progress] = []

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.docs / f"{name}.txt").write_text(text)

    def store(self) -> Store:
        embedder = self.embedder
        return Store.open(str(self.index), LOCAL, embedder.fingerprint, embedder.dim)

    def sync(self, below: str = "") -> SyncReport:
        source = open_source(str(self.docs / below), LOCAL)
        return sync(source, self.store(), self.embedder, self.progress.append)

    def texts(self) -> list[str]:
        snapshot = open_snapshot(str(self.index), LOCAL, self.embedder.fingerprint)
        ids = [row_id for row_id, _ in snapshot.dense(self.embedder.embed(["x"])[0], 10_000)]
        return sorted(passage.text for passage in snapshot.take(ids))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def counts(report: SyncReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.deleted, report.unchanged


def test_a_first_run_indexes_everything(place: Place) -> None:
    place.write(a="alpha", b="beta")
    (place.docs / "pic.png").write_bytes(b"\x89PNG")
    report = place.sync()
    assert counts(report) == (2, 0, 0, 0)
    assert (report.passages_embedded, report.unsupported, report.skipped) == (2, 1, ())
    assert place.texts() == ["alpha", "beta"]
    assert place.progress[-1] == Progress(2, 2, 2, len("alphabeta"))


def test_a_run_without_changes_embeds_and_writes_nothing(place: Place) -> None:
    place.write(a="alpha", b="beta")
    first = place.sync()
    files = sorted(path for path in place.index.rglob("*") if path.is_file())
    place.embedder.embedded = 0
    second = place.sync()
    assert counts(second) == (0, 0, 0, 2)
    assert (second.passages_embedded, second.version) == (0, first.version)
    assert place.embedder.embedded == 0
    assert sorted(path for path in place.index.rglob("*") if path.is_file()) == files


def test_changed_files_are_replaced_and_deleted_ones_gone(place: Place) -> None:
    place.write(a="alpha", b="beta", c="gamma")
    first = place.sync()
    place.write(b="better beta", d="delta")
    (place.docs / "c.txt").unlink()
    report = place.sync()
    assert counts(report) == (1, 1, 1, 1)
    assert report.passages_embedded == 2
    assert report.version > first.version
    assert place.texts() == ["alpha", "better beta", "delta"]


def test_what_cannot_be_read_is_reported_and_tried_again(place: Place) -> None:
    place.write(a="alpha", b="nul \0 byte")
    (place.docs / "locked.pdf").write_bytes(make_pdf(["x"], locked=True))
    (place.docs / "c.jsonl").write_text('{"_id":"1","text":"good line"}\nbad line\n')
    report = place.sync()
    reasons = {Path(uri).name: reason for uri, reason in report.skipped}
    assert reasons.keys() == {"b.txt", "locked.pdf", "c.jsonl"}
    assert reasons["c.jsonl"].startswith("line 2: not JSON")
    assert place.texts() == ["alpha", "good line"]
    again = place.sync()
    assert {Path(uri).name for uri, _ in again.skipped} == {"b.txt", "locked.pdf"}
    assert again.version == report.version
    place.write(b="fixed")
    assert counts(place.sync()) == (1, 0, 0, 2)


def test_a_file_that_turned_unreadable_is_found_no_more(place: Place) -> None:
    place.write(a="alpha", b="beta")
    place.sync()
    place.write(b="\0\0")
    report = place.sync()
    assert counts(report) == (0, 0, 0, 1)
    assert [reason for _, reason in report.skipped] == [
        "not text: it has control bytes, as binary files have"
    ]
    assert place.texts() == ["alpha"]


def test_a_file_that_vanishes_while_reading_costs_only_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(a="alpha", b="beta")
    read = Source.read

    def fail_for_a(self: Source, item: SourceObject) -> bytes:
        (place.docs / "a.txt").unlink(missing_ok=True)
        return read(self, item)

    monkeypatch.setattr(Source, "read", fail_for_a)
    report = place.sync()
    assert [reason for _, reason in report.skipped] == ["gone since the source was listed"]
    assert place.texts() == ["beta"]


def test_an_object_left_half_written_is_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.sync._COMMIT", 2)
    (place.docs / "c.jsonl").write_text("".join(f'{{"text":"line {n}"}}\n' for n in range(5)))
    add, calls = Store.add, []

    def break_off(self: Store, *arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", break_off)
        with pytest.raises(KeyboardInterrupt):
            place.sync()
    assert (
        not place.store()
        .objects(str(place.docs.resolve()))[f"{place.docs.resolve()}/c.jsonl"]
        .is_whole
    )
    assert place.sync().passages_embedded == 5
    assert place.texts() == [f"line {n}" for n in range(5)]


def test_rows_written_but_not_published_are_published_by_the_next_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(a="alpha")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            place.sync()
    report = place.sync()
    assert (counts(report), report.passages_embedded) == ((0, 0, 0, 1), 0)
    assert place.texts() == ["alpha"]


def test_an_index_can_hold_several_sources(place: Place) -> None:
    for name in ("one", "one more"):
        (place.docs / name).mkdir()
        (place.docs / name / "a.txt").write_text(name)
        place.sync(name)
    assert place.texts() == ["one", "one more"]
    (place.docs / "one" / "b.txt").write_text("two")
    (place.docs / "one" / "a.txt").unlink()
    assert counts(place.sync("one")) == (1, 0, 1, 0)
    assert place.texts() == ["one more", "two"]


def test_a_source_without_documents_is_an_error_unless_it_had_some(place: Place) -> None:
    with pytest.raises(SourceError, match="no documents there"):
        place.sync()
    place.write(a="alpha")
    place.sync()
    (place.docs / "a.txt").unlink()
    assert counts(place.sync()) == (0, 0, 1, 0)
    assert place.texts() == []


def test_passages_know_where_they_stand(place: Place) -> None:
    (place.docs / "g.md").write_text("# Guide\n\n" + "First words here. " * 150 + "\n## End\nBye.")
    (place.docs / "c.jsonl").write_text('{"_id":"x","text":"Line.","year":1999}')
    place.sync()
    snapshot = open_snapshot(str(place.index), LOCAL, place.embedder.fingerprint)
    rows = [row_id for row_id, _ in snapshot.dense(place.embedder.embed(["x"])[0], 100)]
    passages = sorted(snapshot.take(rows), key=lambda p: p.id)
    text = (place.docs / "g.md").read_text()
    root = place.docs.resolve()
    assert passages[0].id == f"{root}/c.jsonl#x#0"
    assert passages[0].metadata == {"year": 1999}
    guide = passages[1:]
    assert [p.id for p in guide] == [f"{root}/g.md#{n}" for n in range(len(guide))]
    assert len(guide) > 2
    assert all(p.text == text[p.start : p.end] and p.title == "Guide" for p in guide)
    assert {p.doc_id for p in guide} == {"g.md"}
