"""HTTP requests that follow no redirects, with limits on the size and time of the response."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader, RawIOBase
from ssl import SSLContext
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from resift.transport.certificates import ssl_context

_MAX_ERROR_BYTES = 1 << 16
ReadCallback = Callable[[int], None]
"""Gets the number of bytes of each read from a socket; may raise `OSError` to give up."""


class TooLarge(Exception):
    """A response has more bytes than allowed."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. With an error status, `body` is only the beginning.

    `failure` is the error that occurred while reading the body of an error status.
    """

    status: int
    reason: str
    headers: Message
    body: bytes
    failure: Exception | None = None


class HttpClient:
    """Opens a connection for each request. Threads may share it."""

    def __init__(self, *, use_proxies: bool = True, ca_file: str | None = None) -> None:
        """With `use_proxies` use the proxies that the environment names.

        Trust the authorities in `ca_file` beside the system's.
        """
        handler = _Handler(context=ssl_context(ca_file) if ca_file else None)
        self._opener = build_opener(handler, *([] if use_proxies else [ProxyHandler({})]))

    def send(
        self, request: Request, timeout_s: float, max_bytes: int, on_read: ReadCallback
    ) -> Response:
        """Send a request and return its response, whatever its status is.

        `timeout_s` applies to each read. Raise `TooLarge`; `OSError` or `HTTPException` if there is
        no complete response; `UnicodeError` for an invalid host name.
        """
        request.on_read = on_read  # type: ignore[attr-defined]
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                body: bytes = response.read(max_bytes + 1)
                if len(body) > max_bytes:
                    raise TooLarge(f"over {max_bytes >> 20} MB")
                if response.length:  # cut off, which `read` does not report
                    raise IncompleteRead(body, response.length)
                return Response(response.status, response.reason, response.headers, body)
        except HTTPError as error:
            return _error_response(error)
        except URLError as error:
            # The message of `error` may contain the URL, which may be a secret.
            raise (
                error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason))
            ) from None


def time_limit(seconds: float) -> ReadCallback:
    """Make a callback that raises `TimeoutError` for a read this long after the first bytes."""
    until: float | None = None

    def on_read(_: int) -> None:
        nonlocal until
        now = time.monotonic()
        until = now + seconds if until is None else until
        if now > until:
            raise TimeoutError

    return on_read


def _error_response(error: HTTPError) -> Response:
    with error:
        body, failure = b"", None
        try:
            body = error.read(_MAX_ERROR_BYTES)
        except (OSError, HTTPException) as problem:
            failure = problem
        return Response(error.code, error.reason, error.headers, body, failure)


class _Handler(HTTPHandler, HTTPSHandler, HTTPRedirectHandler):
    """Passes the size of each read to the request's callback, and follows no redirects.

    Following a redirect would send a secret to another host.
    """

    def __init__(self, context: SSLContext | None) -> None:
        super().__init__()
        self._tls = {"context": context} if context else {}

    def http_open(self, req: Request) -> Any:
        return self.do_open(partial(_connect, HTTPConnection, req), req)

    def https_open(self, req: Request) -> Any:
        return self.do_open(partial(_connect, HTTPSConnection, req), req, **self._tls)

    def redirect_request(self, *_: Any) -> None:
        return None


def _connect(kind: type[HTTPConnection], request: Any, *args: Any, **options: Any) -> Any:
    connection = kind(*args, **options)
    connection.response_class = partial(_MeteredResponse, request.on_read)  # type: ignore[assignment]
    return connection


class _MeteredResponse(HTTPResponse):
    def __init__(self, on_read: ReadCallback, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = BufferedReader(_MeteredReader(self.fp.detach(), on_read))


class _MeteredReader(RawIOBase):
    """Reports each read of a socket, also those of headers that arrive slowly."""

    def __init__(self, raw: RawIOBase, on_read: ReadCallback) -> None:
        self._raw = raw
        self._on_read = on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._on_read(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
