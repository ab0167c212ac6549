"""TREC runs: ``query_id Q0 doc_id rank score tag`` a line, plain or ``.gz``."""

import gzip
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.collection import open_text

LEAST_STEP = 1e-4
"""Between the scores of neighbours, so that tools that sort by score keep the order."""


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """One line of a run."""

    doc_id: str
    score: float


Run = Mapping[str, Sequence[ScoredDocument]]


def read_run(file: Path) -> dict[str, list[ScoredDocument]]:
    """Query ids to their documents, best score first as TREC tools sort; ties keep file order.

    Raises `DatasetError` for a line that is not of six fields, a score that is no number, and
    a document that a query has twice.
    """
    run: dict[str, list[ScoredDocument]] = {}
    seen: set[tuple[str, str]] = set()
    number = 0
    try:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                query_id, document = _line(line)
                if (query_id, document.doc_id) in seen:
                    raise ValueError(f"{document.doc_id} is there twice for query {query_id}")
                seen.add((query_id, document.doc_id))
                run.setdefault(query_id, []).append(document)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file}:{number}: not a line of a TREC run ({error})") from error
    if not run:
        raise DatasetError(f"{file}: empty; expected lines of  query_id Q0 doc_id rank score tag")
    for documents in run.values():
        documents.sort(key=lambda document: -document.score)
    return run


def write_run(file: Path, lines: Iterable[str]) -> None:
    """Write a run as a whole: the file is there complete or not at all.

    Raises `DatasetError` where it cannot be written.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        with (
            gzip.open(partial, "wt", encoding="utf-8")
            if file.suffix == ".gz"
            else partial.open("w", encoding="utf-8")
        ) as out:
            out.writelines(lines)
        partial.replace(file)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(NotADirectoryError):  # then there is nothing to take away either
            partial.unlink(missing_ok=True)


def run_lines(query_id: str, ranked: Sequence[tuple[str, float]], tag: str) -> list[str]:
    """(doc_id, score) in rank order → lines whose scores fall from each to the next."""
    lines = []
    last = math.inf
    for rank, (doc_id, score) in enumerate(ranked, 1):
        last = min(score, last - LEAST_STEP) if math.isfinite(last) else score
        lines.append(f"{query_id} Q0 {doc_id} {rank} {last:.6f} {tag}\n")
    return lines


def _line(line: str) -> tuple[str, ScoredDocument]:
    fields = line.split()
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields, expected 6")
    score = float(fields[4])
    if not math.isfinite(score):
        raise ValueError(f"score {fields[4]}")
    return fields[0], ScoredDocument(fields[2], score)
