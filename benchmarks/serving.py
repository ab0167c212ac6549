"""What does HTTP cost: time added to a request, throughput and p95 at 16 connections?

    python benchmarks/serving.py [--rounds 5] [--requests 64] [--connections 16]

Each request has 50 candidates of mixed length for the bundled model, all through the whole model,
without caches. Rounds of the library (one caller, and 16 at once) and of the server are interleaved
on the same machine; client and server share its cores. Added time is the client's wall time less
the time that the call itself took (the header ``x-total-time``). Service time is that of a single
caller of the library. Last line of stdout: JSON.
"""

import argparse
import json
import os
import statistics
import threading
import time
from typing import Any

import numpy as np
from served import CANDIDATES as COUNT
from served import NO_CACHES, SPREAD, TOKENS, Connection, bodies, load, served

os.environ.update(NO_CACHES)

from manual_texts import texts

from resift import Reranker


def main() -> None:
    """Print a line a round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    reranker = Reranker()
    lists = [texts(COUNT, TOKENS, SPREAD, seed=seed) for seed in range(options.requests)]
    requests = bodies(options.requests)
    rows: list[dict[str, float]] = []
    with served() as server:
        address = server.host, server.port
        for _ in range(options.rounds):
            row = {"one_ms": _one(reranker, lists), **_added(*address, requests)}
            row["library_rps"] = _library(reranker, lists, options.connections)
            result = load(*address, requests, options.connections)
            seconds = [answer.seconds for answer in result.answers]
            statuses = {answer.status for answer in result.answers}
            if statuses != {200}:
                raise SystemExit(f"statuses {statuses}")
            row["served_rps"] = len(seconds) / result.seconds
            row["throughput_ratio"] = row["served_rps"] / row["library_rps"]
            row["p95_ms"] = float(np.percentile(seconds, 95)) * 1000
            row["p95_ratio"] = row["p95_ms"] / (row["one_ms"] * options.connections)
            rows.append(row)
            print({name: round(value, 3) for name, value in row.items()}, flush=True)
        summary: dict[str, Any] = {"start_s": round(server.start_s, 2)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        summary[name] = {
            "median": round(statistics.median(values), 3),
            "range": [round(min(values), 3), round(max(values), 3)],
        }
    print(json.dumps(summary))


def _one(reranker: Reranker, lists: list[list[str]]) -> float:
    """Mean milliseconds of a call of a single caller."""
    start = time.perf_counter()
    for number, documents in enumerate(lists):
        reranker.rank(f"how are attributes looked up {number}", documents, exact=True)
    return (time.perf_counter() - start) / len(lists) * 1000


def _library(reranker: Reranker, lists: list[list[str]], callers: int) -> float:
    """Calls per second of threads that call the library, one call after another."""
    waiting = list(enumerate(lists))

    def call() -> None:
        while waiting:
            try:
                number, documents = waiting.pop()
            except IndexError:
                return
            reranker.rank(f"how are attributes looked up {number}", documents, exact=True)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(lists) / (time.perf_counter() - start)


def _added(host: str, port: int, requests: list[bytes]) -> dict[str, float]:
    """The time that HTTP and JSON add to the requests of one connection."""
    connection = Connection(host, port)
    added = []
    for message in requests:
        answer = connection.ask(message)
        added.append(answer.seconds * 1000 - float(answer.headers["x-total-time"]))
    connection.close()
    return {
        "added_p50_ms": statistics.median(added),
        "added_p95_ms": float(np.percentile(added, 95)),
    }


if __name__ == "__main__":
    main()
