"""Does a server under ten times its load answer every request, in time, in flat memory?

    python benchmarks/serving_overload.py [--seconds 60] [--factor 10] [--budget-ms 2000]

First the server's capacity is measured with 16 connections. Then requests of 50 candidates arrive
at `factor` times that rate, each on a connection of its own and with a budget, whether earlier ones
are answered or not. Counts statuses, the p95 of admitted requests over the budget, the wait that
refusals name, and memory. Without caches. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import threading
import time
from collections import Counter

import numpy as np
from served import Answer, Connection, Served, bodies, load, served

WARM_UP = 32


def main() -> None:
    """Print the capacity, the memory every ten seconds, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--budget-ms", type=float, default=2000)
    options = parser.parse_args()
    with served() as server:
        warm_up = load(server.host, server.port, bodies(WARM_UP), 16)
        capacity = WARM_UP / warm_up.seconds
        print(f"capacity {capacity:.1f} requests/s", flush=True)
        requests = bodies(64, budget_ms=options.budget_ms)
        figures = _overload(server, requests, capacity * options.factor, options.seconds)
    print(json.dumps({"capacity_rps": round(capacity, 2), **figures}))


def _overload(
    server: Served, requests: list[bytes], rate: float, seconds: float
) -> dict[str, object]:
    answers: list[Answer] = []
    failures: Counter[str] = Counter()
    lock = threading.Lock()

    def ask(message: bytes) -> None:
        try:
            connection = Connection(server.host, server.port)
            answer = connection.ask(message)
            connection.close()
        except (OSError, ValueError, IndexError) as error:
            with lock:
                failures[type(error).__name__] += 1
            return
        with lock:
            answers.append(answer)

    memory = [round(server.rss_mb())]
    start = time.perf_counter()
    threads = []
    for number in range(int(rate * seconds)):
        at = start + number / rate
        time.sleep(max(at - time.perf_counter(), 0))
        thread = threading.Thread(target=ask, args=(requests[number % len(requests)],))
        thread.start()
        threads.append(thread)
        if time.perf_counter() - start > 10 * len(memory):
            memory.append(round(server.rss_mb()))
            print(f"{10 * (len(memory) - 1)} s: {memory[-1]} MB", flush=True)
    for thread in threads:
        thread.join()
    memory.append(round(server.rss_mb()))
    admitted = [answer for answer in answers if answer.status == 200]
    refused = [float(answer.headers["retry-after"]) for answer in answers if answer.status == 429]
    times = [answer.seconds * 1000 for answer in admitted]
    partial = sum("x-partial" in answer.headers for answer in admitted)
    return {
        "sent": len(threads),
        "statuses": dict(Counter(str(answer.status) for answer in answers)),
        "unanswered": dict(failures),
        "admitted_p95_ms": round(float(np.percentile(times, 95))),
        "admitted_max_ms": round(max(times)),
        "admitted_partial": partial,
        "admitted_rps": round(len(admitted) / seconds, 2),
        "retry_after_s": [min(refused), statistics.median(refused), max(refused)],
        "memory_mb": memory,
    }


if __name__ == "__main__":
    main()
