"""Errors that may pass are retried, others are one line; a key goes only where it is meant to."""

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from index.embedders.embedding_server import Answer, Request, serve
from resift.errors import EmbedderError, InputError
from resift.index.embed import open_embedder
from resift.transport import endpoint
from resift.transport.endpoint import (
    Authorisation,
    Endpoint,
    RetryLimits,
    authorise,
)
from resift.settings import Settings

FEW = RetryLimits(timeout_s=5, tries=3, max_wait_s=0.1)
HASTY = RetryLimits(timeout_s=0.3, tries=1, max_wait_s=0.1)
BODY = {"input": ["text"]}
KEY = "sk-s3cret"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def posted(url: str, limits: RetryLimits) -> object:
    return Endpoint(f"{url}/embeddings", Authorisation(f"Bearer {KEY}", (KEY,))).post(BODY, limits)


def refused(limits: RetryLimits, *responses: Answer) -> tuple[str, int]:
    """The error's text, checked to be one line without a key, and how many requests came."""
    with serve(*responses) as server:
        url = server.spec.partition("#")[0]
        with pytest.raises(EmbedderError) as caught:
            posted(url, limits)
    message = str(caught.value)
    assert message.startswith(f"{url}/embeddings: ")
    assert "\n" not in message and KEY not in message
    return message.removeprefix(f"{url}/embeddings: "), len(server.requests)


def status(code: int, body: object = b"", **headers: str) -> Answer:
    return lambda request: request.send(code, body, **headers)


def reset(request: Request) -> None:
    request.reset()


def cut_short(request: Request) -> None:
    request.send(200, b'{"data": [', Content_Length="500")


def silent(request: Request) -> None:
    request.wait()


def by_drops(request: Request) -> None:
    request.drop(b" " * 100)


@pytest.mark.parametrize(
    "answer",
    [*(status(code) for code in (408, 429, 500, 502, 503, 504)), reset, cut_short],
    ids=["408", "429", "500", "502", "503", "504", "reset", "cut short"],
)
def test_what_may_pass_is_tried_again(answer: Answer, waits: list[float]) -> None:
    with serve(answer, answer) as server:
        response = posted(server.spec.partition("#")[0], FEW)
    assert isinstance(response, dict) and len(response["data"]) == 1
    assert len(server.requests) == 3 and len(waits) == 2


def test_tries_have_an_end(waits: list[float]) -> None:
    message, requests = refused(FEW, *[status(500, {"error": {"message": "oh\nno"}})] * 9)
    assert message == "500 Internal Server Error (oh no); gave up after 3 of 3 tries"
    assert requests == 3 and len(waits) == 2


def test_waits_double_up_to_a_bound(waits: list[float]) -> None:
    refused(RetryLimits(5, 8, 4.0), *[status(503)] * 9)
    for number, wait in enumerate(waits):
        whole = endpoint.FIRST_WAIT_S * 2 ** (number + 1)
        assert min(whole / 2, 4.0) <= wait <= min(whole, 4.0)
    assert waits[-1] == 4.0 and len(waits) == 7


def test_the_server_says_how_long_to_wait(waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=30), usegmt=True)
    responses = [status(429, Retry_After=value) for value in ("7", later, past, "0", "soon", "")]
    with serve(*responses) as server:
        posted(server.spec.partition("#")[0], RetryLimits(5, 9, 60.0))
    assert waits[0] == 7 and 25 < waits[1] <= 30 and waits[2:4] == [0, 0]
    assert all(wait > 0.5 for wait in waits[4:])


def test_a_wait_that_is_too_long_is_not_begun(waits: list[float]) -> None:
    message, requests = refused(FEW, status(429, Retry_After="3600"))
    assert message.endswith("asks to wait 3600 s; gave up after 1 of 3 tries")
    assert (requests, waits) == (1, [])


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (401, "set RESIFT_EMBEDDER_KEY to a key that is valid there"),
        (403, "set RESIFT_EMBEDDER_KEY to a key that may use this model"),
        (404, "check the URL, which often ends in /v1, and the model's name"),
        (413, ""),
        (400, ""),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"no, {KEY} is wrong"}},
        {"error": f"no, {KEY} is wrong"},
        {"message": f"no,\r\n {KEY} is wrong\x1b"},
        {"detail": f"no, {KEY} is wrong"},
        f"no, {KEY} is wrong".encode(),
    ],
)
def test_a_refusal_is_final_and_says_why_without_the_key(
    code: int, advice: str, body: object, waits: list[float]
) -> None:
    message, requests = refused(FEW, status(code, body))
    assert message.startswith(f"{code} ")
    assert message.endswith("(no, … is wrong)" + (f"; {advice}" if advice else ""))
    assert (requests, waits) == (1, [])


def test_a_long_refusal_is_cut() -> None:
    message, _ = refused(FEW, status(400, b"x" * 100_000))
    assert len(message) < 300


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_for_it_would_carry_the_key(code: int) -> None:
    with serve() as other:
        message, _ = refused(FEW, status(code, Location=other.spec.partition("#")[0]))
    assert "name the URL that it is at now" in message
    assert other.requests == []


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff\xfe\x00", b'{"data": '])
def test_a_response_that_is_no_json_is_an_error_at_once(body: bytes) -> None:
    message, requests = refused(FEW, status(200, body))
    assert message == "its answer is not JSON; is it an embeddings server?"
    assert requests == 1


