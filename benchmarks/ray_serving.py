"""What does serving from a Ray cluster cost, and what do callers see when a replica is killed?

    python benchmarks/ray_serving.py [--requests 100] [--callers 8] [--seconds 20]

A server of this machine, with one thread, and two replicas in a cluster of two nodes on this
machine, of one CPU each, get requests in turn, from one caller. Each has 10 candidates, all through
the whole model, without caches. Added time is the caller's less what the call itself took (the
header ``x-total-time``). Then callers ask the cluster all the time: while a replica is killed with
SIGKILL and Ray starts another, and while a new version of an index is published and taken up. A
failed request is one that did not get 200; a retried one was sent to another replica, because the
first died with it. Last line of stdout: JSON.
"""

import argparse
import json
import os
import re
import signal
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manual_texts import texts
from served import NO_CACHES, Connection, request, served

os.environ.update(NO_CACHES, RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")

from resift import Index
from resift.jobs.serve import Deployment
from resift.jobs.serve_application import bound
from resift.jobs.serve_options import ReplicaOptions
from resift.serve.options import ServeOptions

CANDIDATES, TOKENS, SPREAD = 10, 120, 0.5
DOCUMENTS = 50
BEFORE_S = 3.0
FIRST, SECOND = "first version", "second version"


def main() -> None:
    """Print a line a part, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, index = _index(Path(folder))
        figures: dict[str, Any] = {}
        one_thread = NO_CACHES | {"RESIFT_THREADS": "1"}
        with _cluster(index) as address:
            with served(environment=one_thread) as server:
                figures |= _in_turn((server.host, server.port), address, options.requests)
            print(f"in turn: {figures}", flush=True)
            figures["killed"] = _killed(address, options.callers, options.seconds)
            print(f"replica killed: {figures['killed']}", flush=True)
            figures["new_version"] = _new_version(address, options.callers, source, index)
            print(f"new version: {figures['new_version']}", flush=True)
    print(json.dumps(figures))


def _index(folder: Path) -> tuple[Path, Index]:
    source = folder / "source"
    source.mkdir()
    for number, text in enumerate(texts(DOCUMENTS, TOKENS, SPREAD)):
        (source / f"{number}.txt").write_text(text)
    (source / "version.txt").write_text(f"{FIRST} of the handbook")
    index = Index(folder / "index")
    index.sync(str(source))
    return source, index


def _in_turn(plain: tuple[str, int], cluster: tuple[str, int], requests: int) -> dict[str, Any]:
    """The times of the same requests at both, one after another."""
    connections = {"plain": Connection(*plain), "ray": Connection(*cluster)}
    seconds: dict[str, list[float]] = {name: [] for name in connections}
    added: dict[str, list[float]] = {name: [] for name in connections}
    for message in _messages(requests):
        for name, connection in connections.items():
            answer = connection.ask(message)
            if answer.status != 200:
                raise SystemExit(f"status {answer.status}: {answer.body[:500]!r}")
            seconds[name].append(answer.seconds)
            added[name].append(answer.seconds * 1000 - float(answer.headers["x-total-time"]))
    for connection in connections.values():
        connection.close()
    return {
        name: _times(seconds[name]) | {"added_p50_ms": round(statistics.median(added[name]), 1)}
        for name in connections
    }


def _messages(count: int) -> list[bytes]:
    """Rank requests, each with candidates of its own."""
    return [
        request("/v1/rank", {"query": f"how are attributes looked up {seed}", "exact": True,
                             "documents": texts(CANDIDATES, TOKENS, SPREAD, seed=seed)})
        for seed in range(count)
    ]  # fmt: skip


def _times(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)] * 1000, 1),
    }


@contextmanager
def _cluster(index: Index) -> Iterator[tuple[str, int]]:
    """Two replicas in a cluster of two nodes; the address of the server."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["RAY_TMPDIR"] = folder
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        options = ServeOptions(port=0, indexes=(str(index.uri),))
        deployment = Deployment(options)
        try:
            deployment.open_port()
            deployment.run(bound(options, ReplicaOptions(2, 2)), threading.Event())
            address = re.search(r"http://([\d.]+):(\d+)", deployment.line())
            assert address is not None
            yield address[1], int(address[2])
        finally:
            deployment.delete()
            ray.shutdown()
            cluster.shutdown()


@dataclass
class Calls:
    """What callers got."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    replicas: set[str] = field(default_factory=set)
    bodies: set[str] = field(default_factory=set)


@contextmanager
def _calling(address: tuple[str, int], callers: int, messages: list[bytes]) -> Iterator[Calls]:
    """Ask all the time, from so many callers, until the end of the block."""
    calls, stop = Calls(), threading.Event()

    def call(first: int) -> None:
        connection = Connection(*address)
        number = first
        while not stop.is_set():
            try:
                answer = connection.ask(messages[number % len(messages)])
            except (OSError, ValueError, IndexError):
                calls.failed += 1
                connection = Connection(*address)
                continue
            number += callers
            calls.seconds.append(answer.seconds)
            calls.failed += answer.status != 200
            calls.replicas.add(answer.headers.get("x-replica", ""))
            calls.bodies |= {text for text in (FIRST, SECOND) if text.encode() in answer.body}

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _killed(address: tuple[str, int], callers: int, seconds: float) -> dict[str, Any]:
    with _calling(address, callers, _messages(64)) as calls:
        time.sleep(BEFORE_S)
        name, process = next(iter(_replicas().items()))
        os.kill(process, signal.SIGKILL)
        killed = time.perf_counter()
        _wait(lambda: name not in _replicas() and len(_replicas()) == 2)
        back_s = time.perf_counter() - killed
        time.sleep(max(seconds - BEFORE_S - back_s, BEFORE_S))
    return _counts(address, calls) | {"replaced_after_s": round(back_s, 1)}


def _new_version(
    address: tuple[str, int], callers: int, source: Path, index: Index
) -> dict[str, Any]:
    body = {"query": "version of the handbook", "top_n": 1}
    with _calling(address, callers, [request("/v1/search", body)]) as calls:
        time.sleep(BEFORE_S)
        (source / "version.txt").write_text(f"{SECOND} of the handbook")
        index.sync(str(source))
        published = time.perf_counter()
        _wait(lambda: SECOND in calls.bodies)
        first_s = time.perf_counter() - published
        time.sleep(6)  # replicas look every 5 seconds
    read = sorted(calls.bodies)
    return _counts(address, calls) | {"read": read, "first_read_after_s": round(first_s, 1)}


def _counts(address: tuple[str, int], calls: Calls) -> dict[str, Any]:
    connection = Connection(*address)
    page = connection.ask(request("/metrics", {}).replace(b"POST", b"GET", 1)).body.decode()
    connection.close()
    retried = re.findall(r"^resift_ingress_retried_requests_total{.*} (\S+)$", page, re.M)
    return {
        "requests": len(calls.seconds),
        "failed": calls.failed,
        "retried_so_far": int(sum(map(float, retried))),
        "replicas": len(calls.replicas),
        **_times(calls.seconds),
        "max_ms": round(max(calls.seconds) * 1000),
    }


def _replicas() -> dict[str, int]:
    """The process of each replica that runs, by its name."""
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()["applications"]["resift"]
    return {
        replica["replica_id"]: replica["pid"]
        for replica in details["deployments"]["Replica"]["replicas"]
        if replica["state"] == "RUNNING"
    }


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not holds():
        if time.monotonic() > until:
            raise SystemExit("it took over 120 s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
