"""A sync, or a search, in a process of its own: ``python -m storage.child``; it may be killed."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

import resift.index.writer
from index.fakes import HashingEmbedder
from resift.index.parsing.pool import ParserPool  # noqa: F401  loaded now, not while the clock runs
from resift.search.index import Index
from resift.settings import Settings
from search.stand_ins import Backwards


class Slow(HashingEmbedder):
    """Takes its time, as models do."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self._seconds)
        return super().embed(texts)


def main() -> None:
    """Print that it is ready, wait for the order, carry it out, and print the result."""
    for module in ("lance", "obstore", "pyarrow"):
        __import__(module)
    print("ready", flush=True)
    order = json.loads(sys.stdin.readline())
    if "query" in order:
        settings = replace(Settings.load(), cache_dir=order["cache_dir"])
        index = Index(order["index"], settings=settings, embedder=HashingEmbedder())
        ranking = index.search(order["query"], rerank=False)
        print(
            json.dumps({"ids": [hit.id for hit in ranking], "requests": ranking.receipt.requests})
        )
        return
    # So that one run has several commits.
    resift.index.writer.COMMIT_PASSAGES = order.get("commit", 10_000)
    embedder = Slow(order.get("embed_s", 0.0))
    index = Index(order["index"], settings=Settings.load(), embedder=embedder, reranker=Backwards())
    print(json.dumps(asdict(index.sync(order["source"])) | {"asked": embedder.embedded}))


if __name__ == "__main__":
    main()
