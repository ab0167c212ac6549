"""Are windows of long documents worth their time? nDCG@10 and milliseconds against cut ones.

    python benchmarks/windows.py COLLECTION [--run FILE] [--queries 100] [--depth 50]
        [--tokens 256] [--overlap 64] [--most 4]

COLLECTION is a BEIR folder with judgments; the run is its ``run.bm25.txt.gz`` unless named. Each
query is ranked cut and in windows in turn, by the bundled model without caches; every second query
begins with windows. `--tokens`, `--overlap` and `--most` (windows of a document) replace
`resift.rerank.windows.SIZES`. Needs  pip install 'resift[eval]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ir_measures
from ir_measures import nDCG

from resift import Candidate, LongDocuments, Ranking, Reranker
from resift.evaluation.collection import open_collection
from resift.evaluation.trec import read_run
from resift.rerank import long_documents, windows
from resift.rerank.options import LONG_DOCUMENTS
from resift.settings import Settings

Runs = dict[str, dict[str, float]]
RANKERS = {"shipped": None, "logit": 0.0}
"""Fusion weights: that of the model, and none."""


def main() -> None:
    """Print a line a mode, and the ratio of times."""
    options = _options()
    _set_constants(options)
    reranker = Reranker(settings=Settings(cache_mb=0, state_cache_mb=0))
    runs: dict[tuple[str, str], Runs] = {}
    took: dict[LongDocuments, list[float]] = {mode: [] for mode in LONG_DOCUMENTS}
    tokens = dict.fromkeys(LONG_DOCUMENTS, 0)
    counts = {"documents": 0, "windowed": 0, "windows": 0}
    qrels = open_collection(options.collection).qrels()
    reranker.rank("a", ["b " * 3000], long_documents="windows")
    for number, (query_id, query, candidates) in enumerate(_queries(options, qrels)):
        modes = LONG_DOCUMENTS if number % 2 else LONG_DOCUMENTS[::-1]
        for mode in modes:
            started = time.perf_counter()
            scored = reranker.score_candidates(query, candidates, long_documents=mode)
            took[mode].append(time.perf_counter() - started)
            for name, weight in RANKERS.items():
                ranking = scored.ranking(fusion_weight=weight)
                runs.setdefault((mode, name), {})[query_id] = _scores(ranking)
            receipt = scored.ranking().receipt
            tokens[mode] += receipt.tokens
            if mode == "windows":
                counts["documents"] += receipt.depth
                counts["windowed"] += receipt.windowed
                counts["windows"] += receipt.windows
        print(f"\r{number + 1} queries", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    _report(runs, took, tokens, counts, qrels)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=windows.SIZES.tokens)
    parser.add_argument("--overlap", type=int, default=windows.SIZES.overlap)
    parser.add_argument("--most", type=int, default=windows.SIZES.most)
    return parser.parse_args()


def _set_constants(options: argparse.Namespace) -> None:
    sizes = windows.Sizes(options.tokens, options.overlap, options.most, share=0)
    setattr(long_documents, "SIZES", sizes)  # noqa: B010 - not one of its public names


def _queries(
    options: argparse.Namespace, qrels: Mapping[str, object]
) -> Iterator[tuple[str, str, list[Candidate]]]:
    """(id, text, candidates) of at most `--queries` judged queries, evenly spread."""
    collection = open_collection(options.collection)
    texts = collection.queries()
    run = read_run(options.run or options.collection / "run.bm25.txt.gz")
    judged = [query_id for query_id in run if query_id in qrels]
    judged = judged[:: max(-(-len(judged) // options.queries), 1)]
    entries = {query_id: run[query_id][: options.depth] for query_id in judged}
    documents = collection.documents({entry.doc_id for run in entries.values() for entry in run})
    for query_id, candidates in entries.items():
        yield (
            query_id,
            texts[query_id],
            [
                Candidate(entry.doc_id, document.text, document.title, score=entry.score)
                for entry in candidates
                if (document := documents.get(entry.doc_id)) is not None
            ],
        )


def _scores(ranking: Ranking) -> dict[str, float]:
    return {hit.id: -float(hit.rank) for hit in ranking}


def _report(
    runs: Mapping[tuple[str, str], Runs],
    took: Mapping[LongDocuments, Sequence[float]],
    tokens: Mapping[LongDocuments, int],
    counts: Mapping[str, int],
    qrels: Mapping[str, Mapping[str, float]],
) -> None:
    quality = {
        f"{mode} {name}": round(ndcg({q: qrels[q] for q in run}, run), 4)
        for (mode, name), run in runs.items()
    }
    ratios = sorted(w / c for w, c in zip(took["windows"], took["cut"], strict=True))
    result = {
        "ndcg@10": quality,
        "gain": round(quality["windows shipped"] - quality["cut shipped"], 4),
        "ms a query, median": {
            mode: round(statistics.median(seconds) * 1000) for mode, seconds in took.items()
        },
        "time of all": round(sum(took["windows"]) / sum(took["cut"]), 2),
        "time of a query": [
            round(r, 2) for r in (statistics.median(ratios), ratios[0], ratios[-1])
        ],
        "tokens": round(tokens["windows"] / max(tokens["cut"], 1), 2),
        "queries": len(ratios),
        **counts,
    }
    for name, value in result.items():
        print(f"{name:<20} {value}")
    print(json.dumps(result))


def ndcg(qrels: Mapping[str, Mapping[str, float]], run: Runs) -> float:
    """nDCG@10 of a run over the queries of `qrels`."""
    grades = {query: {d: int(g) for d, g in judged.items()} for query, judged in qrels.items()}
    return float(ir_measures.calc_aggregate([nDCG @ 10], grades, run)[nDCG @ 10])


if __name__ == "__main__":
    main()
