"""What does a chain cost beside its dear reranker alone?

    python benchmarks/chain.py [--rounds 5]

A checkpoint in the shape of MiniLM-L6 reads 100 candidates of 120 tokens on average, one in the
shape of bge-reranker-base the best 20 of them; beside that the second one reads all 100. Random
weights: cost, not quality. The two ways take turns. Needs torch and transformers for the first run.
Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from catalogue import CANDIDATES, SPREAD, TOKENS, artifact
from manual_texts import QUERY, texts

from resift import Chain, Reranker

CHEAP, DEAR = "cross-encoder/ms-marco-MiniLM-L6-v2", "BAAI/bge-reranker-base"
DEPTH = 20


def main() -> None:
    """Print the median share and its range."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    documents = texts(CANDIDATES, TOKENS, SPREAD)
    with Reranker(artifact(CHEAP)[0]) as cheap, Reranker(artifact(DEAR)[0]) as dear:
        chain = Chain(cheap, dear, depths=(CANDIDATES, DEPTH))
        ways: list[Callable[[], Any]] = [
            lambda: chain.rank(QUERY, documents, exact=True),
            lambda: dear.rank(QUERY, documents, exact=True),
        ]
        times = _times(ways, rounds)
    shares = [first / second for first, second in zip(*times, strict=True)]
    figures = {
        "chain_s": round(statistics.median(times[0]), 3),
        "dear_alone_s": round(statistics.median(times[1]), 3),
        "share": round(statistics.median(shares), 3),
        "range": [round(min(shares), 3), round(max(shares), 3)],
        "rounds": rounds,
    }
    print(json.dumps(figures))


def _times(ways: Sequence[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each way in each round after the first; the ways take turns."""
    times: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for way, seconds in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            if number:
                seconds.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
