"""Proves that an index follows its source until a signal, which loses nothing."""

import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cli.command import PROGRAM, Resift
from cli.process_state import restored_state, state
from index.fakes import HashingEmbedder
from resift.cli.follow import ChangeLog, FollowOptions, duration, follow_source, interval
from resift.cli.stop_signals import StopSignals
from resift.errors import InputError, MassDeletion, StoreError
from resift.index.follow import SyncFailure
from resift.index.report import SyncReport
from resift.index.source_options import DEFAULT_OPTIONS, SourceOptions
from resift.search.index import Index
from search.stand_ins import Backwards

TESTS = Path(__file__).parents[1]
FILES = 150
SLOW = f"""
import sys, time
sys.path.insert(0, {str(TESTS)!r})
import resift.cli.stop_signals, resift.index.writer, resift.search.components
from index.fakes import HashingEmbedder

class Slow(HashingEmbedder):
    calls = 0

    def embed(self, texts):
        self.calls += 1
        if self.calls > 3:
            time.sleep(PAUSE_S)
        return super().embed(texts)

resift.cli.stop_signals.GRACE_S = SECONDS
resift.index.writer.COMMIT_PASSAGES = 10
resift.search.components.open_embedder = lambda name, settings: Slow()
"""
REPORT = SyncReport(
    added=3, changed=1, deleted=0, unchanged=1_200, emptied=0, unindexed=0, listed=1_204,
    passages_embedded=9, skipped=(), seconds=2.14, version=17,
)  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


@contextmanager
def following(
    source: Path, *options: str, pause_s: float = 0.0, grace_s: float = 600.0
) -> Iterator["subprocess.Popen[bytes]"]:
    """``resift index`` with options; the embedder pauses at each batch after the third."""
    program = SLOW.replace("PAUSE_S", str(pause_s)).replace("SECONDS", str(grace_s))
    program += PROGRAM.replace("; ", "\n")
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", program, "index", str(source)),
            *("--index", str(source.parent / "index"), *options),
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(is_true: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.02)


def commits(source: Path) -> int:
    """The number of complete commits; a file that is being written has another suffix."""
    return len(list(source.parent.glob("index/passages.lance/_versions/*.manifest")))


def versions(source: Path) -> list[str]:
    return sorted(path.name for path in source.parent.glob("index/versions/*"))


def index_of(source: Path) -> Index:
    embedder = HashingEmbedder()
    return Index(str(source.parent / "index"), embedder=embedder, reranker=Backwards())


@pytest.mark.usefixtures("small_model")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 0),
        (signal.SIGINT, 130),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.long),  # as in storage/test_killed.py
    ],
)
def test_a_signal_during_a_sync_loses_nothing_that_was_committed(
    source: Path, number: signal.Signals, code: int
) -> None:
    for name in range(FILES):
        (source / f"{name}.txt").write_text(f"document {name}")
    with following(source, "--every", "1h", pause_s=0.5) as process:
        wait_until(lambda: commits(source) > 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b""), err
    assert b"Traceback" not in err and len(err.splitlines()) == 1
    assert versions(source) == []
    report = index_of(source).sync(str(source))
    assert (report.added, report.version, report.skipped) == (FILES, 1, ())
    assert 30 <= report.passages_resumed < FILES
    ids = index_of(source).versions()[-1]
    assert (ids.documents, ids.passages) == (FILES, FILES)


@pytest.mark.usefixtures("small_model")
def test_a_process_that_hangs_ends_too(source: Path) -> None:
    for name in range(50):
        (source / f"{name}.txt").write_text(f"document {name}")
    with following(source, "--every", "1h", pause_s=1_000, grace_s=0.1) as process:
        wait_until(lambda: commits(source) > 3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"") and len(err.splitlines()) == 1


