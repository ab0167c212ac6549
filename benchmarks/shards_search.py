"""How fast is a search of an index of shards on local disk, and what is its dense recall?

    python benchmarks/shards_sync.py --work FOLDER            (makes the index, once)
    python benchmarks/shards_search.py FOLDER/index [--queries 120]

The index is searched as a copy on the local disk is, by both retrievers, without reranking: for 100
hits, and for 10 at the default depth; each retriever looks for three times the depth. Queries are
the first words of made-up texts, and none is searched twice. Their vectors are made up too, but
each query takes the time of the bundled embedder. Then the dense retriever is compared with an
exact search of all vectors, and the lexical one with a search that asks each shard for all rows
that are wanted of all. Last line of stdout: JSON.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from shards_sync import MadeUpEmbedder, made_up_texts

from resift.index.embed import open_embedder
from resift.index.shards.layout import shard_location
from resift.index.storage.location import locate
from resift.index.table import merging
from resift.index.table.dataset import open_table
from resift.index.table.open import open_version
from resift.index.table.sharded import ShardedSnapshot
from resift.index.table.vectors import NEAREST, exact_nearest, to_matrix
from resift.index.versions.published import Versions
from resift.search.index import Index
from resift.settings import Settings

WARM_UP, COMPARED, LEXICAL, QUERY_WORDS = 30, 60, 300, (2, 9)


class TimedEmbedder(MadeUpEmbedder):
    """Made-up vectors, for which a query takes the time of the bundled embedder besides."""

    def __init__(self) -> None:
        super().__init__()
        self._bundled = open_embedder("bundled", Settings.load())

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """A unit vector, ``(384,)``."""
        self._bundled.embed_query(query)
        return super().embed_query(query)


def main() -> None:
    """Print a line a figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=int, default=120)
    options = parser.parse_args()
    queries = _queries(options.queries + 2 * WARM_UP + 1)
    snapshot = _open(str(options.index))
    figures = _searches(str(options.index), queries)
    figures |= {"passages": len(snapshot), "shards": len(snapshot.shards)}
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["dense_recall"] = _dense_recall(snapshot, queries[:COMPARED])
    figures["lexical_overlap"] = _lexical_overlap(snapshot, queries[:COMPARED])
    print(
        f"recall@{NEAREST} of the dense retriever {figures['dense_recall']:.4f}; the best "
        f"{LEXICAL} of the lexical one by shares {figures['lexical_overlap']:.4f}"
    )
    print(json.dumps(figures))


def _queries(count: int) -> list[str]:
    """The first two to eight words of texts that are not in the index."""
    lengths = np.random.default_rng(1).integers(*QUERY_WORDS, size=count).tolist()
    texts = made_up_texts(count, seed=987_654_321)
    return [" ".join(text.split()[:n]) for text, n in zip(texts, lengths, strict=True)]


def _open(uri: str) -> ShardedSnapshot:
    location = locate(uri)
    opened = open_version(location, Settings.load(), Versions(location).find())
    if not isinstance(opened, ShardedSnapshot):
        raise SystemExit(f"{uri}: has no shards")
    return opened


def _searches(uri: str, queries: Sequence[str]) -> dict[str, Any]:
    index = Index(uri, embedder=TimedEmbedder())
    started = time.perf_counter()
    index.search(queries[0], rerank=False)
    figures: dict[str, Any] = {"first_s": time.perf_counter() - started}
    print(f"opened and first searched in {figures['first_s']:.2f} s")
    middle = len(queries) // 2
    for top_n, part in ((100, queries[1:middle]), (10, queries[middle:])):
        figures[f"top_{top_n}"] = timed = _timed(index, part, top_n)
        print(
            f"hybrid search, top {top_n}: p50 {timed['p50_ms']:.1f} ms, p95 {timed['p95_ms']:.1f} "
            f"ms, of all cores {timed['cpu_ms']:.1f} ms; by stage {timed['stages_ms']}"
        )
    return figures


def _timed(index: Index, queries: Sequence[str], top_n: int) -> dict[str, Any]:
    """Milliseconds of searches without those that warm up; each query is searched once."""
    seconds: list[float] = []
    cpu: list[float] = []
    stages: dict[str, list[float]] = {}
    for at, query in enumerate(queries):
        started, started_cpu = time.perf_counter(), time.process_time()
        ranking = index.search(query, top_n=top_n, rerank=False)
        if at >= WARM_UP:
            seconds.append(time.perf_counter() - started)
            cpu.append(time.process_time() - started_cpu)
            for name, spent in ranking.receipt.timings_ms.items():
                stages.setdefault(name, []).append(spent)
    return {
        "p50_ms": float(np.quantile(seconds, 0.5)) * 1e3,
        "p95_ms": float(np.quantile(seconds, 0.95)) * 1e3,
        "cpu_ms": float(np.median(cpu)) * 1e3,
        "stages_ms": {name: round(float(np.median(spent)), 1) for name, spent in stages.items()},
    }


def _dense_recall(snapshot: ShardedSnapshot, queries: Sequence[str]) -> float:
    embedder, view = MadeUpEmbedder(), snapshot.view()
    vectors = np.stack([embedder.embed_query(query) for query in queries])
    exact = _exact_cosines(snapshot, vectors)
    shares = []
    for vector, cosines in zip(vectors, exact, strict=True):
        lowest = cosines[NEAREST - 1] - 1e-5
        near = [score for _, score in view.dense(vector, NEAREST) if score >= lowest]
        shares.append(len(near) / NEAREST)
    return float(np.mean(shares))


def _exact_cosines(snapshot: ShardedSnapshot, vectors: NDArray[np.float32]) -> Any:
    """The cosines of the nearest of all passages, ``(queries, NEAREST)``, best first."""
    location = locate(snapshot.uri)
    best = []
    for number, shard in snapshot.shards.items():
        table = open_table(shard_location(location, number), version=shard.version.table_version)
        for vector, ids in zip(vectors, exact_nearest(table, vectors), strict=True):
            rows = table._take_rows(ids.tolist(), columns=["vector"])["vector"]
            best.append((to_matrix(rows.combine_chunks()) @ vector).tolist())
    by_query = np.array(best).reshape(len(snapshot.shards), len(vectors), -1)
    joined = np.sort(np.concatenate(list(by_query), axis=1), axis=1)[:, ::-1]
    return joined[:, :NEAREST]


def _lexical_overlap(snapshot: ShardedSnapshot, queries: Sequence[str]) -> float:
    """How many of the best rows by whole lists are among those by shares."""
    view = snapshot.view()
    by_shares = [view.lexical(query, LEXICAL) for query in queries]
    with patch.object(merging, "shares", lambda sizes, *_: [min(size, LEXICAL) for size in sizes]):
        whole = [view.lexical(query, LEXICAL) for query in queries]
    overlaps = []
    for some, every in zip(by_shares, whole, strict=True):
        lowest = every[-1][1] - 1e-9 if every else 0.0
        overlaps.append(sum(score >= lowest for _, score in some) / max(len(every), 1))
    return float(np.mean(overlaps))


if __name__ == "__main__":
    main()
