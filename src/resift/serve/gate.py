"""Before the app: keys, hosts, sizes and times of bodies, callers that go away, request logs.

An ASGI middleware. It reads the whole body, within limits of bytes and seconds, and cancels the
request when its caller has gone. Problems are answered in the dialect of the path.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resift.errors import shown
from resift.serve.dialect import Dialect
from resift.serve.hosts import Hosts
from resift.serve.keys import Keys, bearer
from resift.serve.problems import Kind, RequestProblem

MAX_BODY_BYTES = 16_000_000
"""A thousand documents of 16 kB."""

MAX_BODIES_BYTES = 200_000_000
"""The most bytes of all bodies that are read or answered at a time."""

BODY_S = 30.0
"""How long a body may take to arrive."""

GONE = 499
"""The status in logs and metrics of a caller that went away before the answer."""

MCP_PATH = "/mcp"
"""The path that checks its hosts, and origins, itself."""

OPEN_PATHS = ("/health", "/tei/health", "/ready", "/ping", "/", "/page/")
"""Paths that need no key: probes, and a page that has no data of its own."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a log line and the metrics have of a request."""

    request_id: str
    method: str
    path: str
    dialect: str
    status: int
    problem: str | None
    seconds: float
    bytes: int


class Gate:
    """Wraps the app; `dialect_of` gives the dialect of a path before its body is read."""

    def __init__(
        self,
        app: ASGIApp,
        dialect_of: Callable[[str], Dialect],
        on_finished: Callable[[Finished], None],
        keys: Keys | None = None,
        hosts: Hosts | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_s: float = BODY_S,
    ) -> None:
        self._app = app
        self._dialect_of = dialect_of
        self._on_finished = on_finished
        self._keys = keys
        self._hosts = hosts
        self._max_body_bytes = max_body_bytes
        self._body_s = body_s
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            await self._answer(exchange, receive)
        finally:
            self._bytes -= exchange.bytes
            self._on_finished(exchange.finished(self._dialect_of))

    async def _answer(self, exchange: "_Exchange", receive: Receive) -> None:
        scope = exchange.scope
        try:
            self._check_host(scope)
            self._check_key(scope)
            body = await self._read(exchange, receive)
        except RequestProblem as error:
            response = self._dialect_of(scope["path"]).response(error.problem)
            response.headers["connection"] = "close"  # the rest of the body was not read
            await response(scope, receive, exchange.send)
            return
        if body is None:
            exchange.status = GONE
            return
        await self._run(exchange, body, receive)

    async def _run(self, exchange: "_Exchange", body: bytes, receive: Receive) -> None:
        """Run the app until its end, or until the caller has gone."""
        gone = asyncio.Event()
        replay = _replay(body, gone)
        task = asyncio.ensure_future(self._app(exchange.scope, replay, exchange.send))
        watch = asyncio.ensure_future(_watch(receive, gone))
        try:
            await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
                exchange.status = GONE
                return
            task.result()
        finally:
            task.cancel()
            watch.cancel()

    def _check_host(self, scope: Scope) -> None:
        """Refuse a page elsewhere that points a name of its own at this machine."""
        host = Headers(scope=scope).get("host")
        if self._hosts is not None and scope["path"] != MCP_PATH and not self._hosts.accepts(host):
            raise RequestProblem(
                Kind.forbidden,
                f"Host {shown(host)}: expected localhost, or a name that --allowed-host gives",
            )

    def _check_key(self, scope: Scope) -> None:
        path = scope["path"]
        if self._keys is None or path in OPEN_PATHS or path.startswith("/page/"):
            return
        if not self._keys.accepts(bearer(Headers(scope=scope).get("authorization"))):
            raise RequestProblem(Kind.unauthorized, "no valid key: send Authorization: Bearer KEY")

    async def _read(self, exchange: "_Exchange", receive: Receive) -> bytes | None:
        """The body; None if the caller has gone. Raises `RequestProblem` beyond a limit."""
        self._check_size(exchange.declared_bytes)
        encoding = Headers(scope=exchange.scope).get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise RequestProblem(
                Kind.malformed, f"Content-Encoding {shown(encoding)}: send the body uncompressed"
            )
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    parts.append(part)
                    exchange.bytes += len(part)
                    self._bytes += len(part)
                    self._check_size(exchange.bytes)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestProblem(
                Kind.too_slow, f"the body did not arrive within {self._body_s:.0f} s"
            ) from None

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise RequestProblem(
                Kind.too_large, f"a body of at most {self._max_body_bytes:,} bytes is accepted"
            )
        if self._bytes > MAX_BODIES_BYTES:
            message = "the bodies of open requests fill the memory"
            raise RequestProblem(Kind.overloaded, message, retry_after_s=1.0)


class _Exchange:
    """One request: its scope, what was read of it, and the status of its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.bytes = 0
        self.status = 500
        self._send = send
        self._start = time.perf_counter()
        self._problem: str | None = None
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.request_id = given if given.isprintable() and 0 < len(given) <= 100 else uuid4().hex
        scope["resift.request_id"] = self.request_id
        length = headers.get("content-length", "")
        self.declared_bytes = int(length) if length.isdecimal() and len(length) < 20 else 0

    async def send(self, message: Message) -> None:
        """Note the status, and add the request's id to the headers."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            self.status = message["status"]
            self._problem = headers.get("x-problem")
            if self._problem:
                del headers["x-problem"]
            headers["x-request-id"] = self.request_id
            message["headers"] = headers.raw
        await self._send(message)

    def finished(self, dialect_of: Callable[[str], Dialect]) -> Finished:
        """The end of the request, for logs and metrics."""
        path = self.scope["path"]
        dialect = self.scope.get("resift.dialect") or dialect_of(path).name
        seconds = time.perf_counter() - self._start
        return Finished(
            self.request_id, self.scope["method"], path, dialect,
            self.status, self._problem, seconds, self.bytes,
        )  # fmt: skip


def _replay(body: bytes, gone: asyncio.Event) -> Receive:
    """`receive` for the app: the body, and later that the caller has gone."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
