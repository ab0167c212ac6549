"""BEIR folders (``corpus.jsonl``, ``queries.jsonl``, judgments), and the judged queries of one."""

import os
from collections.abc import Collection as Names
from collections.abc import Mapping
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
    """Documents by id, and a sentence each about what could not be read."""

    by_id: dict[str, Document]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """A BEIR folder. Each call reads the file again."""

    folder: Path

    def queries(self) -> dict[str, str]:
        """Query ids to texts, in the file's order; raises as `read_json_queries` does."""
        return read_json_queries(find_file(self.folder, "queries.jsonl"))

    def documents(self, ids: Names[str] | None) -> dict[str, Document]:
        """The documents with these ids that the corpus has; all documents with None."""
        return self.read_documents(ids).by_id

    def read_documents(self, ids: Names[str] | None) -> Documents:
        """As `documents`, with notes.

        A line that is no document is skipped, and so is the second of two documents with one id.
        A document may have no text. Raises `DatasetError` where most lines are no documents.
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
                    skipped.add(number, f"{document.id} is there already, with another text")
                continue
            seen.add(document.id)
            if ids is None or document.id in ids:
                documents[document.id] = document
        return Documents(documents, skipped.notes(len(seen)))

    def qrels(self) -> dict[str, dict[str, float]]:
        """Query ids to their documents' grades: published, and added by ``resift judge``.

        Raises `DatasetError` where there is no such file.
        """
        qrels, files = read_all_qrels(self.folder)
        if not files:
            raise DatasetError(
                f"{self.folder}: no qrels.tsv or qrels/test.tsv in it; expected judgments there"
            )
        return qrels


def open_collection(folder: Path) -> Collection:
    """A BEIR folder; raises `DatasetError` where it has no corpus or no queries."""
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.lexists(folder) else "no such folder"
        raise DatasetError(f"{folder}: {problem}; expected a BEIR collection")
    for name in ("corpus.jsonl", "queries.jsonl"):
        find_file(folder, name)
    return Collection(folder)


def _document(row: Mapping[str, Any]) -> Document:
    """A row of a corpus; raises `ValueError` where it has no id or no text field."""
    try:
        document_id, text = json_id(row), row["text"]
    except KeyError as error:
        raise ValueError(f"{ROW_FORM} (there is no {error})") from None
    if _is_null(text):
        text = ""
    if not isinstance(text, str):
        raise ValueError(f"expected text in the field text, not {text!r:.40}")
    title = row.get("title")
    if isinstance(title, int | float) and not _is_null(title):
        title = str(title)
    return Document(document_id, text, title if isinstance(title, str) else "")


def _is_null(value: object) -> bool:
    """None, or the NaN that pandas writes for it."""
    return value is None or value != value


@dataclass(frozen=True, slots=True)
class Task:
    """Queries to evaluate by id, and their judgments: of every query, or of none."""

    name: str
    queries: Mapping[str, str]
    qrels: Qrels
    notes: tuple[str, ...] = ()


def load_task(path: Path, qrels_file: Path | None, relevant: int, max_queries: int | None) -> Task:
    """The judged queries of a BEIR folder or a file of queries; all where none is judged.

    At most `max_queries` are taken, spread evenly. A document of grade `relevant` or more is
    relevant. Judgments are read from `qrels_file`, or from the files beside the queries. Raises
    `DatasetError` where no judged query is among the queries, and for a file that cannot be read.
    """
    all_queries = read_queries(path)
    queries = {query_id: text for query_id, text in all_queries.items() if text.strip()}
    notes = _empty_queries(all_queries)
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
    notes += [*_unknown_queries(queries, qrels), *_unanswered_queries(chosen_qrels, relevant)]
    return Task(path.name, chosen, chosen_qrels, tuple(notes))


def _spread(queries: Mapping[str, str], count: int | None) -> dict[str, str]:
    """`count` queries at even distances, so that the file's order does not matter."""
    ids = list(queries)
    if count is not None and count < len(ids):
        ids = [ids[index * len(ids) // count] for index in range(count)]
    return {query_id: queries[query_id] for query_id in ids}


def _empty_queries(queries: Mapping[str, str]) -> list[str]:
    empty = [query_id for query_id, text in queries.items() if not text.strip()]
    if not empty:
        return []
    return [f"{len(empty)} queries have no text, the first is {empty[0]:.80}: left out"]


def _unknown_queries(queries: Mapping[str, str], qrels: Qrels) -> list[str]:
    unknown = [query_id for query_id in qrels if query_id not in queries]
    if not unknown:
        return []
    return [
        f"{len(unknown)} of {len(qrels)} judged queries are not among the queries, the first "
        f"is {unknown[0]:.80}: left out"
    ]


def _unanswered_queries(qrels: Qrels, relevant: int) -> list[str]:
    unanswered = [query_id for query_id, grades in qrels.items() if max(grades.values()) < relevant]
    if not unanswered:
        return []
    return [
        f"{len(unanswered)} of {len(qrels)} queries have no document of grade {relevant} or "
        f"more, the first is {unanswered[0]:.80}: all measures but nDCG count them as 0"
    ]
