"""A real HTTP server on the loopback that speaks OpenAI's embeddings protocol, or misbehaves.

What it does with each request is the next of its `responses`; when they have run out it sends
vectors: a vector of a text counts its characters.
"""

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIM = 8


def vector(text: str) -> list[float]:
    """Of what a text holds, not of length one."""
    numbers = [1.0] * DIM
    for letter in text:
        numbers[ord(letter) % DIM] += 1
    return numbers


def good(texts: list[str]) -> dict[str, Any]:
    """What the protocol asks for."""
    rows = [
        {"object": "embedding", "index": n, "embedding": vector(t)} for n, t in enumerate(texts)
    ]
    return {"object": "list", "model": "m", "data": rows, "usage": {"total_tokens": 1}}


class Request:
    """One that has come in, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.path = handler.path
        self.headers = handler.headers
        self.body: Any = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))

    @property
    def texts(self) -> list[str]:
        texts: list[str] = self.body["input"]
        return texts

    def send(self, status: int, body: Any, **headers: str) -> None:
        """Bytes as they are, all else as JSON; header names with _ for -."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._handler.send_response(status)
        for name, value in ({"Content_Length": str(len(data))} | headers).items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def drop(self, data: bytes) -> None:
        """Some bytes, each for itself, then nothing more until the client leaves."""
        self.send(200, b"", Content_Length="1000000")
        for index in range(len(data)):
            if self._handler.server.closing.wait(0.05):  # type: ignore[attr-defined]
                return
            self._handler.wfile.write(data[index : index + 1])
            self._handler.wfile.flush()

    def wait(self) -> None:
        """Interpolation nothing until the test is over."""
        self._handler.server.closing.wait(20)  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Break the connection at once, as a server does that dies."""
        import socket

        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.connection.close()


Answer = Callable[[Request], None]


class Server(ThreadingHTTPServer):
    """`requests` are those that came, in order."""

    daemon_threads = True

    def __init__(self, responses: list[Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.responses = responses
        self.requests: list[Request] = []
        self.closing = threading.Event()

    @property
    def spec(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1#tiny"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = Request(self)
        self.server.requests.append(request)
        if self.server.responses:
            self.server.responses.pop(0)(request)
        else:
            request.send(200, good(request.texts))

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serve(*responses: Answer) -> Iterator[Server]:
    """The server, running in a thread until the block ends."""
    with Server(list(responses)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
