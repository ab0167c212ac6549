"""How many requests and bytes do syncs and searches of an index in a bucket take?

A part of unit_costs.py, and the form in which all of its figures are written.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from manual_texts import QUERY, texts
from sync import RandomEmbedder

from resift import Index, Reranker
from resift.settings import Settings

DEPTH, ROUNDS = 50, 5
ONE_THREAD = Settings(threads=1, cache_mb=0, state_cache_mb=0)
Point = list[float]


def store(local: Path, folder: Path) -> dict[str, Any]:
    """Requests and bytes of syncs and searches of an index in a bucket."""
    import obstore

    from resift.index import writer
    from storage.faulty import faulty_proxy
    from storage.weed import running_server

    (folder / "weed").mkdir()
    with running_server(folder / "weed") as server, faulty_proxy(server.endpoint) as proxy:
        documents, indexes = server.bucket("documents"), server.bucket("indexes")
        for path in local.rglob("*"):
            if path.is_file():
                obstore.put(indexes, f"large/{path.relative_to(local).as_posix()}", path)
        storage = replace(server.settings(), endpoint=proxy.endpoint)
        settings = replace(ONE_THREAD, storage=storage)

        def opened(name: str) -> Index:
            uri = f"s3://indexes/{name}"
            return Index(
                uri,
                settings=settings,
                embedder=RandomEmbedder(),
                reranker=Reranker(settings=ONE_THREAD),
            )

        def counted(work: Callable[[], object]) -> tuple[int, int, int]:
            """Requests that read, that write or list, and bytes; without those of documents."""
            proxy.restart()
            work()
            seen = [each for each in proxy.seen if not each.path.startswith("/documents/d/")]
            reads = sum(each.method in ("GET", "HEAD") and "list-type" not in each.path
                        for each in seen)  # fmt: skip
            return reads, len(seen) - reads, proxy.bytes_back

        for number, text in enumerate(texts(400, 100)):
            obstore.put(documents, f"d/{number:03d}.txt", text.encode())
        syncs = []
        for commit_passages in (100_000, 100):
            writer.COMMIT_PASSAGES = commit_passages
            index = opened(f"commits-of-{commit_passages}")
            syncs.append(counted(partial(index.sync, "s3://documents/d")))
        index = opened("large")
        cold = counted(lambda: index.search(QUERY, top_n=DEPTH, depth=DEPTH, rerank=False))
        later = [counted(partial(index.search, q, top_n=DEPTH, depth=DEPTH, rerank=False))
                 for q in ("lookup of names in modules", "exceptions that are raised")]  # fmt: skip
        polled = counted(index.renew)
    more = max(sum(syncs[1][:2]) - sum(syncs[0][:2]), 0) / 3
    return {
        "sync_gets": cost("reading requests of a sync", once(syncs[0][0])),
        "sync_puts": cost("writing and listing requests of a sync", once(syncs[0][1])),
        "commit_puts": cost("requests of each further commit of a sync", once(more)),
        "poll_requests": cost("requests to look for a newer version", once(sum(polled[:2]))),
        "cold_requests": cost("requests of a first search without a copy", once(sum(cold[:2]))),
        "cold_bytes": cost("bytes of a first search without a copy", once(cold[2])),
        "remote_requests": cost(
            "requests of a later search without a copy", several([sum(row[:2]) for row in later])
        ),
        "remote_bytes": cost(
            "bytes of a later search without a copy", several([row[2] for row in later])
        ),
    }


def once(value: float) -> list[Point]:
    """A figure without a range: a count, or what follows from others."""
    return [[0, value, value, value]]


def several(values: Sequence[float]) -> list[Point]:
    """The mean of some values, and their range."""
    return [[0, statistics.mean(values), min(values), max(values)]]


def cost(
    unit: str, points: list[Point], by: str | None = None, line: bool | None = None
) -> dict[str, Any]:
    """A cost of the file; beyond its points it follows their line if it is a cost of tokens."""
    follows = by == "tokens" if line is None else line
    rounded = [[float(f"{value:.4g}") for value in point] for point in points]
    rounded = [[at, value, min(low, value), max(high, value)] for at, value, low, high in rounded]
    return {"unit": unit, "by": by, "beyond": "line" if follows else "last", "points": rounded}


def point(at: float, work: Callable[[], object], count: int) -> Point:
    """Processor milliseconds of one of `count` items: median, least and most of the rounds."""
    work()
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        spent.append((time.process_time() - started) * 1e3 / count)
    return [at, statistics.median(spent), min(spent), max(spent)]
