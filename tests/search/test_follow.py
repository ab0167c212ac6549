"""Proves that `Index.follow` syncs again and again, from Python and beside other followers."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.fakes import HashingEmbedder
from resift.errors import IndexMismatch, InputError
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
