"""Proves that how a source is read is remembered with its index, and checked when it is read."""

import json
from pathlib import Path

import pytest

from index.fakes import InProcessParsers
from index.shelf import Shelf
from resift.errors import StoreError
from resift.index.parsing.options import Columns, ParseLimits
from resift.index.publish import clean
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions, stored_options
from resift.index.sources.patterns import Globs

FULL = SourceOptions(
    globs=Globs(("*.md", "*.csv"), ("drafts/",)),
    columns=Columns("body", "head", "sku"),
    limits=ParseLimits(max_bytes=1_000, max_seconds=2.5),
    columns_by_pattern=(("faq/*.csv", Columns("answer", "question")), ("*.csv", Columns("text"))),
    follow_links=True,
)


@pytest.fixture(autouse=True)
def _parsers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resift.index.run.ParserPool", InProcessParsers)


def test_options_read_back_from_json() -> None:
    for options in (DEFAULT_OPTIONS, FULL):
        assert SourceOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("include", "*.md"),
        ("include", [1]),
        ("include", ["!"]),
        ("exclude", None),
        ("columns", {"text": 3}),
        ("columns", {"txt": "text"}),
        ("columns", []),
        ("limits", {"max_bytes": "many"}),
        ("limits", {"max_bytes": -1}),
        ("limits", {"max_bytes": True}),
        ("columns_by_pattern", [["*.csv"]]),
        ("columns_by_pattern", [[1, {}]]),
        ("follow_links", "yes"),
        ("follow_links", 1),
    ],
)
def test_malformed_options_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="not the options of a sync"):
        SourceOptions.from_json(FULL.to_json() | {name: value})
    with pytest.raises(ValueError, match="not the options of a sync"):
        SourceOptions.from_json(
            {key: value for key, value in FULL.to_json().items() if key != name}
        )


def test_a_source_without_options_takes_those_of_the_source_that_contains_it() -> None:
    source_options = {
        "/d": FULL.to_json(),
        "/d/in": DEFAULT_OPTIONS.to_json(),
        "s3://b": FULL.to_json(),
    }
    assert stored_options(source_options, "/d") == FULL
    assert stored_options(source_options, "/d/in/deep") == DEFAULT_OPTIONS
    below = stored_options(source_options, "/d/other")
    assert (below.columns, below.limits, below.follow_links) == (FULL.columns, FULL.limits, True)
    assert below.globs == Globs()
    assert stored_options(source_options, "s3://b/x").columns == FULL.columns
    assert stored_options(source_options, "/dd") == stored_options({}, "/d") == DEFAULT_OPTIONS


def test_a_run_without_options_reads_as_the_one_before(shelf: Shelf) -> None:
    (shelf.docs / "a.csv").write_text("question,answer\nwhy,because\n")
    (shelf.docs / "b.md").write_text("left out")
    source_options = SourceOptions(Globs(("*.csv",)), Columns(text="answer"))
    first = shelf.sync(source_options=source_options)
    assert shelf.texts() == ["because"]
    again = shelf.sync()
    assert (again.version, again.unchanged, again.listed) == (first.version, 1, 1)
    (shelf.docs / "c.csv").write_text("question,answer\nwho,you\n")
    (shelf.docs / "d.md").write_text("left out")
    shelf.sync()
    assert shelf.texts() == ["because", "you"]


def test_other_options_are_remembered_though_they_change_nothing_else(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    assert shelf.sync().version == 1
    source_options = SourceOptions(Globs((), ("*.md",)))
    assert shelf.sync(source_options=source_options).version == 2
    assert shelf.sync(source_options=source_options).version == shelf.sync().version == 2
    (shelf.docs / "b.md").write_text("left out")
    assert (shelf.sync().version, shelf.texts()) == (2, ["alpha"])


def test_each_source_has_its_own_and_a_clean_up_forgets_none(shelf: Shelf) -> None:
    for name in ("one", "two"):
        (shelf.docs / name).mkdir()
        (shelf.docs / name / "a.csv").write_text(f"{name},text\n{name} words,other\n")
        shelf.sync(name, SourceOptions(columns=Columns(text=name)))
    clean(shelf.store(), shelf.versions, 1, 0)
    assert shelf.texts() == ["one words", "two words"]
    for name in ("one", "two"):
        report = shelf.sync(name)
        assert (report.unchanged, report.version) == (1, 2)


def test_columns_by_pattern_are_for_the_files_that_it_matches(shelf: Shelf) -> None:
    (shelf.docs / "faq").mkdir()
    (shelf.docs / "faq" / "a.csv").write_text("question,answer\nwhy,because\n")
    (shelf.docs / "b.csv").write_text("body,answer\nplain,no\n")
    (shelf.docs / "c.jsonl").write_text('{"body": "line", "answer": "no"}\n')
    by_pattern = (("*.csv", Columns("body")), ("faq/", Columns("answer", "question")))
    source_options = SourceOptions(columns=Columns("body"), columns_by_pattern=by_pattern)
    report = shelf.sync(source_options=source_options)
    assert (report.added, shelf.texts()) == (3, ["because", "line", "plain"])
    assert {row.title for row in shelf.passages()} == {"why", ""}
    assert shelf.sync().unchanged == 3
    later = SourceOptions(columns=Columns("body"), columns_by_pattern=by_pattern[:1])
    report = shelf.sync(source_options=later)
    assert (report.changed, report.emptied, report.unchanged) == (0, 1, 2)


def test_damaged_options_are_an_error_and_can_be_given_again(shelf: Shelf) -> None:
    shelf.write(a="alpha")
    shelf.sync()
    record = shelf.index / "versions" / "00000001.json"
    fields = json.loads(record.read_text())
    fields["source_options"][shelf.uri("").rstrip("/")]["columns"] = 7
    record.write_text(json.dumps(fields))
    with pytest.raises(StoreError, match="the options of its last sync are damaged"):
        shelf.sync()
    assert shelf.sync(source_options=DEFAULT_OPTIONS).unchanged == 1
    assert Path(shelf.index).exists()
