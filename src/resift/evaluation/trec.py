"""Judgments and runs, in TREC's formats and in variants that other tools write."""

import gzip
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from resift.errors import DatasetError
from resift.evaluation.lines import (
    HEADINGS,
    fields,
    is_comment,
    parse_number,
    unpacked_head,
)
from resift.files import HEAD_BYTES, output
from resift.inputs import text_lines

JUDGMENTS_FILE = "judgments.tsv"
"""The file that ``resift judge`` writes beside the queries."""

MAX_GRADE = 1_000
"""Largest absolute grade; evaluators allocate an array with an entry per grade."""

MIN_STEP = 1e-4
"""Least difference between neighbouring scores, so that sorting by score keeps the order."""

SINGLE_PRECISION_STEP = 5e-7
"""The same as a share of the score, for tools that read single precision."""

RANK_CONSTANT = 60
"""Ranks without scores become 1 / (constant + rank), as in reciprocal rank fusion."""

TAG = "resift"
KIND = "a run that resift wrote"

_WRITTEN_LINE = re.compile(rb"\S+ Q0 \S+ [1-9]\d* -?\d+\.\d{6} " + TAG.encode())
_QRELS_COLUMNS, _RUN_COLUMNS = (3, 4), (3, 4, 6)
_ITERATIONS = ("Q0", "q0")
_QRELS_FORM = "expected query, document and grade (or  query 0 document grade)"
_RUN_FORM = (
    "expected  query_id Q0 doc_id rank score tag  (or  query_id doc_id score, or  query_id doc_id "
    "rank  as in MS MARCO)"
)

Qrels = Mapping[str, Mapping[str, float]]
"""Query ids to the grades of their judged documents."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One line of a run."""

    doc_id: str
    score: float


Run = Mapping[str, Sequence[RunEntry]]


def read_qrels(file: Path) -> dict[str, dict[str, float]]:
    """Read query ids to grades by document id; whole grades are int, others (1.5) float.

    Fields are separated by tabs, blanks or commas; a heading and comments (``#``) are skipped.
    Raises `DatasetError` for other lines, two grades of one pair and a file that cannot be read.
    """
    qrels: dict[str, dict[str, float]] = {}
    for number, _, (query_id, doc_id, grade) in _rows(file, _QRELS_COLUMNS, _judgment, _QRELS_FORM):
        if qrels.setdefault(query_id, {}).setdefault(doc_id, grade) != grade:
            raise DatasetError(
                f"{file}:{number}: another grade for {doc_id} of query {query_id} above; "
                "expected one"
            )
    return qrels


def find_qrels(folder: Path) -> Path | None:
    """Find the published judgments of a BEIR folder, or None."""
    for name in ("qrels.tsv", "qrels/test.tsv"):
        for file in (folder / name, folder / f"{name}.gz"):
            if os.path.lexists(file):  # reading reports an error if it is not a file
                return file
    return None


def read_all_qrels(folder: Path) -> tuple[dict[str, dict[str, float]], list[Path]]:
    """Read the published judgments of a folder and those of ``resift judge``; returns files too.

    If both have a pair, the published grade counts.
    """
    files = [
        file
        for file in (find_qrels(folder), folder / JUDGMENTS_FILE)
        if file is not None and os.path.lexists(file)
    ]
    merged: dict[str, dict[str, float]] = {}
    for file in files:
        for query_id, grades in read_qrels(file).items():
            merged[query_id] = grades | merged.get(query_id, {})
    return merged, files


