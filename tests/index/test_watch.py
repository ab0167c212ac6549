"""Proves which changes of a folder make a sync due, and that no change is lost."""

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resift.errors import MissingExtra, StoreError
from resift.index import watch
from resift.index.sources.patterns import ALL, Globs
from resift.index.storage.location import locate
from resift.index.watch import FolderWatch, is_network_drive

pytest.importorskip("watchfiles")
SOON_S = 0.6
"""Longer than a change takes to be seen and to settle."""


@pytest.fixture(autouse=True)
def _settle_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_QUIET_S", 0.1)
    monkeypatch.setattr(watch, "_TICK_MS", 50)
    monkeypatch.setattr(watch, "_STEP_MS", 20)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for name in ("a.md", "sub/b.txt", "v1.2/c.md", "v1.2/deep/d.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    return folder


def watching(path: Path, index: Path | None = None, **options: Any) -> FolderWatch:
    return FolderWatch(locate(str(path)), locate(str(index or path / "index")), **options)


def is_due(folder: FolderWatch, within_s: float = 20.0, retry_s: float | None = None) -> bool:
    """Whether a sync becomes due, and not only because the time is up."""
    stop = threading.Event()
    timer = threading.Timer(within_s, stop.set)
    timer.start()
    folder.wait(stop, retry_s)
    timer.cancel()
    timer.join()
    return not stop.is_set()


def test_changes_of_documents_and_folders_make_a_sync_due(docs: Path, tmp_path: Path) -> None:
    folder = watching(docs, every_s=600)

    def atomic_save() -> None:
        (docs / "a.md~").write_text("new text")
        (docs / "a.md~").rename(docs / "a.md")

    def moved_in() -> None:
        (tmp_path / "out").rename(docs / "back")

    changes: list[Callable[[], object]] = [
        lambda: (docs / "sub" / "new.md").write_text("text"),
        lambda: (docs / "a.md").write_text("longer text"),
        atomic_save,
        lambda: (docs / "sub" / "b.txt").unlink(),
        lambda: (docs / "v1.2").rename(tmp_path / "out"),  # its documents are not reported
        moved_in,
        lambda: (docs / "back" / "deep").rename(tmp_path / "deep"),  # a folder that came later
    ]
    try:
        for number, change in enumerate(changes):
            folder.prepare()
            change()
            assert is_due(folder), f"change {number} was not seen"
        folder.prepare()
        assert not is_due(folder, SOON_S), "a change was seen twice"
    finally:
        folder.close()


def test_hidden_and_ignored_files_and_indexes_do_not(docs: Path) -> None:
    index = docs / "index"
    for path in ("index/passages.lance", "old/passages.lance", "old/versions", ".git", "drafts"):
        (docs / path).mkdir(parents=True)
    (docs / "gone.png").write_text("x")
    folder = watching(docs, index, every_s=600, globs=lambda: Globs(exclude=("drafts/", "*.csv")))
    folder.prepare()
    try:
        for name in (
            "index/new.md", "index/passages.lance/x.txt", "old/passages.lance/x.md",
            "old/versions/1.md", "table.lance/x.md", ".hidden.md", ".git/x.md", "a.md~", "x.png",
            "drafts/x.md", "table.csv",
        ):  # fmt: skip
            (docs / name).parent.mkdir(exist_ok=True)
            (docs / name).write_text("x")
        (docs / "gone.png").unlink()
        (docs / "a.md").read_text()
        # The folder table.lance is new, and so is nothing else that a sync lists.
        assert not is_due(folder, SOON_S)
        (docs / "seen.md").write_text("x")
        assert is_due(folder)
    finally:
        folder.close()


def test_changes_during_a_sync_make_the_next_one_due(docs: Path) -> None:
    folder = watching(docs, every_s=600)
    try:
        folder.prepare()
        (docs / "a.md").write_text("changed before the sync reads")
        time.sleep(0.5)  # the sync
        assert is_due(folder)
    finally:
        folder.close()


class Reported:
    """Changes that the system reports in steps of 0.2 s, each a number of files in `docs`."""

    def __init__(self, docs: Path, *steps: int) -> None:
        self.docs = docs
        self.steps = [0, *steps]  # the first step only begins to watch
        self.now = 0.0

    def watch(self, *_: object, **__: object) -> Iterator[set[tuple[int, str]]]:
        while self.steps:
            self.now += 0.2
            count = self.steps.pop(0)
            yield {(1, f"{self.docs}/{number}.txt") for number in range(count)}

    def clock(self) -> float:
        return self.now


def test_a_burst_of_many_files_makes_one_sync_due(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_QUIET_S", 0.5)
    reported = Reported(docs, 0, 0, *[2_000, 0, 0] * 5, 0, 7, *[0] * 9)
    monkeypatch.setattr("watchfiles.watch", reported.watch)
    folder = watching(docs, every_s=600, clock=reported.clock)
    folder.prepare()
    assert is_due(folder)
    assert reported.steps == [7, *[0] * 9]
    folder.prepare()
    assert is_due(folder)
    assert reported.steps == [0] * 6


def test_a_folder_that_never_rests_is_synced_all_the_same(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = Reported(docs, *[1] * 300)
    monkeypatch.setattr("watchfiles.watch", reported.watch)
    folder = watching(docs, every_s=600, clock=reported.clock)
    folder.prepare()
    assert is_due(folder)
    assert 30 <= reported.now <= 31


def test_a_root_that_goes_and_comes_back_is_watched_again(docs: Path, tmp_path: Path) -> None:
    folder = watching(docs, every_s=600)
    try:
        folder.prepare()
        docs.rename(tmp_path / "unmounted")
        assert is_due(folder)  # and that sync fails
        folder.prepare()
        timer = threading.Timer(0.3, lambda: (tmp_path / "unmounted").rename(docs))
        timer.start()
        assert is_due(folder, retry_s=600)
        folder.prepare()
        (docs / "a.md").write_text("changed there")
        assert is_due(folder)
        folder.prepare()
        shutil.rmtree(docs)
        docs.mkdir()
        assert is_due(folder)
    finally:
        folder.close()


def test_a_single_file_is_followed_through_atomic_saves(docs: Path) -> None:
    folder = watching(docs / "a.md", docs / "index", every_s=600)
    try:
        for text in ("one", "two"):
            folder.prepare()
            (docs / "other.md").write_text(text)
            assert not is_due(folder, SOON_S)
            (docs / "a.new").write_text(text)
            (docs / "a.new").replace(docs / "a.md")
            assert is_due(folder)
    finally:
        folder.close()


@pytest.mark.parametrize(("every_s", "retry_s"), [(0.3, None), (600, 0.3)])
def test_without_a_report_of_changes_a_sync_is_due_after_a_while(
    docs: Path, every_s: float, retry_s: float | None
) -> None:
    folder = watching(docs, every_s=every_s)
    try:
        folder.prepare()
        assert is_due(folder, retry_s=retry_s)
    finally:
        folder.close()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("no inotify")])
def test_a_folder_that_cannot_be_watched_is_listed_instead_and_that_is_logged_once(
    docs: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise error
        yield

    monkeypatch.setattr("watchfiles.watch", refuse)
    monkeypatch.setattr(watch, "POLL_S", 0.3)
    folder = watching(docs)
    for _ in range(2):
        folder.prepare()
        assert is_due(folder)
    (record,) = caplog.records
    assert "it is listed every 0.3 s" in record.getMessage()


def test_a_watch_that_fails_later_makes_a_sync_due_and_begins_again(
    docs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = []

    def fail_later(*_: object, **__: object) -> Any:
        begun.append(1)
        yield set()
        raise RuntimeError("too many folders")

    monkeypatch.setattr("watchfiles.watch", fail_later)
    folder = watching(docs, every_s=600)
    for count in (1, 2):
        folder.prepare()
        assert is_due(folder)
        assert len(begun) == count
    assert "too many folders" in caplog.text


def test_a_file_that_a_pattern_names_makes_a_sync_due(docs: Path) -> None:
    globs = Globs(include=("package-lock.json",))
    folder = watching(docs, every_s=600, globs=lambda: globs)
    try:
        folder.prepare()
        (docs / "package-lock.json").write_text("{}")
        assert is_due(folder)
    finally:
        folder.close()


def test_patterns_that_cannot_be_read_exclude_nothing(docs: Path) -> None:
    readable = [ALL]

    def globs() -> Globs:
        if readable:
            return readable.pop()
        raise StoreError("the index cannot be read")

    folder = watching(docs, every_s=600, globs=globs)
    try:
        for text in ("one", "two"):
            folder.prepare()
            (docs / "a.md").write_text(text)
            assert is_due(folder)
        assert readable == []
    finally:
        folder.close()


def test_watching_needs_its_extra(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(MissingExtra, match=r"resift\[watch\]"):
        watching(docs)


MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 21 0:50 / /mnt/team\040drive rw shared:9 - nfs4 server:/export rw
41 40 254:9 / /mnt/team\040drive/local rw - xfs /dev/vdb rw
42 21 0:51 / /home/me/remote rw - fuse.sshfs host: rw
43 21 0:52 / /media/stick rw - fuseblk /dev/sdb1 rw
a broken line
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/docs", False),
        ("/mnt/team drive", True),
        ("/mnt/team drive/docs", True),
        ("/mnt/team drive/local/docs", False),
        ("/mnt/team", False),
        ("/home/me/remote/x", True),
        ("/media/stick", False),
    ],
)
def test_network_drives_are_known_by_their_mount(path: str, expected: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert is_network_drive(Path(path), mounts) is expected
    assert not is_network_drive(Path(path), tmp_path / "absent")


def test_a_network_drive_is_listed_often(
    docs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "is_network_drive", lambda path: True)
    monkeypatch.setattr(watch, "POLL_S", 0.3)
    watching(docs, every_s=0.2).close()
    assert caplog.text.endswith("it is listed every 0.2 s\n")  # as the user wants it
    folder = watching(docs)
    try:
        folder.prepare()
        assert is_due(folder)
        assert "network drive" in caplog.text and os.fspath(docs) in caplog.text
    finally:
        folder.close()
