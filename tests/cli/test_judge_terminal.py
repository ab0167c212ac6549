"""Judging in a real terminal: one key each, nothing typed ahead, and the terminal as it was."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.small_collection import json_lines, make_collection, make_run
from resift.evaluation.trec import read_qrels

if sys.platform == "win32":
    pytest.skip("no ptys here", allow_module_level=True)

from cli.terminal import Terminal

RANKED = {"q1": ["d4", "d3", "d1"], "q2": ["d1", "d4"]}


class Desk:
    """A collection, a run, and the command over them in a terminal."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_collection(folder)
        self.run = make_run(folder / "run.trec", RANKED)

    def judge(self, *, rows: int = 40, columns: int = 100) -> Terminal:
        return Terminal("judge", self.folder, "--run", self.run, rows=rows, columns=columns)

    @property
    def grades(self) -> list[float]:
        file = self.folder / "judgments.tsv"
        if not file.exists():
            return []
        return [grade for grades in read_qrels(file).values() for grade in grades.values()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "made")


@pytest.fixture
def terminal(desk: Desk) -> Iterator[Terminal]:
    with desk.judge() as terminal:
        terminal.wait_for("candidate 1 of 3")
        terminal.is_asked()
        yield terminal


def test_each_key_shows_the_next_candidate_at_once(terminal: Terminal, desk: Desk) -> None:
    for key, progress in (
        ("2", "candidate 2 of 3"),
        ("0", "candidate 3 of 3"),
        ("s", "query 2 of 2"),
    ):
        terminal.is_asked()
        terminal.type(key)
        terminal.wait_for(progress)
    assert desk.grades == [2, 0]
    terminal.is_asked()
    terminal.type("q")
    assert terminal.ends() == 0
    assert "2 judged; repeat the command to continue" in terminal.screen
    assert terminal.is_as_before


def test_backspace_goes_back_too(terminal: Terminal, desk: Desk) -> None:
    for key in ("b", "\x7f", "\x08"):
        terminal.type("2")
        terminal.wait_for("candidate 2 of 3")
        terminal.is_asked()
        terminal.type(key)
        terminal.wait_for("took back: 2 answers it")
        assert desk.grades == []
        terminal.is_asked()


def test_keys_that_mean_nothing_do_nothing(terminal: Terminal, desk: Desk) -> None:
    for keys in ("\x1b[3~", "\x1b[1;2~", "\x1bOP", "\x1b", "7", "x", "é", "12"):
        terminal.type(keys)
        assert "candidate 1 of 3" in terminal.stays(), repr(keys)
        assert desk.grades == [], repr(keys)
    terminal.type("1")
    terminal.wait_for("candidate 2 of 3")
    assert desk.grades == [1]


def test_keys_typed_before_a_candidate_is_shown_are_ignored(desk: Desk) -> None:
    with desk.judge() as terminal:
        terminal.type("1")  # the command is still starting
        terminal.wait_for("candidate 1 of 3")
        terminal.is_asked()
        assert "candidate 1 of 3" in terminal.stays()
        assert desk.grades == []


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_quit_keys_end_the_session_and_restore_the_terminal(
    terminal: Terminal, desk: Desk, key: str
) -> None:
    terminal.type("2")
    terminal.wait_for("candidate 2 of 3")
    terminal.is_asked()
    if key == "\x03":  # a pty that is nobody's controlling terminal sends no signal
        terminal.process.send_signal(signal.SIGINT)
    else:
        terminal.type(key)
    assert terminal.ends() == (130 if key == "\x03" else 0)
    assert terminal.is_as_before and "Traceback" not in terminal.screen
    assert desk.grades == [2]


def test_the_words_of_the_query_are_marked(desk: Desk) -> None:
    make_run(desk.run, {"q2": ["d4"]})
    with desk.judge() as terminal:
        terminal.wait_for("not\xa0relevant")
    assert "\x1b[1;33mmessages\x1b[0m" in terminal.raw


def test_the_query_is_repeated_below_a_text_longer_than_the_screen(desk: Desk) -> None:
    long = "A queue keeps messages. " * 200
    corpus = [{"_id": name, "text": long} for name in ("d1", "d3", "d4")]
    (desk.folder / "corpus.jsonl").write_text(json_lines(corpus))
    with desk.judge(rows=20, columns=60) as terminal:
        terminal.wait_for("not\xa0relevant")
        assert terminal.screen.count("? what stops an object from being deleted") == 2
        assert terminal.screen.count("queue") == 200
    with desk.judge(rows=120) as terminal:
        terminal.wait_for("not\xa0relevant")
        assert terminal.screen.count("? what stops an object from being deleted") == 1