@pytest.mark.usefixtures("small_model")
def test_each_change_is_a_line_and_sigterm_ends_the_wait(source: Path) -> None:
    (source / "a.md").write_text("first")
    (source / "empty.md").write_text("")
    with following(source, "--every", "1", "--json") as process:
        lines = cast(io.BufferedReader, process.stdout)
        first = json.loads(lines.readline())
        assert (first["added"], first["version"]) == (1, 1) and first["time"]
        (source / "b.md").write_text("second")
        (source / "a.md").write_text("first, changed")
        second = json.loads(lines.readline())
        if second["added"] + second["changed"] == 1:  # the sync came between the two
            second = json.loads(lines.readline()) | {"added": 1, "changed": 1}
        assert (second["added"], second["changed"]) == (1, 1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"")
    assert err.decode() == f"{source}: syncs every 1s; Ctrl-C ends\n"


@pytest.mark.usefixtures("small_model")
def test_a_watched_folder_is_synced_when_it_changes(source: Path) -> None:
    pytest.importorskip("watchfiles")
    (source / "a.md").write_text("first")
    with following(source, "--watch") as process:
        lines = cast(io.BufferedReader, process.stdout)
        line = rb"\d\d:\d\d:\d\d  \+%d ~0 -0, %d documents, version %d, \d+\.\d s\n"
        assert re.fullmatch(line % (1, 1, 1), lines.readline())
        (source / "b.md").write_text("second")
        assert re.fullmatch(line % (1, 2, 2), lines.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == f"{source}: syncs when files change; Ctrl-C ends\n"


def test_errors_that_no_later_sync_can_mend_end_the_command(resift: Resift, source: Path) -> None:
    (source / "a.md").write_text("first")
    index_of(source).sync(str(source))
    before = state()
    done = resift("index", source, "--index", source.parent / "index", "--every", "1h")
    assert (done.code, done.out) == (1, "")
    assert "made by embedder hashing-64" in done.err.splitlines()[-1]
    assert state() == before


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--every", "5x"], "--every 5x: expected a time from 1s to 366d, such as 30s"),
        (["--every", "5m", "--dry-run"], "--dry-run: is for a single sync"),
        (["--watch", "--allow-deletes"], "--allow-deletes: is for a single sync"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    resift: Resift, source: Path, options: list[str], part: str
) -> None:
    assert part in resift("index", source, "--index", source.parent / "index", *options).error


def test_a_bucket_cannot_be_watched(resift: Resift, tmp_path: Path) -> None:
    done = resift("index", "s3://b/docs", "--index", tmp_path / "index", "--watch")
    assert "only a local folder can be watched" in done.error


def test_each_sync_has_a_progress_bar_that_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    @contextmanager
    def bar() -> Iterator[Callable[[object], None]]:
        happened.append("opened")
        try:
            yield lambda state: happened.append("shown")
        finally:
            happened.append("closed")

    def read() -> SourceOptions:
        happened.append("options")
        return DEFAULT_OPTIONS

    class Target:
        def follow(self, source: str, **given: Any) -> Iterator[SyncReport]:
            assert given["source_options"]() is DEFAULT_OPTIONS
            for fails in (True, False):
                given["progress"](None)
                given["progress"](None)
                if fails:
                    given["on_failure"](SyncFailure(StoreError("the store is down"), 2))
                else:
                    yield REPORT
            given["progress"](None)
            raise InputError("it never works")

    monkeypatch.setattr("resift.cli.follow.sync_progress", bar)
    monkeypatch.setattr(ChangeLog, "add", lambda log, report: happened.append("report"))
    monkeypatch.setattr(ChangeLog, "add_failure", lambda log, failure: happened.append("failure"))
    with pytest.raises(InputError, match="it never works"):
        follow_source(
            cast(Index, Target()), "/docs", read, FollowOptions(60, False), False,
            token_states=False, allow_unsafe=False,
        )  # fmt: skip
    whole = ["opened", "shown", "shown", "closed"]
    assert happened == ["options", *whole, "failure", *whole, "report", "opened", "shown", "closed"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("90", 90), (" 1.5 M ", 90)],
)
def test_intervals_are_read(text: str, seconds: float) -> None:
    assert interval(text) == seconds
    assert interval(duration(seconds)) == seconds


