"""What does an adapter of a framework add to `Reranker.rank`?

    .venv-frameworks/bin/python benchmarks/adapters.py [--rounds 7] [--depth 100]

Each adapter reranks the same 100 candidates of 120 tokens on average with the bundled model, in
turn with `Reranker.rank` itself, which gets candidates that are made already. `added` is the median
over the rounds of adapter's time over the reranker's, less one, with the range. `handling_ms` is
the adapter's own time, measured with a reranker that takes none, and `handling_share` that time
over the reranker's. Adapters whose framework is not installed are left out. Last line of stdout:
JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from manual_texts import QUERY, texts

from resift import Candidate, Ranking, Reranker

TOKENS, SPREAD, TOP_N = 120, 0.5, 10

Call = Callable[[Any], Callable[[], Any]]
"""A ranker → a call of the adapter with it."""


class Instant(Reranker):
    """Returns the ranking of the first call again: what remains is the adapter's own time."""

    def __init__(self, reranker: Reranker) -> None:
        super().__init__()
        self._reranker = reranker
        self._rankings: dict[object, Ranking] = {}

    def rank(self, query: str, documents: Any, top_n: int | None = None, **_: Any) -> Ranking:
        key = (len(documents), top_n)
        if key not in self._rankings:
            ranking = self._reranker.rank(query, documents, top_n)
            self._rankings[key] = replace(ranking, hits=tuple(ranking))
        return self._rankings[key]

    def rank_many(self, queries: Any, documents: Any, top_n: Any = None, **_: Any) -> list[Ranking]:
        return [self.rank(*pair, top_n) for pair in zip(queries, documents, strict=True)]


def main() -> None:
    """Print a row for each adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--depth", type=int, default=100)
    arguments = parser.parse_args()
    documents = texts(arguments.depth, TOKENS, SPREAD)
    figures = {}
    with Reranker() as reranker:
        instant = Instant(reranker)
        candidates = [Candidate(str(n), text) for n, text in enumerate(documents)]
        for name, (top_n, call) in _adapters(documents).items():
            alone = partial(reranker.rank, QUERY, candidates, top_n)
            added = _added(alone, call(reranker), arguments.rounds)
            handling_ms = statistics.median(_times(call(instant), 30)[5:]) * 1000
            alone_ms = statistics.median(_times(alone, 5)) * 1000
            figures[name] = {
                "added": round(statistics.median(added), 4),
                "range": [round(min(added), 4), round(max(added), 4)],
                "handling_ms": round(handling_ms, 3),
                "handling_share": round(handling_ms / alone_ms, 4),
            }
            print(name, figures[name], flush=True)
    print(json.dumps(figures))


def _added(alone: Callable[[], Any], adapted: Callable[[], Any], rounds: int) -> list[float]:
    """The time of `adapted` over that of `alone`, less one, of each round after the first."""
    shares = []
    for number in range(rounds + 1):
        first = _times(alone, 1) + _times(adapted, 1)
        second = _times(adapted, 1) + _times(alone, 1)  # in both orders
        if number:
            shares.append((first[1] + second[0]) / (first[0] + second[1]) - 1)
    return shares


def _times(call: Callable[[], Any], count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _adapters(documents: list[str]) -> Mapping[str, tuple[int | None, Call]]:
    """The `top_n` and the call of each adapter whose framework is installed."""
    makers: Mapping[str, tuple[str, int | None, Callable[[list[str]], Call]]] = {
        "langchain": ("langchain_core", TOP_N, _langchain),
        "llama_index": ("llama_index", TOP_N, _llama_index),
        "haystack": ("haystack", TOP_N, _haystack),
        "pyterrier": ("pyterrier", None, _pyterrier),
        "lancedb": ("lancedb", None, _lancedb),
        "cross_encoder": ("resift", None, _cross_encoder),
    }
    return {
        name: (top_n, make(documents))
        for name, (package, top_n, make) in makers.items()
        if find_spec(package)
    }


def _langchain(documents: list[str]) -> Call:
    from langchain_core.documents import Document

    from resift.integrations.langchain import ResiftReranker

    items = [Document(text, metadata={"n": n}) for n, text in enumerate(documents)]

    def call(ranker: Any) -> Callable[[], Any]:
        compressor = ResiftReranker(reranker=ranker, top_n=TOP_N)
        return lambda: compressor.compress_documents(items, QUERY)

    return call


def _llama_index(documents: list[str]) -> Call:
    from llama_index.core.schema import NodeWithScore, TextNode

    from resift.integrations.llama_index import ResiftRerank

    items = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in documents]

    def call(ranker: Any) -> Callable[[], Any]:
        postprocessor = ResiftRerank(reranker=ranker, top_n=TOP_N)
        return lambda: postprocessor.postprocess_nodes(items, query_str=QUERY)

    return call


def _haystack(documents: list[str]) -> Call:
    from haystack import Document

    from resift.integrations.haystack import ResiftRanker

    items = [Document(content=text, meta={"n": n}) for n, text in enumerate(documents)]

    def call(ranker: Any) -> Callable[[], Any]:
        component = ResiftRanker(reranker=ranker, top_k=TOP_N)
        return lambda: component.run(query=QUERY, documents=items)

    return call


def _pyterrier(documents: list[str]) -> Call:
    import pandas

    from resift.integrations.pyterrier import ResiftReranker

    rows = {"qid": "1", "query": QUERY, "docno": [str(n) for n in range(len(documents))]}
    frame = pandas.DataFrame(rows | {"text": documents, "score": 0.0, "rank": 0})

    def call(ranker: Any) -> Callable[[], Any]:
        transformer = ResiftReranker(reranker=ranker)
        return lambda: transformer.transform(frame)

    return call


def _lancedb(documents: list[str]) -> Call:
    import pyarrow

    from resift.integrations.lancedb import ResiftReranker

    ids = list(range(len(documents)))
    table = pyarrow.table({"text": documents, "_rowid": ids, "_distance": [0.5] * len(ids)})

    def call(ranker: Any) -> Callable[[], Any]:
        adapter = ResiftReranker(reranker=ranker)
        return lambda: adapter.rerank_vector(QUERY, table)

    return call


def _cross_encoder(documents: list[str]) -> Call:
    from resift.integrations.cross_encoder import CrossEncoder

    def call(ranker: Any) -> Callable[[], Any]:
        encoder = CrossEncoder(ranker)
        return lambda: encoder.rank(QUERY, documents)

    return call


if __name__ == "__main__":
    main()
