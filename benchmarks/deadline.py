"""Does a budget hold? How much later than it `Reranker.rank` returns, alone and under load.

    python benchmarks/deadline.py [--calls 40] [--runtime openvino]

The bundled model; texts of 120 tokens on the mean. "Load" is seven other threads that rank the same
candidates without a budget all the while. Overrun is in ms, over all calls of a row. Last line of
stdout: JSON.
"""

import argparse
import json
import statistics
import threading
import time
from typing import Any

from manual_texts import QUERY, texts

from resift import Reranker
from resift.settings import Settings

BUDGETS_MS = (0, 1, 10, 50, 200)
CALLERS = 7


def main() -> None:
    """Print a row a budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--runtime", default=None)
    options = parser.parse_args()
    reranker = Reranker(settings=Settings(runtime=options.runtime))
    rows: list[dict[str, Any]] = []
    for candidates in (100, 1000):
        documents = texts(candidates, 120, spread=0.5)
        for load in (False, True):
            for budget_ms in BUDGETS_MS:
                row = {"candidates": candidates, "load": load, "budget_ms": budget_ms}
                rows.append(row | _measure(reranker, documents, budget_ms, load, options.calls))
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    print(json.dumps({"calls": options.calls, "rows": rows}))


def _measure(
    reranker: Reranker, documents: list[str], budget_ms: float, load: bool, calls: int
) -> dict[str, Any]:
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            reranker.score(QUERY, documents[:100])

    others = [threading.Thread(target=keep_busy) for _ in range(CALLERS * load)]
    for other in others:
        other.start()
    reranker.score(QUERY, documents[:20])
    overruns, scored = [], []
    try:
        for _ in range(calls):
            start = time.perf_counter()
            ranking = reranker.rank(QUERY, documents, budget_ms=budget_ms)
            overruns.append((time.perf_counter() - start) * 1000 - budget_ms)
            scored.append(ranking.receipt.scored)
    finally:
        stop.set()
        for other in others:
            other.join()
    ranked = sorted(overruns)
    return {
        "overrun_p50": round(statistics.median(ranked), 2),
        "overrun_p95": round(ranked[int(0.95 * len(ranked))], 2),
        "scored_p50": statistics.median(scored),
    }


if __name__ == "__main__":
    main()