def test_no_interval_is_none() -> None:
    assert interval(None) is None


@pytest.mark.parametrize("text", ["", "m", "0", "0.5s", "-5m", "5 m m", "1e3", "nan", "400d", "٣m"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a time from 1s to 366d"):
        interval(text)


def test_a_line_says_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    log = ChangeLog()
    log.add(REPORT)
    log.add(replace(REPORT, added=0, changed=0, unchanged=1_204))
    log.add(replace(REPORT, added=0, changed=0, deleted=2, emptied=1, unread=3, version=18))
    log.add(replace(REPORT, added=0, changed=0, options_changed=True))
    out, err = capsys.readouterr()
    assert err == ""
    assert [line[8:] for line in out.splitlines()] == [
        "  +3 ~1 -0, 1,204 documents, version 17, 2.1 s",
        "  +0 ~0 -3, 1,203 documents, 3 unreadable, version 18, 2.1 s",
        "  +0 ~0 -0, 1,200 documents, changed options, version 17, 2.1 s",
    ]


def test_skipped_files_are_named_when_they_are_new(capsys: pytest.CaptureFixture[str]) -> None:
    log = ChangeLog()
    unchanged = replace(REPORT, added=0, changed=0)
    first = replace(unchanged, skipped=(("/a.pdf", "damaged"),), passed_over={".png": 2})
    second = replace(unchanged, skipped=(("/a.pdf", "damaged"), ("/b.pdf", "too large")))
    for report in (first, first, second, replace(second, passed_over={".png": 3})):
        log.add(report)
    assert capsys.readouterr().err.splitlines() == [
        "skipped /a.pdf: damaged",
        "2 files of kinds that are not read: .png 2; --list-skipped names them",
        "skipped /b.pdf: too large",
    ]


def test_json_lines_have_the_report_and_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    log = ChangeLog(lines_as_json=True)
    log.add(replace(REPORT, skipped=(("/a.pdf", "damaged"),)))
    log.add(replace(REPORT, added=0, changed=0))
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    row = json.loads(line)
    assert (row["added"], row["skipped"], err) == (3, [["/a.pdf", "damaged"]], "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", row["time"])


def test_a_failure_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ChangeLog().add_failure(SyncFailure(MassDeletion("all\x1b[2J gone"), None))
    out, err = capsys.readouterr()
    assert (
        out == "" and err[8:] == "  all [2J gone; until then nothing is added, changed or deleted\n"
    )


SIGNALLED = """
import os, signal, sys, threading
from resift.cli import stop_signals

class Ended(threading.Event):
    code = None

    def __call__(self, code):
        self.code = code
        self.set()

stop_signals.GRACE_S = float(sys.argv[1])
ended = Ended()
with stop_signals.StopSignals(ended) as signals:
    os.kill(os.getpid(), signal.SIGWINCH)  # another one
    for number in sys.argv[2:]:
        os.kill(os.getpid(), int(number))
        assert signals.stop.wait(30)
assert ended.wait(30)
print(signals.exit_code, ended.code)
"""


@pytest.mark.parametrize(
    ("numbers", "code", "grace_s"),
    [([signal.SIGTERM], 0, 0.01), ([signal.SIGINT], 130, 0.01), ([signal.SIGTERM] * 2, 0, 60)],
)
def test_a_signal_sets_the_event_and_later_ends_the_process(
    numbers: list[signal.Signals], code: int, grace_s: float
) -> None:
    arguments = [str(grace_s), *(str(int(number)) for number in numbers)]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, [str(code)] * 2), done.stderr


def test_without_a_signal_everything_is_as_before() -> None:
    before = state(), threading.active_count()
    with StopSignals() as signals:
        assert state() != before[0]
    wait_until(lambda: threading.active_count() == before[1])
    assert state() == before[0] and signal.set_wakeup_fd(-1) == -1
    assert not signals.stop.is_set()


def test_ctrl_c_that_a_shell_has_switched_off_stays_so() -> None:
    with restored_state():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopSignals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
