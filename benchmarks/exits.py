"""What do exits cost and save? nDCG@10 and speed of a cross-encoder, exact and with early exit.

    python benchmarks/exits.py ARTIFACT COLLECTIONS_FOLDER [NAME …] [--queries 60] [--timed 10]

ARTIFACT is made by  resift convert CHECKPOINT ARTIFACT --exits …; collections are as for
`quality.py`, and only the first run of each is read. Every stage runs once for every candidate; the
early exit of `Reranker.rank`, with ten hits, is applied to the logits at several tolerances.
"go on" is the share of token positions that remain after each exit. "faster" is the time of
`rank(exact=True)` over that of `rank` at its default tolerance, medians of interleaved calls.
Needs  pip install 'resift[eval,convert]'. Last line of stdout: JSON.
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
from quality import JudgedRun, ndcg, read_judged

from resift import Reranker
from resift.convert.exits import stage_logits
from resift.rerank.artifact import Artifact, Exit, load_artifact
from resift.rerank.batching import padded_length
from resift.rerank.early_exit import TOLERANCE, EarlyExit, survivors
from resift.rerank.loading import load_model
from resift.rerank.models import Model
from resift.rerank.ordering import Interpolation, Numbers, order

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
    columns = [name for name in rows[0] if name not in ("run", "queries")]
    means: dict[str, Any] = {"run": "mean"} | {
        name: np.mean([row[name] for row in rows], axis=0).round(4).tolist() for name in columns
    }
    width = max(len(str(row["run"])) for row in rows)
    print(" " * width, *(f"{name:>16}" for name in columns))
    for row in [*rows, means]:
        print(f"{row['run']:<{width}}", *(f"{_cell(row[name]):>16}" for name in columns))
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
    if isinstance(value, list):
        return " ".join(f"{number:.2f}" for number in value)
    return f"{value:.4f}"


def _quality(judged: JudgedRun, artifact: Artifact, model: Model) -> dict[str, Any]:
    """nDCG@10 of every exit, exact, and at each tolerance; the shares that go on at each."""
    runs: dict[str, dict[str, dict[str, float]]] = {}
    shares: dict[str, list[list[float]]] = {}
    for query_id, documents in judged.run.items():
        ids = [document.doc_id for document in documents]
        query, texts = judged.queries[query_id], [judged.texts[doc_id] for doc_id in ids]
        logits, _ = stage_logits(model, [(query, texts)])
        rows = model.rows(model.query_row(query), texts)
        positions = np.array([padded_length(len(row.ids)) for row in rows])
        scores = {f"exit {n}": exit_logits for n, exit_logits in enumerate(logits[:-1], 1)}
        scores["exact"] = logits[-1]
        for tolerance in TOLERANCES:
            scores[f"at {tolerance:g}"], remaining = _with_early_exit(
                logits, artifact.manifest.exits, tolerance
            )
            shares.setdefault(f"go on {tolerance:g}", []).append(
                [float(positions[rows_left].sum() / positions.sum()) for rows_left in remaining]
            )
        for name, values in scores.items():
            runs.setdefault(name, {})[query_id] = dict(zip(ids, values.tolist(), strict=True))
    quality = {name: round(ndcg(judged.qrels, run), 4) for name, run in runs.items()}
    return quality | {
        name: np.mean(by_query, axis=0).round(4).tolist() for name, by_query in shares.items()
    }


def _with_early_exit(
    logits: Sequence[Numbers], exits: Sequence[Exit], tolerance: float
) -> tuple[Numbers, list[list[int]]]:
    """Scores in the order of `rank(top_n=10)`, and the indices that remain after each exit."""
    size = len(logits[0])
    early_exit = EarlyExit(TOP_N, Interpolation(np.zeros(size)), tolerance)
    best, indices, none = logits[0].copy(), list(range(size)), np.zeros(size, bool)
    behind: NDArray[np.int8] = np.zeros(size, np.int8)
    remaining = []
    for stage, exit_ in enumerate(exits, 1):
        remaining_indices = survivors(early_exit, exit_, indices, best, none)
        behind[sorted(set(indices) - set(remaining_indices))] = 100 - stage
        best[remaining_indices] = logits[stage][remaining_indices]
        indices = remaining_indices
        remaining.append(remaining_indices)
    ranks = np.empty(size)
    ranks[order(best, best, range(size), behind)] = range(size)
    return -ranks, remaining


def _faster(judged: JudgedRun, reranker: Reranker, queries: int) -> float:
    """Median seconds of exact calls over those of calls with early exit."""
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
