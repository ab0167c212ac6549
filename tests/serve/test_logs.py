"""Proves that each request is one line of JSON, that messages which may quote a caller are not
shown, and that a reader of stderr who is slow stops nothing.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift.errors import InputError, RuntimeFailure
from resift.serve import logs
from resift.serve.admission import Admission
from resift.serve.logs import JSONLines, LineWriter, logging_to_stderr
from resift.serve.service import Service
from serve.running import running

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Lines(logging.Handler):
    """Keeps the lines of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JSONLines())
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["logger"] == logger]

    def requests(self, count: int) -> list[dict[str, Any]]:
        """The lines of so many requests; each comes just after its response."""
        end = time.monotonic() + 30
        while len(requests := self.of("resift.requests")) < count:
            assert time.monotonic() < end
            time.sleep(0.005)
        return requests


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("resift")
    level = logger.level
    logging.getLogger().addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def changing(service: Service) -> Service:
    """The models and indexes of `service` in a service that tests may change."""
    return Service(service.models, service.indexes, Admission())


@pytest.fixture(scope="module")
def url(changing: Service) -> Iterator[str]:
    with running(changing) as url:
        yield url


def test_a_request_is_one_line_with_what_its_receipt_says(lines: Lines, url: str) -> None:
    body = {"query": "red", "documents": ["red sky", "blue sky", ""]}
    headers = {"x-request-id": "mine", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    receipt = httpx2.post(f"{url}/v1/rank", json=body, headers=headers).json()["receipt"]
    size = len(httpx2.Request("POST", url, json=body).content)
    (line,) = lines.requests(1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 < line.pop("ms") < 60_000
    assert line == {
        "level": "info", "logger": "resift.requests", "message": "request", "request_id": "mine",
        "trace_id": TRACE, "dialect": "native", "method": "POST", "path": "/v1/rank",
        "status": 200, "bytes": size, "model": receipt["model"], "documents": 3,
        "tokens": receipt["tokens"], "partial": False,
    }  # fmt: skip


def test_problems_and_paths_are_logged_as_kinds_and_templates(lines: Lines, url: str) -> None:
    httpx2.get(f"{url}/v1/passages/no-such-passage")
    httpx2.get(f"{url}/no-such-path")
    httpx2.post(f"{url}/v1/rank", json={"query": "red"})
    problems = [(line["path"], line["problem"]) for line in lines.requests(3)]
    assert problems == [
        ("/v1/passages/{passage_id}", "not_found"),
        ("other", "not_found"),
        ("/v1/rank", "malformed"),
    ]


def test_a_fault_is_logged_with_its_frames_and_the_id_of_its_request(
    lines: Lines, changing: Service, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rank(*arguments: Any, **options: Any) -> None:
        raise ValueError("a secret document") from KeyError("a secret query")

    monkeypatch.setattr(changing, "rank", rank)
    body = {"query": "red", "documents": ["red"]}
    headers = {"x-request-id": "mine"}
    assert httpx2.post(f"{url}/v1/rank", json=body, headers=headers).status_code == 500
    (request,) = lines.requests(1)
    assert (request["problem"], request["status"]) == ("failed", 500)
    (fault,) = [line for line in lines.lines if line["level"] == "error"]
    assert fault["request_id"] == "mine"
    assert fault["traceback"][0] == "builtins.KeyError"
    assert fault["traceback"][-1] == "builtins.ValueError"
    assert any(f"{__file__}:" in frame and " in rank" in frame for frame in fault["traceback"])
    assert "secret" not in json.dumps(lines.lines)


def test_a_problem_in_a_stream_is_logged_though_its_status_is_200(lines: Lines, url: str) -> None:
    body = {"query": "red", "where": "no such filter", "stream": True}
    assert httpx2.post(f"{url}/v1/search", json=body).status_code == 200
    (line,) = lines.requests(1)
    assert (line["status"], line["problem"]) == (200, "invalid")


def test_errors_of_resift_keep_messages_that_cannot_quote_a_caller(lines: Lines) -> None:
    logger = logging.getLogger("resift")
    for error in (RuntimeFailure("no memory"), InputError("query='secret'"), OSError("secret")):
        with suppress(type(error)):
            raise error
        logger.error("it failed", exc_info=error)
    ends = [line["traceback"][-1] for line in lines.lines]
    assert ends == [
        "resift.errors.RuntimeFailure: no memory", "resift.errors.InputError", "builtins.OSError",
    ]  # fmt: skip


def test_a_group_of_errors_is_logged_with_the_frames_of_its_first(lines: Lines) -> None:
    with suppress(ExceptionGroup):
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ExceptionGroup("secret", [error]) from None
    group = ExceptionGroup("secret", [KeyError("secret")])
    logging.getLogger("resift").error("it failed", exc_info=group)
    assert lines.lines[0]["traceback"] == ["builtins.KeyError", "builtins.ExceptionGroup"]


def test_what_another_library_says_is_not_shown_but_where(lines: Lines) -> None:
    logging.getLogger("another.library").error("the body was %s", "secret")
    (line,) = lines.lines
    assert line["logger"] == "another.library" and "test_logs" in line["message"]
    assert "secret" not in json.dumps(line)


def test_a_long_message_keeps_its_begin_and_end_and_a_wrong_one_its_template(lines: Lines) -> None:
    lines.handle(_record("a" * 5_000 + "b" * 5_000))
    lines.handle(_record("%d documents", "three"))
    long, wrong = (line["message"] for line in lines.lines)
    assert len(long) < 2_100 and long[0] == "a" and long[-1] == "b"
    assert wrong.startswith("%d documents")


def test_warnings_are_lines_and_only_those_of_resift_have_their_text(
    lines: Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    inside = Path(logs.__file__).with_name("service.py")
    with warnings.catch_warnings(), logging_to_stderr():
        warnings.simplefilter("always")
        warnings.warn_explicit("many candidates", UserWarning, str(inside), 7)
        warnings.warn_explicit("secret", DeprecationWarning, "/elsewhere/library.py", 8)
    first, second = (line["message"] for line in lines.of("resift.warnings"))
    assert first == f"{inside}:7: UserWarning: many candidates"
    assert second == "/elsewhere/library.py:8: DeprecationWarning: not shown"
    written = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in written] == [first, second]


def test_a_reader_who_is_slow_loses_lines_and_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, descriptor = os.pipe()
    may_write, written = threading.Event(), os.write

    def write(target: int, data: bytes) -> int:
        assert target != descriptor or may_write.wait(30)
        return written(target, data)

    monkeypatch.setattr(os, "write", write)
    writer = LineWriter(descriptor, max_lines=10)
    for number in range(1_000):
        writer.handle(_record(f"line {number}"))
    assert writer.dropped >= 1_000 - 10 - logs.AT_ONCE
    may_write.set()
    writer.close()
    os.close(descriptor)
    with open(reader, encoding="ascii") as stream:
        messages = [json.loads(line)["message"] for line in stream]
    told = [int(message.split()[0]) for message in messages if "were dropped" in message]
    assert sum(told) == writer.dropped
    assert len(messages) - len(told) + writer.dropped == 1_000


def test_a_reader_who_has_gone_costs_lines_only() -> None:
    reader, descriptor = os.pipe()
    os.close(reader)
    writer = LineWriter(descriptor)
    writer.handle(_record("nobody reads this"))
    writer.close()
    os.close(descriptor)
    assert writer.dropped == 1


def _record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("resift", logging.INFO, __file__, 1, message, arguments, None)


@pytest.mark.long
def test_a_server_answers_though_nobody_reads_its_stderr() -> None:
    command = [sys.executable, "-m", "resift", "serve", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"http://[^;\s]+", process.stdout.readline())
        assert match is not None
        with httpx2.Client(base_url=match[0], timeout=60) as client:
            for _ in range(600):  # twice what a pipe holds
                assert client.get("/health").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_documents_list_every_field(lines: Lines, url: str) -> None:
    body = {"query": "red", "documents": ["red"]}
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    httpx2.post(f"{url}/v1/rank", json=body, headers=headers)
    httpx2.post(f"{url}/v1/rank", json={})
    lines.requests(2)
    logging.getLogger("resift").error("it failed", exc_info=ValueError())
    fields = {name for line in lines.lines for name in line}
    section = DOCS.read_text().partition("## Logs")[2].partition("## ")[0]
    assert fields == set(re.findall(r"^\| `(\w+)` \|", section, re.M))
