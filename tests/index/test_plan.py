"""Proves that a plan says what the sync then does, and that it does none of it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from index.fakes import InProcessParsers
from index.shelf import LOCAL, Shelf
from resift.errors import IndexMismatch, InputError, MassDeletion, SourceError, StoreError
from resift.index import plan as planning
from resift.index.embed import Models
from resift.index.parsing.options import ParseLimits
from resift.index.plan import SyncPlan, plan
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions
from resift.index.sources.source import open_source
from resift.index.storage.location import locate
from resift.index.sync import SyncConsent
from resift.index.versions.published import Versions


@pytest.fixture(autouse=True)
def _parsers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)


def planned(
    shelf: Shelf,
    source_options: SourceOptions = DEFAULT_OPTIONS,
    *,
    consent: SyncConsent = SyncConsent(),  # noqa: B008
) -> SyncPlan:
    source = open_source(str(shelf.docs), LOCAL)
    return plan(source, shelf.versions, Models(shelf.embedder), source_options, consent=consent)


def reasons(of: SyncPlan) -> dict[str, str]:
    return {Path(uri).name: reason for uri, reason in of.skipped}


def test_where_everything_is_sampled_the_numbers_are_those_of_the_sync(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="nul \0 byte", c="x" * 2_000)
    (shelf.docs / "rows.jsonl").write_text('{"text": "one"}\n{"text": "two"}\nbad line\n')
    (shelf.docs / "pic.png").write_bytes(b"\x89PNG")
    source_options = SourceOptions(limits=ParseLimits(max_bytes=1_000))
    expected = planned(shelf, source_options)
    report = shelf.sync(source_options=source_options)
    assert (expected.added, expected.passages, expected.passed_over) == (4, 3, {".png": 1})
    assert (report.passages_embedded, report.passed_over) == (3, {".png": 1})
    assert sorted(expected.skipped) == sorted(report.skipped)
    assert expected.sampled == 4
    assert expected.bytes == sum(path.stat().st_size for path in shelf.docs.glob("*.[tj]*"))
    shelf.write(a="alpha, changed", d="new")
    (shelf.docs / "rows.jsonl").unlink()
    expected, report = planned(shelf, source_options), shelf.sync(source_options=source_options)
    for name in ("added", "changed", "deleted", "unchanged"):
        assert getattr(expected, name) == getattr(report, name)
    assert expected.passages == report.passages_embedded == 2


def test_a_plan_writes_nothing(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    planned(shelf)
    assert not shelf.index.exists()
    shelf.sync()
    files = shelf.files()
    shelf.write(b="beta")
    planned(shelf)
    assert shelf.files() == files


def test_where_nothing_has_changed_nothing_is_to_be_done(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="\0")
    shelf.sync()
    shelf.embedder.embedded = 0
    values = asdict(planned(shelf))
    assert (values.pop("unchanged"), values.pop("requests")) == (1, 1)
    assert values.pop("skipped") == () and not any(values.values())
    assert shelf.embedder.embedded == 0


def test_of_many_a_sample_from_everywhere_is_read_and_the_rest_reckoned(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_SAMPLE_OBJECTS", 10)
    for number in range(95):
        shelf.write(**{f"{number:02}": "a text of nineteen."})
    shelf.write(**{"90": "\0" * 19})
    expected = planned(shelf)
    assert (expected.added, expected.sampled, expected.bytes) == (95, 10, 95 * 19)
    assert reasons(expected).keys() == {"90.txt"}
    assert expected.passages == round(9 * 95 / 10)
    assert expected.requests >= 95
    assert expected.seconds > 0


def test_a_sample_is_not_larger_than_it_need_be(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_SAMPLE_BYTES", 100)
    shelf.write(a="word " * 1_000, b="one", c="two")
    assert planned(shelf).sampled == 1


def test_what_a_sync_would_refuse_is_refused(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    shelf.embedder.fingerprint = "other"
    with pytest.raises(IndexMismatch, match="made by embedder hashing-64"):
        planned(shelf)


def test_a_source_without_documents_is_refused_as_a_sync_does(shelf: Shelf) -> None:
    with pytest.raises(SourceError, match="no documents there"):
        planned(shelf)


def test_a_servers_embedder_is_sent_nothing(shelf: Shelf) -> None:
    shelf.embedder.name = "https://example.test/v1#model"
    shelf.write(a="alpha", b="beta")
    expected = planned(shelf)
    assert shelf.embedder.embedded == 0
    assert (expected.passages, expected.embeds_elsewhere) == (2, True)
    assert expected.seconds > 0


def test_a_plan_says_that_a_sync_would_stop(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    assert planned(shelf).refusal is None
    for name in "ab":
        (shelf.docs / f"{name}.txt").unlink()
    expected = planned(shelf)
    assert (expected.deleted, expected.refusal is None) == (2, False)
    assert "2 of 2 indexed documents would leave the index" in str(expected.refusal)
    assert planned(shelf, consent=SyncConsent(deletes=True)).refusal is None


def test_a_plan_says_that_a_sync_would_stop_for_what_has_lost_its_text(shelf: Shelf) -> None:
    shelf.write(a="alpha", b="beta")
    shelf.sync()
    shelf.write(a="\0", b="\0")
    refusal = planned(shelf).refusal
    with pytest.raises(MassDeletion) as stopped:
        shelf.sync()
    assert refusal == str(stopped.value)


def test_a_plan_refuses_a_location_that_a_sync_refuses(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    versions = Versions(locate(str(shelf.docs)))
    with pytest.raises(InputError, match="would be among the documents"):
        plan(open_source(str(shelf.docs), LOCAL), versions, Models(shelf.embedder))
    shelf.sync()
    next(shelf.index.glob("passages.lance/data/*")).unlink()
    with pytest.raises(StoreError, match="has lost"):
        planned(shelf)
