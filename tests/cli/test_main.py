"""Exit codes and errors: 0 done, 1 one line on stderr, 2 wrong usage; never a traceback."""

import errno
import json
import os
import subprocess
import sys
from typing import NoReturn

import pytest

import resift as package
from cli.command import PROGRAM, Resift, process

VERBS = (
    "demo", "index", "search", "rerank", "rerank-run", "judge", "models", "verify", "convert",
    "train",
)  # fmt: skip


def test_the_version_is_the_packages(resift: Resift) -> None:
    done = resift("--version")
    assert (done.code, done.out.strip()) == (0, package.__version__)


def test_help_names_every_verb(resift: Resift) -> None:
    done = resift("--help")
    assert done.code == 0
    assert all(f" {verb} " in done.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(resift: Resift, verb: str) -> None:
    done = resift(verb, "--help")
    assert done.code == 0 and "Usage" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sing",),
        ("rerank",),
        ("rerank", "--query", "q", "--top-n", "many"),
        ("rerank", "--query", "q", "--what"),
        ("search", "q"),
        ("search", "q", "--index", "i", "--mode", "psychic"),
        ("rerank-run", "folder"),
    ],
)
def test_wrong_usage_exits_with_two(resift: Resift, arguments: tuple[str, ...]) -> None:
    done = resift(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_bad_settings_are_an_error_in_a_line(
    resift: Resift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIFT_THREADS", "many")
    assert "threads='many'" in resift("verify").error


def test_brackets_in_an_error_are_shown_as_they_are(resift: Resift) -> None:
    assert "[bold]x[/bold]" in resift("verify", "[bold]x[/bold]").error


def test_an_error_ends_a_real_process_with_one_and_one_line() -> None:
    done = process("rerank", "--query", "q", "absent.txt")
    assert "absent.txt" in done.error


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EMFILE, "ulimit -n"), (errno.EROFS, "the file system is read-only")],
)
def test_a_limit_of_the_machine_is_not_called_a_bug(
    resift: Resift, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def fail(*given: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("resift.search.index.Index.versions", fail)
    done = resift("versions", "--index", "x")
    assert expected in done.error and "bug" not in done.error


@pytest.mark.parametrize("as_json", [True, False])
def test_a_reader_that_leaves_early_gets_no_traceback(as_json: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, "rerank", "--query", "a text", "--top-n", "4000"]
    read, write = os.pipe()
    os.close(read)  # gone before the first line
    with os.fdopen(write, "wb") as gone:
        done = subprocess.run(
            command + ["--json"] * as_json,
            input=b"a text\n" * 20,
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr
    assert done.returncode != 0


def test_a_pipe_to_head_prints_no_error() -> None:
    command = f'{sys.executable} -c "{PROGRAM}" rerank --query text --jsonl | head -1'
    lines = b"".join(b"a text of number %d\n" % n for n in range(90))
    done = subprocess.run(command, shell=True, input=lines, capture_output=True, timeout=120)
    assert json.loads(done.stdout)["rank"] == 1
    assert done.stderr == b""


def test_reranking_needs_no_extra() -> None:
    extras = "pathspec lance pyarrow obstore yaml Stemmer tree_sitter selectolax pypdfium2 fastapi"
    code = f"import sys; sys.modules.update(dict.fromkeys({extras!r}.split())); {PROGRAM}"
    command = [sys.executable, "-c", code, "rerank", "--query", "a cat", "--jsonl"]
    done = subprocess.run(command, input=b"a cat\na dog\n", capture_output=True, timeout=120)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr
