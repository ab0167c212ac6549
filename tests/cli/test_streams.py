"""Exit codes and output with odd streams, Ctrl-C at any time, and terminals of any width."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.table import Table

from cli.command import PROGRAM, Resift, process, shell
from resift.cli import streams
from resift.cli.output import console, print_table

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
RERANK = "resift rerank -q cats"
LINES = b"a text\nanother text about cats\n"


@needs_dev_full
@pytest.mark.usefixtures("small_model")
@pytest.mark.parametrize(
    ("shape", "redirect", "reason"),
    [
        ("", ">/dev/full", "no space"),
        ("--json", ">/dev/full", "no space"),
        ("--json", ">&-", "bad file"),
    ],
)
def test_an_unwritable_stdout_is_an_error_in_a_line(shape: str, redirect: str, reason: str) -> None:
    done = shell(f"{RERANK} {shape} {redirect}", LINES)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()[-1:]
    assert line.startswith("error: the output cannot be written: ") and reason in line
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@needs_dev_full
@pytest.mark.usefixtures("small_model")
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_an_unwritable_stderr_changes_nothing_else(redirect: str) -> None:
    done = shell(f"{RERANK} --jsonl {redirect}", LINES)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert shell(f"{RERANK} --what {redirect}", LINES).returncode == 2


@pytest.mark.usefixtures("small_model")
def test_an_ascii_terminal_gets_escaped_json() -> None:
    done = shell("resift rerank -q 'Käse' --json", LINES, PYTHONIOENCODING="ascii", TERM="dumb")
    assert done.returncode == 0 and b'"K\\u00e4se"' in done.stdout


def test_without_an_environment_it_works() -> None:
    done = process("rerank", "-q", "cats", stdin=LINES, environment={})
    assert done.code == 0, done.err


BEGUN = "from resift.cli.main import run; print('begun', flush=True); run()"


@pytest.mark.parametrize("pause_s", [0.2, 0.8])
def test_ctrl_c_at_any_time_is_130_and_no_traceback(pause_s: float) -> None:
    """While it imports, loads its model, waits for its input."""
    command = subprocess.Popen(
        [sys.executable, "-c", BEGUN, "rerank", "-q", "cats"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout and command.stdout.readline() == b"begun\n"
    time.sleep(pause_s)
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130, errors
    assert b"Traceback" not in errors


def test_an_unforeseen_error_is_one_line_and_says_how_to_see_more(
    resift: Resift, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("resift.cli.rerank.read_candidates", broken)
    error = resift("rerank", "-q", "cats").error
    assert "KeyError: 'x'; this is a bug in resift" in error and "RESIFT_DEBUG=1" in error
    monkeypatch.setenv("RESIFT_DEBUG", "1")
    done = resift("rerank", "-q", "cats")
    assert done.code == 1 and "Traceback" in done.err and 'raise KeyError("x")' in done.err


def test_a_shell_can_complete_verbs_and_options() -> None:
    for words, count, expected in (("resift se", 1, "search"), ("resift search --budg", 2, "--bu")):
        environment = {"_RESIFT_COMPLETE": "complete_bash", "COMP_WORDS": words,
                       "COMP_CWORD": str(count)}  # fmt: skip
        program = f"import sys; sys.argv[0] = 'resift'; {PROGRAM}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, timeout=60, env={**os.environ, **environment},
        )  # fmt: skip
        assert done.returncode == 0 and expected in done.stdout.decode()


INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    "late",
    [
        f"atexit.register(lambda: {INTERRUPT})",
        f"threading._register_atexit(lambda: {INTERRUPT})",
        f"main.sys = Namespace(argv=sys.argv, exit=lambda code: ({INTERRUPT}, sys.exit(code)))",
    ],
)
@pytest.mark.parametrize(("verb", "code"), [("--version", 0), ("nothing", 2)])
def test_ctrl_c_after_the_work_changes_nothing(late: str, verb: str, code: int) -> None:
    names = "from types import SimpleNamespace as Namespace; import resift.cli.main as main"
    program = f"import atexit, os, signal, sys, threading; {names}; {late}; {PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program, verb], capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr and b"KeyboardInterrupt" not in done.stderr


ODD_SIZES = ["0", "00", "-5", "²", "٣", "abc", "", " ", "1.5"]


def printed(*arguments: str, **variables: str) -> str:
    """Stdout of the command in an environment with these variables."""
    environment = {name: value for name, value in os.environ.items() if name != "LINES"}
    texts = b"Paris is the capital of France\nBerlin\n"
    done = process(*arguments, stdin=texts, environment=environment | variables)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.parametrize("columns", ODD_SIZES)
def test_an_invalid_terminal_size_is_removed(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        monkeypatch.setenv(variable, columns)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((90, 20)))
    streams.prepare_size()
    assert not {"COLUMNS", "LINES", "TERMINAL_WIDTH"} & os.environ.keys()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [("7", "7"), ("0080", "80"), ("1000", "1000"), ("9" * 18, "1000"), ("9" * 5_000, None)],
)
def test_a_size_is_at_most_that_of_a_terminal(
    columns: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", "0")
    streams.prepare_size()
    assert os.environ.get("COLUMNS") == expected


@pytest.mark.parametrize("columns", ["0", "²", "1", "20"])
def test_a_passage_and_the_help_are_readable_at_any_width(columns: str) -> None:
    table = printed("rerank", "-q", "capital of France", "--explain", "1", COLUMNS=columns)
    assert table.count("Paris is the capital of France") == 2 and "passage" in table
    help_text = printed("rerank", "--help", COLUMNS=columns, TERMINAL_WIDTH=columns)
    assert "--min-score" in help_text and "--text-field" in help_text


@pytest.mark.parametrize("columns", [1, 20, 40, 59])
def test_figures_are_whole_in_a_narrow_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", columns)
    table = Table(box=None)
    for number in range(8):
        table.add_column(f"column{number}", no_wrap=True)
    table.add_row(*(f"0.123{number}" for number in range(8)))
    print_table(table)
    heads, figures = capsys.readouterr().out.splitlines()
    assert heads.split() == [f"column{number}" for number in range(8)]
    assert figures.split() == [f"0.123{number}" for number in range(8)]


def test_a_small_table_stays_small(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", 20)
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_row("x" * 30)
    print_table(table)
    assert max(map(len, capsys.readouterr().out.splitlines())) == 30
