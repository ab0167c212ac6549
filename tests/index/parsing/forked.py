"""Parser processes that are forks of a process that has loaded all: they start in no time.

`start` stands in for the pool's. What a parser does is the same, under the same limits, in a
process that ends with it. ``test_pool.py`` and commands in a process of their own start parsers
as users do.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import IO

from resift.index.parsing import pool, worker
from resift.index.parsing.chunking import token_starts

start_as_users_do = pool._start_worker
_MESSAGE = struct.Struct("ii")
_FORK, _ASK, _RUNNING = 0, 1, 1 << 20


class ForkedParser:
    """The part of `subprocess.Popen` that a `ParserPool` uses."""

    def __init__(self, server: "ForkServer") -> None:
        requests, stdin = os.pipe()
        stdout, replies = os.pipe()
        self.stdin: IO[bytes] = os.fdopen(stdin, "wb")
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb")
        self.returncode: int | None = None
        self._server = server
        self._lock = threading.Lock()
        try:
            self.pid = server.ask(_FORK, 0, [requests, replies])
        finally:
            os.close(requests)
            os.close(replies)

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                code = self._server.ask(_ASK, self.pid)
                self.returncode = None if code == _RUNNING else code
            return self.returncode

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(0.001)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """A process that has loaded what parsers load, and forks; it ends with its parent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env=_environment(),
            )

    def start(self) -> ForkedParser:
        return ForkedParser(self)

    def ask(self, what: int, number: int, descriptors: list[int] | None = None) -> int:
        message = [_MESSAGE.pack(what, number)]
        with self._lock:
            socket.send_fds(self._socket, message, descriptors or [])
            answer: tuple[int, int] = _MESSAGE.unpack(
                self._socket.recv(_MESSAGE.size, socket.MSG_WAITALL)
            )
        return answer[1]

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def _environment() -> dict[str, str]:
    """A parser's."""
    environment = {name: os.environ[name] for name in pool._ENVIRONMENT if name in os.environ}
    packages = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return environment | pool._SINGLE_THREADED | packages


def _serve(parent: socket.socket) -> None:
    """Fork, and say how forks ended, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    token_starts("load the tokenizer")
    while True:
        message, descriptors, _, _ = socket.recv_fds(parent, _MESSAGE.size, 2)
        if not message:
            return
        what, number = _MESSAGE.unpack(message)
        if what == _FORK:
            answer = os.fork()
            if answer == 0:
                parent.close()
                for target, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, target)
                    os.close(descriptor)
                worker.main()
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            pid, status = os.waitpid(number, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else _RUNNING
        parent.sendall(_MESSAGE.pack(what, answer))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
