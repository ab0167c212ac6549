"""Are many concurrent callers served fairly?

    python benchmarks/callers.py [--callers 16] [--rounds 7] [--runtime openvino onnxruntime]

The callers start at once, each with 50 candidates of mixed length and a cross-encoder, exact.
The targets: the p95 of a call is at most 1.15 times `callers` times the p50 of a single caller, and
no call takes longer than twice the mean. Rounds of one caller and of all are interleaved.
Needs  pip install 'resift[convert,onnxruntime]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
from functools import partial
from typing import Any

import numpy as np
from ceiling import cross_encoder
from manual_texts import QUERY, texts
from peer_workers import run_at_once

from resift import Reranker
from resift.settings import RUNTIMES, Settings

CANDIDATES, TOKENS, SPREAD = 50, 120, 0.5


def main() -> None:
    """Print a line a runtime."""
    options = _options()
    candidates = [texts(CANDIDATES, TOKENS, SPREAD, seed=seed) for seed in range(options.callers)]
    figures = {}
    for runtime in options.runtime:
        reranker = Reranker(cross_encoder(), settings=Settings(runtime=runtime))
        row = figures[runtime] = _measure(reranker, candidates, options.rounds)
        print(
            f"{runtime:12} one {row['single_p50_ms']:.0f} ms, {options.callers} callers p50 "
            f"{row['p50_ms']:.0f}, p95 {row['p95_ms']:.0f} ms: {row['p95_ratio']:.2f} of "
            f"{options.callers} times one; longest over mean {row['longest_over_mean']:.2f}, "
            f"padding {row['padding']:.1%}"
        )
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    return parser.parse_args()


def _measure(reranker: Reranker, candidates: list[list[str]], rounds: int) -> dict[str, Any]:
    single: list[float] = []
    together: list[list[float]] = []
    _run(reranker, candidates)  # warms up
    for _ in range(rounds):
        single += [
            seconds for documents in candidates for seconds in _run(reranker, [documents])[0]
        ]
        seconds_of_all, padding = _run(reranker, candidates)
        together.append(seconds_of_all)
    calls = [seconds for round_ in together for seconds in round_]
    single_p50, p95 = statistics.median(single), float(np.percentile(calls, 95))
    return {
        "single_p50_ms": single_p50 * 1000,
        "p50_ms": statistics.median(calls) * 1000,
        "p95_ms": p95 * 1000,
        "p95_ratio": p95 / (len(candidates) * single_p50),
        "longest_over_mean": max(max(round_) / statistics.mean(round_) for round_ in together),
        "padding": padding,
    }


def _run(reranker: Reranker, candidates: list[list[str]]) -> tuple[list[float], float]:
    """Seconds of each caller, all started at once, and the mean of their padding shares."""
    padding: list[float] = []

    def rank(documents: list[str]) -> None:
        padding.append(reranker.rank(QUERY, documents, exact=True).receipt.padding_share)

    seconds = run_at_once([partial(rank, documents) for documents in candidates])
    return seconds, statistics.mean(padding)


if __name__ == "__main__":
    main()
