"""Proves that the command ends with its own exit code, whatever its streams and its keyboard do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.command import PROGRAM, Resift

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
COMMAND = f'{sys.executable} -c "{PROGRAM}"'
RERANK = f"{COMMAND} rerank -q cats"
LINES = b"a text\nanother text about cats\n"


def shell(command: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        command,
        shell=True,
        input=LINES,
        capture_output=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.usefixtures("small_model")
@pytest.mark.parametrize(
    ("shape", "redirect", "reason"),
    [
        ("", ">/dev/full", "No space"),
        ("--json", ">/dev/full", "No space"),
        ("--json", ">&-", "Bad file"),
    ],
)
def test_an_output_that_takes_nothing_is_an_error_in_a_line(
    shape: str, redirect: str, reason: str
) -> None:
    done = shell(f"{RERANK} {shape} {redirect}")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()[-1:]
    assert line.startswith("error: the output cannot be written: ") and reason in line
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.usefixtures("small_model")
@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_a_stderr_that_takes_nothing_costs_nothing_else(redirect: str) -> None:
    done = shell(f"{RERANK} --jsonl {redirect}")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert shell(f"{RERANK} --what {redirect}").returncode == 2


@pytest.mark.usefixtures("small_model")
def test_a_terminal_that_shows_ascii_only_gets_all_of_it() -> None:
    done = shell(f"{COMMAND} rerank -q 'Käse' --json", PYTHONIOENCODING="ascii", TERM="dumb")
    assert done.returncode == 0 and b'"K\\u00e4se"' in done.stdout


def test_without_an_environment_it_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "rerank", "-q", "cats"],
        input=LINES, capture_output=True, timeout=120, env={},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


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
