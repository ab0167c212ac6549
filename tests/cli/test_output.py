"""Proves that progress is shown late, on a terminal alone, with the time left if it is known."""

import io
import re
import sys
import threading
import time

import pytest
from rich.console import Console

from resift.cli import output
from resift.cli.output import progress, sync_progress, waiting
from resift.index.run import Progress


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What stderr shows, a terminal of 100 columns."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(output, "errors", console)
    return stream


def wait_for(screen: io.StringIO, pattern: str) -> None:
    until = time.monotonic() + 30
    while not re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())):
        assert time.monotonic() < until, screen.getvalue()
        time.sleep(0.02)


def test_short_work_shows_nothing(screen: io.StringIO) -> None:
    with waiting("loading"):
        pass
    with pytest.raises(ValueError, match="broken"), waiting("loading"):
        raise ValueError("broken")
    assert screen.getvalue() == ""
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_long_work_shows_the_time_elapsed_and_disappears(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "BAR_AFTER_S", 0.01)
    with waiting("loading [bold]\x1b[2J"):
        wait_for(screen, r"loading \[bold\] \[2J .* 0:00:0\d")
    ended = screen.getvalue()
    assert ended.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line empty
    time.sleep(0.15)  # longer than a refresh
    assert screen.getvalue() == ended


def test_work_of_known_length_shows_the_time_left(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "BAR_AFTER_S", 0.01)
    with progress() as bar:
        task = bar.add_task("reranking", total=100, note="queries")
        wait_for(screen, r"reranking .* 0% queries -:--:--")
        for _ in range(10):
            time.sleep(0.02)
            bar.update(task, advance=1)
        wait_for(screen, r"reranking .* 10% queries 0:00:0\d")


def test_a_sync_shows_documents_and_passages(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "BAR_AFTER_S", 0.01)
    with sync_progress() as show:
        wait_for(screen, r"indexing .* 0:00:0\d")  # listing: the amount is not known yet
        show(Progress(3, 1_204, 77, 2_500_000, 9_000_000, 0.25))
        wait_for(screen, r"25% 3/1,204 documents, 77 passages \([\d,]+/s\), 2\.5 MB")


@pytest.mark.parametrize("terminal", [False, True])
def test_pipes_and_simple_terminals_show_nothing(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(output, "errors", Console(file=stream, force_terminal=terminal))
    monkeypatch.setattr(output, "BAR_AFTER_S", 0.0)
    with waiting("loading"):
        time.sleep(0.1)
    assert stream.getvalue() == ""


def test_lines_for_a_pipe_go_to_the_pipe_while_a_bar_is_shown(
    screen: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(output, "BAR_AFTER_S", 0.0)
    with waiting("loading"):
        wait_for(screen, "loading")
        print("a line")
    assert pipe.getvalue() == "a line\n" and "a line" not in screen.getvalue()
