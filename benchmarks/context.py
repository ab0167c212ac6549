"""How long does a context of 2,000 tokens take beyond its search?

    python benchmarks/context.py INDEX QUERIES [--tokens 2000] [--top-n 5] [--rerank] [--rounds 5]

INDEX is a folder or URI, QUERIES are JSON Lines (plain or .gz) with "text", such as
examples/aws-operations/queries.jsonl. Each query is searched once, by the first stage alone unless
--rerank is given, and its context is made once a round; the first round warms up. Also prints how
long the same takes without neighbours, and how long reading a passage by its id takes.
Last line of stdout: JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from resift.inputs import read_lines
from resift.search.index import Index
from resift.types import Context, Ranking


def main() -> None:
    """Print a line a figure."""
    options = _options()
    index = Index(options.index)
    queries = [json.loads(line)["text"] for _, line in read_lines(options.queries)]
    rankings = [
        index.search(query, top_n=options.top_n, rerank=options.rerank) for query in queries
    ]
    alone = [replace(ranking, neighbours=None) for ranking in rankings]
    ids = [ranking[0].id for ranking in rankings if len(ranking)]
    contexts: list[Context] = []

    def pack(ranking: Ranking) -> None:
        contexts.append(ranking.context(options.tokens))

    figures: dict[str, Any] = {
        "passages": index.open().passages,
        "queries": len(queries),
        "context": _times(pack, rankings, options.rounds),
        "without_neighbours": _times(pack, alone, options.rounds),
        "passage_by_id": _times(index.passage, ids, options.rounds),
        "verified": _verified(index, rankings, options.tokens),
    }
    made = contexts[: len(rankings)]
    figures |= {
        "tokens": float(np.mean([context.tokens for context in made])),
        "sources": float(np.mean([len(context.sources) for context in made])),
        "passages_a_source": float(
            np.mean([len(source.passages) for context in made for source in context.sources])
        ),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("index")
    parser.add_argument("queries", type=Path)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--top-n", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rerank", action="store_true")
    return parser.parse_args()


def _times(work: Callable[[Any], object], items: list[Any], rounds: int) -> dict[str, float]:
    """p50 and p95 of one call, in milliseconds."""
    seconds = []
    for round_ in range(rounds + 1):
        for item in items:
            started = time.perf_counter()
            work(item)
            if round_:
                seconds.append(time.perf_counter() - started)
    return {
        name: float(np.quantile(seconds, quantile)) * 1e3
        for name, quantile in (("p50_ms", 0.5), ("p95_ms", 0.95))
    }


def _verified(index: Index, rankings: list[Ranking], tokens: int) -> str:
    """How many of the sources of a few contexts the documents confirm."""
    sources = [source for ranking in rankings[:5] for source in ranking.context(tokens).sources]
    verdicts = index.verify_citations(sources)
    return f"{sum(verdict.is_confirmed for verdict in verdicts)} of {len(verdicts)}"


if __name__ == "__main__":
    main()
