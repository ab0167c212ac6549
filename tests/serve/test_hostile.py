"""Proves that 500 hostile requests get no 5xx, and that the server goes on."""

import json
import random
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from resift.serve import gate, protocol

HOSTILE = 500
ALLOWED = {200, 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 424, 429}

VALUES: list[Any] = [
    None, True, 0, -1, 1e308, 10**30, "", " ", "\x00", "\u202e", "a" * 100_000, [], {}, [[]],
    ["a"], [None], [1, "a", {}], {"text": "a"}, [{"text": 1}], [{"text": None, "image": "x"}],
    {"a": {"b": {"c": []}}}, "\U0001f600" * 1_000, ["", " ", "\n"],
]  # fmt: skip
FIELDS = (
    "query", "documents", "texts", "model", "top_n", "top_k", "return_documents", "raw_scores",
    "truncate", "truncation", "truncation_direction", "max_tokens_per_doc", "rank_fields",
    "max_chunks_per_doc", "queries", "text_1", "text_2", "data_1", "data_2", "timeout", "where",
    "index", "budget_ms", "context_tokens", "stream", "mode", "depth", "explain", "min_score",
    "truncate_prompt_tokens", "use_activation", "priority", "user", "long_documents",
)  # fmt: skip
NOT_JSON: list[Callable[[random.Random], bytes]] = [
    lambda rng: rng.randbytes(rng.randrange(2_000)),
    lambda rng: b"[" * rng.randrange(1, 200_000),
    lambda rng: b'{"query":' * rng.randrange(1, 50_000),
    lambda rng: b'{"query": "\xff\xfe", "documents": ["\xc3\x28"]}',
    lambda rng: b'{"query": "a", "documents": ["a"' + b" " * rng.randrange(1_000),
    lambda rng: b'{"query": NaN, "documents": [Infinity], "top_n": -Infinity}',
    lambda rng: b'{"query": "a", "documents": ["a"], "top_n": ' + b"9" * 5_000 + b"}",
    lambda rng: '{"query": "ä", "documents": ["a"]}'.encode("utf-16"),
    lambda rng: b'\xef\xbb\xbf{"query": "a", "documents": ["a", "b"]}',
    lambda rng: b'{"query": "\\ud800", "documents": ["\\udfff", "a"], "texts": ["\\udead"]}',
    lambda rng: b'{"query": "a", "query": 1, "documents": ["a"], "documents": {}}',
    lambda rng: b"a" * (gate.MAX_BODY_BYTES + rng.randrange(1, 1_000)),
    lambda rng: b"null",
    lambda rng: b"",
]
HEADERS: list[Any] = [
    {"content-type": "application/json"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-type": "text/plain"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": ""},
    {"content-type": "application/json", "x-budget-ms": "soon"},
    {"content-type": "application/json", "x-budget-ms": "-1"},
    {"content-type": b"application/json", "authorization": b"Bearer \xff"},
    {"content-type": "application/json", "content-encoding": "gzip"},
    {"content-type": "application/json", "x-request-id": "x" * 5_000},
    {"content-type": "application/json", "traceparent": "00-zz-zz-zz"},
]  # fmt: skip


def odd_body(rng: random.Random) -> bytes:
    """A body of fields with values that do not fit, or no JSON at all."""
    if rng.random() < 0.3:
        return rng.choice(NOT_JSON)(rng)
    body = {"query": "a", "documents": ["a", "b"], "texts": ["a", "b"], "model": "bundled"}
    body |= {field: rng.choice(VALUES) for field in rng.sample(FIELDS, rng.randrange(1, 5))}
    for field in rng.sample(sorted(body), rng.randrange(2)):
        del body[field]
    return json.dumps(body, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")


def test_500_hostile_requests(server: str) -> None:
    rng = random.Random(19)
    document = httpx2.get(f"{server}/openapi.json").json()
    paths = [path for path, methods in document["paths"].items() if "post" in methods]
    assert len(paths) > 10
    with httpx2.Client(base_url=server, timeout=120) as client:
        for number in range(HOSTILE):
            body, headers = odd_body(rng), rng.choice(HEADERS)
            path = rng.choice(paths) + rng.choice(["", "", "?timeout=5", "?timeout=x", "?a=%ff"])
            response = client.post(path, content=body, headers=headers)
            what = (number, path, headers, body[:200], response.text[:300])
            assert response.status_code in ALLOWED, what
            if response.status_code != 200 and response.content:
                assert response.headers["content-type"].startswith("application/json"), what
                assert "Traceback" not in response.text
        assert client.get("/ready").status_code == 200


RAW = [
    b"\x00" * 1_000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
    b"GET /v1/passages/%00%ff%2e%2e%2f HTTP/1.1\r\nHost: localhost\r\n\r\n",
]  # fmt: skip


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.mark.parametrize("message", RAW, ids=lambda message: repr(message[:24]))
def test_bytes_that_are_no_request(server: str, message: bytes) -> None:
    with connect(server) as connection:
        try:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1_000)
        except ConnectionError:
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert httpx2.get(f"{server}/health").status_code == 200


def test_500_slow_connections_keep_nobody_out(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_S", 2.0)
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(500)]
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /v1/rank HTTP/1.1\r\nX: "[: number % 28])
        body = {"query": "reset", "documents": ["a cat", "press reset"]}
        assert httpx2.post(f"{server}/v1/rank", json=body, timeout=60).status_code == 200
        assert slow[0].recv(10) == b""
