"""HTTP requests that follow no redirect; their answers have limits of size and of time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from io import BufferedReader, RawIOBase
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

_MAX_ERROR_BYTES = 1 << 16
Note = Callable[[int], None]
"""Called with the number of bytes of each read from a socket; may raise `OSError` to give up."""


class TooLarge(Exception):
    """An answer has more bytes than were allowed."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Of one with an error status, `body` is the beginning.

    `failure` says why the body of such a one could not be read.
    """

    status: int
    reason: str
    headers: Message
    body: bytes
    failure: Exception | None = None


class HttpClient:
    """Opens a connection for each request. Threads may share it."""

    def __init__(self, *, use_proxies: bool = True) -> None:
        """`use_proxies` takes those that the environment names."""
        self._opener = build_opener(_Handler, *([] if use_proxies else [ProxyHandler({})]))

    def send(self, request: Request, timeout_s: float, max_bytes: int, note: Note) -> Response:
        """Send a request and read all of its answer, whatever its status is.

        Raise `TooLarge`, and `OSError`, `HTTPException` or, for a host's name, `UnicodeError`
        where no answer came, or not a whole one. `timeout_s` is that of each read.
        """
        request.note = note  # type: ignore[attr-defined]
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                body: bytes = answer.read(max_bytes + 1)
                if len(body) > max_bytes:
                    raise TooLarge(f"over {max_bytes >> 20} MB")
                if answer.length:  # cut off: `read` itself does not complain
                    raise IncompleteRead(body, answer.length)
                return Response(answer.status, answer.reason, answer.headers, body)
        except HTTPError as error:
            return _error_response(error)
        except URLError as error:
            # The message of `error` may hold the URL, which may be a secret.
            raise (
                error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason))
            ) from None


def within(seconds: float) -> Note:
    """Make a `Note` that raises `TimeoutError` so long after the first bytes."""
    until: float | None = None

    def note(_: int) -> None:
        nonlocal until
        now = time.monotonic()
        until = now + seconds if until is None else until
        if now > until:
            raise TimeoutError

    return note


def _error_response(error: HTTPError) -> Response:
    with error:
        body, failure = b"", None
        try:
            body = error.read(_MAX_ERROR_BYTES)
        except (OSError, HTTPException) as problem:
            failure = problem
        return Response(error.code, error.reason, error.headers, body, failure)


class _Handler(HTTPHandler, HTTPSHandler, HTTPRedirectHandler):
    """Reports what is read to the request's `Note`.

    A redirect is an answer like any other: following it would carry a secret to another host.
    """

    def http_open(self, req: Request) -> Any:
        return self.do_open(partial(_connect, HTTPConnection, req), req)

    def https_open(self, req: Request) -> Any:
        return self.do_open(partial(_connect, HTTPSConnection, req), req)

    def redirect_request(self, *_: Any) -> None:
        return None


def _connect(kind: type[HTTPConnection], request: Any, *args: Any, **options: Any) -> Any:
    connection = kind(*args, **options)
    connection.response_class = partial(_MeteredResponse, request.note)  # type: ignore[assignment]
    return connection


class _MeteredResponse(HTTPResponse):
    def __init__(self, note: Note, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fp = BufferedReader(_MeteredReader(self.fp.detach(), note))


class _MeteredReader(RawIOBase):
    """Reports each read of a socket, so that headers that arrive slowly are noticed too."""

    def __init__(self, raw: RawIOBase, note: Note) -> None:
        self._raw = raw
        self._note = note

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._note(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
