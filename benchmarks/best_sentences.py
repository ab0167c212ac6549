"""Is the sentence that `resift search` shows the reranker's, and what does choosing it cost?

    python benchmarks/best_sentences.py INDEX [--questions 51] [--hits 10]

INDEX is an index of the demo's documents (``resift demo`` makes .demo/index). For the demo's judged
questions and the first hits of each, a row for each way to choose: how often it chooses the
sentence without which the logit falls most (`Ranking.explain`, far too slow for every search), and
the milliseconds for all hits of a search. The ways: the sentence that shares most words with the
query, and the one that scores highest by itself below the title. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from resift import Index
from resift.cli.best_sentences import best_sentence, best_sentences
from resift.cli.demo_questions import questions
from resift.types import Hit, Ranking

Span = tuple[int, int]


def main() -> None:
    """Print a row for each way, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index")
    parser.add_argument("--questions", type=int, default=51)
    parser.add_argument("--hits", type=int, default=10)
    options = parser.parse_args()
    ways: dict[str, Callable[[Ranking], list[Span | None]]] = {
        "shared words": lambda ranking: [best_sentence(ranking.query, hit.text) for hit in ranking],
        "reranker": best_sentences,
    }
    agreed, ms, search_ms = dict.fromkeys(ways, 0), {name: list[float]() for name in ways}, []
    hits = 0
    with Index(options.index) as index:
        index.search("warm up")
        for question in questions()[: options.questions]:
            ranking = index.search(question.text, options.hits)
            search_ms.append(ranking.receipt.timings_ms["total"])
            expected = [_strongest(ranking, number) for number in range(len(ranking))]
            hits += sum(span is not None for span in expected)
            for name, choose in ways.items():
                start = time.perf_counter()
                chosen = choose(ranking)
                ms[name].append((time.perf_counter() - start) * 1000)
                pairs = zip(expected, chosen, strict=True)
                agreed[name] += sum(span is not None and span == other for span, other in pairs)
    rows = {
        name: {
            "agreement": round(agreed[name] / hits, 3),
            "ms": round(statistics.median(ms[name]), 1),
        }
        for name in ways
    }
    result = {"hits": hits, "search_ms": round(statistics.median(search_ms), 1), **rows}
    for name, row in rows.items():
        print(f"{name:14} agreement {row['agreement']:.3f}  {row['ms']:7.1f} ms")
    print(json.dumps(result))


def _strongest(ranking: Ranking, number: int) -> Span | None:
    """The sentence with the greatest effect; None for a hit without a choice of sentences."""
    hit: Hit = ranking[number]
    if hit.logit is None:
        return None
    parts = [part for part in ranking.explain(number).parts if part.where == "text"]
    scored = [part for part in parts if part.effect is not None]
    if len(scored) < 2:
        return None
    best = max(scored, key=lambda part: part.effect or 0.0)
    return best.start, best.end


if __name__ == "__main__":
    main()
