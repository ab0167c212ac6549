"""Lines of text files: plain or gzipped, UTF-8 or UTF-16, any line ends; fields and JSON objects.

What cannot be opened or unpacked raises `DatasetError`. So does a line that is not text, with its
number, so that a reader may skip that line alone.
"""

import codecs
import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from resift.errors import DatasetError
from resift.files import HEAD_BYTES
from resift.files import STDOUT as STDIN
from resift.inputs import chunks, lines, open_input

BLANKS = " \t\r\n\v\f"
"""What separates fields. Not a no-break space, which may be part of an id."""

HEADINGS = frozenset(
    "query query_id query-id queryid qid q_id topic topic_id topic-id id _id".split()
)
"""Names of the first column in a heading."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP_MARK = b"\x1f\x8b"


def read_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes in UTF-8 without the line end.

    Raises `DatasetError` where there is no file, it cannot be unpacked, or a line never ends.
    """
    number = 0
    try:
        with ExitStack() as opened:
            for number, line in enumerate(lines(file, _open(file, opened)), 1):
                yield number, line.removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: no such file") from error
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        where = "" if isinstance(error, OSError) and not number else f" as text after line {number}"
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{file}: cannot be read{where} ({reason})") from error
    except ValueError as error:  # a NUL in the name
        raise DatasetError(f"{str(file)!r}: not a valid file name") from error


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """As `read_lines`, decoded; raises `DatasetError` for a line that is not text."""
    for number, line in read_lines(file):
        yield number, _decoded(file, number, line)


def _decoded(file: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}:{number}: is not UTF-8 text; save the file as UTF-8") from error
    if "\0" in text:
        raise DatasetError(f"{file}:{number}: has NUL bytes in it; expected text in UTF-8")
    return text


def fields(line: str, expected: Sequence[int]) -> list[str]:
    """Fields separated by tabs, blanks or commas, whichever gives an `expected` number of them.

    Only tabs and commas allow blanks within fields; those around a field are removed.
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
    """Fields between commas, which may be quoted; empty where the line is not CSV."""
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
    """Whether a line that could not be parsed is a comment, or blank."""
    return line.startswith("#") or not line.strip(BLANKS)


def json_objects(
    file: Path, expected: str, skipped: "SkippedLines | None" = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file, with their line numbers.

    A line that holds none is counted in `skipped`, or raises `DatasetError` without it; `expected`
    is part of the message.
    """
    for number, line in read_lines(file):
        try:
            text = _decoded(file, number, line)
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
    """Counts the lines of a file that were skipped; an error where they are the majority."""

    def __init__(self, file: Path, kind: str) -> None:
        self._file, self._kind = file, kind
        self._first: tuple[int, str] | None = None
        self._count = 0

    def add(self, number: int, reason: str) -> None:
        self._first = self._first or (number, reason)
        self._count += 1

    def notes(self, read: int) -> tuple[str, ...]:
        """A sentence about them, if any; `DatasetError` where they outnumber the `read` lines."""
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
    """The beginning of a file's content, given the file's first bytes; empty for broken gzip."""
    if not head.startswith(_GZIP_MARK):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _open(file: Path, opened: ExitStack) -> Iterator[bytes]:
    """The bytes of a file, unpacked where it is gzipped; UTF-16 as UTF-8."""
    if file.is_dir():
        raise DatasetError(f"{file}: is a folder, expected a file")
    raw = _stdin() if str(file) == STDIN else opened.enter_context(open_input(file))
    stream: io.BufferedReader | gzip.GzipFile = raw
    if raw.peek(2)[:2] == _GZIP_MARK:
        stream = opened.enter_context(gzip.open(raw, "rb"))
    elif file.suffix == ".gz" and raw.peek(1):
        raise DatasetError(f"{file}: ends in .gz and is not gzipped; rename it, or gzip it")
    if stream.peek(2)[:2] in _UTF16_MARKS:
        return (text.encode() for text in codecs.iterdecode(chunks(stream), "utf-16"))
    return chunks(stream)


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:  # closed by the parent process
        raise DatasetError("-: stdin is closed; name a file")
    return cast(io.BufferedReader, sys.stdin.buffer)
