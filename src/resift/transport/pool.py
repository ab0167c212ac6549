"""Connections of one server that are used again, and requests that end at a given time.

A new connection takes one round trip before its first request, and with TLS one or two more.
"""

import base64
import os
import select
import ssl
import threading
import time
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader, RawIOBase
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from resift.transport.certificates import ssl_context
from resift.transport.client import Response, TooLarge

MAX_IDLE = 8
"""The most open connections that wait for the next request."""

MAX_ERROR_BYTES = 1 << 16
_LEAST_S = 1e-3


class Pool:
    """Sends requests to one URL and follows no redirects. Threads may share it.

    A forked child opens its own connections. Looking up a host name cannot be interrupted, so it
    may take longer than a request's time: callers with a deadline wait for it in another thread.
    """

    def __init__(self, url: str, *, use_proxies: bool = True, ca_file: str | None = None) -> None:
        """With `use_proxies` use the proxies that the environment names.

        Trust the authorities in `ca_file` beside the system's.
        """
        self._url = urlsplit(url)
        self._proxy = _proxy(self._url) if use_proxies else None
        self._context = ssl_context(ca_file) if ca_file else None
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []

    def send(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | None,
        until: float,
        max_bytes: int,
    ) -> Response:
        """Send a request and return its response, whatever its status is.

        It ends at `until`, on the clock of ``time.monotonic``. Raise `TimeoutError` then;
        `TooLarge`; `OSError` or `HTTPException` if there is no complete response; `UnicodeError`
        for an invalid host name. A connection that the server closed while it was idle is replaced.
        """
        connection, is_used = self._take(until)
        request = partial(self._send_over, method, target, headers, body, until, max_bytes)
        try:
            return request(connection)
        except ConnectionError:
            if not is_used or _remaining(until) <= _LEAST_S:
                raise
        return request(self._connect(until))

    def __del__(self) -> None:
        for connection in self.__dict__.get("_idle", ()):
            connection.close()

    def close(self) -> None:
        """Close the connections that no request uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _send_over(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | None,
        until: float,
        max_bytes: int,
        connection: HTTPConnection,
    ) -> Response:
        try:
            connection.response_class = partial(_BoundedResponse, until)  # type: ignore[assignment]
            _limit(connection.sock, until)
            connection.request(method, self._target(target), body, self._with_proxy_user(headers))
            with connection.getresponse() as reply:
                response = _read(reply, max_bytes)
                is_whole = reply.isclosed() and not reply.will_close and response.failure is None
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, is_whole)
        return response

    def _take(self, until: float) -> tuple[HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        if self._pid != os.getpid():
            inherited = self._idle
            self._reset()
            for of_parent in inherited:
                of_parent.close()
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(until), False
            if _is_open(connection):
                return connection, True
            connection.close()

    def _give_back(self, connection: HTTPConnection, is_whole: bool) -> None:
        with self._lock:
            if is_whole and len(self._idle) < MAX_IDLE and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, until: float) -> HTTPConnection:
        timeout_s = _checked_remaining(until)
        host, port = str(self._url.hostname), self._url.port
        tunnel = self._proxy is not None and self._url.scheme == "https"
        if self._proxy is not None:
            host, port = str(self._proxy.hostname), self._proxy.port or 80
        connection: HTTPConnection
        if self._url.scheme == "https":
            connection = HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        else:
            connection = HTTPConnection(host, port, timeout=timeout_s)
        if tunnel:
            headers = self._proxy_user()
            connection.set_tunnel(str(self._url.hostname), self._url.port or 443, headers)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _target(self, target: str) -> str:
        """The target of the request line; a proxy for plain HTTP needs the whole URL."""
        if self._proxy is None or self._url.scheme == "https":
            return target
        return f"{self._url.scheme}://{self._url.netloc.rpartition('@')[2]}{target}"

    def _with_proxy_user(self, headers: dict[str, str]) -> dict[str, str]:
        return headers if self._url.scheme == "https" else {**headers, **self._proxy_user()}

    def _proxy_user(self) -> dict[str, str]:
        if self._proxy is None or not self._proxy.username:
            return {}
        user = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


def _proxy(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for a URL, if any."""
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(str(url.hostname)):
        return None
    parts = urlsplit(named if "://" in named else f"http://{named}")
    return parts if parts.hostname else None


def _remaining(until: float) -> float:
    return until - time.monotonic()


def _checked_remaining(until: float) -> float:
    remaining_s = _remaining(until)
    if remaining_s <= 0:
        raise TimeoutError("time is up")
    return max(remaining_s, _LEAST_S)


def _limit(sock: Any, until: float) -> None:
    sock.settimeout(_checked_remaining(until))


def _is_open(connection: HTTPConnection) -> bool:
    """Whether an idle connection has neither ended nor sent what nobody asked for."""
    sock: Any = connection.sock
    if sock is None:
        return False
    try:
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return False
        if hasattr(select, "poll"):  # select itself fails for file numbers over a thousand
            poll = select.poll()
            poll.register(sock, select.POLLIN | select.POLLHUP)
            return not poll.poll(0)
        return not select.select([sock], [], [], 0)[0]
    except (OSError, ValueError):
        return False


def _read(reply: HTTPResponse, max_bytes: int) -> Response:
    """Read a response; with an error status only its beginning."""
    headers: Message = reply.headers
    if 200 <= reply.status < 300:
        body = reply.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise TooLarge(f"over {max_bytes >> 20} MB")
        if reply.length:  # cut off, which `read` does not report
            raise IncompleteRead(body, reply.length)
        return Response(reply.status, reply.reason, headers, body)
    body, failure = b"", None
    try:
        body = reply.read(MAX_ERROR_BYTES)
    except (OSError, HTTPException) as problem:
        failure = problem
    return Response(reply.status, reply.reason, headers, body, failure)


class _BoundedResponse(HTTPResponse):
    """Ends at a given time, however slowly the bytes arrive."""

    def __init__(self, until: float, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = BufferedReader(_BoundedReader(self.fp.detach(), sock, until))


class _BoundedReader(RawIOBase):
    def __init__(self, raw: RawIOBase, sock: Any, until: float) -> None:
        self._raw = raw
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _limit(self._sock, self._until)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
