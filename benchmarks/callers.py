"""Are many callers at once served fairly?

    python benchmarks/callers.py [--callers 16] [--rounds 7] [--runtime openvino onnxruntime]

So many callers begin at once, each with 50 mixed candidates of its own and a cross-encoder, exact.
Fair and free of waste is: p95 of a call at most 1.15 times as many single callers' p50, and nobody
waits longer than twice the mean. Rounds of one caller and of all are interleaved.
Needs  pip install 'resift[convert,onnxruntime]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import threading
import time
from typing import Any

import numpy as np
from ceiling import make_cross_encoder
from manual_texts import QUERY, texts

from resift import Reranker
from resift.settings import RUNTIMES, Settings

CANDIDATES, TOKENS, SPREAD = 50, 120, 0.5


def main() -> None:
    """Print a line a runtime."""
    options = _options()
    asked = [texts(CANDIDATES, TOKENS, SPREAD, seed=seed) for seed in range(options.callers)]
    figures = {}
    for runtime in options.runtime:
        reranker = Reranker(make_cross_encoder(), settings=Settings(runtime=runtime))
        own = figures[runtime] = _measure(reranker, asked, options.rounds)
        print(
            f"{runtime:12} one {own['single_p50_ms']:.0f} ms, {options.callers} callers p50 "
            f"{own['p50_ms']:.0f}, p95 {own['p95_ms']:.0f} ms: {own['p95_ratio']:.2f} of "
            f"{options.callers} times one; longest over mean {own['longest_over_mean']:.2f}, "
            f"padding {own['padding']:.1%}"
        )
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    return parser.parse_args()


def _measure(reranker: Reranker, asked: list[list[str]], rounds: int) -> dict[str, Any]:
    single: list[float] = []
    many: list[list[float]] = []
    _together(reranker, asked)
    for _ in range(rounds):
        single += [seconds for own in asked for seconds in _together(reranker, [own])[0]]
        found, padding = _together(reranker, asked)
        many.append(found)
    calls = [seconds for own in many for seconds in own]
    one = statistics.median(single)
    p95 = float(np.percentile(calls, 95))
    return {
        "single_p50_ms": one * 1000,
        "p50_ms": statistics.median(calls) * 1000,
        "p95_ms": p95 * 1000,
        "p95_ratio": p95 / (len(asked) * one),
        "longest_over_mean": max(max(own) / statistics.mean(own) for own in many),
        "padding": padding,
    }


def _together(reranker: Reranker, asked: list[list[str]]) -> tuple[list[float], float]:
    """Each caller's seconds, all beginning at once, and the mean of their padding shares."""
    seconds: list[float] = []
    padding: list[float] = []
    start = threading.Barrier(len(asked))

    def call(own: list[str]) -> None:
        start.wait()
        began = time.perf_counter()
        receipt = reranker.rank(QUERY, own, 10, exact=True).receipt
        seconds.append(time.perf_counter() - began)
        padding.append(receipt.padding_share)

    threads = [threading.Thread(target=call, args=(own,)) for own in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(seconds) != len(asked):
        raise SystemExit("a caller failed")
    return seconds, statistics.mean(padding)


if __name__ == "__main__":
    main()
