"""Do scores mean what they say? Calibrated on half of a collection's queries, asked on the others.

    python benchmarks/calibration.py COLLECTIONS_FOLDER [NAME …] [--queries 200] [--run bm25]

Each collection is a BEIR folder with ``run.NAME.txt.gz`` and ``qrels.tsv`` or ``qrels/test.tsv``.
Its judged queries are shuffled, always alike, at most `--queries` are taken, and ``resift
calibrate``'s fit on one half is measured on the other: expected calibration error (bins of like
size), of all pairs and of each query's first ten; log loss and Brier score. Beside it what there
was before: the sigmoid, and the model's own calibration. Plain logits, and with the first stage's
say. "floor" is the error that chances which are right would have on so many pairs, by chance: labels
drawn by the fitted chances themselves. Unjudged candidates count as no answers. Needs  pip install 'resift[eval]'. Last line of
stdout: JSON.
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
from resift.evaluation.judgments import Grades, Judged, Judging, before, judge
from resift.evaluation.reliability import Bools, Floats, brier, calibration_error, log_loss
from resift.evaluation.trec import read_run
from resift.rerank.artifact import Manifest
from resift.rerank.reading import Reading

TARGET = 0.05
DEPTH = 100
TOP = 10
SEED = 7
DRAWS = 100


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
        half = len(asked) // 2
        try:
            fitted, unseen = (
                judge(read(reranker, own), Judging()) for own in (asked[:half], asked[half:])
            )
            found = list(compare(fitted, unseen))
        except DatasetError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        for row in found:
            rows.append({"collection": name, "queries": len(asked), **row})
            print(rows[-1], file=sys.stderr, flush=True)
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


def read(reranker: Reranker, asked: list[Asked]) -> Iterator[tuple[Reading, Grades]]:
    """Every pair through every stage."""
    for own in asked:
        yield reranker.read(own.query, own.window), own.grades


def compare(fitted: Judged, unseen: Judged) -> Iterator[dict[str, Any]]:
    """A row for plain logits and one for fused ones."""
    for scale, own, other in (
        ("plain", fitted.plain, unseen.plain),
        ("fused", fitted.fused, unseen.fused),
    ):
        if own is not None and other is not None:
            yield {"scale": scale, **_row(fitted.manifest, scale, own, other)}


def _row(
    manifest: Manifest, scale: str, own: JudgedLogits, other: JudgedLogits
) -> Mapping[str, Any]:
    old = before(manifest, fused=scale == "fused")
    curve = fit(own, old).fit.curve
    first = _first(other)
    ways = {"sigmoid": old["none"], "model": old.get("model", old["none"]), "after": curve}
    return {
        "method": curve.method,
        "answers": round(float(other.relevant.mean()), 4),
        "pairs": len(other.logits),
        "floor": round(_floor(curve(other.logits)), 4),
        **{way: _measures(use(other.logits), other.relevant, first) for way, use in ways.items()},
    }


def _floor(chances: Floats) -> float:
    """The mean calibration error of chances that are right, over drawn labels."""
    rng = np.random.default_rng(SEED)
    drawn = (rng.random(len(chances)) < chances for _ in range(DRAWS))
    return float(np.mean([calibration_error(chances, relevant) for relevant in drawn]))


def _measures(chances: Floats, relevant: Bools, first: Bools) -> dict[str, float]:
    return {
        "ece": round(calibration_error(chances, relevant), 4),
        "ece of 10": round(calibration_error(chances[first], relevant[first]), 4),
        "log loss": round(log_loss(chances, relevant), 4),
        "brier": round(brier(chances, relevant), 4),
    }


def _first(judged: JudgedLogits) -> Bools:
    """Which pairs are among their query's first ten."""
    first = np.zeros(len(judged.logits), bool)
    for query in np.unique(judged.queries):
        places = np.flatnonzero(judged.queries == query)
        first[places[np.argsort(-judged.logits[places], kind="stable")[:TOP]]] = True
    return first


def _print(rows: list[dict[str, Any]]) -> None:
    ways, measures = ("sigmoid", "model", "after"), ("ece", "ece of 10", "log loss", "brier")
    wide = max(len(row["collection"]) for row in rows)
    print(" " * wide, f"{'':16}{'':>8}", *(f"{name:^26}" for name in measures))
    print(" " * wide, f"{'':16}{'floor':>8}", *(f"{way:>8}" for _ in measures for way in ways))
    for row in rows:
        numbers = [f"{row[way][measure]:8.4f}" for measure in measures for way in ways]
        print(
            f"{row['collection']:<{wide}} {row['scale']:6} {row['method']:9}{row['floor']:8.4f}",
            *numbers,
        )


if __name__ == "__main__":
    main()
