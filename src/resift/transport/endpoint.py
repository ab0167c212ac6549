"""Sends JSON to a server: chooses the errors to retry and the time to wait.

Knows HTTP but nothing of vectors and scores. Errors are one line and contain no secret.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
LEAST_SECRET = 8
"""Characters of a secret that is also hidden in answers; shorter ones may be any word there."""

MAX_WAIT_S = 1e6
"""Longer waits that a server asks for are this."""

# 32 vectors of 4,096 numbers are 3 MB as JSON.
MAX_RESPONSE_BYTES = 64 << 20
# Statuses of a wrong request: too long, too large, unreadable.
REFUSALS = {400, 413, 422}
KEY_STATUSES = {401, 403}

MakeBody = Callable[[], Any]
_Make = Callable[[], bytes | None]
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
    """There is no answer; `cause` is the reason, and `wait_s` how long the server asks to wait."""

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
    """Words of messages: the kind of `server`, and the advice for a status."""

    server: str = "the right server"
    advice: Mapping[int, str] = field(default_factory=dict)


class _Retryable(EndpointError):
    """A temporary error."""


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
        secrets = {secret for secret in authorisation.secrets if secret}
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may contain another
        self._headers = {"Content-Type": "application/json", "User-Agent": "resift"}
        if authorisation.header:
            self._headers["Authorization"] = authorisation.header
        self._wording = wording
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._max_requests = max_requests
        self._reset()
        self._pool = Pool(url, use_proxies=not is_loopback(str(parts.hostname)), ca_file=ca_file)

    def _reset(self) -> None:
        limit = self._max_requests
        self._pid = os.getpid()
        self._free = None if limit is None else threading.Semaphore(limit)

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"

    def close(self) -> None:
        """Close the connections that no request uses; later requests open others."""
        self._pool.close()

    def post(self, body: Any | MakeBody, limits: RetryLimits, until: float | None = None) -> Any:
        """Send `body` as JSON and return the JSON of the response, without secrets.

        A function makes the body anew for each try. All tries together end at `until`, on the clock
        of ``time.monotonic``. Raise `EndpointError` if all fail.
        """
        if callable(body):
            return self._repeat("POST", lambda: encoded(body()), limits, until)
        data = encoded(body)
        return self._repeat("POST", lambda: data, limits, until)

    def get(self, limits: RetryLimits, until: float | None = None) -> Any:
        """Return the JSON of the URL; as `post`."""
        return self._repeat("GET", lambda: None, limits, until)

    def _repeat(self, method: str, make: _Make, limits: RetryLimits, until: float | None) -> Any:
        for tried in count(1):
            try:
                return self._send_once(method, make, limits.timeout_s, until)
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

    def _send_once(self, method: str, make: _Make, timeout_s: float, until: float | None) -> Any:
        until = min(time.monotonic() + timeout_s, until if until is not None else float("inf"))
        if self._pid != os.getpid():  # a forked child has none of its parent's requests
            self._reset()
        free = self._free
        if free is None:
            return self._send(method, make(), timeout_s, until)
        if not free.acquire(timeout=max(until - time.monotonic(), 0)):
            raise _Retryable("no request could be sent, too many wait", "late")
        try:
            return self._send(method, make(), timeout_s, until)
        finally:
            free.release()

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
                raise _Retryable("the connection broke", "broken") from self.cause_of(error)
            message = f"cannot be reached ({error}); check the URL"
            raise self._error(message, "unreachable") from self.cause_of(error)
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        try:
            return self._answer(response.body)
        except (ValueError, RecursionError) as error:
            message = f"its answer is not JSON; is it {self._wording.server}?"
            raise self._error(message, "not_json") from error

    def _answer(self, body: bytes) -> Any:
        """The JSON of a body; secrets in its texts are hidden, since a server may echo them."""
        answer = json.loads(body)
        secrets = [secret for secret in self._secrets if len(secret) >= LEAST_SECRET]
        is_clean = b"\\" not in body and not any(secret.encode() in body for secret in secrets)
        return answer if is_clean or not secrets else _hidden(answer, secrets)

    def _refusal(self, response: Response) -> Exception:
        phrase = self.without_secrets(response.reason)[:MAX_REASON_CHARACTERS]
        status = f"{response.status} {phrase}".strip()
        message = self.without_secrets(_message(response.body))[:MAX_REASON_CHARACTERS]
        reason = f"{status} ({message})" if message else status
        if response.status in RETRIED:
            return _Retryable(reason, "busy", _retry_after(response.headers.get("Retry-After")))
        if response.status in REFUSALS:
            return self._error(reason, "refused")
        advice = self._wording.advice.get(response.status) or MOVED.get(response.status)
        cause: Cause = "key" if response.status in KEY_STATUSES else "status"
        return self._error(f"{reason}; {advice}" if advice else reason, cause)

    def _error(self, problem: str, cause: Cause, wait_s: float | None = None) -> EndpointError:
        return EndpointError(f"{self.url}: {self.without_secrets(problem)}", cause, wait_s)

    def without_secrets(self, message: str) -> str:
        """A message in which the secrets of the requests are hidden."""
        return _masked(message, self._secrets)

    def cause_of(self, error: Exception) -> Exception | None:
        """The error as the cause of another one; None if its message has a secret."""
        texts = (str(error), repr(error))
        return error if all(self.without_secrets(text) == text for text in texts) else None


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _hidden(value: Any, secrets: Sequence[str]) -> Any:
    """JSON without the secrets in its texts and names."""
    if isinstance(value, str):
        return _masked(value, secrets)
    if isinstance(value, list):
        return [_hidden(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_masked(name, secrets): _hidden(item, secrets) for name, item in value.items()}
    return value


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
            return min(float(value), MAX_WAIT_S)
        wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        return min(max(wait_s, 0.0), MAX_WAIT_S)
    except (TypeError, ValueError, OverflowError):
        return None
