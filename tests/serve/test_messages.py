"""Proves that each line from a client is a message or is answered with an error."""

import asyncio
import json
import os
from typing import Any

import pytest

from resift.serve import messages as module
from resift.serve.messages import INVALID_REQUEST, PARSE_ERROR, messages
from resift.serve.pipes import LineReader, TextWriter

CALL = {"jsonrpc": "2.0", "id": 3, "method": "tools/list"}


def through(*lines: bytes) -> tuple[list[Any], list[Any]]:
    """The messages that come of lines, and the answers to the others."""

    async def run() -> tuple[list[Any], list[Any]]:
        reading, writing = os.pipe()
        told, telling = os.pipe()
        os.write(writing, b"\n".join(lines) + b"\n")
        os.close(writing)
        given = [
            json.loads(line) async for line in messages(LineReader(reading), TextWriter(telling))
        ]
        os.close(telling)
        with os.fdopen(told, "rb") as answered:
            refused = [json.loads(line) for line in answered]
        os.close(reading)
        return given, refused

    return asyncio.run(run())


def test_messages_pass_and_blank_lines_are_nothing() -> None:
    response = {"jsonrpc": "2.0", "id": 1, "result": {}}
    lines = [json.dumps(value).encode() for value in (CALL, response)]
    assert through(lines[0], b"", b"  ", lines[1]) == ([CALL, response], [])


def test_lone_surrogates_become_replacement_characters() -> None:
    line = b'{"jsonrpc": "2.0", "id": 1, "method": "a", "params": {"query": "\\ud800 x"}}'
    ((message,), refused) = through(line)
    assert message["params"]["query"] == "\ufffd x" and refused == []


@pytest.mark.parametrize("line", [b"not json", b"{", b"[" * 50_000, b"\xff", b'{"a": NaN}'])
def test_what_is_not_json_is_answered(line: bytes) -> None:
    given, (refused,) = through(line, json.dumps(CALL).encode())
    assert given == [CALL], "later messages are read"
    assert refused["error"]["code"] == PARSE_ERROR and refused["id"] is None


@pytest.mark.parametrize(
    ("line", "number"),
    [(b"[]", None), (b"1", None), (b'{"jsonrpc": "1.0", "id": 4}', None),
     (b'{"jsonrpc": "2.0", "id": 5}', 5), (b'{"jsonrpc": "2.0", "id": {}}', None)],
)  # fmt: skip
def test_what_is_no_message_is_answered(line: bytes, number: int | None) -> None:
    given, (refused,) = through(line)
    assert given == []
    assert refused["error"]["code"] == INVALID_REQUEST and refused["id"] == number


def test_a_line_that_is_too_long_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHARACTERS", 20)
    given, (refused,) = through(json.dumps(CALL).encode())
    assert given == [] and refused["error"]["code"] == INVALID_REQUEST
