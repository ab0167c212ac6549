"""The contents of lines: fields, numbers and JSON objects; and counts of lines that are skipped."""

import csv
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.files import HEAD_BYTES
from resift.inputs import GZIP_MARK, decode_line, read_lines

BLANKS = " \t\r\n\v\f"
"""Separators of fields. A no-break space is not among them: it may be part of an id."""

HEADINGS = frozenset(
    "query query_id query-id queryid qid q_id topic topic_id topic-id id _id".split()
)
"""Names of the first column in a heading."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def fields(line: str, expected: Sequence[int]) -> list[str]:
    """Split a line at tabs, blanks or commas, whichever gives an `expected` number of fields.

    Between tabs or commas, a field may contain blanks. Blanks around a field are removed.
    """
    line = line.strip(BLANKS)
    by_tab = [field.strip(BLANKS) for field in line.split("\t")]
    if "\t" in line and _fits(by_tab, expected):
        return by_tab
    by_blank = re.split(f"[{BLANKS}]+", line)
    end_in_commas = all(field.endswith(",") for field in by_blank[:-1])  # as in: a, b, c
    if _fits(by_blank, expected) and not ("," in line and "\t" not in line and end_in_commas):
        return by_blank
    by_comma = _comma_fields(line) if "," in line and "\t" not in line else []
    if _fits(by_comma, expected):
        return by_comma
    return by_tab if "\t" in line else by_blank


def _fits(parts: Sequence[str], expected: Sequence[int]) -> bool:
    return len(parts) in expected and all(parts)


def _comma_fields(line: str) -> list[str]:
    """Fields between commas, which may be quoted; an empty list if the line is not CSV."""
    try:
        return [field.strip(BLANKS) for field in next(csv.reader([line]), [])]
    except csv.Error:  # a field beyond the CSV module's limit
        return []


def parse_number(field: str) -> float | None:
    """A finite number such as ``3``, ``-.5`` or ``1e3``; None for anything else."""
    if not _NUMBER.fullmatch(field):
        return None
    value = float(field)
    return value if abs(value) < float("inf") else None


def is_comment(line: str) -> bool:
    """Whether a line that could not be parsed is a comment or blank."""
    return line.startswith("#") or not line.strip(BLANKS)


def json_objects(
    file: Path, expected: str, skipped: "SkippedLines | None" = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the object of each line of a JSON Lines file.

    A line without an object is counted in `skipped`; if that is None, it raises `DatasetError`.
    `expected` is part of the message.
    """
    for number, line in read_lines(file):
        try:
            text = decode_line(file, number, line)
            if is_comment(text):
                continue
            row = json.loads(text)
            if not isinstance(row, dict):
                raise ValueError(f"a {type(row).__name__}, not an object")
            yield number, row
        except (ValueError, RecursionError, DatasetError) as error:
            reason = f"{expected} ({error})"
            if isinstance(error, DatasetError):
                reason = str(error).removeprefix(f"{file}:{number}: ")
            if skipped is None:
                raise DatasetError(f"{file}:{number}: {reason}") from error
            skipped.add(number, reason)


def json_id(row: Mapping[str, Any]) -> str:
    """The ``_id`` of a row, as text; raises `ValueError` unless it is text or a whole number."""
    value = row["_id"] if "_id" in row else row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip(BLANKS):
        raise ValueError(f"_id is {value!r:.40}, expected text or a whole number")
    return value


class SkippedLines:
    """Counts the skipped lines of a file. Raises an error if most lines are skipped."""

    def __init__(self, file: Path, kind: str) -> None:
        self._file, self._kind = file, kind
        self._first: tuple[int, str] | None = None
        self._count = 0

    def add(self, number: int, reason: str) -> None:
        self._first = self._first or (number, reason)
        self._count += 1

    def notes(self, read: int) -> tuple[str, ...]:
        """A sentence about the skipped lines, or nothing if there are none.

        Raises `DatasetError` if they outnumber the lines that were `read`.
        """
        if self._first is None:
            return ()
        number, reason = self._first
        if self._count > read:
            raise DatasetError(
                f"{self._file}:{number}: {reason}; {self._count} of {self._count + read} lines "
                "cannot be read"
            )
        return (
            f"{self._count} of {self._count + read} {self._kind} of {self._file} are left out, "
            f"the first is line {number}: {reason}",
        )


def unpacked_head(head: bytes) -> bytes:
    """Unpack the first bytes of a file if they are gzip; empty for broken gzip."""
    if not head.startswith(GZIP_MARK):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""
