"""Proves what becomes of a request whose replica ends, with replicas that are functions."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from starlette.types import Message

from resift.jobs.serve_forward import ForwardCounts, Forwarder
from resift.serve.dialects import choose
from resift.serve.problems import Kind, Problem

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}


def part(text: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": more}


class Lost(Exception):
    """A replica that ended."""


class Full(Exception):
    """A cluster that takes no more requests."""


class Broken(Exception):
    """A fault."""


def problem_of(error: Exception) -> Problem | None:
    match error:
        case Lost():
            return None
        case Full():
            return Problem(Kind.overloaded, "full", retry_after_s=1.0)
    return Problem(Kind.failed, "it failed")


class Replicas:
    """Answers call after call with the next script: batches of messages, and errors to raise."""

    def __init__(self, *scripts: Sequence[Any]) -> None:
        self.scripts = list(scripts)
        self.calls: list[tuple[dict[str, Any], bytes]] = []
        self.closed = 0

    async def __call__(
        self, scope: dict[str, Any], body: bytes
    ) -> AsyncGenerator[Sequence[Message], None]:
        self.calls.append((scope, body))
        try:
            for step in self.scripts.pop(0):
                if isinstance(step, Exception):
                    raise step
                if callable(step):
                    await step()
                else:
                    yield step
        finally:
            self.closed += 1


async def never() -> None:
    """Wait for something that does not come."""
    await asyncio.Event().wait()


def forwarder_to(replicas: Replicas) -> Forwarder:
    return Forwarder(replicas, problem_of, choose.dialect_of)


def forward(forwarder: Forwarder, path: str = "/v1/rank") -> list[Message]:
    """What the caller gets."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"\x00body", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"x-request-id", b"from the caller"), (b"x-budget-ms", b"5")],
        "client": ("192.0.2.7", 1234),
        "resift.request_id": "a3",
        "app": object(),
    }
    asyncio.run(forwarder(scope, receive, send))
    return sent


def forwarded(replicas: Replicas, path: str = "/v1/rank") -> tuple[list[Message], ForwardCounts]:
    """What the caller gets, and what was counted."""
    forwarder = forwarder_to(replicas)
    return forward(forwarder, path), forwarder.counts


def test_an_answer_is_passed_on_as_it_is() -> None:
    replicas = Replicas([[START, part(b"{}")]])
    sent, counts = forwarded(replicas)
    assert sent == [START, part(b"{}")]
    assert counts == ForwardCounts()
    ((scope, body),) = replicas.calls
    assert body == b"\x00body"
    assert scope["client"] == ("192.0.2.7", 1234) and "app" not in scope
    assert scope["headers"] == [(b"x-budget-ms", b"5"), (b"x-request-id", b"a3")]


def test_a_stream_is_passed_on_part_by_part() -> None:
    replicas = Replicas([[START], [part(b"a", True)], [part(b"b", True), part(b"")]])
    sent, _ = forwarded(replicas)
    assert [message.get("body") for message in sent] == [None, b"a", b"b", b""]


def test_nothing_is_awaited_after_the_last_part() -> None:
    replicas = Replicas([[START, part(b"{}")], never])
    sent, _ = forwarded(replicas)
    assert sent == [START, part(b"{}")] and replicas.closed == 1


def test_a_request_whose_replica_ends_goes_to_another() -> None:
    replicas = Replicas([Lost()], [[START, part(b"{}")]])
    sent, counts = forwarded(replicas)
    assert sent == [START, part(b"{}")]
    assert counts == ForwardCounts(retried=1)
    assert replicas.calls[0] == replicas.calls[1]


@pytest.mark.parametrize("path", ["/v1/rank", "/tei/rerank", "/cohere/v2/rerank"])
def test_a_request_that_loses_two_replicas_gets_503_in_its_dialect(path: str) -> None:
    replicas = Replicas([Lost()], [Lost()], [[START, part(b"{}")]])
    (start, body), counts = forwarded(replicas, path)
    assert (
        start["status"]
        == choose.dialect_of(path).response(Problem(Kind.unavailable, "")).status_code
    )
    assert b"ended while they held this request" in body["body"]
    assert len(replicas.calls) == 2 and counts == ForwardCounts(retried=1, lost=1)


def test_an_answer_that_breaks_off_is_not_begun_again() -> None:
    replicas = Replicas([[START, part(b"a", True)], Lost()], [[START, part(b"{}")]])
    forwarder = forwarder_to(replicas)
    with pytest.raises(Lost):
        forward(forwarder)
    assert len(replicas.calls) == 1 and forwarder.counts == ForwardCounts(lost=1)


def test_a_fault_in_the_middle_of_an_answer_is_no_lost_replica() -> None:
    replicas = Replicas([[START, part(b"a", True)], Broken()], [[START, part(b"{}")]])
    forwarder = forwarder_to(replicas)
    with pytest.raises(Broken):
        forward(forwarder)
    assert len(replicas.calls) == 1 and forwarder.counts == ForwardCounts()


@pytest.mark.parametrize(("error", "status"), [(Full(), 429), (Broken(), 500)])
def test_other_errors_are_answered_and_not_tried_again(error: Exception, status: int) -> None:
    replicas = Replicas([error], [[START, part(b"{}")]])
    (start, _), counts = forwarded(replicas)
    assert start["status"] == status
    assert len(replicas.calls) == 1 and counts == ForwardCounts()


def test_a_call_ends_when_its_caller_goes_away() -> None:
    replicas = Replicas([[START, part(b"a", True)], never])

    async def goes_away() -> None:
        forwarder = forwarder_to(replicas)
        scope = {"type": "http", "path": "/v1/rank", "headers": [], "resift.request_id": "a"}
        begun = asyncio.Event()

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                begun.set()

        task = asyncio.create_task(forwarder(scope, receive, send))
        await begun.wait()
        assert replicas.closed == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(goes_away())
    assert replicas.closed == 1
