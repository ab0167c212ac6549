"""A server in a process of its own, and clients that cost little: the tools of serving*.py."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from manual_texts import texts

CANDIDATES, TOKENS, SPREAD = 50, 120, 0.5
NO_CACHES = {"RESIFT_CACHE_MB": "0", "RESIFT_STATE_CACHE_MB": "0"}
"""A cache would answer the repeated requests of a benchmark."""


@dataclass
class Served:
    """A running server."""

    process: "subprocess.Popen[str]"
    host: str
    port: int
    start_s: float
    log: Path

    def rss_mb(self) -> float:
        """Resident memory of the server and its workers, without what they share counted twice."""
        pids = [self.process.pid, *children(self.process.pid)]
        return sum(_memory(pid, "Pss") for pid in pids) / 1e3


@contextmanager
def served(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """`resift serve` with these arguments at a free port, from its line on stdout to SIGTERM."""
    command = [sys.executable, "-m", "resift", "serve", "--port", "0", *arguments]
    with tempfile.NamedTemporaryFile(delete=False, suffix=".log") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=os.environ | (environment or NO_CACHES),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    start_s = time.perf_counter() - start
    address = re.search(r"https?://([\d.]+):(\d+)", line)
    if address is None:
        process.kill()
        raise SystemExit(f"the server did not start: {line} {Path(log.name).read_text()[-2000:]}")
    try:
        yield Served(process, address[1], int(address[2]), start_s, Path(log.name))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def children(pid: int) -> list[int]:
    """The process ids of all descendants."""
    tasks = Path(f"/proc/{pid}/task")
    pids = []
    for task in tasks.iterdir():
        pids += [int(child) for child in (task / "children").read_text().split()]
    return [pid for child in pids for pid in (child, *children(child))]


def _memory(pid: int, kind: str) -> float:
    """Kilobytes of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{kind}:\s+(\d+) kB", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def bodies(count: int, path: str = "/v1/rank", **more: object) -> list[bytes]:
    """Whole requests of 50 candidates of mixed length, each with its own."""
    return [
        request(path, {"query": f"how are attributes looked up {seed}",
                       "documents": texts(CANDIDATES, TOKENS, SPREAD, seed=seed), **more})
        for seed in range(count)
    ]  # fmt: skip


def request(path: str, body: object, headers: Sequence[str] = ()) -> bytes:
    """A request as bytes."""
    data = json.dumps(body).encode()
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


@dataclass
class Answer:
    """The answer to a request, and how long it took."""

    status: int
    seconds: float
    headers: dict[str, str]
    body: bytes


class Connection:
    """A connection that is kept alive, blocking: the client's own cost is a few microseconds."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def ask(self, message: bytes) -> Answer:
        """Send a request and read its answer."""
        start = time.perf_counter()
        self._socket.sendall(message)
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        return Answer(status, time.perf_counter() - start, headers, body)

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()


@dataclass
class Load:
    """What clients that ask one request after another got."""

    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)


def load(host: str, port: int, requests: Sequence[bytes], connections: int) -> Load:
    """Send all requests over so many connections; each takes the next as soon as it is free."""
    waiting = list(reversed(requests))
    lock = threading.Lock()
    result = Load()

    def client() -> None:
        connection = Connection(host, port)
        while True:
            with lock:
                if not waiting:
                    break
                message = waiting.pop()
            answer = connection.ask(message)
            with lock:
                result.answers.append(answer)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.perf_counter() - start
    return result
