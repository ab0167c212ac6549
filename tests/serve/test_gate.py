"""Proves that bodies are bounded, keys are asked for, and a caller who goes away stops costing."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, MutableMapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resift.serve import gate, protocol
from resift.serve.dialect import Dialect
from resift.serve.gate import Finished, Gate
from resift.serve.native import DIALECT
from resift.serve.options import ServeOptions
from resift.serve.service import Service
from serve.running import running

KEY = "a-key-of-a-caller-0001"


class App:
    """An app that reads its body and answers when it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.started = asyncio.Event()
        self.cancelled = False
        self.body = b""
        self.after_body: str | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.body = (await receive())["body"]
        self.started.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


class Caller:
    """Sends the parts of a body, and then waits or goes away."""

    def __init__(self, *parts: bytes, delay_s: float = 0.0) -> None:
        self.parts = list(parts)
        self.delay_s = delay_s
        self.gone = asyncio.Event()
        self.sent: list[MutableMapping[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(self.delay_s)
        if self.parts:
            part = self.parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self.parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        status: int | None = self.sent[0]["status"] if self.sent else None
        return status


def scope(**headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/v1/rank", "headers": raw}


def dialect_of(path: str) -> Dialect:
    return DIALECT


def gated(app: App, log: list[Finished], **options: Any) -> Gate:
    return Gate(app, dialect_of, log.append, **options)


async def call(app: App, caller: Caller, log: list[Finished], **options: Any) -> None:
    await gated(app, log, **options)(scope(), caller.receive, caller.send)


def test_the_app_gets_the_whole_body_and_the_log_its_size() -> None:
    async def run() -> None:
        app, caller, log = App(), Caller(b"ab", b"c"), list[Finished]()
        app.may_answer.set()
        await call(app, caller, log)
        assert app.body == b"abc" and caller.status == 200
        assert [(line.status, line.bytes, line.problem) for line in log] == [(200, 3, None)]

    asyncio.run(run())


def test_a_caller_who_goes_away_cancels_the_work() -> None:
    async def run() -> None:
        app, caller, log = App(), Caller(b"{}"), list[Finished]()
        task = asyncio.ensure_future(call(app, caller, log))
        await app.started.wait()
        caller.gone.set()
        await asyncio.wait_for(task, 10)
        assert app.cancelled and caller.sent == [] and log[0].status == gate.GONE

    asyncio.run(run())


def test_a_caller_who_goes_away_within_the_body_costs_nothing() -> None:
    async def run() -> None:
        app, caller, log = App(), Caller(b"ab", b"c"), list[Finished]()
        caller.parts = [b"ab", b"unsent"]

        async def receive() -> dict[str, Any]:
            if len(caller.parts) == 2:
                return await Caller.receive(caller)
            return {"type": "http.disconnect"}

        await gated(app, log)(scope(), receive, caller.send)
        assert not app.started.is_set() and log[0].status == gate.GONE

    asyncio.run(run())


@pytest.mark.parametrize("headers", [{}, {"content_length": "5000"}])
def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(headers: dict[str, str]) -> None:
    async def run() -> None:
        app, caller, log = App(), Caller(*[b"x" * 600] * 10), list[Finished]()
        await gated(app, log, max_body_bytes=1_000)(scope(**headers), caller.receive, caller.send)
        assert caller.status == 413 and len(caller.parts) >= 8
        assert log[0].problem == "too_large" and not app.started.is_set()

    asyncio.run(run())


def test_a_body_that_arrives_too_slowly_is_refused() -> None:
    async def run() -> None:
        app, caller, log = App(), Caller(*[b"x"] * 1_000, delay_s=0.01), list[Finished]()
        await call(app, caller, log, body_s=0.1)
        assert caller.status == 408 and log[0].problem == "too_slow"

    asyncio.run(run())


def test_the_bodies_of_all_open_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MAX_BODIES_BYTES", 1_000)

    async def run() -> None:
        app, log = App(), list[Finished]()
        shared = gated(app, log)
        first, second, third = Caller(b"x" * 900), Caller(b"x" * 200), Caller(b"x" * 200)
        open_call = asyncio.ensure_future(shared(scope(), first.receive, first.send))
        await app.started.wait()
        await shared(scope(), second.receive, second.send)
        assert second.status == 429
        assert (b"retry-after", b"1") in second.sent[0]["headers"]
        app.may_answer.set()
        await open_call
        await shared(scope(), third.receive, third.send)
        assert third.status == 200, "the bytes of ended requests count no more"

    asyncio.run(run())


def test_a_request_keeps_its_id_and_an_odd_one_is_replaced() -> None:
    async def answered(given: str) -> str:
        app, caller = App(), Caller(b"")
        app.may_answer.set()
        await gated(app, [])(scope(x_request_id=given), caller.receive, caller.send)
        headers: dict[bytes, bytes] = dict(caller.sent[0]["headers"])
        return headers[b"x-request-id"].decode()

    assert asyncio.run(answered("mine-1")) == "mine-1"
    assert len(asyncio.run(answered("x" * 1_000))) == 32
    assert len(asyncio.run(answered("a\tb"))) == 32


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# callers\n\n{KEY}\n")
    return path


def test_with_keys_only_probes_and_the_page_are_open(service: Service, keys: Path) -> None:
    with running(service, ServeOptions(keys=keys)) as url, httpx2.Client(base_url=url) as client:
        body = {"query": "vacation", "documents": ["a", "b"]}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
            refused = client.post("/v1/rank", json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["kind"] == "unauthorized"
            assert refused.headers["www-authenticate"] == "Bearer"
        accepted = client.post("/v1/rank", json=body, headers={"authorization": f"bearer {KEY}"})
        assert accepted.status_code == 200
        assert [client.get(path).status_code for path in ("/health", "/ready", "/")] == [200] * 3
        assert [client.get(p).status_code for p in ("/v1/indexes", "/openapi.json")] == [401] * 2


def test_keys_change_without_a_restart(service: Service, keys: Path) -> None:
    with running(service, ServeOptions(keys=keys)) as url, httpx2.Client(base_url=url) as client:
        other = {"authorization": "Bearer another-key-of-a-caller"}
        assert client.get("/v1/indexes", headers=other).status_code == 401
        keys.write_text("another-key-of-a-caller\n")
        assert client.get("/v1/indexes", headers=other).status_code == 200
        keys.write_text("")  # damaged: nobody is locked out
        assert client.get("/v1/indexes", headers=other).status_code == 200


def raw(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def test_slow_and_silent_connections_are_closed_and_others_served(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 0.5)
    with running(service) as url:
        slow = [raw(url) for _ in range(50)]
        for connection in slow[::2]:
            connection.sendall(b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\n")
        assert httpx2.get(f"{url}/health").status_code == 200
        for connection in slow:
            assert connection.recv(100) == b"", "it was not closed"
            connection.close()
        assert httpx2.get(f"{url}/health").status_code == 200


def test_the_next_request_of_a_connection_has_its_own_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 0.5)
    with running(service) as url, raw(url) as connection:
        for _ in range(3):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with HTTPResponse(connection) as response:  # head and body may come apart
                response.begin()
                assert (response.status, response.read()) == (200, b'{"status":"ok"}')
        connection.sendall(b"GET /health HTTP/1.1\r\nHost:")
        assert connection.recv(100) == b""


def test_a_connection_that_closes_stops_the_ranking(service: Service) -> None:
    """The engine has no work left soon after, though all of it would take minutes."""
    documents = [f"{number} " + "the office is closed on sundays " * 60 for number in range(2_000)]
    body = json.dumps({"query": "office", "documents": documents}).encode()
    with running(service) as url:
        connection = raw(url)
        head = (
            "POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        wait_until(lambda: service.admission.open_calls == 1)
        connection.close()
        wait_until(lambda: service.admission.open_calls == 0)
        worker = service.models["bundled"]._engine._worker
        wait_until(lambda: not worker._requests)
        answer = httpx2.post(
            f"{url}/v1/rank", json={"query": "office", "documents": ["a", "b"]}, timeout=30
        )
        assert answer.status_code == 200


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, "it did not happen within 30 s"
        time.sleep(0.01)
