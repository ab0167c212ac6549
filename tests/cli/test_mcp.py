"""``resift mcp``: an agent's tools on stdin and stdout, from the first line to the end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters

from cli.command import PROGRAM, Resift
from serve.agent import answer_a_question, make_library

HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
RERANK = {
    "jsonrpc": "2.0", "id": 2, "method": "tools/call",
    "params": {"name": "rerank", "arguments": {"query": "a", "documents": ["a", "b"]}},
}  # fmt: skip

NOISY = f"""
import logging, os, sys, warnings
from resift.serve.service import Service
open_service = Service.open
def noisy(*arguments):
    print("a line of a library")
    os.system("echo a line of a child")
    os.write(1, b"a line of native code\\n")
    warnings.warn("a warning")
    logging.getLogger("resift").warning("a log record")
    return open_service(*arguments)
Service.open = noisy
{PROGRAM}
"""

WAITING = f"""
import os, time
from resift.serve.service import Service
open_service = Service.open
def waiting(*arguments):
    while not os.path.exists(os.environ["MAY_OPEN"]):
        time.sleep(0.02)
    return open_service(*arguments)
Service.open = waiting
{PROGRAM}
"""


class Process:
    """``resift mcp`` with pipes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        assert process.stdin is not None and process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout

    def send(self, message: Any) -> None:
        self.stdin.write(json.dumps(message).encode() + b"\n")
        self.stdin.flush()

    def answer(self, message: Any) -> Any:
        self.send(message)
        return json.loads(self.stdout.readline())

    def end(self) -> tuple[int, bytes, bytes]:
        """The exit code, and what is left on both outputs; stdin is closed."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def started(*arguments: str, program: str = PROGRAM, **environment: str) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, "mcp", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | environment,
    )  # fmt: skip
    try:
        yield Process(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("agents"))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_answers_a_question_over_pipes(library: Path, mode: str) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "resift", "mcp", "--index", str(library)],
        env=dict(os.environ),
    )

    async def connected() -> None:
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
            await answer_a_question(client)

    asyncio.run(connected())


@pytest.mark.usefixtures("small_model")
def test_a_handshake_is_answered_before_models_are_loaded_and_the_first_call_waits(
    tmp_path: Path,
) -> None:
    may_open = tmp_path / "may open"
    with started(program=WAITING, MAY_OPEN=str(may_open)) as process:
        assert process.answer(HELLO)["result"]["serverInfo"]["name"] == "resift"
        listing = {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}
        assert len(process.answer(listing)["result"]["tools"]) == 4
        process.send(RERANK)
        process.send({**listing, "id": 10})
        assert json.loads(process.stdout.readline())["id"] == 10
        may_open.touch()
        answer = json.loads(process.stdout.readline())
        assert answer["id"] == 2 and answer["result"]["structuredContent"]["documents"]


@pytest.mark.usefixtures("small_model")
def test_nothing_else_is_on_stdout_and_a_closed_stdin_ends_it() -> None:
    with started(program=NOISY) as process:
        process.answer(HELLO)
        assert process.answer(RERANK)["id"] == 2
        code, out, err = process.end()
    assert (code, out) == (0, b"")
    for line in ("library", "child", "native code"):
        assert f"a line of a {line}".replace("a native", "native").encode() in err
    assert b"a warning" in err and b"a log record" in err and b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_calling", [False, True])
def test_a_signal_ends_it(number: int, is_calling: bool, tmp_path: Path) -> None:
    may_open = tmp_path / "may open"
    with started(program=WAITING, MAY_OPEN=str(may_open)) as process:
        process.answer(HELLO)
        if is_calling:
            process.send(RERANK)
        process.process.send_signal(number)
        may_open.touch()  # a load that has begun goes to its end
        code, out, err = process.end()
    assert (code, err) == (0, b"")
    assert is_calling or out == b""


def test_it_ends_before_the_first_line() -> None:
    with started() as process:
        assert process.end()[:2] == (0, b"")


def test_a_client_that_reads_no_more_ends_it() -> None:
    with started() as process:
        process.stdout.close()
        process.send(HELLO)
        assert process.process.wait(60) == 0
        assert process.process.stderr is not None and process.process.stderr.read() == b""


def test_a_client_that_does_not_read_keeps_nothing_from_ending() -> None:
    listing = {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}
    with started() as process:
        process.answer(HELLO)
        for number in range(100):  # more than a pipe holds
            process.send({**listing, "id": number})
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(60) == 0


def test_lines_that_are_no_messages_are_answered_and_later_ones_read() -> None:
    with started() as process:
        process.stdin.write(b'\n\xff\xfe\n{"half": \n[]\n' + b"x" * 300_000 + b"\n")
        replies = [process.answer(HELLO)]
        while replies[-1]["id"] is None:
            replies.append(json.loads(process.stdout.readline()))
        assert [reply["error"]["code"] for reply in replies[:-1]] == [
            -32700,
            -32700,
            -32600,
            -32700,
        ]
        assert replies[-1]["id"] == 1


def test_a_model_that_cannot_be_loaded_is_named_at_once_and_in_every_answer(
    tmp_path: Path,
) -> None:
    with started("--model", str(tmp_path / "none")) as process:
        process.answer(HELLO)
        for _ in range(2):
            result = process.answer(RERANK)["result"]
            (content,) = result["content"]
            assert result["isError"] and str(tmp_path / "none") in content["text"]
            assert len(content["text"].splitlines()) == 1
        code, out, err = process.end()
    assert (code, out) == (0, b"")
    assert err.decode().startswith("the models cannot be loaded yet: ")


def test_names_that_are_not_valid_end_it_with_an_error(resift: Resift) -> None:
    assert "docs: given twice" in resift("mcp", "--index", "a/docs", "--index", "b/docs").error
    assert "expected a name" in resift("mcp", "--index", "").error


def test_without_the_package_it_names_the_extra(
    resift: Resift, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mcp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "resift.serve.mcp", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert resift("mcp").error.endswith("mcp is not installed: run pip install 'resift[mcp]'")


def test_in_a_terminal_it_says_what_it_waits_for(tmp_path: Path) -> None:
    terminal, other = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "mcp"],
            stdin=other, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(other)
    assert b"waiting for an agent on stdin" in line and out == b""
