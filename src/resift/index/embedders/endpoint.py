"""JSON there and back by POST, with deadline: what is worth another try, and how long to wait.

Knows HTTP and its faults, and nothing of vectors. What it raises is one line and shows no secret.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from itertools import count
from typing import Any
from urllib.request import Request

from resift.errors import EmbedderError
from resift.index.http import HttpClient, Response, TooLarge, within

AGAIN = {408, 425, 429, 500, 502, 503, 504}
MOVED = "name the URL that it is at now"
ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), MOVED),
    401: "set RESIFT_EMBEDDER_KEY to a key that is valid there",
    403: "set RESIFT_EMBEDDER_KEY to a key that may use this model",
    404: "check the URL, which often ends in /v1, and the model's name",
    405: "check the URL, which often ends in /v1",
}
FIRST_WAIT_S = 0.5
LONGEST_REASON = 200
# 32 vectors of 4,096 numbers are 3 MB as JSON; what goes on beyond this is no answer.
MOST_ANSWER_BYTES = 64 << 20
# Not what was asked for is wrong there, but with what: too long, too large, not to be read.
REFUSALS = {400, 413, 422}


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How long one try may take, how many there are, and how long to wait between two at most."""

    timeout_s: float
    tries: int
    longest_wait_s: float


class EndpointRefused(EmbedderError):
    """The server does not take what it was sent: another text may do better."""


class _TryAgain(Exception):
    """What may pass; `wait_s` is how long the server asks to be left alone, if it does."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Endpoint:
    """A URL that takes JSON by POST. Threads may share it; each request is a connection of its own.

    `authorisation` is that header's value; `secrets` is what no message may hold. A server that
    `is_here`, on this machine, is never asked through a proxy, which would see all of it.
    """

    def __init__(
        self,
        url: str,
        authorisation: str | None,
        secrets: Sequence[str],
        *,
        is_here: bool = False,
    ) -> None:
        self.url = url
        self._secrets = [secret for secret in secrets if secret]
        self._headers = {"Content-Type": "application/json", "User-Agent": "resift"}
        if authorisation:
            self._headers["Authorization"] = authorisation
        self._client = HttpClient(use_proxies=not is_here)

    def post(self, body: dict[str, Any], limits: RetryLimits) -> Any:
        """The answer's JSON; raises `EmbedderError` where there is none after all tries."""
        data = json.dumps(body).encode()
        for tried in count(1):
            try:
                return self._once(data, limits.timeout_s)
            except _TryAgain as problem:
                wait_s = problem.wait_s
                if wait_s is None:
                    wait_s = random.uniform(0.5, 1) * FIRST_WAIT_S * 2**tried
                    wait_s = min(wait_s, limits.longest_wait_s)
                if tried == limits.tries or wait_s > limits.longest_wait_s:
                    asked = f", asks to wait {problem.wait_s:.0f} s" if problem.wait_s else ""
                    raise self._error(
                        f"{problem}{asked}; gave up after {tried} of {limits.tries} tries"
                    ) from problem
            time.sleep(wait_s)

    def _once(self, data: bytes, timeout_s: float) -> Any:
        request = Request(self.url, data, self._headers, method="POST")
        try:
            answer = self._client.send(request, timeout_s, MOST_ANSWER_BYTES, within(timeout_s))
        except TimeoutError as error:
            raise _TryAgain(f"no answer within {timeout_s:g} s") from error
        except TooLarge as error:
            raise self._error(f"its answer has {error}; check the URL") from error
        except (OSError, HTTPException, UnicodeError) as error:  # the last for a host's name
            broke = isinstance(error, ConnectionError | HTTPException)
            if broke and not isinstance(error, ConnectionRefusedError):  # no server listens
                raise _TryAgain("the connection broke") from error
            raise self._error(f"cannot be reached ({error}); check the URL") from error
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self._error("its answer is no JSON; is it an embeddings server?") from error

    def _refusal(self, answer: Response) -> Exception:
        status = f"{answer.status} {answer.reason}".strip()
        detail = _reason(answer.body)
        reason = f"{status} ({detail})" if detail else status
        if answer.status in AGAIN:
            return _TryAgain(reason, _retry_after(answer.headers.get("Retry-After")))
        if answer.status in REFUSALS:
            return self._error(reason, EndpointRefused)
        advice = ADVICE.get(answer.status)
        return self._error(f"{reason}; {advice}" if advice else reason)

    def _error(self, problem: str, kind: type[EmbedderError] = EmbedderError) -> EmbedderError:
        for secret in self._secrets:
            problem = problem.replace(secret, "…")
        return kind(f"{self.url}: {problem}")


def _reason(body: bytes) -> str:
    """Get a server's description of an error as one short line; empty if there is none."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    line = " ".join(str(found).split())
    return "".join(letter for letter in line if letter.isprintable())[:LONGEST_REASON]


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds them or a date; None for neither."""
    if not value:
        return None
    try:
        if value.strip().isdecimal():
            return float(value)
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
