"""Does a budget hold? How much later than it does `Reranker.rank` return, alone and under load?

    python benchmarks/deadline.py [--calls 40] [--runtime openvino] [--long] [--loop] [--many]

The bundled model on texts of 120 tokens on average. "Load" is seven other threads that rank short
candidates without a budget. Overrun is in ms, over all calls of a row. Other questions:

--long  long texts (100 of 100 kB, one of 10 MB, 20 of 1 MB), by `rank` and `arank`
--loop  500 concurrent calls of one event loop, 100 candidates and 50 ms each: how many are answered
        in time or refused, and for how long the loop was blocked
--many  10,000 and 100,000 candidates of each kind at 100 ms, by `rank` and `arank`, and for how
        long the loop was blocked

Last line of stdout: JSON.
"""

import argparse
import asyncio
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from manual_texts import QUERY, texts

from resift import Document, Ranking, Reranker
from resift.errors import Overloaded
from resift.settings import Settings

BUDGETS_MS = (0, 1, 10, 50, 200)
CALLERS = 7


def main() -> None:
    """Print a row a budget."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--runtime", default=None)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--many", action="store_true")
    options = parser.parse_args()
    reranker = Reranker(settings=Settings(runtime=options.runtime))
    rows: list[dict[str, Any]] = []
    if options.loop:
        rows = [_concurrent(reranker) for _ in range(5)]
    elif options.many:
        rows = _many(reranker, options.calls)
    elif options.long:
        rows = _long(reranker, options.calls)
    else:
        rows = _short(reranker, options.calls)
    print(json.dumps({"calls": options.calls, "rows": rows}))


def _short(reranker: Reranker, calls: int) -> list[dict[str, Any]]:
    rank = partial(reranker.rank, top_n=10)
    rows: list[dict[str, Any]] = []
    for candidates in (100, 1000):
        documents = texts(candidates, 120, spread=0.5)
        for load in (False, True):
            for budget_ms in BUDGETS_MS:
                row: dict[str, Any] = {
                    "candidates": candidates,
                    "load": load,
                    "budget_ms": budget_ms,
                }
                row |= _measure(rank, documents, budget_ms, load, calls)
                rows.append(_printed(row))
    return rows


def _long(reranker: Reranker, calls: int) -> list[dict[str, Any]]:
    word = " ".join(texts(200, 120)) + " "

    def arank(query: str, documents: list[str], *, budget_ms: float | None = None) -> Ranking:
        return asyncio.run(reranker.arank(query, documents, 10, budget_ms=budget_ms))

    rows: list[dict[str, Any]] = []
    for count, size in ((100, 100_000), (1, 10_000_000), (20, 1_000_000)):
        documents = [f"{number} {word * (size // len(word) + 1)}"[:size] for number in range(count)]
        for load in (False, True):
            for name, rank in (("rank", partial(reranker.rank, top_n=10)), ("arank", arank)):
                row: dict[str, Any] = {"texts": count, "characters": size, "load": load, "by": name}
                row |= _measure(rank, documents, 100, load, calls)
                rows.append(_printed(row))
    return rows


def _many(reranker: Reranker, calls: int) -> list[dict[str, Any]]:
    bodies = texts(1000, 60)
    kinds: dict[str, Callable[[int], Any]] = {
        "str": lambda n: f"{n} {bodies[n % 1000]}",
        "Document": lambda n: Document(str(n), bodies[n % 1000], "a title"),
        "dict": lambda n: {"id": str(n), "text": bodies[n % 1000], "page": n},
    }
    rows: list[dict[str, Any]] = []
    for count in (10_000, 100_000):
        for kind, make in kinds.items():
            documents = [make(number) for number in range(count)]
            for top_n in (10, None):
                blocked: list[float] = []

                rank = partial(reranker.rank, top_n=top_n)
                arank = partial(_awaited, partial(reranker.arank, top_n=top_n), blocked)
                for name, call in (("rank", rank), ("arank", arank)):
                    row: dict[str, Any] = {"candidates": count, "kind": kind, "top_n": top_n}
                    row["by"] = name
                    row |= _measure(call, documents, 100, False, calls)
                    row |= {"loop_blocked_ms": round(max(blocked), 2)} if blocked else {}
                    rows.append(_printed(row))
    return rows


def _awaited(
    call: Callable[..., Awaitable[Ranking]], gaps: list[float], *args: Any, **kwargs: Any
) -> Ranking:
    return asyncio.run(_watched(call(*args, **kwargs), gaps))


async def _watched(call: Awaitable[Ranking], gaps: list[float]) -> Ranking:
    """Await a call; record the delays of a timer of one millisecond beside it."""

    async def beat() -> None:
        while True:
            last = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append((time.perf_counter() - last) * 1000 - 1)

    beating = asyncio.create_task(beat())
    try:
        return await call
    finally:
        beating.cancel()


def _concurrent(reranker: Reranker, calls: int = 500, budget_ms: float = 50) -> dict[str, Any]:
    candidates = [texts(100, 120, spread=0.5, seed=seed) for seed in range(8)]
    answered: list[float] = []
    refused: list[float] = []
    gaps: list[float] = []

    async def call(number: int) -> None:
        start = time.perf_counter()
        try:
            await reranker.arank(
                QUERY, candidates[number % len(candidates)], 10, budget_ms=budget_ms
            )
        except Overloaded:
            refused.append((time.perf_counter() - start) * 1000)
        else:
            answered.append((time.perf_counter() - start) * 1000)

    async def beat(stop: asyncio.Event) -> None:
        last = time.perf_counter()
        while not stop.is_set():
            await asyncio.sleep(0)
            gaps.append((time.perf_counter() - last) * 1000)
            last = time.perf_counter()

    async def all_calls() -> None:
        stop = asyncio.Event()
        beating = asyncio.create_task(beat(stop))
        await asyncio.gather(*(call(number) for number in range(calls)))
        stop.set()
        await beating

    reranker.score(QUERY, candidates[0][:20])
    asyncio.run(all_calls())
    overruns = sorted(ms - budget_ms for ms in answered)
    return _printed(
        {
            "answered": len(answered),
            "refused": len(refused),
            "overrun_p95": round(overruns[int(0.95 * len(overruns))], 2),
            "refused_after_ms": round(max(refused, default=0.0), 2),
            "loop_blocked_ms": round(max(gaps), 2),
        }
    )


def _printed(row: dict[str, Any]) -> dict[str, Any]:
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def _measure(
    rank: Callable[..., Ranking], documents: list[Any], budget_ms: float, load: bool, calls: int
) -> dict[str, Any]:
    load_texts = texts(100, 120, spread=0.5)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            rank(QUERY, load_texts)

    others = [threading.Thread(target=keep_busy) for _ in range(CALLERS * load)]
    for other in others:
        other.start()
    rank(QUERY, load_texts[:20])
    overruns, scored = [], []
    try:
        for _ in range(calls):
            start = time.perf_counter()
            ranking = rank(QUERY, documents, budget_ms=budget_ms)
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
