"""Errors that may pass are retried within the time of a call; others are one line without a key."""

import os
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from index.embedders.embedding_server import Answer, Request, serve
from resift.transport import endpoint
from resift.transport.authorisation import Authorisation, basic, bearer
from resift.transport.endpoint import Endpoint, EndpointError, RetryLimits, Wording
from transport.peer import serving

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
    authorisation = Authorisation(f"Bearer {KEY}", (KEY,))
    wording = Wording("an embeddings server", {401: "get a valid key", 404: "check the URL"})
    return Endpoint(f"{url}/embeddings", authorisation, wording=wording).post(BODY, limits)


def refused(limits: RetryLimits, *responses: Answer) -> tuple[str, int]:
    """The error's text, checked to be one line without a key, and how many requests came."""
    with serve(*responses) as server:
        url = server.spec.partition("#")[0]
        with pytest.raises(EndpointError) as caught:
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
    [*(status(code) for code in (408, 429, 500, 502, 503, 504, 529)), reset, cut_short],
    ids=["408", "429", "500", "502", "503", "504", "529", "reset", "cut short"],
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
        (401, "get a valid key"),
        (403, ""),
        (404, "check the URL"),
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
    with pytest.raises(EndpointError, match=r"cannot be reached .*check the URL"):
        posted(url, FEW)
    assert waits == []


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 70}.example"])
def test_an_invalid_host_is_an_error_at_once(host: str, waits: list[float]) -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        posted(f"http://{host}", FEW)
    assert waits == []


@pytest.mark.parametrize("user", [f"{KEY}:", KEY, f"me:{KEY}"])
def test_a_token_as_user_or_password_is_hidden(user: str) -> None:
    with serve(status(400, f"no {KEY} here".encode())) as server:
        url = server.spec.partition("#")[0]
        with pytest.raises(EndpointError, match="no … here"):
            Endpoint(url, basic(user)).post(BODY, HASTY)


def test_a_secret_in_an_answer_is_hidden_and_a_short_one_is_any_word() -> None:
    echo = {"a": [KEY, {f"for {KEY}": 1}], "data": "me"}
    with serve(status(200, echo), status(200, echo)) as server:
        url = server.spec.partition("#")[0]
        hidden = {"a": ["…", {"for …": 1}], "data": "me"}
        assert Endpoint(url, bearer(KEY, "key")).post(BODY, HASTY) == hidden
        assert Endpoint(url, bearer("me", "key")).post(BODY, HASTY) == echo


def test_a_body_may_be_made_for_each_try(waits: list[float]) -> None:
    numbers = iter(range(9))
    with serve(status(503), status(503)) as server:
        url = server.spec.partition("#")[0]
        Endpoint(url).post(lambda: {"input": [f"text {next(numbers)}"]}, FEW)
    bodies = [request.body["input"] for request in server.requests]
    assert bodies == [["text 0"], ["text 1"], ["text 2"]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_does_not_wait_for_requests_of_its_parent() -> None:
    with serving(lambda request: request.send(200, {})) as peer:
        shared = Endpoint(peer.url, max_requests=1)
        assert shared._free is not None and shared._free.acquire()  # as a request does
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if shared.post(BODY, HASTY) == {} else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
