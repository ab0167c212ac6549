"""Judgments: ``query doc grade`` or TREC's ``query 0 doc grade`` a line, whoever wrote them.

A grade is a number: whole ones are read as int, others (1.5) as they are. What becomes of a part of
a grade is up to each measure: see `measures.Evaluator`.
"""

import os
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.lines import fields, is_comment, is_heading, number_of, text_lines

JUDGMENTS = "judgments.tsv"
"""What ``resift judge`` writes beside the queries."""

MOST = 1_000
"""The greatest grade, and minus the least: evaluators keep a list of all that there are."""

_ITERATIONS = ("Q0", "q0")
_FORM = "expected query, document and grade (or  query 0 document grade)"


def read_qrels(file: Path) -> dict[str, dict[str, float]]:
    """Query ids to their documents' grades.

    Between tabs, blanks or commas; with a heading or none; lines that begin with # and are no
    judgment are comments. Raises `DatasetError` for other lines, two grades of one document and a
    file that cannot be read.
    """
    qrels: dict[str, dict[str, float]] = {}
    for number, line in text_lines(file):
        try:
            query_id, doc_id, grade = _judgment(line)
        except ValueError as error:
            if is_comment(line) or (not qrels and is_heading(fields(line, (3, 4))[0])):
                continue
            raise DatasetError(f"{file}:{number}: {_FORM}; {error}") from None
        if qrels.setdefault(query_id, {}).setdefault(doc_id, grade) != grade:
            raise DatasetError(
                f"{file}:{number}: another grade for {doc_id} of query {query_id} above; expected "
                "one"
            )
    return qrels


def find_qrels(folder: Path) -> Path | None:
    """Where a BEIR folder has its judgments, if it has any."""
    for name in ("qrels.tsv", "qrels/test.tsv"):
        for file in (folder / name, folder / f"{name}.gz"):
            if os.path.lexists(file):  # what is no file is said where it is read
                return file
    return None


def read_all_qrels(folder: Path) -> tuple[dict[str, dict[str, float]], list[Path]]:
    """What a folder's published judgments say, and what ``resift judge`` has added beside them.

    The published grade of a pair stands. With the files that were read.
    """
    published, added = find_qrels(folder), folder / JUDGMENTS
    files = [file for file in (published, added) if file is not None and os.path.lexists(file)]
    merged: dict[str, dict[str, float]] = {}
    for file in files:
        for query_id, grades in read_qrels(file).items():
            merged[query_id] = grades | merged.get(query_id, {})
    return merged, files


def _judgment(line: str) -> tuple[str, str, float]:
    """Raises `ValueError` where a line is none."""
    parts = fields(line, (3, 4))
    if len(parts) not in (3, 4) or not all(parts):
        raise ValueError(f"{len(parts)} fields")
    if parts[0] == "#":
        raise ValueError("a comment")
    if len(parts) == 4 and parts[1] not in _ITERATIONS and number_of(parts[1]) is None:
        raise ValueError(f"the second of four fields is {parts[1]}; ids with blanks need tabs")
    grade = number_of(parts[-1])
    if grade is None or abs(grade) > MOST:
        raise ValueError(f"the grade {parts[-1]} is no number in -{MOST}..{MOST}")
    return parts[0], parts[-2], int(grade) if grade.is_integer() else grade
