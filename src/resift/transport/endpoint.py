"""Sends JSON by POST: chooses the key to send, the errors to retry, and the time to wait.

Knows HTTP but nothing of vectors. Errors are one line and contain no secret. A key is sent only to
the host that it belongs to, and leaves this machine only encrypted.
"""

import base64
import json
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from itertools import count
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import Request

from resift.errors import EmbedderError, InputError
from resift.settings import Settings
from resift.transport.client import HttpClient, Response, TooLarge, time_limit
from resift.transport.urls import is_loopback

OPENAI = "api.openai.com"
RETRIED = {408, 425, 429, 500, 502, 503, 504}
ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), "name the URL that it is at now"),
    401: "set RESIFT_EMBEDDER_KEY to a key that is valid there",
    403: "set RESIFT_EMBEDDER_KEY to a key that may use this model",
    404: "check the URL, which often ends in /v1, and the model's name",
    405: "check the URL, which often ends in /v1",
}
FIRST_WAIT_S = 0.5
MAX_REASON_CHARACTERS = 200
# 32 vectors of 4,096 numbers are 3 MB as JSON.
MAX_RESPONSE_BYTES = 64 << 20
# Statuses of a wrong request: too long, too large, unreadable.
REFUSALS = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The timeout of one try, the number of tries, and the longest wait between two."""

    timeout_s: float
    tries: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Authorisation:
    """The value of the Authorization header, if any, and the secrets to hide in messages."""

    header: str | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class EndpointRefused(EmbedderError):
    """The server rejects this request; it may accept another text."""


class _Retryable(Exception):
    """A temporary error; `wait_s` is the time that the server asks to wait, if it does."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Endpoint:
    """A URL that accepts JSON by POST. Threads may share it; each request opens a connection.

    Requests to a server on this machine never go through a proxy, which could read them.
    """

    def __init__(
        self,
        url: str,
        authorisation: Authorisation = Authorisation(),
        ca_file: str | None = None,
    ) -> None:
        self.url = url
        self._secrets = [secret for secret in authorisation.secrets if secret]
        self._headers = {"Content-Type": "application/json", "User-Agent": "resift"}
        if authorisation.header:
            self._headers["Authorization"] = authorisation.header
        self._client = HttpClient(
            use_proxies=not is_loopback(str(urlsplit(url).hostname)), ca_file=ca_file
        )

    def post(self, body: dict[str, Any], limits: RetryLimits) -> Any:
        """Return the JSON of the response; raise `EmbedderError` if all tries fail."""
        data = json.dumps(body).encode()
        for tried in count(1):
            try:
                return self._post_once(data, limits.timeout_s)
            except _Retryable as problem:
                wait_s = problem.wait_s
                if wait_s is None:
                    wait_s = random.uniform(0.5, 1) * FIRST_WAIT_S * 2**tried
                    wait_s = min(wait_s, limits.max_wait_s)
                if tried == limits.tries or wait_s > limits.max_wait_s:
                    wait = f", asks to wait {problem.wait_s:.0f} s" if problem.wait_s else ""
                    raise self._error(
                        f"{problem}{wait}; gave up after {tried} of {limits.tries} tries"
                    ) from problem
            time.sleep(wait_s)

    def _post_once(self, data: bytes, timeout_s: float) -> Any:
        request = Request(self.url, data, self._headers, method="POST")
        try:
            response = self._client.send(
                request, timeout_s, MAX_RESPONSE_BYTES, time_limit(timeout_s)
            )
        except TimeoutError as error:
            raise _Retryable(f"no answer within {timeout_s:g} s") from error
        except TooLarge as error:
            raise self._error(f"its answer has {error}; check the URL") from error
        except (OSError, HTTPException, UnicodeError) as error:  # the last for a host name
            is_broken = isinstance(error, ConnectionError | HTTPException)
            if is_broken and not isinstance(error, ConnectionRefusedError):
                raise _Retryable("the connection broke") from error
            raise self._error(f"cannot be reached ({error}); check the URL") from error
        if not 200 <= response.status < 300:
            raise self._refusal(response)
        try:
            return json.loads(response.body)
        except (ValueError, RecursionError) as error:
            raise self._error("its answer is not JSON; is it an embeddings server?") from error

    def _refusal(self, response: Response) -> Exception:
        status = f"{response.status} {response.reason}".strip()
        message = _message(response.body)
        reason = f"{status} ({message})" if message else status
        if response.status in RETRIED:
            return _Retryable(reason, _retry_after(response.headers.get("Retry-After")))
        if response.status in REFUSALS:
            return self._error(reason, EndpointRefused)
        advice = ADVICE.get(response.status)
        return self._error(f"{reason}; {advice}" if advice else reason)

    def _error(self, problem: str, kind: type[EmbedderError] = EmbedderError) -> EmbedderError:
        for secret in self._secrets:
            problem = problem.replace(secret, "…")
        return kind(f"{self.url}: {problem}")


def authorise(url: SplitResult, user: str | None, settings: Settings) -> Authorisation:
    """Choose the secret for `url`: its own ``user:password``, else the key of that server.

    The embedder's key is for the server of the embedder in the settings, or for any server if the
    settings name none. OpenAI's key is for OpenAI only. Raise `InputError` if a secret would leave
    this machine unencrypted, or a key contains characters that a header cannot.
    """
    if user:
        coded = base64.b64encode(user.encode()).decode()
        authorisation = Authorisation(f"Basic {coded}", (coded, user, user.partition(":")[2]))
    else:
        is_named = not settings.embedder or _is_same_server(url, settings.embedder)
        key = (settings.embedder_key or "").strip() if is_named else ""
        if not key and _is_openai(url):
            key = (settings.openai_key or "").strip()
        if not key:
            return Authorisation()
        if not (key.isascii() and key.isprintable()):
            raise InputError(
                "embedder_key: has characters that no HTTP header can hold; copy it again"
            )
        authorisation = Authorisation(f"Bearer {key}", (key,))
    if url.scheme != "https" and not is_loopback(str(url.hostname)):
        raise InputError(
            f"{url.scheme}://{url.hostname}: a key or password would be sent there for all to "
            "read; use https, or leave RESIFT_EMBEDDER_KEY and the user out"
        )
    return authorisation


def _is_same_server(url: SplitResult, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    ports = {"http": 80, "https": 443}
    try:
        servers = [
            (parts.scheme, parts.hostname, parts.port or ports.get(parts.scheme))
            for parts in (url, urlsplit(other))
        ]
    except ValueError:  # the port is not a number
        return False
    return servers[0] == servers[1]


def _is_openai(url: SplitResult) -> bool:
    """Whether this is OpenAI's server, over an encrypted connection."""
    return url.scheme == "https" and url.hostname == OPENAI and url.port in (None, 443)


def _message(body: bytes) -> str:
    """Return the server's error message as one short line; empty if there is none."""
    text = body.decode("utf-8", "replace")
    try:
        message = json.loads(text)
    except ValueError:
        message = text
    for name in ("error", "message", "detail"):
        if isinstance(message, dict) and name in message:
            message = message[name]
    line = " ".join(str(message).split())
    return "".join(letter for letter in line if letter.isprintable())[:MAX_REASON_CHARACTERS]


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
