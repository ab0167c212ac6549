"""The parts that stores of other protocols than S3 share: objects in memory, ranges, requests seen.

Each is a small server on loopback that enforces what an index relies on: conditional writes under
one lock, signatures or tokens, listings in pages.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit


class Answer(NamedTuple):
    """A status, headers and a body."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


@dataclass(frozen=True)
class Request:
    """A request as it came in, its path and query decoded; names of headers in lower case."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Stored:
    """An object; `generation` grows with each write of any object."""

    data: bytes
    generation: int
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def md5(self) -> str:
        return md5(self.data, usedforsecurity=False).hexdigest()

    @property
    def modified_http(self) -> str:
        return format_datetime(self.modified, usegmt=True)


class Peer(ThreadingHTTPServer):
    """`objects` by bucket and key; `seen` are the requests; `fault` may answer instead."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, Stored]] = {}
        self.public: set[str] = set()
        self.page = 1000
        self.seen: list[Request] = []
        self.fault: Callable[[Request], Answer | None] = lambda request: None
        self.lock = threading.RLock()
        self._writes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def store(self, bucket: str, key: str, data: bytes) -> Stored:
        """Write an object; the lock is the caller's."""
        self._writes += 1
        self.objects[bucket][key] = Stored(data, self._writes)
        return self.objects[bucket][key]

    def answer(self, request: Request) -> Answer:
        """What the store answers."""
        raise NotImplementedError


@contextmanager
def running(peer: Peer) -> Iterator[None]:
    """Serve until the end of the block."""
    with peer:
        threading.Thread(target=peer.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            peer.shutdown()


def error(status: int, code: str) -> Answer:
    """An error in XML, as S3, GCS and Azure write it."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code></Error>'
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def part_of(data: bytes, request: Request, headers: Mapping[str, str]) -> Answer:
    """The whole object, or the range that a GET names."""
    span = request.headers.get("range") or request.headers.get("x-ms-range") or ""
    if not span.startswith("bytes="):
        return Answer(200, headers, data)
    start, _, end = span.removeprefix("bytes=").partition("-")
    first, last = int(start), min(int(end or len(data)), len(data) - 1)
    if first >= len(data):
        return error(416, "InvalidRange")
    shown = f"bytes {first}-{last}/{len(data)}"
    return Answer(206, {**headers, "Content-Range": shown}, data[first : last + 1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Peer

    def _handle(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request = Request(
            self.command,
            unquote(url.path, errors="surrogateescape"),
            url.path,
            query,
            headers,
            body,
        )
        with self.server.lock:
            self.server.seen.append(request)
            answer = self.server.fault(request) or self.server.answer(request)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        pass
