"""Sends a request to a replica, and once more to another if the first died with it. Knows no Ray.

All requests of the server only read, so that a request may run twice.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from resift.serve.dialect import Dialect
from resift.serve.problems import Kind, Problem

PLAIN = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string",
         "root_path", "headers", "client", "server")  # fmt: skip
"""The parts of a scope that a replica gets: numbers, text and bytes."""

FORWARDED = "resift.forwarded"
"""The key of a scope: whether a replica has begun to answer, and so logs the request."""

REPLICAS_LOST = Problem(
    Kind.unavailable,
    "two replicas of the server ended while they held this request; ask again",
    retry_after_s=1.0,
)

Call = Callable[[dict[str, Any], bytes], AsyncGenerator[Sequence[Message], None]]
"""Has a replica answer a scope and a body, in messages; raises if it cannot."""

ProblemOf = Callable[[Exception], Problem | None]
"""The problem that an error of a call is; None if the replica was lost with the request."""

_log = logging.getLogger("resift")


@dataclass(slots=True)
class ForwardCounts:
    """What became of requests that lost their replica."""

    retried: int = 0
    """Sent to another replica."""
    lost: int = 0
    """Not answered, or not to the end."""


class Forwarder:
    """An ASGI app behind a `Gate`, which has the whole body: a replica answers."""

    def __init__(
        self, call: Call, problem_of: ProblemOf, dialect_of: Callable[[str], Dialect]
    ) -> None:
        self.counts = ForwardCounts()
        self._call = call
        self._problem_of = problem_of
        self._dialect_of = dialect_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        problem = await self._attempt(scope, body, send)
        if problem is REPLICAS_LOST:
            self.counts.retried += 1
            _log.warning("a replica ended while it held a request; another one gets it")
            problem = await self._attempt(scope, body, send)
        if problem is REPLICAS_LOST:
            self.counts.lost += 1
        if problem is not None:
            await self._dialect_of(scope["path"]).response(problem)(scope, receive, send)

    async def _attempt(self, scope: Scope, body: bytes, send: Send) -> Problem | None:
        """Pass on the answer of a replica; or the problem, if nothing was sent yet.

        Raises what the call does if the answer breaks off: the caller must see that.
        """
        plain = {name: scope[name] for name in PLAIN if name in scope}
        plain["headers"] = _with_request_id(scope)
        scope[FORWARDED] = False
        try:
            async with aclosing(self._call(plain, body)) as answer:
                async for messages in answer:
                    for message in messages:
                        scope[FORWARDED] = True
                        await send(message)
                    if complete(messages):
                        return None
        except Exception as error:
            problem = self._problem_of(error) or REPLICAS_LOST
            if not scope[FORWARDED]:
                if problem.kind is Kind.failed:
                    _log.exception("a request could not be forwarded")
                return problem
            if problem is REPLICAS_LOST:
                self.counts.lost += 1
                _log.warning("a replica ended in the middle of an answer")
            raise
        return None


def complete(messages: Sequence[Message]) -> bool:
    """Whether the answer ends with these messages."""
    last = messages[-1]
    return bool(last["type"] == "http.response.body" and not last.get("more_body", False))


def _with_request_id(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The headers with the id that the gate has given to the request."""
    headers = [entry for entry in scope["headers"] if entry[0] != b"x-request-id"]
    return [*headers, (b"x-request-id", scope["resift.request_id"].encode("latin-1"))]
