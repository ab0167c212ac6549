"""A JSON server on loopback that keeps connections open, or misbehaves as a test says.

What it does with each request is the next of its `actions`; when they have run out, `usual`.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Request:
    """One that has come in, and the ways to answer it."""

    def __init__(self, handler: "_Handler", method: str) -> None:
        self._handler = handler
        self.method = method
        self.path = handler.path
        self.headers = handler.headers
        self.connection = handler.client_address
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.body: Any = json.loads(data) if data else None

    def send(self, status: int, body: Any, **headers: str) -> None:
        """Bytes as they are, all else as JSON; header names with _ for -."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._handler.send_response(status)
        for name, value in ({"Content_Length": str(len(data))} | headers).items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def trickle(self) -> None:
        """An answer byte by byte that never ends, until the test is over."""
        self.send(200, b"", Content_Length="1000000")
        while not self._handler.server.closing.wait(0.02):
            self._handler.wfile.write(b" ")

    def hang(self, seconds: float = 20) -> None:
        """Send nothing until the test is over, or for some seconds."""
        self._handler.server.closing.wait(seconds)

    def reset(self) -> None:
        """Break the connection at once, as a server does that dies."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.connection.close()
        self._handler.close_connection = True

    def hang_up(self) -> None:
        """Close the connection after this answer, without a word."""
        self._handler.close_connection = True


Action = Callable[[Request], None]


class Counted:
    """An action that takes some seconds; `most` is how many ran at once."""

    def __init__(self, then: Action, seconds: float) -> None:
        self._then, self._seconds = then, seconds
        self._lock = threading.Lock()
        self._running = self.most = 0

    def __call__(self, request: Request) -> None:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        time.sleep(self._seconds)
        with self._lock:
            self._running -= 1
        self._then(request)


class Peer(ThreadingHTTPServer):
    """`requests` are those that came, in order."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self, usual: Action, actions: list[Action]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.usual = usual
        self.actions = actions
        self.requests: list[Request] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Peer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's delayed ACK
    timeout = 30

    def do_POST(self) -> None:
        self._do("POST")

    def do_GET(self) -> None:
        self._do("GET")

    def _do(self, method: str) -> None:
        request = Request(self, method)
        self.server.requests.append(request)
        actions = self.server.actions
        (actions.pop(0) if actions else self.server.usual)(request)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(usual: Action, *actions: Action) -> Iterator[Peer]:
    """The server, running in a thread until the block ends."""
    with Peer(usual, list(actions)) as peer:
        thread = threading.Thread(target=peer.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            peer.closing.set()
            peer.shutdown()
            thread.join()
