"""A cluster that refuses this process is told apart from one that nobody runs."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from resift.errors import ClusterError
from resift.jobs import cluster
from resift.jobs.cluster import Cluster, connected

exceptions = pytest.importorskip("ray.exceptions")


@pytest.fixture
def address() -> Iterator[str]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


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


def test_other_failures_to_connect_do_not_name_a_token(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, _failed("Version mismatch"))
    with pytest.raises(ClusterError, match="no Ray cluster can be reached there") as caught:
        with connected(address):
            pass
    assert "token" not in str(caught.value)
