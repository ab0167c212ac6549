"""A proxy on loopback that injects faults into S3 requests, counts them and slows them down.

The client signs for the proxy's host and port, and the server behind is given the same Host header,
so signatures hold. Connections are kept alive on both sides; a request takes well under a
millisecond more than without.
"""

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import chain
from urllib.parse import unquote, urlsplit

_BLOCK = 1 << 16
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in. Names of headers are in lower case; `path` has the query."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Faults:
    """What goes wrong, by a request's number: every n-th; 0 is never. Tests change it at any time.

    All up to `slow_down_until` are slowed down, as by a store that restarts.
    `reset_every` cuts the connection before the server sees the request, `lose_every` after the
    server did what it asks: the answer alone is lost. From request `expired_from` on (counted from
    1, as all are) the session token has expired, which AWS says with a 400 and others with a 403.
    `refusal` answers every request with a status line and S3's word for it. `before` is called with
    each request before the server sees it. In the body of answer number `spoil` one byte is wrong.
    Bodies of answers to requests with `drip` in their path come a byte at a time, `drip_s` apart;
    with `drips_head` the head does too.
    """

    delay_s: float = 0.0
    slow_down_every: int = 0
    slow_down_until: int = 0
    reset_every: int = 0
    lose_every: int = 0
    expired_from: int = 0
    expired_status: str = "403 Forbidden"
    refusal: tuple[str, str] | None = None
    before: Callable[[Seen], None] | None = None
    spoil: int = 0
    drip: str | None = None
    drip_s: float = 0.02
    drips_head: bool = False

    def answer(self, number: int) -> bytes | None:
        """The answer to this request instead of the server's; None is the server's own."""
        if self.expired_from and number >= self.expired_from:
            return _error(self.expired_status, "ExpiredToken")
        if number <= self.slow_down_until or _hits(self.slow_down_every, number):
            return _error("503 Slow Down", "SlowDown")
        return _error(*self.refusal) if self.refusal else None

    def resets(self, number: int) -> bool:
        """Whether this request's connection is cut before the server sees it."""
        return _hits(self.reset_every, number)

    def loses(self, number: int) -> bool:
        """Whether this request's answer is lost on its way back."""
        return _hits(self.lose_every, number)


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Stands before a server; what it sees is in `seen`, what it does wrong in `faults`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is that of the server behind, like ``http://127.0.0.1:8333``."""
        super().__init__(("127.0.0.1", 0), _Connection)
        server = urlsplit(endpoint)
        self.behind = (server.hostname, server.port)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.bytes_back = 0
        self._lock = threading.Lock()

    def restart(self, faults: Faults | None = None) -> None:
        """Forget what was seen, count from 1 again, and do this wrong from now on."""
        with self._lock:
            self.seen.clear()
            self.bytes_back = 0
            self.faults = faults or Faults()

    def count(self, method: str, part: str = "") -> int:
        """How many requests of this method came in with `part` in their path."""
        return sum(request.method == method and part in request.path for request in list(self.seen))

    def note(self, request: Seen) -> tuple[int, Faults]:
        """Keep a request; give its number and what goes wrong now."""
        with self._lock:
            self.seen.append(request)
            return len(self.seen), self.faults

    def note_bytes(self, count: int) -> None:
        """Add bytes that went back."""
        with self._lock:
            self.bytes_back += count


@contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    """A running proxy in front of `endpoint`."""
    with FaultyProxy(endpoint) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()


class _Connection(socketserver.StreamRequestHandler):
    """One client's connection, and one to the server that lives as long."""

    disable_nagle_algorithm = True
    server: FaultyProxy

    def handle(self) -> None:
        try:
            with socket.create_connection(self.server.behind) as back:
                back.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with back.makefile("rb") as answer_stream:
                    while self._serve(back, answer_stream):
                        pass
        except OSError:  # either side went away: so does this connection
            self._cut()

    def _serve(self, back: socket.socket, answer_stream: BufferedIOBase) -> bool:
        """Pass one request on and its answer back; False when the connection is done with."""
        head, lines = _read_head(self.rfile)
        if not head:
            return False
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        number, faults = self.server.note(Seen(method, path, lines))
        if faults.before:
            faults.before(self.server.seen[number - 1])
        time.sleep(faults.delay_s)
        if faults.resets(number):
            return self._cut()
        answer = faults.answer(number)
        if answer is not None:
            for _ in _body(self.rfile, lines, always=False):
                pass
            self.connection.sendall(answer)
            return True
        back.sendall(head)
        for block in _body(self.rfile, lines, always=False):
            back.sendall(block)
        if method == "GET" and faults.drip is not None and faults.drip in unquote(path):
            return self._drip(answer_stream, faults)
        spoil = number == faults.spoil
        return self._answer(answer_stream, method, lose=faults.loses(number), spoil=spoil)

    def _drip(self, answer_stream: BufferedIOBase, faults: Faults) -> bool:
        head, lines = _read_head(answer_stream)
        body = b"".join(_body(answer_stream, lines, always=True))
        if not faults.drips_head:
            self.connection.sendall(head)
        for byte in body if not faults.drips_head else head + body:
            self.connection.sendall(bytes([byte]))
            time.sleep(faults.drip_s)
        return True

    def _answer(
        self, answer_stream: BufferedIOBase, method: str, *, lose: bool, spoil: bool
    ) -> bool:
        head, lines = _read_head(answer_stream)
        status = int(head.split(b" ", 2)[1]) if head else 0
        if lose or not head:
            return self._cut()
        if status == 100:
            self.connection.sendall(head)
            return self._answer(answer_stream, method, lose=lose, spoil=spoil)
        bare = method == "HEAD" or status in (204, 304)
        sent = 0
        body = () if bare else _body(answer_stream, lines, always=True)
        for block in chain([head], (_spoilt(block) for block in body) if spoil else body):
            self.connection.sendall(block)
            sent += len(block)
        self.server.note_bytes(sent)
        return lines.get("connection", "").lower() != "close"

    def _cut(self) -> bool:
        """Reset the connection: the client sees neither an answer nor an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return False


def _read_head(stream: BufferedIOBase) -> tuple[bytes, dict[str, str]]:
    """Everything up to the empty line as it is, and its headers; empty at the stream's end."""
    first = stream.readline()
    head = [first]
    headers: dict[str, str] = {}
    while first and (line := stream.readline()):
        head.append(line)
        if line == b"\r\n":
            return b"".join(head), headers
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return b"", {}


def _body(stream: BufferedIOBase, headers: Mapping[str, str], *, always: bool) -> Iterator[bytes]:
    """A message's body, block by block. An answer without a length goes on to its end."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        yield from _chunks(stream)
        return
    length = headers.get("content-length")
    left = int(length) if length else (1 << 62 if always else 0)
    while left and (block := stream.read(min(left, _BLOCK))):
        left -= len(block)
        yield block


def _spoilt(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 1])


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    while size := stream.readline():
        count = int(size.split(b";")[0], 16)
        yield size + stream.read(count + 2)
        if not count:
            return


def _error(status: str, code: str) -> bytes:
    body = _ERROR.format(code=code)
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        f"x-amz-request-id: proxy\r\n\r\n{body}"
    ).encode()


def _hits(every: int, number: int) -> bool:
    return bool(every) and number % every == 0
