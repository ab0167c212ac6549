"""A cluster that refuses this process is told apart from one that nobody runs."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from resift.errors import ClusterError
from resift.jobs import cluster
from resift.jobs.cluster import Cluster, connected

exceptions = pytest.importorskip("ray.exceptions")


SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""The first frame of a server with HTTP/2."""


@contextmanager
def _listening(answer: bytes) -> Iterator[str]:
    """Where somebody listens who answers each caller so; with nothing, the line stays open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with ExitStack() as callers, suppress(OSError):
                while True:
                    caller = callers.enter_context(listener.accept()[0])
                    caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            thread.join()


@pytest.fixture
def address() -> Iterator[str]:
    """Where a server of Ray seems to listen."""
    with _listening(SETTINGS) as address:
        yield address


def _refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Replace the module ``ray`` by one that cannot connect."""

    def init(**_: Any) -> None:
        raise error

    ray = SimpleNamespace(init=init, is_initialized=lambda: False, exceptions=exceptions)
    monkeypatch.setattr(cluster, "require", lambda *_: ray)


def _failed(cause: str) -> Exception:
    """The error of Ray 2.60, whose cause has the reason."""
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError(cause)
    return error


@pytest.mark.parametrize(
    "error",
    [
        _failed("Unauthenticated: RPC error: InvalidAuthToken: it is missing or incorrect"),
        exceptions.AuthenticationError("Token authentication is enabled but no token was found"),
    ],
)
def test_a_token_that_is_refused_is_named_with_its_variables(
    error: Exception, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, error)
    with pytest.raises(ClusterError) as caught, connected(address):
        pass
    message = str(caught.value)
    assert message.startswith(f"{address}: the Ray cluster has a token")
    assert "RAY_AUTH_MODE=token" in message and "RAY_AUTH_TOKEN_PATH" in message
    assert "\n" not in message and "start one" not in message


@pytest.mark.parametrize(
    ("gpus", "room"), [(0.0, 4), (0.1, 4), (0.25, 4), (0.3, 3), (0.5, 2), (1.0, 1), (2.0, 0)]
)
def test_parts_of_a_gpu_are_counted_as_they_are_meant(gpus: float, room: int) -> None:
    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    ray = SimpleNamespace(nodes=lambda: [node, {**node, "Alive": False}])
    assert Cluster("auto", worker_gpus=gpus)._room(ray) == room


def test_a_tenth_of_a_gpu_has_room_for_ten() -> None:
    ray = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": {"CPU": 64, "GPU": 1.0}}])
    assert Cluster("auto", worker_gpus=0.1)._room(ray) == 10


@pytest.mark.parametrize(
    ("memory", "workers", "room", "reserved"),
    [(0, None, 12, None), (3e9, None, 4, 3e9), (3e9, 2, 2, 3e9), (3e9, 9, 4, 3e9),
     (8e9, None, 1, 8e9), (50e9, None, 1, 10e9)],
)  # fmt: skip
def test_workers_reserve_memory_as_far_as_a_node_has_it(
    memory: float, workers: int | None, room: int, reserved: float | None
) -> None:
    sizes = [(8, 10e9), (4, 4e9), (0, 64e9)]
    nodes = [{"Alive": True, "Resources": {"CPU": cpus, "memory": size}} for cpus, size in sizes]
    ray = SimpleNamespace(nodes=lambda: nodes)
    cluster = Cluster("auto", workers, worker_bytes=int(memory))
    assert cluster.worker_count(ray) == room
    assert cluster.reserved(ray).get("memory") == reserved


def test_other_failures_to_connect_do_not_name_a_token(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, _failed("Version mismatch"))
    with pytest.raises(ClusterError, match="no Ray cluster can be reached there") as caught:
        with connected(address):
            pass
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not the port of a Ray cluster"),
        (b"", r"no Ray cluster can be reached there \(.*timed out"),
    ],
)
def test_a_port_of_another_program_is_named_and_not_waited_for(
    answer: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would try to speak with it for many minutes, and say nothing."""
    _refuse(monkeypatch, AssertionError("Ray was asked"))
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.2)
    with _listening(answer) as address:
        with pytest.raises(ClusterError, match=f"^{address}: {message}"), connected(address):
            pass


def test_a_cluster_with_tls_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, _failed("Version mismatch"))
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with _listening(b"\x15\x03\x03") as address:
        with pytest.raises(ClusterError, match="Failed to connect"), connected(address):
            pass
