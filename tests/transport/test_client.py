"""Proves that every answer, whole, broken or slow, becomes a response or an error without a URL."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from urllib.request import Request

import pytest

from resift.transport.client import HttpClient, Response, TooLarge, time_limit

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(*parts: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """Run a server that reads a request and sends these bytes; its ``host:port``."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the client may leave
            connection.recv(1 << 16)
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def send(
    address: str, note: Callable[[int], None] = lambda _: None, scheme: str = "http"
) -> Response:
    request = Request(f"{scheme}://{address}/?signature=s3cret")
    return HttpClient(use_proxies=False).send(request, 5, 100, note)


def test_an_answer_is_read_and_its_bytes_are_noted() -> None:
    counts: list[int] = []
    with answering(OK) as address:
        response = send(address, counts.append)
    assert (response.status, response.body) == (200, b"hello")
    assert sum(counts) == len(OK)


@pytest.mark.parametrize("status", [b"404 Not Found", b"302 Found\r\nLocation: http://x.invalid/"])
def test_an_error_and_a_redirect_are_responses(status: bytes) -> None:
    with answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno") as address:
        response = send(address)
    assert (response.status, response.body) == (int(status[:3]), b"no")
    assert response.failure is None


def test_an_error_whose_body_is_broken_keeps_its_status() -> None:
    head = b"HTTP/1.1 503 Slow Down\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    with answering(head) as address:
        response = send(address)
    assert response.status == 503 and isinstance(response.failure, HTTPException)


@pytest.mark.parametrize("answer", [OK[:-1], b"", b"nonsense\r\n\r\n"])
def test_a_broken_answer_is_an_error(answer: bytes) -> None:
    with answering(answer) as address, pytest.raises((OSError, HTTPException)) as raised:
        send(address)
    assert "s3cret" not in str(raised.value)


def test_a_large_answer_is_refused() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101) as address:
        with pytest.raises(TooLarge):
            send(address)


def test_headers_that_arrive_slowly_run_out_of_time() -> None:
    with answering(*(bytes([byte]) for byte in OK), pause_s=0.02) as address:
        with pytest.raises(TimeoutError):
            send(address, time_limit(0.1))


def test_a_server_that_does_not_speak_tls_is_an_error() -> None:
    with answering(OK) as address, pytest.raises(OSError, match="SSL") as raised:
        send(address, scheme="https")
    assert "s3cret" not in str(raised.value)
