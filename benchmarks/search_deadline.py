"""Does the budget of a search hold? How much later than it does `Index.search` return?

    python benchmarks/search_deadline.py INDEX [--calls 40] [--cold 20]

"cold" is the first call of a process that has not opened the index and models; "warm" comes after
`Index.load` and a search; "load" is six other threads that search without a budget. Overrun is in
ms, over all calls of a row; `hits` counts the calls that returned any. Last line of stdout: JSON.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

from resift import Index

BUDGETS_MS = (0, 20, 100, 300)
COLD_MS = (0, 100, 300, 1000)
CALLERS = 6
QUERY = "when is a version that was replaced cleaned up"


def main() -> None:
    """Print a row a budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--cold", type=int, default=20)
    parser.add_argument("--once", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once is not None:
        print(json.dumps(_timed(Index(options.index), options.once)))
        return
    rows = [_row("cold", ms, _cold(options.index, ms, options.cold)) for ms in COLD_MS]
    index = Index(options.index)
    index.load()
    index.search(QUERY)
    for busy in (False, True):
        name = "warm, load" if busy else "warm"
        for budget_ms in BUDGETS_MS:
            rows.append(_row(name, budget_ms, _warm(index, budget_ms, options.calls, busy)))
    print(json.dumps({"rows": rows}))


def _row(name: str, budget_ms: float, calls: list[tuple[float, int]]) -> dict[str, Any]:
    over = np.array([overrun for overrun, _ in calls])
    row = {
        "calls": name,
        "budget_ms": budget_ms,
        "p50": round(float(np.percentile(over, 50)), 1),
        "p95": round(float(np.percentile(over, 95)), 1),
        "max": round(float(over.max()), 1),
        "hits": sum(hits > 0 for _, hits in calls),
    }
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def _timed(index: Index, budget_ms: float) -> tuple[float, int]:
    start = time.perf_counter()
    ranking = index.search(QUERY, budget_ms=budget_ms)
    return (time.perf_counter() - start) * 1000 - budget_ms, len(ranking)


def _cold(uri: str, budget_ms: float, calls: int) -> list[tuple[float, int]]:
    command = [sys.executable, __file__, uri, "--once", str(budget_ms)]
    measured = []
    for _ in range(calls):
        done = subprocess.run(command, capture_output=True, check=True)
        overrun, hits = json.loads(done.stdout)
        measured.append((overrun, hits))
    return measured


def _warm(index: Index, budget_ms: float, calls: int, busy: bool) -> list[tuple[float, int]]:
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            index.search(QUERY)

    others = [threading.Thread(target=keep_busy) for _ in range(CALLERS * busy)]
    for other in others:
        other.start()
    try:
        return [_timed(index, budget_ms) for _ in range(calls)]
    finally:
        stop.set()
        for other in others:
            other.join()


if __name__ == "__main__":
    main()
