"""Inputs and outputs that are no files: devices, pipes, descriptors, closed streams, endless lines.

Each command is a process of its own, with real descriptors, under a limit of memory.
"""

import json
import subprocess
from pathlib import Path

import pytest

from cli.command import Resift, shell
from evaluation.small_collection import make_collection, make_run

pytestmark = [
    pytest.mark.skipif(not Path("/dev/fd/0").exists(), reason="no /dev/fd here"),
    pytest.mark.usefixtures("small_model"),
]
RANKED = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}
QRELS = "q1\td2\t2\nq1\td1\t0\nq2\td4\t1\n"
LINES = b"a text\nanother text about cats\n"
MEMORY = 6_000_000_000


def run(
    line: str, folder: Path, stdin: bytes = b"", memory: int = MEMORY
) -> "subprocess.CompletedProcess[bytes]":
    return shell(line, stdin, folder, memory)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    collection = make_collection(tmp_path / "col")
    (collection / "qrels.tsv").write_text(QRELS)
    make_run(tmp_path / "run.txt", RANKED)
    return tmp_path


def last_line(done: "subprocess.CompletedProcess[bytes]") -> str:
    """The error; fails where the command did not end with one in a line."""
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert b"bug" not in done.stderr and b"Traceback" not in done.stderr
    line = done.stderr.decode().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        ("rerank", "-q", "x", "/dev/zero"),
        ("eval", "col", "--run", "/dev/zero"),
        ("eval", "col", "--run", "run.txt", "--qrels", "/dev/urandom"),
        ("eval", "/dev/zero", "--index", "none"),
        ("judge", "/dev/zero", "--index", "none"),
        ("rerank-run", "col", "--run", "/dev/zero", "--output", "out.txt"),
        ("calibrate", "col", "--qrels", "/dev/zero", "--output", "out.json"),
        ("verify-citation", "/dev/zero", "--index", "."),
        ("rerank", "-q", "x", "link"),
    ],
)
def test_a_device_is_no_input(
    resift: Resift, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (folder / "link").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)
    assert "is a device, expected a file" in resift(*arguments).error


@pytest.mark.parametrize(
    "command",
    [
        "resift rerank -q x < /dev/zero",
        "cat /dev/zero | resift rerank -q x -",
        "resift rerank -q x /dev/stdin < /dev/zero",
        "resift rerank -q x <(cat /dev/zero)",
        "cat /dev/zero | resift eval col --run /dev/stdin",
        "resift eval col --run run.txt --qrels <(cat /dev/zero)",
        r"resift eval col --run <(printf '\xff\xfe'; cat /dev/zero)",
        "resift eval col --run <(gzip -c --fast < /dev/zero)",
        "truncate -s 20G huge; resift rerank -q x huge",
        "truncate -s 20G huge; resift eval huge --index none",
    ],
)
def test_an_endless_line_is_refused(folder: Path, command: str) -> None:
    assert "a line of more than " in last_line(run(command, folder))


def test_too_many_candidates_are_refused(folder: Path) -> None:
    assert "candidates" in last_line(run("yes | resift rerank -q x", folder))


