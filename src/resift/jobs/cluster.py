"""The Ray cluster that a job runs on."""

import logging
import os
import re
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from resift.errors import ClusterError, InputError, shown
from resift.extras import require
from resift.files import reason
from resift.jobs.native_log import quiet

_HOST_PORT = re.compile(r"(ray://)?(?P<host>\[[^]]+\]|[^:/\s]+):(?P<port>\d{1,5})")
_CONNECT_S = 10.0
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS_FRAME = re.compile(rb".{3}\x04", re.DOTALL)
_REFUSAL = re.compile("Unauthenticated|InvalidAuthToken|authentication token", re.IGNORECASE)

LOCAL = "local"
"""The address that starts a cluster on this machine for the time of the job."""


def checked_address(address: str) -> str:
    """Return the address of a cluster; raise `InputError` for what cannot be one."""
    match = _HOST_PORT.fullmatch(address) if isinstance(address, str) else None
    if match is not None and int(match["port"]) >= 1 << 16:
        raise InputError(f"address={shown(address)}: expected a port up to 65535")
    if match is None and address not in ("auto", LOCAL):
        raise InputError(
            f"address={shown(address)}: expected auto, local, HOST:PORT or ray://HOST:PORT"
        )
    return address


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to the cluster at an address; yield the module ``ray``.

    A connection that this process already has is used, and left open. Raises `ClusterError` if the
    cluster cannot be reached.
    """
    ray = require("ray", "ray")
    checked_address(address)
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_answer(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    options |= {"address": address} | ({"include_dashboard": False} if address == LOCAL else {})
    try:
        with quiet(), warnings.catch_warnings():  # of Ray's coming defaults
            warnings.simplefilter("ignore")
            ray.init(**options)
    except ray.exceptions.AuthenticationError as error:
        raise _refused(address, error.message) from error
    except (ConnectionError, OSError, RuntimeError, ValueError, AssertionError) as error:
        if _is_refusal(error):
            raise _refused(address, "it refuses the token of this process") from error
        detail = " ".join(str(error).split())
        raise ClusterError(
            f"{address}: no Ray cluster can be reached there ({detail:.200}): start one with "
            "ray start --head, or use local"
        ) from error


def _is_refusal(error: BaseException) -> bool:
    """Whether the cluster does not accept the token of this process. Only a cause says so."""
    cause: BaseException | None = error
    while cause is not None:
        if _REFUSAL.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _refused(address: str, detail: str) -> ClusterError:
    return ClusterError(
        f"{address}: the Ray cluster has a token ({detail}): set RAY_AUTH_MODE=token, and "
        "RAY_AUTH_TOKEN to that token or RAY_AUTH_TOKEN_PATH to its file"
    )


def _check_answer(address: str) -> None:
    """Raise `ClusterError` if no gRPC server is at a host and port: Ray tries for many minutes."""
    match = _HOST_PORT.fullmatch(address)
    if match is None:
        return
    host, port = match["host"].strip("[]"), int(match["port"])
    try:
        with socket.create_connection((host, port), _CONNECT_S) as connection:
            is_grpc = _has_tls() or _speaks_http2(connection)
    except OSError as error:
        raise ClusterError(
            f"{address}: no Ray cluster can be reached there ({reason(error)}): see ray status for "
            "the address, or use local"
        ) from error
    if not is_grpc:
        raise ClusterError(
            f"{address}: is not the port of a Ray cluster: see ray status for the address, whose "
            "port is 6379 unless somebody chose another, or use local"
        )


def _has_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether a server begins as one of gRPC does. Raises `OSError`."""
    connection.sendall(_HTTP2_HELLO)
    return _SETTINGS_FRAME.match(connection.recv(9)) is not None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster and the workers of a job on it.

    `address` is ``auto`` for the cluster that this machine belongs to, ``HOST:PORT`` of a head
    node, ``ray://HOST:PORT`` of Ray's client server, or ``local`` for a cluster that is started on
    this machine and ends with the job. `workers` is the most workers at a time; None is as many as
    the cluster has room for when the job begins. A worker reserves `worker_cpus`, which are also
    the threads of its models, and `worker_gpus`; of `worker_bytes` of memory as much as one node
    has. Raises `InputError` for values that cannot be meant.
    """

    address: str = "auto"
    workers: int | None = None
    worker_cpus: int = 1
    worker_gpus: float = 0.0
    worker_bytes: int = 0

    def __post_init__(self) -> None:
        checked_address(self.address)
        for name, value in (("workers", self.workers), ("worker_cpus", self.worker_cpus)):
            is_count = type(value) is int and 1 <= value <= 100_000
            if not (is_count or (name == "workers" and value is None)):
                raise InputError(f"{name}={shown(value)}: expected a whole number from 1")
        if type(self.worker_gpus) not in (int, float) or not 0 <= self.worker_gpus <= 64:
            raise InputError(
                f"worker_gpus={shown(self.worker_gpus)}: expected a number from 0 to 64"
            )

    def reserved(self, ray: Any) -> dict[str, float]:
        """What a worker reserves, as Ray names it."""
        memory = self._worker_memory(self._fitting_nodes(ray))
        return (
            {"num_cpus": self.worker_cpus}
            | ({"num_gpus": self.worker_gpus} if self.worker_gpus else {})
            | ({"memory": memory} if memory else {})
        )

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """`connected` to it; raises `ClusterError` too if it has no room for a worker."""
        with connected(self.address) as ray:
            self._check_room(ray)
            yield ray

    def worker_count(self, ray: Any) -> int:
        """How many workers run at a time."""
        if self.worker_bytes and self.workers:
            return min(self.workers, self._room(ray))
        return self.workers or self._room(ray)

    def _check_room(self, ray: Any) -> None:
        if not self._room(ray):
            has = ray.cluster_resources()
            raise ClusterError(
                f"{self.address}: no node of the cluster has room for a worker of "
                f"{self.worker_cpus} CPUs and {self.worker_gpus:g} GPUs; it has "
                f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs in all"
            )

    def _room(self, ray: Any) -> int:
        """How many workers the nodes have room for."""
        nodes = self._fitting_nodes(ray)
        memory = self._worker_memory(nodes)
        if not memory:
            return sum(room for room, _ in nodes)
        return sum(min(room, int(node_memory // memory)) for room, node_memory in nodes)

    def _fitting_nodes(self, ray: Any) -> list[tuple[int, float]]:
        """Of each node with enough CPUs and GPUs: workers by these, and bytes of memory."""
        nodes = []
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            room = has.get("CPU", 0.0) // self.worker_cpus
            if self.worker_gpus:  # by rounded quotients: 1 // 0.1 is 9
                room = min(room, round(has.get("GPU", 0.0) / self.worker_gpus, 6) // 1)
            if room:
                nodes.append((int(room), has.get("memory", 0.0)))
        return nodes

    def _worker_memory(self, nodes: Sequence[tuple[int, float]]) -> float:
        """The bytes that a worker reserves; a larger one than all nodes would wait for ever."""
        return min(self.worker_bytes, max((memory for _, memory in nodes), default=0.0))
