"""Runs: TREC's ``query_id Q0 doc_id rank score tag`` a line, and what else people call a run."""

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.lines import fields, is_comment, is_heading, number_of, text_lines
from resift.files import HEAD_BYTES, output

LEAST_STEP = 1e-4
"""Between the scores of neighbours, so that tools that sort by score keep the order."""

SINGLE = 5e-7
"""A step of a large score as part of it: tools read scores in single precision."""

TAG = "resift"
WHAT = "a run that resift wrote"
RANK_CONSTANT = 60
"""Of 1 / (constant + rank), the score where a run has ranks alone: as in reciprocal rank fusion."""

_OURS = re.compile(rb"\S+ Q0 \S+ [1-9]\d* -?\d+\.\d{6} " + TAG.encode())
_COLUMNS = (3, 4, 6)
RANKED = 3
_FORM = (
    "expected  query_id Q0 doc_id rank score tag  (or  query_id doc_id score, or  query_id doc_id "
    "rank  as in MS MARCO)"
)


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One line of a run."""

    doc_id: str
    score: float


Run = Mapping[str, Sequence[RunEntry]]


def read_run(file: Path) -> dict[str, list[RunEntry]]:
    """Query ids to their documents, best score first as TREC tools sort; ties keep file order.

    Of three columns the last is a score, or a rank where it counts from 1 for every query. The same
    document once more with the same score counts once. Raises `DatasetError` for another line, a
    score that is no number, and two scores of one document.
    """
    run: dict[str, dict[str, float]] = {}
    columns = 0
    for number, line in text_lines(file):
        try:
            parts = fields(line, (columns,) if columns else _COLUMNS)
            query_id, doc_id, score = _scored(parts, columns)
        except ValueError as error:
            if is_comment(line) or (not run and is_heading(fields(line, _COLUMNS)[0])):
                continue
            raise DatasetError(f"{file}:{number}: {_FORM}; {error}") from None
        columns = len(parts)
        before = run.setdefault(query_id, {}).setdefault(doc_id, score)
        if before != score:
            raise DatasetError(
                f"{file}:{number}: {doc_id} is there twice for query {query_id}, with scores "
                f"{before:g} and {score:g}; expected it once"
            )
    if not run:
        raise DatasetError(f"{file}: empty; {_FORM}")
    if columns == RANKED and _are_ranks(file, run):
        run = {
            query_id: {doc_id: 1 / (RANK_CONSTANT + rank) for doc_id, rank in documents.items()}
            for query_id, documents in run.items()
        }
    return {
        query_id: [
            RunEntry(doc_id, score)
            for doc_id, score in sorted(documents.items(), key=lambda item: -item[1])
        ]
        for query_id, documents in run.items()
    }


def write_run(file: Path, lines: Iterable[str]) -> None:
    """Write a run as a whole: the file is there complete or not at all; ``-`` is stdout.

    Raises `OutputError` where it cannot be written, or would replace what is no run of ours.
    """
    with output(file, WHAT, is_own_run) as out:
        if file.suffix != ".gz":
            out.writelines(line.encode() for line in lines)
            return
        with gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed:
            packed.writelines(line.encode() for line in lines)


def is_own_run(head: bytes) -> bool:
    """Whether a file that begins like this is a run that resift wrote, packed or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return False
    whole = head.splitlines()[: -1 if len(head) >= HEAD_BYTES else None]
    return bool(whole) and all(map(_OURS.fullmatch, whole))


def run_lines(query_id: str, ranked: Sequence[tuple[str, float]]) -> list[str]:
    """(doc_id, score) in rank order → lines whose scores fall from each to the next."""
    lines = []
    last = math.inf
    for rank, (doc_id, score) in enumerate(ranked, 1):
        if math.isfinite(last):
            score = min(score, last - max(LEAST_STEP, SINGLE * abs(last)))
        last = score
        lines.append(f"{query_id} Q0 {doc_id} {rank} {score:.6f} {TAG}\n")
    return lines


def _scored(parts: Sequence[str], columns: int) -> tuple[str, str, float]:
    """Query, document and score of a line; raises `ValueError` where it is none."""
    if len(parts) not in _COLUMNS or not all(parts):
        raise ValueError(f"{len(parts)} fields")
    if columns and len(parts) != columns:
        raise ValueError(f"{len(parts)} fields, the lines before have {columns}")
    if parts[0] == "#" and len(parts) != 6:
        raise ValueError("a comment")
    score = number_of(parts[3 if len(parts) == 4 else 4 if len(parts) == 6 else 2])
    if score is None or (len(parts) == 4 and number_of(parts[2]) is None):
        raise ValueError(f"the score {parts[-2 if len(parts) == 6 else -1]} is no finite number")
    return parts[0], parts[2 if len(parts) == 6 else 1], score


def _are_ranks(file: Path, run: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether third columns count from 1 in every query; `DatasetError` where nobody can tell."""
    columns = [list(documents.values()) for documents in run.values()]
    if not all(sorted(column) == list(range(1, len(column) + 1)) for column in columns):
        return False
    if all(column == sorted(column) for column in columns):
        return True
    if all(column == sorted(column, reverse=True) for column in columns):
        return False
    raise DatasetError(
        f"{file}: the third column may be scores or ranks; sort each query's lines, best first, or "
        "write six columns"
    )
