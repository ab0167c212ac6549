"""Converts rows of JSON Lines, CSV and Parquet to documents.

Columns hold the text, the title and the id; all other columns become metadata.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resift.errors import SourceError
from resift.index.normalisation import is_visible
from resift.index.parsing.charset import has_controls, replace_controls
from resift.index.parsing.documents import ParsedDocument, ParsedFile, Section
from resift.index.parsing.options import Columns

_MAX_PROBLEMS = 20
"""The number of problems of a file that are listed; more are only counted."""
_MAX_DEPTH = 64
"""Levels of lists and objects in metadata; with more, readers of JSON run out of stack."""
_MAX_NAMES = 10_000
_MAX_SHOWN = 80
_MAX_REASON = 300
_MAX_FIELD = 1 << 16
"""Characters of one field of metadata, which is stored with every passage."""


class RowReader:
    """Collects the documents of one file; skips rows that cannot be documents."""

    def __init__(
        self, columns: Columns, row_word: str = "line", problems: Sequence[str] = ()
    ) -> None:
        """Use `row_word` for a row in ids and problems: ``line-3``, ``line 3: …``.

        `problems` of the whole file come first.
        """
        self._columns = columns
        self._row_word = row_word
        self._names: dict[str, None] = {}
        self._documents: dict[str, ParsedDocument] = {}
        self._problems = [(0, problem) for problem in problems]
        self._uncounted = 0

    def require_columns(self, names: Iterable[str]) -> None:
        """Raise `SourceError` if `names` lack the text column, or an id column that was named.

        That is a mistake in the options, which would replace the indexed documents by documents
        without text, or by none.
        """
        names = list(names)
        for name, kind in ((self._columns.text, "text"), (self._columns.id, "id")):
            if name is not None and name not in names:
                listed = ", ".join(map(_shown, names[:10])) or "none at all"
                if len(names) > 10 or len(listed) > _MAX_REASON:
                    listed = f"{listed[:_MAX_REASON]}, …"
                raise SourceError(
                    f"no column {name!r} in it, but {listed}:{_proposal(name, names)} name its "
                    f"column with the {kind} (--{kind}-column FILE=COLUMN)"
                )

    def index_columns(self, names: Sequence[str], header_row: int) -> dict[str, int]:
        """Map each name to its first column; report duplicates; raise as `require_columns`."""
        self.require_columns(names)
        index_by_name = {name: names.index(name) for name in names}
        for name in (name for name in index_by_name if names.count(name) > 1):
            reason = f"more than one column is called {name!r}: only the first is read"
            self.add_problem(header_row, reason)
        return index_by_name

    def add(self, number: int, fields: Mapping[str, Any]) -> None:
        """Add the row with this number, counted from 1; `fields` must hold JSON types.

        A row that the index could not store unchanged is a problem: numbers beyond 64 bits, too
        deep nesting, a NUL in its text. Other control characters become spaces.
        """
        if len(self._names) < _MAX_NAMES:
            self._names |= dict.fromkeys(fields)
        try:
            document = self._document(number, fields)
            if document.id in self._documents:
                raise ValueError(f"id {document.id!r} was used before: the first one is kept")
            self._documents[document.id] = document
        except ValueError as error:
            self.add_problem(number, str(error))

    def add_problem(self, number: int, reason: str) -> None:
        """Record that the row with this number, or a part of it, cannot be read."""
        if len(self._problems) < _MAX_PROBLEMS:
            line = f"{self._row_word} {number}: {reason[:_MAX_REASON]}"
            self._problems.append((number, line))
        else:
            self._uncounted += 1

    def parsed(self) -> ParsedFile:
        """Return all documents and the first problems, ordered by row, with a count of the others.

        Raise `SourceError` if no row has the text column, or an id column that was named.
        """
        if self._documents and len(self._names) < _MAX_NAMES:
            self.require_columns(self._names)
        problems = [line for _, line in sorted(self._problems, key=lambda problem: problem[0])]
        if self._uncounted:
            problems.append(f"and {self._uncounted:,} more {self._row_word}s that cannot be read")
        return ParsedFile(tuple(self._documents.values()), tuple(problems))

    def _document(self, number: int, fields: Mapping[str, Any]) -> ParsedDocument:
        columns = self._columns
        text = _string(fields, columns.text)
        title = _string(fields, columns.title)
        if not is_visible(text) and not is_visible(title):
            if columns.text in fields:
                raise ValueError("no text in it")
            proposal = _proposal(columns.text, fields)
            missing = f"it has no field {columns.text!r}{':' if proposal else ''}{proposal}"
            raise ValueError(f"no text in it: {missing}")
        # The title is also the text of a document without text.
        text = text if is_visible(text) else title
        metadata = {name: fields[name] for name in fields if name not in columns.not_metadata}
        for name, value in metadata.items():
            _check_metadata(name, value)
        id_ = self._id(number, fields)
        for name in [name for name, value in metadata.items() if _is_large(value)]:
            reason = f"{_shown(name)} is left out: over {_MAX_FIELD:,} characters"
            self.add_problem(number, reason)
            del metadata[name]
        return ParsedDocument(id_, title, text, (Section(0, len(text)),), metadata, number)

    def _id(self, number: int, fields: Mapping[str, Any]) -> str:
        values = (fields[name] for name in self._columns.ids if fields.get(name) is not None)
        id_ = next(values, "")
        if id_ == "":
            return f"{self._row_word}-{number}"
        if isinstance(id_, float) and id_.is_integer():
            id_ = int(id_)  # pandas writes whole numbers as floats if a value is missing
        if isinstance(id_, bool) or not isinstance(id_, str | int):
            raise ValueError("expected a string or a whole number as id")
        if isinstance(id_, str) and has_controls(id_):
            raise ValueError(f"control characters in its id {_shown(id_)}")
        return str(id_)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"expected a string in the field {name!r}, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"a NUL in the field {name!r}: not text")
    return replace_controls(value)


def same_letters(name: str, names: Iterable[str]) -> str | None:
    """Return the only one of `names` that differs from `name` in case or spaces alone."""
    same = [other for other in names if other.strip().casefold() == name.strip().casefold()]
    return same[0] if len(same) == 1 and same[0] != name else None


def _proposal(name: str, names: Iterable[str]) -> str:
    same = same_letters(name, names)
    return f" did you mean {_shown(same)!r}?" if same else ""


def metadata_problem(name: str, value: Any) -> str | None:
    """Return why a value of JSON types cannot be stored as metadata; None if it can."""
    try:
        _check_metadata(name, value)
    except ValueError as error:
        return str(error)
    if _is_large(value):
        return f"{_shown(name)} is left out: over {_MAX_FIELD:,} characters"
    return None


def _check_metadata(name: str, value: Any, depth: int = 0) -> None:
    """Raise `ValueError` for metadata that the index cannot store unchanged."""
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"a number beyond 64 bits in {_shown(name)}: write it as a string")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a number beyond what 64 bits hold in {_shown(name)}")
    elif isinstance(value, Mapping | list):
        if depth == _MAX_DEPTH:
            raise ValueError(f"{_shown(name)} is nested deeper than {_MAX_DEPTH} levels")
        for inner in value.values() if isinstance(value, Mapping) else value:
            _check_metadata(name, inner, depth + 1)


def _is_large(value: Any) -> bool:
    """Whether a text or structure is too long to be stored with every passage."""
    if isinstance(value, Mapping | list):
        value = json.dumps(value)
    return isinstance(value, str) and len(value) > _MAX_FIELD


def _shown(name: str) -> str:
    """Format a column's name for a message; a damaged file may have any characters in it."""
    return name if name.isprintable() and len(name) <= _MAX_SHOWN else ascii(name[:40])
