"""Options of parsing: the columns of tables, and the limits for one file."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from resift.errors import InputError, SourceError, shown

_MIN_MEMORY_MB = 512
"""The memory of Python, a tokenizer and an office parser before they read anything."""

MIN_SECONDS = 1
"""The pool checks the deadline every 0.1 s, and a parser may wait as long for a core."""

MAX_LIMIT = 10**12
"""Practically no limit, but still a number that the system accepts."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns by which rows of JSON Lines, CSV and Parquet become documents.

    `id` None means ``_id``, or else ``id``; rows without an id are named after their number. Every
    other column becomes metadata under its own name.
    """

    text: str = "text"
    title: str = "title"
    id: str | None = None

    def __post_init__(self) -> None:
        for name in ("text", "title", "id"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "id" and value is None):
                raise InputError(f"{name}={shown(value)}: expected the name of a column")

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that may hold the id; the first one in a row wins."""
        return (self.id,) if self.id is not None else ("_id", "id")

    @property
    def not_metadata(self) -> frozenset[str]:
        """The columns that become a document's text, title and id."""
        return frozenset({self.text, self.title, *self.ids})

    @property
    def fingerprint(self) -> str:
        """Equal for columns that turn the same rows into the same documents."""
        return _fingerprint(self)


@lru_cache(64)  # each object of a source asks for it
def _fingerprint(columns: Columns) -> str:
    return json.dumps(asdict(columns), sort_keys=True)


def columns_from_fingerprint(fingerprint: str) -> Columns:
    """Read the columns in a parsing fingerprint; the defaults for a format without columns."""
    at = fingerprint.find("{")
    return Columns(**json.JSONDecoder().raw_decode(fingerprint[at:])[0]) if at >= 0 else Columns()


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """The limits for one file. A file over a limit is skipped, with a reason that names the limit.

    `max_bytes` limits the file and its unpacked size, `max_pages` the pages of a PDF and the
    slides of a presentation. `max_seconds` limits the wall-clock time of a file or, in a file of
    rows, of each thousand rows. `memory_mb` (2^20 bytes) limits the address space of a parser
    process. Raise `InputError` for limits too low to read anything.
    """

    max_bytes: int = 100_000_000
    max_pages: int = 5_000
    max_seconds: float = 60.0
    memory_mb: int = 2_048

    def __post_init__(self) -> None:
        minimums = {"max_seconds": MIN_SECONDS, "memory_mb": _MIN_MEMORY_MB}
        for name, value in asdict(self).items():
            minimum = minimums.get(name, 1)
            if type(value) not in (int, float) or not minimum <= value <= MAX_LIMIT:
                expected = f"expected a number from {minimum:,} to {MAX_LIMIT:,}"
                raise InputError(f"{name}={shown(value)}: {expected}")

    def check_bytes(self, size: int, subject: str = "the file has") -> None:
        """Raise `SourceError` if `size` is over `max_bytes`."""
        if size > self.max_bytes:
            raise SourceError(
                f"{subject} {size:,} bytes: the limit is {self.max_bytes:,} (max_bytes)"
            )

    def check_pages(self, pages: int) -> None:
        """Raise `SourceError` if `pages` is over `max_pages`."""
        if pages > self.max_pages:
            raise SourceError(
                f"it has {pages:,} pages: the limit is {self.max_pages:,} (max_pages)"
            )

    @property
    def too_slow(self) -> str:
        """The reason for a file that took too long."""
        return f"took longer than {self.max_seconds:g} s to read (max_seconds)"

    @property
    def too_large(self) -> str:
        """The reason for a file that needs too much memory."""
        return f"needs more than {self.memory_mb:,} MB of memory to read (memory_mb)"


NO_LIMITS = ParseLimits(MAX_LIMIT, MAX_LIMIT, MAX_LIMIT, MAX_LIMIT)


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """All options of parsing a file. With `with_text` chunked documents have their whole text."""

    columns: Columns = Columns()
    limits: ParseLimits = ParseLimits()
    with_text: bool = False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ParseOptions":
        """Read the result of `dataclasses.asdict`."""
        return cls(Columns(**value["columns"]), ParseLimits(**value["limits"]), value["with_text"])


DEFAULTS = ParseOptions()
