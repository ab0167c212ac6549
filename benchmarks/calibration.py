"""Are calibrated scores probabilities? Fitted on some queries of a collection, tested on others.

    python benchmarks/calibration.py COLLECTIONS_FOLDER [NAME …] [--queries 200] [--run bm25]

Each collection is a BEIR folder with ``run.NAME.txt.gz`` and ``qrels.tsv`` or ``qrels/test.tsv``.
At most `--queries` judged queries are scored once, then split into two parts 20 times, at random
with fixed seeds: the fit of ``resift calibrate`` on one is measured on the other. Means over the
splits: expected calibration error (bins of equal size), of all pairs and of each query's first ten;
log loss and Brier score; the same for the sigmoid and for the model's own calibration. Plain
logits, and fused with the first stage. "floor" is the error of exact probabilities, which random
labels cause; that queries differ comes on top. Unjudged candidates count as not relevant. Needs
pip install 'resift[eval]'. Last line of stdout: JSON.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resift import Candidate, Reranker
from resift.errors import DatasetError
from resift.evaluation.calibrate import (
    Bools,
    Floats,
    Grades,
    JudgedLogits,
    LabelOptions,
    baselines,
    calibration_error,
    fit,
    label_pairs,
    log_loss,
)
from resift.evaluation.collection import open_collection
from resift.evaluation.trec import read_run
from resift.rerank.calibration import Curve
from resift.rerank.result import ScoredCandidates

TARGET = 0.05
DEPTH = 100
TOP = 10
SEED = 7
SPLITS = 20
CURVES = ("sigmoid", "model", "after")


@dataclass(frozen=True)
class JudgedQuery:
    """A judged query and its candidates."""

    query: str
    candidates: list[Candidate]
    grades: Grades


def main() -> None:
    """Print a row a collection and scale."""
    options = _options()
    reranker = Reranker()
    rows: list[dict[str, Any]] = []
    for name in options.names or sorted(path.name for path in options.folder.iterdir()):
        queries = judged_queries(options.folder / name, options.run, options.queries)
        judged = label_pairs(scored(reranker, queries), LabelOptions())
        for scale, pairs in (("plain", judged.plain), ("fused", judged.fused)):
            if pairs is None:
                continue
            before = baselines(judged.manifest, fused=scale == "fused")
            try:
                row = {"collection": name, "scale": scale, **half_splits(pairs, before)}
            except DatasetError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    _print(rows)
    worst = max(row["after"]["ece"] for row in rows)
    print(json.dumps({"rows": rows, "worst_ece": worst, "target": TARGET}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--run", default="bm25")
    return parser.parse_args()


def judged_queries(folder: Path, run_name: str, limit: int) -> list[JudgedQuery]:
    """At most `limit` judged queries of a run, shuffled."""
    collection = open_collection(folder)
    qrels, queries = collection.qrels(), collection.queries()
    run = read_run(folder / f"run.{run_name}.txt.gz")
    chosen = sorted(q for q in run if any(grade > 0 for grade in qrels.get(q, {}).values()))
    random.Random(SEED).shuffle(chosen)
    chosen = chosen[:limit]
    texts = collection.documents({entry.doc_id for q in chosen for entry in run[q][:DEPTH]})
    return [
        JudgedQuery(
            queries[q],
            [
                Candidate(entry.doc_id, texts[entry.doc_id].text, texts[entry.doc_id].title,
                          rank=rank, score=entry.score)
                for rank, entry in enumerate(run[q][:DEPTH], 1) if entry.doc_id in texts
            ],
            qrels[q],
        )
        for q in chosen
    ]  # fmt: skip


def scored(
    reranker: Reranker, queries: list[JudgedQuery]
) -> Iterator[tuple[ScoredCandidates, Grades]]:
    """Scored candidates and grades of each query; every pair goes through the whole model."""
    for judged in queries:
        yield reranker.score_candidates(judged.query, judged.candidates), judged.grades


def half_splits(judged: JudgedLogits, before: Mapping[str, Curve]) -> dict[str, Any]:
    """Means over the splits, and counts of all pairs."""
    splits = [_half_split(judged, before, seed) for seed in range(SPLITS)]
    methods = [str(split.pop("method")) for split in splits]
    by_curve = {
        curve_name: {name: round(float(np.mean([split[curve_name][name] for split in splits])), 4)
              for name in splits[0][curve_name]}
        for curve_name in CURVES
    }  # fmt: skip
    return {
        "queries": len(np.unique(judged.queries)),
        "pairs": len(judged.logits),
        "relevant": int(judged.relevant.sum()),
        "platt": methods.count("platt"),
        "ece in the file": round(fit(judged, before).fit.error, 4),
        "floor": round(float(np.mean([split["floor"] for split in splits])), 4),
        **by_curve,
    }  # fmt: skip


def _half_split(judged: JudgedLogits, before: Mapping[str, Curve], seed: int) -> dict[str, Any]:
    queries = np.random.default_rng(seed).permutation(np.unique(judged.queries))
    chosen = np.isin(judged.queries, queries[: len(queries) // 2])
    fitted, held_out = _part(judged, chosen), _part(judged, ~chosen)
    curve = fit(fitted, {}).fit.curve
    first = _first(held_out)
    uses = {"sigmoid": before["none"], "model": before.get("model", before["none"]), "after": curve}
    return {
        "method": curve.method,
        "floor": _floor(curve(held_out.logits), seed),
        **{
            curve_name: _measures(use(held_out.logits), held_out.relevant, first)
            for curve_name, use in uses.items()
        },
    }


def _part(judged: JudgedLogits, chosen: Bools) -> JudgedLogits:
    return JudgedLogits(judged.logits[chosen], judged.relevant[chosen], judged.queries[chosen])


def _floor(probabilities: Floats, seed: int) -> float:
    """The calibration error of exact probabilities: labels are drawn by them."""
    drawn = np.random.default_rng(seed).random(len(probabilities)) < probabilities
    return calibration_error(probabilities, drawn)


def _measures(probabilities: Floats, relevant: Bools, first: Bools) -> dict[str, float]:
    return {
        "ece": calibration_error(probabilities, relevant),
        "ece of 10": calibration_error(probabilities[first], relevant[first]),
        "log loss": log_loss(probabilities, relevant),
        "brier": float(np.square(probabilities - relevant).mean()),
    }


def _first(judged: JudgedLogits) -> Bools:
    """Which pairs are among their query's first ten."""
    first = np.zeros(len(judged.logits), bool)
    for query in np.unique(judged.queries):
        indices = np.flatnonzero(judged.queries == query)
        first[indices[np.argsort(-judged.logits[indices], kind="stable")[:TOP]]] = True
    return first


def _print(rows: list[dict[str, Any]]) -> None:
    measures = ("ece", "ece of 10", "log loss", "brier")
    wide = max(len(row["collection"]) for row in rows)
    print(
        " " * wide,
        f"{'':21}{'in file':>8}{'floor':>8}",
        *(f"{measure:^26}" for measure in measures),
    )
    heads = (f"{curve_name:>8}" for _ in measures for curve_name in CURVES)
    print(" " * wide, f"{'':6}{'queries':>8}{'platt':>7}{'':16}", *heads)
    for row in rows:
        counts = f"{row['scale']:6}{row['queries']:8}{row['platt']:4}/{SPLITS}"
        errors = f"{row['ece in the file']:8.4f}{row['floor']:8.4f}"
        numbers = [
            f"{row[curve_name][measure]:8.4f}" for measure in measures for curve_name in CURVES
        ]
        print(f"{row['collection']:<{wide}} {counts}{errors}", *numbers)


if __name__ == "__main__":
    main()
