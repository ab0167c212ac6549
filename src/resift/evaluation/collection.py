"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl``, both plain or ``.gz``."""

import gzip
import json
import zlib
from collections.abc import Collection as Names
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from resift.errors import DatasetError
from resift.types import Document


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder of documents and queries. Nothing is read before it is asked for."""

    folder: Path

    def queries(self) -> dict[str, str]:
        """Query ids to their texts, in the file's order."""
        return {
            row["_id"]: row["text"]
            for row in read_rows(_find(self.folder, "queries.jsonl"), ("_id", "text"))
        }

    def documents(self, ids: Names[str] | None) -> dict[str, Document]:
        """Those of the named documents that the corpus has, all of them for None."""
        return {
            row["_id"]: Document(row["_id"], row["text"], row.get("title") or "")
            for row in read_rows(_find(self.folder, "corpus.jsonl"), ("_id", "text"))
            if ids is None or row["_id"] in ids
        }

    def qrels(self) -> dict[str, dict[str, int]]:
        """Query ids to their documents' grades; raises `DatasetError` where no file has them."""
        file = find_qrels(self.folder)
        if file is None:
            raise DatasetError(
                f"{self.folder}: no qrels.tsv or qrels/test.tsv in it; expected judgments there"
            )
        return read_qrels(file)


def read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Query ids to their documents' grades.

    Lines are ``query doc grade`` or TREC's ``query 0 doc grade``; a first line without a
    number at its end is a heading. Raises `DatasetError` for other lines, two grades of one
    document and a missing file.
    """
    qrels: dict[str, dict[str, int]] = {}
    number = 0
    try:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                fields = line.split("\t") if "\t" in line else line.split()
                if len(fields) in (3, 4) and _is_grade(fields[-1]):
                    grade = int(fields[-1])
                    if qrels.setdefault(fields[0], {}).setdefault(fields[-2], grade) != grade:
                        raise DatasetError(
                            f"{file}:{number}: another grade for {fields[-2]} of query "
                            f"{fields[0]} above; expected one"
                        )
                elif fields and number > 1:
                    raise DatasetError(f"{file}:{number}: expected query, document and grade")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file}: unreadable after line {number} ({error})") from error
    return qrels


def open_collection(folder: Path, *, corpus: bool = True) -> Collection:
    """A BEIR folder; raises `DatasetError` where its files are missing.

    Without `corpus` the documents may be elsewhere.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; expected a BEIR collection")
    for name in ("corpus.jsonl", "queries.jsonl") if corpus else ("queries.jsonl",):
        _find(folder, name)
    return Collection(folder)


def open_text(file: Path) -> IO[str]:
    """A text file for reading, unpacked where it ends in ``.gz``."""
    if not file.is_file():
        raise DatasetError(f"{file}: no such file")
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    return file.open(encoding="utf-8")


def find_qrels(folder: Path) -> Path | None:
    """Where a BEIR folder has its judgments, if it has any."""
    for name in ("qrels.tsv", "qrels/test.tsv"):
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    return None


def _is_grade(field: str) -> bool:
    return field.strip().removeprefix("-").isdecimal()


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise DatasetError(f"{folder}: no {name} or {name}.gz in it; expected a BEIR collection")


def read_rows(file: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """JSON Lines as objects that have text in `fields`; raises `DatasetError` for any other."""
    number = 0
    try:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _row(line, fields)
    except (ValueError, TypeError, KeyError, OSError, EOFError, zlib.error) as error:
        raise DatasetError(
            f"{file}:{number}: expected a JSON object with text in {', '.join(fields)} ({error})"
        ) from error


def _row(line: str, fields: tuple[str, ...]) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    for field in fields:
        if not isinstance(row[field], str):
            raise TypeError(f"{field} is {row[field]!r}")
    return row
