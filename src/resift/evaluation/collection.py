"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl``, both plain or packed."""

import json
import os
from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.evaluation.lines import BLANKS, Skipped, as_text, is_comment, read_lines
from resift.evaluation.qrels import read_all_qrels
from resift.types import Document

_FORM = "expected a JSON object with _id and text"


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents by id, and what could not be read of their file, a sentence each."""

    by_id: dict[str, Document]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder of documents and queries. Nothing is read before it is asked for."""

    folder: Path

    def queries(self) -> dict[str, str]:
        """Query ids to their texts, in the file's order; raises as `read_query_rows` does."""
        return read_query_rows(_find(self.folder, "queries.jsonl"))

    def documents(self, ids: Names[str] | None) -> dict[str, Document]:
        """Those of the named documents that the corpus has, all of them for None."""
        return self.read(ids).by_id

    def read(self, ids: Names[str] | None) -> Documents:
        """The same, and what was passed over.

        A line that is no document costs itself, and so does the second of two documents with one
        id. One without text is there, and has none. Raises `DatasetError` where most lines are no
        documents.
        """
        file = _find(self.folder, "corpus.jsonl")
        documents: dict[str, Document] = {}
        skipped = Skipped(file, "documents")
        seen: set[str] = set()
        for number, row in _objects(file, skipped):
            try:
                document = _document(row)
            except ValueError as error:
                skipped.note(number, str(error))
                continue
            if document.id in seen:
                if documents.get(document.id, document) != document:
                    skipped.note(number, f"{document.id} is there already, with another text")
                continue
            seen.add(document.id)
            if ids is None or document.id in ids:
                documents[document.id] = document
        return Documents(documents, skipped.notes(len(seen)))

    def qrels(self) -> dict[str, dict[str, float]]:
        """Query ids to their documents' grades, published and added by ``resift judge``.

        Raises `DatasetError` where no file has them.
        """
        qrels, files = read_all_qrels(self.folder)
        if not files:
            raise DatasetError(
                f"{self.folder}: no qrels.tsv or qrels/test.tsv in it; expected judgments there"
            )
        return qrels


def open_collection(folder: Path, *, corpus: bool = True) -> Collection:
    """A BEIR folder; raises `DatasetError` where its files are missing.

    Without `corpus` the documents may be elsewhere.
    """
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.lexists(folder) else "no such folder"
        raise DatasetError(f"{folder}: {what}; expected a BEIR collection")
    for name in ("corpus.jsonl", "queries.jsonl") if corpus else ("queries.jsonl",):
        _find(folder, name)
    return Collection(folder)


def read_query_rows(file: Path) -> dict[str, str]:
    """JSON Lines of queries: ids to texts, in the file's order; a null text is an empty one.

    Raises `DatasetError` for a line that is no query, and for two queries with one id.
    """
    queries: dict[str, str] = {}
    for number, row in _objects(file, None):
        try:
            query_id, text = _id(row), row["text"]
            if text is not None and not isinstance(text, str):
                raise ValueError(f"text is {text!r:.40}")
        except (ValueError, KeyError) as error:
            raise DatasetError(f"{file}:{number}: {_FORM} ({error})") from error
        if queries.setdefault(query_id, text or "") != (text or ""):
            raise DatasetError(
                f"{file}:{number}: query {query_id} is there already, with another text; give each "
                "an id of its own"
            )
    return queries


def _objects(file: Path, skipped: Skipped | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON Lines; what is none is passed over, or refused where nobody counts."""
    for number, line in read_lines(file):
        try:
            text = as_text(file, number, line)
            if text.strip(BLANKS) and not is_comment(text):
                yield number, _object(text)
        except (ValueError, RecursionError) as error:
            reason = f"{_FORM} ({error})"
            if skipped is None:
                raise DatasetError(f"{file}:{number}: {reason}") from error
            skipped.note(number, reason)
        except DatasetError as error:
            if skipped is None:
                raise
            skipped.note(number, str(error).removeprefix(f"{file}:{number}: "))


def _object(text: str) -> dict[str, Any]:
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, no object")
    return row


def _document(row: Mapping[str, Any]) -> Document:
    """A row of a corpus; raises `ValueError` for one that has no id or no text field."""
    try:
        document_id, text = _id(row), row["text"]
    except KeyError as error:
        raise ValueError(f"{_FORM} (there is no {error})") from None
    if _is_null(text):
        text = ""
    if not isinstance(text, str):
        raise ValueError(f"expected text in the field text, not {text!r:.40}")
    title = row.get("title")
    if isinstance(title, int | float) and not _is_null(title):
        title = str(title)
    return Document(document_id, text, title if isinstance(title, str) else "")


def _id(row: Mapping[str, Any]) -> str:
    """An id as text; a whole number is one. Raises `ValueError` for others."""
    value = row["_id"] if "_id" in row else row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip(BLANKS):
        raise ValueError(f"_id is {value!r:.40}, expected text or a whole number")
    return value


def _is_null(value: object) -> bool:
    """None, or the NaN that pandas writes for it."""
    return value is None or value != value


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if os.path.isfile(candidate):
            return candidate
    raise DatasetError(f"{folder}: no {name} or {name}.gz in it; expected a BEIR collection")