def test_pipes_and_descriptors_are_read(folder: Path) -> None:
    (folder / "lines").write_bytes(LINES)
    for command in (
        "resift rerank -q cats --jsonl /dev/stdin < lines",
        "cat lines | resift rerank -q cats --jsonl /dev/stdin",
        "resift rerank -q cats --jsonl <(cat lines)",
        "mkfifo pipe; cat lines > pipe & resift rerank -q cats --jsonl pipe",
    ):
        done = run(command, folder)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr
    assert run("resift rerank -q cats --jsonl /dev/null", folder).returncode == 0
    done = run("resift eval col --run <(cat run.txt) --json --qrels <(cat col/qrels.tsv)", folder)
    assert json.loads(done.stdout)["judged"] == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_candidates_have_the_line_ends_of_other_files(
    resift: Resift, tmp_path: Path, end: str
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(end.join(("a text", "", "another text about cats", "a third")).encode())
    rows = resift("rerank", "-q", "cats", "--jsonl", file).rows
    assert {row["id"]: row["text"] for row in rows} == {
        "1": "a text", "3": "another text about cats", "4": "a third",
    }  # fmt: skip


CLOSED = "error: the output cannot be written: bad file descriptor"


@pytest.mark.parametrize(
    "arguments",
    [
        "rerank-run col --run run.txt --output -",
        "rerank-run col --run run.txt --output - --depth 1",
        "eval col --run run.txt --html -",
        "calibrate col --run run.txt --output -",
        "rerank -q x --json run.txt",
        "models",
        "--version",
    ],
)
def test_a_closed_stdout_is_reported(folder: Path, arguments: str) -> None:
    assert last_line(run(f"resift {arguments} >&-", folder)) == CLOSED


def test_a_closed_descriptor_is_never_reused_for_a_file(folder: Path) -> None:
    """What is opened later would get the number, and take what is meant for the stream."""
    done = run("resift rerank-run col --run run.txt --output /dev/stdout >&-", folder)
    assert "/dev/stdout: cannot be written (bad file descriptor)" in last_line(done)
    done = run("resift verify-citation - --index . <&-", folder)
    assert "stdin is closed" in last_line(done)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("/dev/stdout | cat > out", "out"),
        ("/dev/fd/1 | cat > out", "out"),
        (">(cat > part; mv part out); until [ -e out ]; do sleep .1; done", "out"),
        ("/dev/fd/7 7>out", "out"),
        ("link > out", "out"),
        ("/dev/stdout > out", "out"),
        ("/dev/stdout 1<>out", "out"),
    ],
)
def test_an_open_descriptor_is_written_to(folder: Path, output: str, shown: str) -> None:
    (folder / "link").symlink_to("/dev/stdout")
    command = f"resift rerank-run col --run run.txt --depth 1 --output {output}"
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert len((folder / shown).read_text().splitlines()) == 6
    assert not list(folder.glob(".resift*"))


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_appending_keeps_the_earlier_content(folder: Path, name: str) -> None:
    (folder / "thesis").write_text("a thesis\n")
    before = (folder / "thesis").stat().st_ino
    command = f"resift rerank-run col --run run.txt --depth 1 --output {name} >> thesis"
    assert run(command, folder).returncode == 0
    lines = (folder / "thesis").read_text().splitlines()
    assert lines[0] == "a thesis" and len(lines) == 7
    assert (folder / "thesis").stat().st_ino == before


@pytest.mark.parametrize("name", ["/dev/fd/77", "/dev/fd/0", "/dev/stdin"])
def test_an_unwritable_descriptor_is_reported_before_the_work(folder: Path, name: str) -> None:
    done = run(f"resift rerank-run absent --run none --output {name} < run.txt", folder)
    assert f"{name}: cannot be written (bad file descriptor)" in last_line(done)


@pytest.mark.parametrize(
    "arguments",
    [
        "rerank-run col --run run.txt --json --output",
        "calibrate col --run run.txt --json --output",
        "eval col --run run.txt --json --html",
    ],
)
def test_json_and_output_cannot_share_stdout_by_any_name(folder: Path, arguments: str) -> None:
    done = run(f"resift {arguments} /dev/stdout | cat; exit ${{PIPESTATUS[0]}}", folder)
    assert "both go to stdout" in last_line(done) and done.stdout == b""


def test_judgments_do_not_go_into_a_descriptor(folder: Path) -> None:
    command = "resift judge col --run run.txt --output /dev/stdout > judged"
    assert "is not a file" in last_line(run(command, folder))
    assert (folder / "judged").read_bytes() == b""


@pytest.mark.parametrize("memory", [300, 600])
def test_too_little_memory_is_reported_and_not_blamed_on_the_model(
    folder: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESIFT_MODEL")
    done = run("resift rerank -q cats", folder, LINES, memory * 1_000_000)
    if done.returncode == 0 or done.returncode > 128:
        pytest.skip("this is enough here, or a runtime itself dies of it")
    line = last_line(done)
    assert "memory" in line and "is it an ONNX file" not in line
