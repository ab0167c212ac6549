"""Do scores mean what they say? Calibrated on half of a collection's queries, asked on the others.

    python benchmarks/calibration.py COLLECTIONS_FOLDER [NAME …] [--queries 200] [--run bm25]

Each collection is a BEIR folder with ``run.NAME.txt.gz`` and ``qrels.tsv`` or ``qrels/test.tsv``.
At most `--queries` judged queries are read once, then halved at random, always alike, 20 times:
``resift calibrate``'s fit on one half is measured on the other. Means over the halvings: expected
calibration error (bins of like size), of all pairs and of each query's first ten; log loss and
Brier score; beside them what there was before, the sigmoid and the model's own calibration. Plain
logits, and with the first stage's say. "floor" is the error of chances that are quite right, from
the chance of so many labels alone; that queries differ comes on top. Unjudged candidates count as
no answers. Needs  pip install 'resift[eval]'. Last line of stdout: JSON.
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
from resift.evaluation.calibrate import JudgedLogits, fit
from resift.evaluation.collection import open_collection
from resift.evaluation.judged import Grades, Reckoning, before, judge
from resift.evaluation.reliability import Bools, Floats, calibration_error, log_loss
from resift.evaluation.trec import read_run
from resift.rerank.calibration import Curve
from resift.rerank.result import ScoredCandidates

TARGET = 0.05
DEPTH = 100
TOP = 10
SEED = 7
SPLITS = 20
WAYS = ("sigmoid", "model", "after")


@dataclass(frozen=True)
class Asked:
    """A judged query and its window."""

    query: str
    window: list[Candidate]
    grades: Grades


def main() -> None:
    """Print a row a collection and scale."""
    options = _options()
    reranker = Reranker()
    rows: list[dict[str, Any]] = []
    for name in options.names or sorted(path.name for path in options.folder.iterdir()):
        asked = read_asked(options.folder / name, options.run, options.queries)
        judged = judge(read(reranker, asked), Reckoning())
        for scale, pairs in (("plain", judged.plain), ("fused", judged.fused)):
            if pairs is None:
                continue
            old = before(judged.manifest, fused=scale == "fused")
            try:
                row = {"collection": name, "scale": scale, **halved(pairs, old)}
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


def read_asked(folder: Path, run_name: str, limit: int) -> list[Asked]:
    """At most `limit` judged queries of a run, shuffled."""
    collection = open_collection(folder)
    qrels, queries = collection.qrels(), collection.queries()
    run = read_run(folder / f"run.{run_name}.txt.gz")
    chosen = sorted(q for q in run if any(grade > 0 for grade in qrels.get(q, {}).values()))
    random.Random(SEED).shuffle(chosen)
    chosen = chosen[:limit]
    texts = collection.documents({own.doc_id for q in chosen for own in run[q][:DEPTH]})
    return [
        Asked(
            queries[q],
            [
                Candidate(own.doc_id, texts[own.doc_id].text, texts[own.doc_id].title,
                          rank=rank, score=own.score)
                for rank, own in enumerate(run[q][:DEPTH], 1) if own.doc_id in texts
            ],
            qrels[q],
        )
        for q in chosen
    ]  # fmt: skip


def read(reranker: Reranker, asked: list[Asked]) -> Iterator[tuple[ScoredCandidates, Grades]]:
    """Every pair through every stage."""
    for own in asked:
        yield reranker.score_candidates(own.query, own.window), own.grades


def halved(judged: JudgedLogits, old: Mapping[str, Curve]) -> dict[str, Any]:
    """Means over the halvings, and what the whole of it is."""
    found = [_halving(judged, old, seed) for seed in range(SPLITS)]
    methods = [str(own.pop("method")) for own in found]
    ways = {
        way: {name: round(float(np.mean([own[way][name] for own in found])), 4)
              for name in found[0][way]}
        for way in WAYS
    }  # fmt: skip
    return {
        "queries": len(np.unique(judged.queries)),
        "pairs": len(judged.logits),
        "answers": int(judged.relevant.sum()),
        "platt": methods.count("platt"),
        "ece in the file": round(fit(judged, old).fit.error, 4),
        "floor": round(float(np.mean([own["floor"] for own in found])), 4),
        **ways,
    }  # fmt: skip


def _halving(judged: JudgedLogits, old: Mapping[str, Curve], seed: int) -> dict[str, Any]:
    queries = np.random.default_rng(seed).permutation(np.unique(judged.queries))
    chosen = np.isin(judged.queries, queries[: len(queries) // 2])
    own, other = _part(judged, chosen), _part(judged, ~chosen)
    curve = fit(own, {}).fit.curve
    first = _first(other)
    uses = {"sigmoid": old["none"], "model": old.get("model", old["none"]), "after": curve}
    return {
        "method": curve.method,
        "floor": _floor(curve(other.logits), seed),
        **{way: _measures(use(other.logits), other.relevant, first) for way, use in uses.items()},
    }


def _part(judged: JudgedLogits, chosen: Bools) -> JudgedLogits:
    return JudgedLogits(judged.logits[chosen], judged.relevant[chosen], judged.queries[chosen])


def _floor(chances: Floats, seed: int) -> float:
    """The calibration error of chances that are right: labels are drawn by them."""
    drawn = np.random.default_rng(seed).random(len(chances)) < chances
    return calibration_error(chances, drawn)


def _measures(chances: Floats, relevant: Bools, first: Bools) -> dict[str, float]:
    return {
        "ece": calibration_error(chances, relevant),
        "ece of 10": calibration_error(chances[first], relevant[first]),
        "log loss": log_loss(chances, relevant),
        "brier": float(np.square(chances - relevant).mean()),
    }


def _first(judged: JudgedLogits) -> Bools:
    """Which pairs are among their query's first ten."""
    first = np.zeros(len(judged.logits), bool)
    for query in np.unique(judged.queries):
        places = np.flatnonzero(judged.queries == query)
        first[places[np.argsort(-judged.logits[places], kind="stable")[:TOP]]] = True
    return first


def _print(rows: list[dict[str, Any]]) -> None:
    measures = ("ece", "ece of 10", "log loss", "brier")
    wide = max(len(row["collection"]) for row in rows)
    print(" " * wide, f"{'':21}{'in file':>8}{'floor':>8}", *(f"{own:^26}" for own in measures))
    heads = (f"{way:>8}" for _ in measures for way in WAYS)
    print(" " * wide, f"{'':6}{'queries':>8}{'platt':>7}{'':16}", *heads)
    for row in rows:
        counts = f"{row['scale']:6}{row['queries']:8}{row['platt']:4}/{SPLITS}"
        errors = f"{row['ece in the file']:8.4f}{row['floor']:8.4f}"
        numbers = [f"{row[way][measure]:8.4f}" for measure in measures for way in WAYS]
        print(f"{row['collection']:<{wide}} {counts}{errors}", *numbers)


if __name__ == "__main__":
    main()
