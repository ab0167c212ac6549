"""Proves that the proxy passes requests on unchanged, and injects the faults that it is set to.

The client here is http.client, which neither pools nor tries again.
"""

import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import obstore
import pytest

from storage.conftest import Server
from storage.faulty import Faults, FaultyProxy, faulty_proxy

BIG = bytes(range(256)) * 2_000


class Echo(BaseHTTPRequestHandler):
    """Answers with the body that it received; ``/chunked`` in chunks."""

    protocol_version = "HTTP/1.1"
    got = 0

    def do_PUT(self) -> None:
        type(self).got += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        chunked = self.path == "/chunked"
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else
                           ("Content-Length", str(len(body)))))  # fmt: skip
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    Echo.got = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with faulty_proxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
            yield proxy
        server.shutdown()


@pytest.fixture
def client(proxy: FaultyProxy) -> Iterator[HTTPConnection]:
    client = HTTPConnection(*proxy.server_address[:2])  # type: ignore[arg-type]
    yield client
    client.close()


def put(client: HTTPConnection, path: str = "/x", body: bytes = b"x") -> tuple[int, bytes]:
    client.request("PUT", path, body)
    answer: HTTPResponse = client.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_answers_are_complete_over_one_connection(
    proxy: FaultyProxy, client: HTTPConnection, path: str
) -> None:
    assert put(client, path, BIG) == (200, BIG)
    own_end = client.sock.getsockname()
    assert put(client, path, b"") == (200, b"")
    assert client.sock.getsockname() == own_end
    assert [(request.method, request.path) for request in proxy.seen] == [("PUT", path)] * 2
    assert proxy.seen[0].headers["content-length"] == str(len(BIG))
    assert proxy.count("PUT", path) == 2 and proxy.count("GET") == 0
    assert proxy.bytes_back > len(BIG)


def test_every_nth_request_is_slowed_down_and_the_connection_lives(
    proxy: FaultyProxy, client: HTTPConnection
) -> None:
    proxy.restart(Faults(slow_down_every=3))
    statuses = [put(client)[0] for _ in range(6)]
    assert statuses == [200, 200, 503, 200, 200, 503] and Echo.got == 4


def test_an_expired_token_stays_expired(proxy: FaultyProxy, client: HTTPConnection) -> None:
    proxy.restart(Faults(expired_from=2))
    responses = [put(client) for _ in range(3)]
    assert [status for status, _ in responses] == [200, 403, 403]
    assert b"<Code>ExpiredToken</Code>" in responses[1][1]


def test_an_expired_token_has_the_requested_status(
    proxy: FaultyProxy, client: HTTPConnection
) -> None:
    proxy.restart(Faults(expired_from=1, expired_status="400 Bad Request"))
    assert put(client)[0] == 400


def test_exactly_one_answer_is_corrupted(proxy: FaultyProxy, client: HTTPConnection) -> None:
    proxy.restart(Faults(spoil=2))
    assert [put(client)[1] for _ in range(3)] == [b"x", b"y", b"x"]


def test_a_request_can_be_acted_upon_before_it_arrives(
    proxy: FaultyProxy, client: HTTPConnection
) -> None:
    seen: list[tuple[str, int]] = []
    proxy.restart(Faults(before=lambda request: seen.append((request.path, Echo.got))))
    put(client, "/a")
    put(client, "/b")
    assert seen == [("/a", 0), ("/b", 1)]


def test_a_reset_keeps_the_request_from_the_server_and_a_loss_does_not(
    proxy: FaultyProxy, client: HTTPConnection
) -> None:
    for faults, got in ((Faults(reset_every=1), 0), (Faults(lose_every=1), 1)):
        proxy.restart(faults)
        with pytest.raises(ConnectionError):
            put(client)
        client.close()
        assert Echo.got == got


def test_a_request_is_delayed(proxy: FaultyProxy, client: HTTPConnection) -> None:
    proxy.restart(Faults(delay_s=0.1))
    started = time.monotonic()
    put(client)
    assert 0.1 <= time.monotonic() - started < 10


def test_a_signed_client_works_through_it(server: Server, bucket: str) -> None:
    with faulty_proxy(server.endpoint) as proxy:
        store = Server(proxy.endpoint).bucket(bucket)
        obstore.put(store, "a", BIG)
        assert bytes(obstore.get(store, "a").bytes()) == BIG
        assert [row["path"] for row in obstore.list(store).collect()] == ["a", "made.bin"]
        obstore.delete(store, "a")
        assert {request.method for request in proxy.seen} >= {"PUT", "GET"}
