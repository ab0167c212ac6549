"""What do exits cost and save? nDCG@10 of a cross-encoder, exact and progressive, and its speed.

    python benchmarks/exits.py ARTIFACT COLLECTIONS_FOLDER [NAME …] [--queries 60] [--timed 10]

ARTIFACT is what  resift convert CHECKPOINT ARTIFACT --exits …  made, collections are as for
`quality.py`; of each only the first run is read. Every stage runs once for every candidate, and the
early exit for the first ten is run on their logits, by the code of `Reranker.rank`, at several
tolerances. `go on` is the share of token positions that go on after each exit. `faster` is the time
of `rank(exact=True)` over that of `rank`, at its own tolerance, medians of calls in turn. Needs
pip install 'resift[eval,convert]'. Last line of stdout: JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality import Judged, ndcg, read_judged

from resift import Reranker
from resift.rerank.artifact import Artifact, Exit, load_artifact
from resift.rerank.batching import padded_length
from resift.rerank.early_exit import TOLERANCE, EarlyExit, survivors
from resift.rerank.models import Model, load_model
from resift.rerank.ordering import Interpolation, Numbers, order
from resift.training.exits import stage_logits

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
TOP_N = 10


def main() -> None:
    """Print a row a collection."""
    options = _options()
    artifact = load_artifact(options.artifact)
    model, reranker = load_model(artifact), Reranker(options.artifact)
    rows: list[dict[str, Any]] = []
    for name in options.names or sorted(path.name for path in options.folder.iterdir()):
        judged = next(read_judged(options.folder / name, options.queries), None)
        if judged is None:
            continue
        row = {"run": judged.name, "queries": len(judged.run)}
        row |= _quality(judged, artifact, model)
        rows.append(row | {"faster": round(_faster(judged, reranker, options.timed), 2)})
        print(rows[-1], file=sys.stderr, flush=True)
    shown = [way for way in rows[0] if way not in ("run", "queries")]
    means: dict[str, Any] = {"run": "mean"} | {
        way: np.mean([row[way] for row in rows], axis=0).round(4).tolist() for way in shown
    }
    wide = max(len(str(row["run"])) for row in rows)
    print(" " * wide, *(f"{way:>16}" for way in shown))
    for row in [*rows, means]:
        print(f"{row['run']:<{wide}}", *(f"{_cell(row[way]):>16}" for way in shown))
    print(json.dumps({"runs": rows, "mean": means}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--timed", type=int, default=10)
    return parser.parse_args()


def _cell(value: Any) -> str:
    return (
        " ".join(f"{number:.2f}" for number in value) if isinstance(value, list) else f"{value:.4f}"
    )


def _quality(judged: Judged, artifact: Artifact, model: Model) -> dict[str, Any]:
    """nDCG@10 of every exit, exact, and at each tolerance; shares that go on at each."""
    runs: dict[str, dict[str, dict[str, float]]] = {}
    shares: dict[str, list[list[float]]] = {}
    for query_id, documents in judged.run.items():
        ids = [document.doc_id for document in documents]
        query, texts = judged.queries[query_id], [judged.texts[doc_id] for doc_id in ids]
        logits, _ = stage_logits(model, [(query, texts)])
        rows = model.rows(model.query_row(query), texts)
        positions = np.array([padded_length(len(row.ids)) for row in rows])
        ways: dict[str, Numbers] = {
            f"exit {n}": at_exit for n, at_exit in enumerate(logits[:-1], 1)
        }
        ways["exact"] = logits[-1]
        for tolerance in TOLERANCES:
            scores, surviving = _with_early_exit(logits, artifact.manifest.exits, tolerance)
            ways[f"at {tolerance:g}"] = scores
            left = [float(positions[part].sum() / positions.sum()) for part in surviving]
            shares.setdefault(f"go on {tolerance:g}", []).append(left)
        for way, values in ways.items():
            runs.setdefault(way, {})[query_id] = dict(zip(ids, values.tolist(), strict=True))
    quality = {way: round(ndcg(judged.qrels, run), 4) for way, run in runs.items()}
    means = {way: np.mean(left, axis=0).round(4).tolist() for way, left in shares.items()}
    return quality | means


def _with_early_exit(
    logits: Sequence[Numbers], exits: Sequence[Exit], tolerance: float
) -> tuple[Numbers, list[list[int]]]:
    """Scores in the order of a `rank` for ten, and which candidates went on after each exit."""
    size = len(logits[0])
    early_exit = EarlyExit(TOP_N, Interpolation(np.zeros(size)), tolerance)
    best, indices, none = logits[0].copy(), list(range(size)), np.zeros(size, bool)
    behind: NDArray[np.int8] = np.zeros(size, np.int8)
    survivors_by_exit = []
    for stage, exit_ in enumerate(exits, 1):
        surviving = survivors(early_exit, exit_, indices, best, none)
        behind[sorted(set(indices) - set(surviving))] = 100 - stage
        best[surviving] = logits[stage][surviving]
        indices = surviving
        survivors_by_exit.append(surviving)
    ranks = np.empty(size)
    ranks[order(best, best, range(size), behind)] = range(size)
    return -ranks, survivors_by_exit


def _faster(judged: Judged, reranker: Reranker, queries: int) -> float:
    """Median seconds of exact calls over those of progressive ones, on real candidates."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for query_id, documents in list(judged.run.items())[:queries]:
        texts = [judged.texts[document.doc_id] for document in documents]
        for exact in (True, False):
            start = time.perf_counter()
            reranker.rank(
                judged.queries[query_id], texts, top_n=TOP_N, exact=exact, tolerance=TOLERANCE
            )
            seconds[exact].append(time.perf_counter() - start)
    return statistics.median(seconds[True]) / statistics.median(seconds[False])


if __name__ == "__main__":
    main()
