"""Lines of files as people have them: packed or not, UTF-8 or UTF-16, any line ends, any blanks.

Knows no format. What cannot be opened or unpacked raises `DatasetError`; a single line that is no
text can be named by its number, so that it costs itself.
"""

import codecs
import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from resift.errors import DatasetError
from resift.files import STDOUT as STDIN
from resift.inputs import chunks, lines, open_input

BLANKS = " \t\r\n\v\f"
"""What parts fields. Not a no-break space, which may stand in an id."""

HEADINGS = frozenset(
    "query query_id query-id queryid qid q_id topic topic_id topic-id id _id".split()
)
"""What the first field of a heading may be called."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP = b"\x1f\x8b"


def read_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Each line's number, from 1, and its bytes in UTF-8 without its end.

    Raises `DatasetError` for what is no file, one that cannot be unpacked, and an endless line.
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
        raise DatasetError(f"{str(file)!r}: no name that a file can have") from error


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The same as text; raises `DatasetError` for a line that is none."""
    for number, line in read_lines(file):
        yield number, as_text(file, number, line)


def as_text(file: Path, number: int, line: bytes) -> str:
    """A line as text; raises `DatasetError` for one that is none."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}:{number}: is not UTF-8 text; save the file as UTF-8") from error
    if "\0" in text:
        raise DatasetError(f"{file}:{number}: has NUL bytes in it; expected text in UTF-8")
    return text


def fields(line: str, expected: Sequence[int]) -> list[str]:
    """The fields of a line between tabs, blanks or commas, whichever gives an `expected` number.

    Only tabs and commas leave blanks inside of fields; those around them are taken away.
    """
    line = line.strip(BLANKS)
    if "\t" in line:
        tabbed = [field.strip(BLANKS) for field in line.split("\t")]
        if _fits(tabbed, expected):
            return tabbed
    blanked = re.split(f"[{BLANKS}]+", line)
    is_parted = _fits(blanked, expected) and not _commas_part(blanked)
    if "," in line and "\t" not in line and not is_parted:
        parted = _parted(line)
        if _fits(parted, expected):
            return parted
    return blanked if "\t" not in line or _fits(blanked, expected) else tabbed


def _fits(parts: Sequence[str], expected: Sequence[int]) -> bool:
    return len(parts) in expected and all(parts)


def _parted(line: str) -> list[str]:
    """Fields between commas, which may be quoted; none where they cannot be."""
    try:
        return [field.strip(BLANKS) for field in next(csv.reader([line]), [])]
    except csv.Error:  # a field as long as a book
        return []


def _commas_part(parts: Sequence[str]) -> bool:
    """Whether what stands between blanks ends in commas, as in ``a, b, c``."""
    return all(part.endswith(",") for part in parts[:-1])


def number_of(field: str) -> float | None:
    """A finite number as programs write it, such as ``3``, ``-.5`` or ``1e3``; None for others."""
    if not _NUMBER.fullmatch(field):
        return None
    value = float(field)
    return value if abs(value) < float("inf") else None


def is_heading(first: str) -> bool:
    """Whether a first line that is nothing else is the heading of its columns."""
    return first.lower() in HEADINGS


def is_comment(line: str) -> bool:
    """Whether a line that is nothing else is a comment, or blank."""
    return line.startswith("#") or not line.strip(BLANKS)


class Skipped:
    """Lines of a file that were passed over, counted; most of them are too many."""

    def __init__(self, file: Path, what: str) -> None:
        self._file, self._what = file, what
        self._first: tuple[int, str] | None = None
        self._skipped = 0

    def note(self, number: int, reason: str) -> None:
        """A line cannot be read."""
        self._first = self._first or (number, reason)
        self._skipped += 1

    def notes(self, read: int) -> tuple[str, ...]:
        """What to say of it beside `read` good lines; `DatasetError` where these are fewer."""
        if self._first is None:
            return ()
        number, reason = self._first
        if self._skipped > read:
            raise DatasetError(
                f"{self._file}:{number}: {reason}; {self._skipped} of {self._skipped + read} lines "
                "cannot be read"
            )
        return (
            f"{self._skipped} of {self._skipped + read} {self._what} of {self._file} are left out, "
            f"the first is line {number}: {reason}",
        )


def _open(file: Path, opened: ExitStack) -> Iterator[bytes]:
    """The bytes of a file, unpacked where they are packed; UTF-16 as UTF-8."""
    if file.is_dir():
        raise DatasetError(f"{file}: is a folder, expected a file")
    raw = _stdin() if str(file) == STDIN else opened.enter_context(open_input(file))
    stream: io.BufferedReader | gzip.GzipFile = raw
    if raw.peek(2)[:2] == _GZIP:
        stream = opened.enter_context(gzip.open(raw, "rb"))
    elif file.suffix == ".gz" and raw.peek(1):
        raise DatasetError(f"{file}: ends in .gz and is not packed; rename it, or pack it")
    if stream.peek(2)[:2] in _WIDE:
        return (text.encode() for text in codecs.iterdecode(chunks(stream), "utf-16"))
    return chunks(stream)


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:  # closed by whoever started this process
        raise DatasetError("-: stdin is closed; name a file")
    return cast(io.BufferedReader, sys.stdin.buffer)