def read_run(file: Path) -> dict[str, list[RunEntry]]:
    """Read query ids to entries, sorted by score as TREC tools do; ties keep the file's order.

    The third of three columns is a score, or a rank if it counts from 1 in every query. A repeated
    line counts once. Raises `DatasetError` for any other line, a score that is not a number, and
    two scores of one document.
    """
    run: dict[str, dict[str, float]] = {}
    columns = 0
    for number, columns, (query_id, doc_id, score) in _rows(
        file, _RUN_COLUMNS, _run_entry, _RUN_FORM, same_columns=True
    ):
        before = run.setdefault(query_id, {}).setdefault(doc_id, score)
        if before != score:
            raise DatasetError(
                f"{file}:{number}: {doc_id} occurs twice for query {query_id}, with scores "
                f"{before:g} and {score:g}; expected it once"
            )
    if not run:
        raise DatasetError(f"{file}: empty; {_RUN_FORM}")
    if columns == 3 and _has_ranks(file, run):
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
    """Write a run, gzipped for ``.gz``; ``-`` is stdout. The file is written whole or not at all.

    Raises `OutputError` if the file cannot be written, or exists and is not a run of resift.
    """
    with output(file, KIND, is_written_run) as out:
        if file.suffix != ".gz":
            out.writelines(line.encode() for line in lines)
            return
        with gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed:
            packed.writelines(line.encode() for line in lines)


def is_written_run(head: bytes) -> bool:
    """Whether these first bytes are those of a run of `write_run`, gzipped or not."""
    content = unpacked_head(head)
    whole_lines = content.splitlines()[: -1 if len(content) >= HEAD_BYTES else None]
    return bool(whole_lines) and all(map(_WRITTEN_LINE.fullmatch, whole_lines))


def run_lines(query_id: str, ranked: Sequence[tuple[str, float]]) -> list[str]:
    """The lines of (doc_id, score) in rank order; scores are lowered so that they decrease."""
    lines = []
    previous = math.inf
    for rank, (doc_id, score) in enumerate(ranked, 1):
        if math.isfinite(previous):
            step = max(MIN_STEP, SINGLE_PRECISION_STEP * abs(previous))
            score = min(score, previous - step)
        previous = score
        lines.append(f"{query_id} Q0 {doc_id} {rank} {score:.6f} {TAG}\n")
    return lines


def _rows(
    file: Path,
    columns: Sequence[int],
    parse: Callable[[list[str]], Row],
    form: str,
    *,
    same_columns: bool = False,
) -> Iterator[tuple[int, int, Row]]:
    """Yield line number, number of columns and parsed row; comments and a heading are skipped.

    Raises `DatasetError`, which quotes the `form`, if `parse` raises `ValueError` or a line has
    another number of `columns`. With `same_columns`, all lines must have as many as the first.
    """
    expected = columns
    is_first = True
    for number, line in text_lines(file):
        try:
            parts = fields(line, expected)
            if len(parts) not in columns or not all(parts):
                raise ValueError(f"{len(parts)} fields")
            if len(parts) not in expected:
                raise ValueError(f"{len(parts)} fields, the lines before have {expected[0]}")
            row = parse(parts)
        except ValueError as error:
            if is_comment(line) or (is_first and fields(line, columns)[0].lower() in HEADINGS):
                continue
            raise DatasetError(f"{file}:{number}: {form}; {error}") from None
        is_first = False
        if same_columns:
            expected = (len(parts),)
        yield number, len(parts), row


def _judgment(parts: Sequence[str]) -> tuple[str, str, float]:
    if parts[0] == "#":
        raise ValueError("a comment")
    if len(parts) == 4 and parts[1] not in _ITERATIONS and parse_number(parts[1]) is None:
        raise ValueError(f"the second of four fields is {parts[1]}; ids with blanks need tabs")
    grade = parse_number(parts[-1])
    if grade is None or abs(grade) > MAX_GRADE:
        raise ValueError(f"the grade {parts[-1]} is not a number in -{MAX_GRADE}..{MAX_GRADE}")
    return parts[0], parts[-2], int(grade) if grade.is_integer() else grade


def _run_entry(parts: Sequence[str]) -> tuple[str, str, float]:
    """Parse query, document and score."""
    is_full = len(parts) == 6
    if parts[0] == "#" and not is_full:
        raise ValueError("a comment")
    text = parts[4] if is_full else parts[-1]
    score = parse_number(text)
    if score is None or (len(parts) == 4 and parse_number(parts[2]) is None):
        raise ValueError(f"the score {text} is not a finite number")
    return parts[0], parts[2 if is_full else 1], score


def _has_ranks(file: Path, run: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether third columns count from 1 in every query; raises `DatasetError` if ambiguous."""
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
