"""RowReader to documents: which column is the text, which the title and the id; the rest is metadata.

Knows nothing of files: JSON Lines, CSV and Parquet hand in their rows as they read them.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resift.errors import InputError, SourceError, shown
from resift.index.normalisation import is_visible
from resift.index.parsing.charset import has_controls, without_controls
from resift.index.parsing.documents import Parsed, ParsedDocument, Section

_MOST_PROBLEMS = 20
"""Problems of a file that are told one by one; more are counted."""
_DEEPEST = 64
"""Levels of lists and objects in metadata: beyond, readers of JSON run out of stack."""
_MOST_NAMES = 10_000
_LONGEST_SHOWN = 80
_LONGEST_REASON = 300
_LARGEST_FIELD = 1 << 16
"""Characters of one field of metadata: it is kept, and can be filtered by, beside every passage."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that rows of JSON Lines, CSV and Parquet become documents by.

    `id` None means ``_id``, or else ``id``; rows without one are named after their number. Every
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
        """The columns that are looked for an id in, the first that is there wins."""
        return (self.id,) if self.id is not None else ("_id", "id")

    @property
    def own(self) -> frozenset[str]:
        """The columns that are no metadata."""
        return frozenset({self.text, self.title, *self.ids})

    @property
    def fingerprint(self) -> str:
        """Equal where the same rows become the same documents."""
        return json.dumps(asdict(self), sort_keys=True)

    def check(self, names: Iterable[str]) -> None:
        """Raise `SourceError` if a table with these columns has no text, or not the named id.

        A text column that is nowhere is a slip: documents of nothing but their titles, or none,
        would take the place of those that are indexed.
        """
        names = list(names)
        if self.text not in names:
            raise SourceError(
                f"no column {self.text!r} in it, but {_listed(names)}: name the text's column"
            )
        if self.id is not None and self.id not in names:
            raise SourceError(
                f"no column {self.id!r} in it, but {_listed(names)}: name the ids' column"
            )


def _listed(names: list[str]) -> str:
    """Names of columns for a message."""
    there = ", ".join(_shown(name) for name in names[:10]) or "none at all"
    if len(names) > 10 or len(there) > _LONGEST_REASON:
        there = f"{there[:_LONGEST_REASON]}, …"
    return there


def columns_of(made_by: str) -> Columns | None:
    """The columns in a parser's fingerprint; None where it has none, for they did not count."""
    at = made_by.find("{")
    return Columns(**json.JSONDecoder().raw_decode(made_by[at:])[0]) if at >= 0 else None


class RowReader:
    """Gathers the documents of one file. A row that cannot be one costs nothing but itself."""

    def __init__(self, columns: Columns, word: str = "line", problems: Sequence[str] = ()) -> None:
        """`word` is what a row is called in names and problems: ``line-3``, ``line 3: …``.

        `problems` are the file's own, which come first.
        """
        self._columns = columns
        self._word = word
        self._names: dict[str, None] = {}
        self._documents: dict[str, ParsedDocument] = {}
        self._problems = [(0, problem) for problem in problems]
        self._more = 0

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Take the row that stands at `number`, counted from 1; `fields` must be JSON's types.

        A row that the index could not hold as it is, is a fault: numbers beyond 64 bits, nesting
        without end, a NUL in its text. Other control characters in it are read as spaces.
        """
        if len(self._names) < _MOST_NAMES:
            self._names |= dict.fromkeys(fields)
        try:
            document = self._document(number, fields)
            if document.id in self._documents:
                raise ValueError(f"id {document.id!r} was used before: the first one is kept")
            self._documents[document.id] = document
        except ValueError as error:
            self.fault(number, str(error))

    def fault(self, number: int, reason: str) -> None:
        """Note that the row at `number` cannot be read."""
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append((number, f"{self._word} {number}: {reason[:_LONGEST_REASON]}"))
        else:
            self._more += 1

    def parsed(self) -> Parsed:
        """All documents, and the first problems by row, with a count of those left out.

        Raises `SourceError` where the column of the text, or the one that was named for ids, is in
        no row.
        """
        if self._documents and len(self._names) < _MOST_NAMES:
            self._columns.check(self._names)
        rest = [f"and {self._more:,} more {self._word}s that cannot be read"] if self._more else []
        problems = [text for _, text in sorted(self._problems, key=lambda problem: problem[0])]
        return Parsed(tuple(self._documents.values()), (*problems, *rest))

    def _document(self, number: int, fields: Mapping[str, Any]) -> ParsedDocument:
        columns = self._columns
        text = _string(fields, columns.text)
        title = _string(fields, columns.title)
        if not is_visible(text) and not is_visible(title):
            missing = "" if columns.text in fields else f": it has no field {columns.text!r}"
            raise ValueError(f"no text in it{missing}")
        # A document may be all title: that is what there is to find and to read.
        text = text if is_visible(text) else title
        metadata = {name: value for name, value in fields.items() if name not in columns.own}
        for name, value in metadata.items():
            _check(name, value)
        id_ = self._name(number, fields)
        for name in [name for name, value in metadata.items() if _is_large(value)]:
            self.fault(number, f"{_shown(name)} is left out: over {_LARGEST_FIELD:,} characters")
            del metadata[name]
        return ParsedDocument(id_, title, text, (Section(0, len(text)),), metadata, number)

    def _name(self, number: int, fields: Mapping[str, Any]) -> str:
        there = (fields[name] for name in self._columns.ids if fields.get(name) is not None)
        name = next(there, "")
        if name == "":
            return f"{self._word}-{number}"
        if isinstance(name, float) and name.is_integer():
            name = int(name)  # pandas writes whole numbers so where one of them is missing
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ValueError("expected a string or a whole number as id")
        if isinstance(name, str) and has_controls(name):
            raise ValueError(f"control characters in its id {_shown(name)}")
        return str(name)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"expected a string in the field {name!r}, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"a NUL in the field {name!r}: not text")
    return without_controls(value)


def _check(name: str, value: Any, depth: int = 0) -> None:
    """Raise `ValueError` for metadata that the index would not give back as it is."""
    if isinstance(value, str):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"a number beyond 64 bits in {_shown(name)}: write it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a number beyond what 64 bits hold in {_shown(name)}")
    elif isinstance(value, Mapping | list):
        if depth == _DEEPEST:
            raise ValueError(f"{_shown(name)} is nested deeper than {_DEEPEST} levels")
        for inner in value.values() if isinstance(value, Mapping) else value:
            _check(name, inner, depth + 1)


def _is_large(value: Any) -> bool:
    """Whether a field is a text or a structure that does not belong beside every passage."""
    if isinstance(value, Mapping | list):
        value = json.dumps(value)
    return isinstance(value, str) and len(value) > _LARGEST_FIELD


def _shown(name: str) -> str:
    """A column's name in a message: one line of it, whatever a damaged file names its columns."""
    return name if name.isprintable() and len(name) <= _LONGEST_SHOWN else ascii(name[:40])
