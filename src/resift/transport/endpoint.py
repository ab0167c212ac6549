"""Sends JSON to a server: chooses the errors to retry and the time to wait.

Knows HTTP but nothing of vectors and scores. Errors are one line and contain no secret.
"""

import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from itertools import count
from typing import Any, Literal
from urllib.parse import urlsplit

from resift.errors import ResiftError
from resift.transport.authorisation import NONE, Authorisation
from resift.transport.client import Response, TooLarge
from resift.transport.pool import Pool
from resift.transport.urls import is_loopback

RETRIED = {408, 425, 429, 500, 502, 503, 504, 529}
MOVED = dict.fromkeys((301, 302, 303, 307, 308), "name the URL that it is at now")
FIRST_WAIT_S = 0.5
MAX_REASON_CHARACTERS = 200
# 32 vectors of 4,096 numbers are 3 MB as JSON.
MAX_RESPONSE_BYTES = 64 << 20
# Statuses of a wrong request: too long, too large, unreadable.
REFUSALS = {400, 413, 422}
KEY_STATUSES = {401, 403}

Cause = Literal["unreachable", "late", "broken", "busy", "key", "refused", "status", "not_json"]
"""Why there is no answer.

- ``unreachable``: no connection: the host, the port or the certificate is wrong.
- ``late``: there was no answer in time.
- ``broken``: the connection broke.
- ``busy``: a status that may pass, such as 429 and 503.
- ``key``: 401 and 403.
- ``refused``: the server rejects this request: 400, 413 and 422. It may accept another one.
- ``status``: any other status.
- ``not_json``: the answer cannot be read.
"""


