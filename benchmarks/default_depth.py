"""How many candidates are worth reranking? Quality and time by depth, over judged collections.

    python benchmarks/default_depth.py COLLECTIONS_FOLDER [NAME …] [--queries 50] [--timed 5]
        [--hybrid]

Each collection is a BEIR folder with ``run.bm25.txt.gz``, the first stage; with `--hybrid` the
first stage is a hybrid search of an index of the corpus, which stays in the cache folder. A row a
collection: nDCG@10 of the first stage and of `rank(top_n=10)` at each depth, and the milliseconds
of `rank` at each depth without a cache, the mean over `--timed` of the queries, depths interleaved.
Quality is measured with token states cached from the greatest depth, which changes no logit.
Needs  pip install 'resift[eval]'. Last line of stdout: JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resift import Reranker
from resift.evaluation.collection import load_task, open_collection
from resift.evaluation.first_stage import FirstStage, FromIndex, doc_id, from_run, index_corpus
from resift.evaluation.measures import PRIMARY, Evaluator, scores_by_rank
from resift.evaluation.trec import read_run
from resift.settings import Settings
from resift.types import Candidate

DEPTHS = (10, 20, 30, 50, 100)
TOP_N = 10


def main() -> None:
    """Print a row a collection, then the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--timed", type=int, default=5)
    parser.add_argument("--hybrid", action="store_true")
    options = parser.parse_args()
    rerankers = (
        Reranker(settings=Settings(state_cache_mb=512)),
        Reranker(settings=Settings(state_cache_mb=0)),
    )
    names = options.names or sorted(path.name for path in options.folder.iterdir())
    rows: list[dict[str, Any]] = []
    for name in names:
        row = _measured(options.folder / name, rerankers, options)
        rows.append({"collection": name, **row})
        print(rows[-1], file=sys.stderr, flush=True)
    measures = [key for key in rows[0] if key != "collection"]
    means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in measures}
    print(f"{'':20}", *(f"{key:>12}" for key in measures))
    for row in [*rows, {"collection": "mean", **means}]:
        print(f"{row['collection']:20}", *(f"{row[key]:12.4f}" for key in measures))
    print(json.dumps({"hybrid": options.hybrid, "rows": rows, "mean": means}))


def _measured(
    folder: Path, rerankers: tuple[Reranker, Reranker], options: argparse.Namespace
) -> dict[str, float]:
    task = load_task(folder, None, 1, options.queries)
    first_stage = _first_stage(folder, options.hybrid)
    cached, uncached = rerankers
    names = ("first stage", *DEPTHS)
    runs: dict[str | int, dict[str, dict[str, float]]] = {name: {} for name in names}
    ms: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    step = max(len(task.queries) // options.timed, 1)
    for number, (query_id, query) in enumerate(task.queries.items()):
        candidates = list(first_stage.retrieve(query_id, query, DEPTHS[-1]).candidates)
        runs["first stage"][query_id] = scores_by_rank(_ids(candidates))
        for depth in reversed(DEPTHS):
            ranking = cached.rank(query, candidates[:depth], TOP_N)
            best = [candidates[hit.index] for hit in ranking]
            runs[depth][query_id] = scores_by_rank(_ids(best))
        if number % step == 0:
            for depth in DEPTHS:
                start = time.perf_counter()
                uncached.rank(query, candidates[:depth], TOP_N)
                ms[depth].append((time.perf_counter() - start) * 1000)
    evaluator = Evaluator(task.qrels, [PRIMARY])
    quality = {name: evaluator.per_query(run)[PRIMARY] for name, run in runs.items()}
    return {
        **{
            str(name): round(float(np.mean([*values.values()])), 4)
            for name, values in quality.items()
        },
        **{f"{depth} ms": round(float(np.mean(values)), 1) for depth, values in ms.items()},
    }


def _first_stage(folder: Path, hybrid: bool) -> FirstStage:
    collection = open_collection(folder)
    if hybrid:
        index, _ = index_corpus(collection, Settings.load())
        return FromIndex(index)
    return from_run(collection, read_run(folder / "run.bm25.txt.gz"), "bm25", DEPTHS[-1])


def _ids(candidates: Sequence[Candidate]) -> list[str]:
    """Judged ids in order, without repeats: a document may have several passages."""
    return list(dict.fromkeys(doc_id(candidate) for candidate in candidates))


if __name__ == "__main__":
    main()
