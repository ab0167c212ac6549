"""BEIR folders (``corpus.jsonl``, ``queries.jsonl``, judgments) and evaluation tasks from them."""

import os
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.evaluation.lines import SkippedLines, json_id, json_objects
from resift.evaluation.queries import ROW_FORM, find_file, read_json_queries, read_queries
from resift.evaluation.trec import Qrels, read_all_qrels, read_qrels
from resift.types import Document


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents by id, and notes about documents that could not be read."""

    by_id: dict[str, Document]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """A BEIR folder. Each call reads the file again."""

    folder: Path

    def queries(self) -> dict[str, str]:
        """Query ids to texts, in the file's order; raises the errors of `read_json_queries`."""
        return read_json_queries(find_file(self.folder, "queries.jsonl"))

    def documents(self, ids: Names[str] | None) -> dict[str, Document]:
        """The documents of the corpus with one of these ids; all documents if `ids` is None."""
        return self.read_documents(ids).by_id

    def read_documents(self, ids: Names[str] | None) -> Documents:
        """As `documents`, with notes about skipped lines.

        Invalid lines are skipped, and so is the second of two documents with one id. A document may
        have an empty text. Raises `DatasetError` if most lines are skipped.
        """
        file = find_file(self.folder, "corpus.jsonl")
        documents: dict[str, Document] = {}
        skipped = SkippedLines(file, "documents")
        seen: set[str] = set()
        for number, row in json_objects(file, ROW_FORM, skipped):
            try:
                document = _document(row)
            except ValueError as error:
                skipped.add(number, str(error))
                continue
            if document.id in seen:
                if documents.get(document.id, document) != document:
                    skipped.add(number, f"{document.id} occurs above with another text")
                continue
            seen.add(document.id)
            if ids is None or document.id in ids:
                documents[document.id] = document
        return Documents(documents, skipped.notes(len(seen)))

    def qrels(self) -> dict[str, dict[str, float]]:
        """Query ids to grades by document id, published or made by ``resift judge``.

        Raises `DatasetError` if the folder has no judgments.
        """
        qrels, files = read_all_qrels(self.folder)
        if not files:
            raise DatasetError(
                f"{self.folder}: contains no judgments; expected qrels.tsv or qrels/test.tsv"
            )
        return qrels


def open_collection(folder: Path) -> Collection:
    """Open a BEIR folder; raises `DatasetError` if it has no corpus or no queries."""
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.lexists(folder) else "no such folder"
        raise DatasetError(f"{folder}: {problem}; expected a BEIR collection")
    for name in ("corpus.jsonl", "queries.jsonl"):
        find_file(folder, name)
    return Collection(folder)


def _document(row: Mapping[str, Any]) -> Document:
    """Parse a row of a corpus; raises `ValueError` if it has no id or no text field."""
    try:
        document_id, text = json_id(row), row["text"]
    except KeyError as error:
        raise ValueError(f"{ROW_FORM} ({error} is missing)") from None
    if _is_null(text):
        text = ""
    if not isinstance(text, str):
        raise ValueError(f"expected a string in the field text, not {text!r:.40}")
    title = row.get("title")
    if isinstance(title, int | float) and not _is_null(title):
        title = str(title)
    return Document(document_id, text, title if isinstance(title, str) else "")


def _is_null(value: object) -> bool:
    """None, or the NaN that pandas writes for it."""
    return value is None or value != value


@dataclass(frozen=True, slots=True)
class Task:
    """Queries to evaluate, by id, and their judgments: for every query or for none."""

    name: str
    queries: Mapping[str, str]
    qrels: Qrels
    notes: tuple[str, ...] = ()


def load_task(path: Path, qrels_file: Path | None, relevant: int, max_queries: int | None) -> Task:
    """Load the judged queries of a BEIR folder or a file of queries; all if none is judged.

    At most `max_queries` are used, spread evenly. A document of grade `relevant` or more is
    relevant. Judgments are read from `qrels_file`, or from the files beside the queries. Raises
    `DatasetError` if no judged query is among the queries, and for a file that cannot be read.
    """
    all_queries = read_queries(path)
    queries = {query_id: text for query_id, text in all_queries.items() if text.strip()}
    empty = [query_id for query_id in all_queries if query_id not in queries]
    notes = _notes((empty, "queries have no text", "left out"))
    if qrels_file is not None:
        qrels, files = read_qrels(qrels_file), [qrels_file]
    else:
        qrels, files = read_all_qrels(path if os.path.isdir(path) else path.parent)
    if not qrels:
        note = (
            "no judgments: whether reranking helps cannot be measured; make some with "
            f"  resift judge {path}"
        )
        return Task(path.name, _spread(queries, max_queries), {}, (note, *notes))
    judged = {query_id: queries[query_id] for query_id in queries if query_id in qrels}
    if not judged:
        raise DatasetError(
            f"{', '.join(map(str, files))}: none of its {len(qrels)} queries is in {path}, the "
            f"first is {min(qrels):.80}; are the judgments of this collection?"
        )
    chosen = _spread(judged, max_queries)
    chosen_qrels = {query_id: qrels[query_id] for query_id in chosen}
    unknown = [query_id for query_id in qrels if query_id not in queries]
    unanswered = [name for name, grades in chosen_qrels.items() if max(grades.values()) < relevant]
    notes += _notes(
        (unknown, f"of {len(qrels)} judged queries are not among the queries", "left out"),
        (
            unanswered,
            f"of {len(chosen_qrels)} queries have no document of grade {relevant} or more",
            "all measures but nDCG count them as 0",
        ),
    )
    return Task(path.name, chosen, chosen_qrels, tuple(notes))


def _spread(queries: Mapping[str, str], count: int | None) -> dict[str, str]:
    """`count` queries at even distances, so that the file's order does not matter."""
    ids = list(queries)
    if count is not None and count < len(ids):
        ids = [ids[index * len(ids) // count] for index in range(count)]
    return {query_id: queries[query_id] for query_id in ids}


def _notes(*cases: tuple[Sequence[str], str, str]) -> list[str]:
    """A sentence for each case that has query ids: the problem and its consequence."""
    return [
        f"{len(ids)} {problem}, the first is {ids[0]:.80}: {consequence}"
        for ids, problem, consequence in cases
        if ids
    ]
