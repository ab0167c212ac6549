"""Proves what a replica sends to the ingress, without a cluster."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message

from resift.jobs import serve_replica
from resift.jobs.serve_replica import Replica
from resift.serve.options import ServeOptions

SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/fails",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"localhost")],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 1),
}


async def fails(request: Request) -> None:
    """A fault outside of the routes of dialects."""
    raise RuntimeError("a fault")


def test_an_answer_to_a_fault_is_sent_before_the_fault_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESIFT_THREADS", "1")
    monkeypatch.setattr(serve_replica, "log_to_stderr", lambda: None)
    sent: list[Message] = []

    async def answer() -> None:
        start: Callable[..., Any] = Replica.__init__
        replica = object.__new__(Replica)
        await start(replica, ServeOptions(), name="r")
        replica._app.router.routes.insert(0, Route("/fails", fails))
        try:
            with pytest.raises(RuntimeError, match="a fault"):
                async for messages in replica.answer(SCOPE, b""):
                    sent.extend(messages)
        finally:
            ended = replica.__del__()
            assert ended is not None
            await ended

    asyncio.run(answer())
    start, body = sent
    assert start["status"] == 500 and (b"x-replica", b"r") in start["headers"]
    assert b"the server failed; its log says why" in body["body"]
