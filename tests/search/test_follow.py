"""Proves that `Index.follow` syncs again and again, from Python and beside other followers."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, InputError
from resift.index.follow import SyncFailure
from resift.index.report import SyncReport
from resift.index.run import Progress
from resift.index.source_options import SourceOptions
from resift.index.sources.patterns import Globs
from resift.search.index import Index
from search.stand_ins import Backwards

SOON_S = 1.0  # the least that is allowed


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("alpha")
    return folder


def open_index(tmp_path: Path, fingerprint: str = "hashing-64") -> Index:
    embedder = HashingEmbedder(fingerprint)
    return Index(str(tmp_path / "index"), embedder=embedder, reranker=Backwards())


def test_each_sync_is_reported_and_searches_see_it(docs: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    index = open_index(tmp_path)
    seen = []
    for number, report in enumerate(index.follow(str(docs), every_s=SOON_S, stop=stop)):
        seen.append((report.added, report.unchanged, report.version))
        if number == 0:
            (docs / "b.md").write_text("beta")
        elif number == 1:
            assert {hit.text for hit in index.search("beta")} == {"alpha", "beta"}
        else:
            stop.set()
    assert seen == [(1, 0, 1), (1, 1, 2), (0, 2, 2)]


def test_source_options_are_for_the_first_sync(docs: Path, tmp_path: Path) -> None:
    (docs / "b.txt").write_text("beta")
    only_md = SourceOptions(globs=Globs(include=("*.md",)))
    index = open_index(tmp_path)
    reports = index.follow(str(docs), every_s=SOON_S, source_options=only_md)
    assert next(reports).added == 1
    other = open_index(tmp_path)  # another process changes the options meanwhile
    other.sync(str(docs), source_options=SourceOptions())
    report = next(reports)
    assert (report.unchanged, report.deleted, report.version) == (2, 0, 2)
    assert index.source_options(str(docs)) == SourceOptions()


def test_a_function_gives_the_options_once_and_they_are_used_until_they_are_stored(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "b.txt").write_text("beta")
    given, failures = [SourceOptions(globs=Globs(include=("*.md",)))], []
    monkeypatch.setattr("resift.index.follow._FIRST_RETRY_S", 0.01)
    index = open_index(tmp_path)
    (docs / "a.md").rename(tmp_path / "a.md")  # the first sync has nothing to index

    def on_failure(failure: SyncFailure) -> None:
        failures.append(failure)
        if docs.exists() and len(failures) == 1:
            (tmp_path / "a.md").rename(docs / "a.md")

    reports = index.follow(
        str(docs), every_s=SOON_S, source_options=given.pop, on_failure=on_failure
    )
    assert len(given) == 1  # only a sync reads them
    assert next(reports).added == 1 and given == [] and len(failures) == 1
    open_index(tmp_path).sync(str(docs), source_options=SourceOptions())
    assert next(reports).unchanged == 2
    assert index.source_options(str(docs)) == SourceOptions()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("stop", 5, "a threading.Event, or None"),
        ("stop", threading.Event, "a threading.Event, or None"),
        ("on_failure", 5, "a function of a SyncFailure"),
        ("watch", "x", "True or False"),
        ("source_options", 5, "a SourceOptions"),
        ("source_options", SourceOptions, "a SourceOptions"),
        ("progress", 5, "a function of a Progress"),
        ("token_states", "no", "True or False"),
        ("allow_unsafe", 1, "True or False"),
        ("every_s", "5", "seconds from 1"),
    ],
)
def test_wrong_arguments_are_refused_before_any_sync(
    docs: Path, tmp_path: Path, name: str, value: Any, expected: str
) -> None:
    arguments: dict[str, Any] = {"every_s": SOON_S} | {name: value}
    with pytest.raises(InputError, match=f"^{name}=.*: expected .*{expected}"):
        open_index(tmp_path).follow(str(docs), **arguments)
    assert not (tmp_path / "index").exists()


def test_a_function_that_gives_no_options_is_refused(docs: Path, tmp_path: Path) -> None:
    give: Any = lambda: 5  # noqa: E731
    with pytest.raises(InputError, match=r"^source_options=5: expected a SourceOptions"):
        next(open_index(tmp_path).follow(str(docs), every_s=SOON_S, source_options=give))


def test_stop_ends_a_sync_between_two_commits_and_the_next_one_continues(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.index.writer.COMMIT_PASSAGES", 5)
    for number in range(40):
        (docs / f"{number}.txt").write_text(f"document {number}")
    stop = threading.Event()

    def progress(state: Progress) -> None:
        if state.passages > 10:
            stop.set()

    index = open_index(tmp_path)
    assert list(index.follow(str(docs), every_s=600, stop=stop, progress=progress)) == []
    report = open_index(tmp_path).sync(str(docs))
    assert report.added == 41 and 10 <= report.passages_resumed < 41


def test_two_followers_share_an_index(docs: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    reports: list[list[SyncReport]] = [[], []]

    def run(number: int) -> None:
        index = open_index(tmp_path)
        for report in index.follow(str(docs), every_s=SOON_S, stop=stop):
            reports[number].append(report)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(reports))
    (docs / "b.md").write_text("beta")
    wait_for(lambda: all(seen[-1].added + seen[-1].unchanged == 2 for seen in reports))
    stop.set()
    for thread in threads:
        thread.join()
    version = open_index(tmp_path).versions()[-1]
    assert (version.documents, version.passages) == (2, 2)


def test_what_no_later_sync_can_mend_is_raised(docs: Path, tmp_path: Path) -> None:
    open_index(tmp_path).sync(str(docs))
    with pytest.raises(IndexMismatch):
        next(open_index(tmp_path, "other-64").follow(str(docs), every_s=600))
    pinned = Index(str(tmp_path / "index"), version=1, embedder=HashingEmbedder())
    with pytest.raises(InputError, match="version=1"):
        pinned.follow(str(docs), every_s=600)
    with pytest.raises(InputError, match="every_s=0"):
        open_index(tmp_path).follow(str(docs), every_s=0)


def test_a_watched_folder_that_is_filled_later_is_synced_then(docs: Path, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    (docs / "a.md").unlink()
    failures = []
    reports = open_index(tmp_path).follow(
        str(docs), watch=True, on_failure=lambda failure: failures.append(fill(failure))
    )

    def fill(failure: object) -> str:
        (docs / "a.md").write_text("alpha")
        return str(failure)

    assert next(reports).added == 1
    close(reports)
    assert len(failures) == 1 and "no documents there" in failures[0]


@pytest.mark.parametrize("watch", [False, True], ids=["every", "watch"])
def test_all_gone_is_refused_while_following_whatever_is_new(
    docs: Path, tmp_path: Path, watch: bool
) -> None:
    if watch:
        pytest.importorskip("watchfiles")
    failures = []

    def restore(failure: object) -> None:
        failures.append(str(failure))
        (docs / "a.md").write_text("alpha")

    reports = open_index(tmp_path).follow(
        str(docs), every_s=None if watch else SOON_S, watch=watch, on_failure=restore
    )
    assert next(reports).added == 1
    (docs / "new.md").write_text("something else that is new")
    (docs / "a.md").unlink()
    report = next(reports)
    close(reports)
    assert "1 of 1 indexed documents would leave the index" in failures[0]
    assert (report.added, report.deleted) == (1, 0)


def close(reports: Iterator[SyncReport]) -> None:
    reports.close()  # type: ignore[attr-defined]  # a generator


def wait_for(condition: object) -> None:
    assert callable(condition)
    event = threading.Event()
    for _ in range(3_000):
        if condition():
            return
        event.wait(0.02)
    raise AssertionError("it does not happen")
