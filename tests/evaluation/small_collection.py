"""A small collection and run, written to a folder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

DOCUMENTS = {
    "d1": "A bucket has an owner.",
    "d2": "Object lock keeps an object from being deleted until a date.",
    "d3": "Functions run code when an event comes in.",
    "d4": "A queue keeps messages until a worker has handled them.",
}
QUERIES = {
    "q1": "what stops an object from being deleted",
    "q2": "where do messages wait",
}


def json_lines(rows: Iterable[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def make_collection(folder: Path) -> Path:
    """A BEIR folder with `DOCUMENTS` and `QUERIES`."""
    folder.mkdir(exist_ok=True)
    corpus = [{"_id": name, "title": "", "text": text} for name, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text(json_lines(corpus))
    queries = [{"_id": name, "text": text} for name, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text(json_lines(queries))
    return folder


def make_run(file: Path, ranked: Mapping[str, Iterable[str]]) -> Path:
    """Query ids to document ids in order, with scores that fall from 10."""
    file.write_text(
        "".join(
            f"{query_id} Q0 {doc_id} {rank} {11 - rank} made\n"
            for query_id, doc_ids in ranked.items()
            for rank, doc_id in enumerate(doc_ids, 1)
        )
    )
    return file