@pytest.mark.parametrize("answer", [silent, by_drops])
def test_a_server_that_takes_too_long_is_given_up(answer: Answer) -> None:
    started = time.monotonic()
    message, _ = refused(HASTY, answer)
    assert message == "no answer within 0.3 s; gave up after 1 of 1 tries"
    assert time.monotonic() - started < 20


def test_a_port_without_a_server_is_an_error_at_once(waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EmbedderError, match=r"cannot be reached .*check the URL"):
        posted(url, FEW)
    assert waits == []


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 70}.example"])
def test_an_invalid_host_is_an_error_at_once(host: str, waits: list[float]) -> None:
    with pytest.raises(EmbedderError, match="cannot be reached"):
        posted(f"http://{host}", FEW)
    assert waits == []


OPENAI = "https://api.openai.com/v1#text-embedding-3-small"


def sent(spec: str, **settings: Any) -> str | None:
    """The Authorization header that requests to this embedder carry."""
    embedder: Any = open_embedder(spec, Settings(**settings))
    header: str | None = embedder._endpoint._headers.get("Authorization")
    return header


@pytest.mark.parametrize("spec", [OPENAI, "https://API.OpenAI.com:443/v1#m"])
def test_openais_key_goes_to_openai(spec: str) -> None:
    assert sent(spec, openai_key="sk-1") == "Bearer sk-1"
    assert sent(spec, embedder=spec, embedder_key="mine", openai_key="sk-1") == "Bearer mine"


@pytest.mark.parametrize(
    "spec",
    [
        "https://api.openai.com.evil.example/v1#m",
        "https://evil.example/api.openai.com#m",
        "https://evil.example/v1#api.openai.com",
        "https://api.openai.com:8443/v1#m",
        "http://api.openai.com/v1#m",
        "http://127.0.0.1:8080/v1#m",
        "https://eu.api.openai.com/v1#m",
        "https://api.openai.com./v1#m",
        "https://api-openai.com/v1#m",
        "https://evil.example\\@api.openai.com:1/v1#m",
        "https://api.openai.com%2eevil.example/v1#m",
    ],
)
def test_openais_key_goes_nowhere_else(spec: str) -> None:
    try:
        header = sent(spec, openai_key="sk-1")
    except InputError as error:
        assert "sk-1" not in str(error)
    else:
        assert "sk-1" not in str(header)


def test_a_host_before_an_at_sign_is_a_user_and_no_host() -> None:
    assert "sk-1" not in str(sent("https://api.openai.com@evil.example/v1#m", openai_key="sk-1"))
    assert sent("https://evil.example@api.openai.com/v1#m", openai_key="sk-1").startswith("Basic")  # type: ignore[union-attr]


def test_the_embedders_key_goes_to_the_server_that_the_settings_name() -> None:
    named = "https://mine.example/v1#a"
    for spec, header in (
        (named, "Bearer key"),
        ("https://mine.example:443/v2#b", "Bearer key"),
        ("https://mine.example:8443/v1#a", None),
        ("https://other.example/v1#a", None),
        ("http://127.0.0.1:80/v1#a", None),
    ):
        assert sent(spec, embedder=named, embedder_key="key") == header
    assert sent(named, embedder_key="key") == "Bearer key"


@pytest.mark.parametrize("host", ["host", "192.168.0.7", "127.0.0.1.example", "localhost.example"])
@pytest.mark.parametrize("user", ["", "me:s3cret@"])
def test_no_secret_leaves_this_machine_in_the_clear(host: str, user: str) -> None:
    with pytest.raises(InputError, match="use https") as refused:
        sent(f"http://{user}{host}:8080/v1#m", embedder_key="s3cret")
    assert "s3cret" not in str(refused.value) and "\n" not in str(refused.value)
    assert sent(f"http://{host}:8080/v1#m", openai_key="s3cret") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_on_this_machine_plain_http_will_do(host: str) -> None:
    assert sent(f"http://{host}:8080/v1#m", embedder_key="key") == "Bearer key"


def test_a_server_on_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve() as proxy, serve() as server:
        monkeypatch.setenv("http_proxy", proxy.spec.partition("/v1")[0])
        open_embedder(server.spec, Settings(embedder_key="key")).embed_query("a")
    assert len(server.requests) == 1 and not proxy.requests


def test_no_redirect_carries_a_key_on() -> None:
    with serve() as other:

        def redirect(request: Request) -> None:
            request.send(307, b"", Location=f"{other.spec.partition('#')[0]}/embeddings")

        with serve(redirect) as server, pytest.raises(EmbedderError, match="the URL that it is at"):
            open_embedder(server.spec, Settings(embedder_key="key")).embed_query("a")
        assert not other.requests


def test_no_key_shows() -> None:
    settings = Settings(embedder_key="s3cret", openai_key="s3cret")
    for user in (None, "me:s3cret"):
        authorisation = authorise(urlsplit("https://h"), user, settings)
        assert authorisation.header and "s3cret" not in repr(authorisation) + repr(settings)