class EndpointError(ResiftError):
    """There is no answer; `cause` says why, and `wait_s` how long the server asks to wait."""

    def __init__(self, message: str, cause: Cause = "status", wait_s: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.wait_s = wait_s

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.cause, self.wait_s)


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The timeout of one try, the number of tries, and the longest wait between two."""

    timeout_s: float
    tries: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Wording:
    """What messages say: the kind of `server`, and the advice for a status."""

    server: str = "the right server"
    advice: Mapping[int, str] = field(default_factory=dict)


class _Retryable(Exception):
    """A temporary error; `wait_s` is the time that the server asks to wait, if it does."""

    def __init__(self, reason: str, cause: Cause, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.cause = cause
        self.wait_s = wait_s


class Endpoint:
    """A URL that accepts and gives JSON. Threads may share it, and connections are used again.

    Requests to a server on this machine never go through a proxy, which could read them. At most
    `max_requests` run at once; None is no limit.
    """

    def __init__(
        self,
        url: str,
        authorisation: Authorisation = NONE,
        ca_file: str | None = None,
        *,
        wording: Wording = Wording(),
        max_requests: int | None = None,
    ) -> None:
        self.url = url
        self._secrets = [secret for secret in authorisation.secrets if secret]
        self._headers = {"Content-Type": "application/json", "User-Agent": "resift"}
        if authorisation.header:
            self._headers["Authorization"] = authorisation.header
        self._wording = wording
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._free = None if max_requests is None else threading.Semaphore(max_requests)
        self._pool = Pool(url, use_proxies=not is_loopback(str(parts.hostname)), ca_file=ca_file)

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"

    def close(self) -> None:
        """Close the connections that no request uses; later requests open others."""
        self._pool.close()

    def post(self, body: Any, limits: RetryLimits, until: float | None = None) -> Any:
        """Send `body` as JSON and return the JSON of the response.

        All tries together end at `until`, on the clock of ``time.monotonic``. Raise `EndpointError`
        if all fail.
        """
        return self._repeat("POST", encoded(body), limits, until)

    def get(self, limits: RetryLimits, until: float | None = None) -> Any:
        """Return the JSON of the URL; as `post`."""
        return self._repeat("GET", None, limits, until)

    def _repeat(
        self, method: str, data: bytes | None, limits: RetryLimits, until: float | None
    ) -> Any:
        for tried in count(1):
            try:
                return self._send_once(method, data, limits.timeout_s, until)
            except _Retryable as problem:
                wait_s = problem.wait_s
                if wait_s is None:
                    wait_s = random.uniform(0.5, 1) * FIRST_WAIT_S * 2**tried
                    wait_s = min(wait_s, limits.max_wait_s)
                is_late = until is not None and time.monotonic() + wait_s >= until
                if tried == limits.tries or wait_s > limits.max_wait_s or is_late:
                    wait = f", asks to wait {problem.wait_s:.0f} s" if problem.wait_s else ""
                    tries = f"gave up after {tried} of {limits.tries} tries"
                    message = f"{problem}{wait}; {tries}{' for lack of time' * is_late}"
                    raise self._error(message, problem.cause, problem.wait_s) from problem
            time.sleep(wait_s)

    def _send_once(
        self, method: str, data: bytes | None, timeout_s: float, until: float | None
    ) -> Any:
        until = min(time.monotonic() + timeout_s, until if until is not None else float("inf"))
        if self._free is None:
            return self._send(method, data, timeout_s, until)
        if not self._free.acquire(timeout=max(until - time.monotonic(), 0)):
            raise _Retryable("no request could be sent, too many wait", "late")
        try:
            return self._send(method, data, timeout_s, until)
        finally:
            self._free.release()

    def _send(self, method: str, data: bytes | None, timeout_s: float, until: float) -> Any:
        within_s = max(min(timeout_s, until - time.monotonic()), 0)
        try:
            response = self._pool.send(
                method, self._target, self._headers, data, until, MAX_RESPONSE_BYTES
            )
        except TimeoutError as error:
            raise _Retryable(f"no answer within {_seconds(within_s)} s", "late") from error
        except TooLarge as error:
            raise self._error(f"its answer has {error}; check the URL", "not_json") from error
        except (OSError, HTTPException, UnicodeError) as error:  # the last for a host name
            is_broken = isinstance(error, ConnectionError | HTTPException)
            if is_broken and not isinstance(error, ConnectionRefusedError):
                raise _Retryable("the connection broke", "broken") from error
            message = f"cannot be reached ({error}); check the URL"
            raise self._error(message, "unreachable") from error
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        try:
            return json.loads(response.body)
        except (ValueError, RecursionError) as error:
            message = f"its answer is not JSON; is it {self._wording.server}?"
            raise self._error(message, "not_json") from error

    def _refusal(self, response: Response) -> Exception:
        status = f"{response.status} {response.reason}".strip()
        message = self._without_secrets(_message(response.body))[:MAX_REASON_CHARACTERS]
        reason = f"{status} ({message})" if message else status
        if response.status in RETRIED:
            return _Retryable(reason, "busy", _retry_after(response.headers.get("Retry-After")))
        if response.status in REFUSALS:
            return self._error(reason, "refused")
        advice = self._wording.advice.get(response.status) or MOVED.get(response.status)
        cause: Cause = "key" if response.status in KEY_STATUSES else "status"
        return self._error(f"{reason}; {advice}" if advice else reason, cause)

    def _error(self, problem: str, cause: Cause, wait_s: float | None = None) -> EndpointError:
        return EndpointError(f"{self.url}: {self._without_secrets(problem)}", cause, wait_s)

    def _without_secrets(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "…")
        return message


def encoded(body: Any) -> bytes:
    """A body as JSON in UTF-8. A lone surrogate becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1 if seconds < 10 else 0):g}"


def _message(body: bytes) -> str:
    """Return the server's error message as one line; empty if there is none."""
    text = body.decode("utf-8", "replace")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = text
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and name in message:
            message = message[name]
    line = " ".join(str(message).split())
    return "".join(letter for letter in line if letter.isprintable())


def _retry_after(value: str | None) -> float | None:
    """Return the seconds to wait by a Retry-After header: seconds or a date; None for neither."""
    if not value:
        return None
    try:
        if value.strip().isdecimal():
            return float(value)
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
