"""Rows of a table as candidates: which columns they have, and the lists of both retrievers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from resift.errors import InputError, shown
from resift.retrievers.arguments import checked_field, checked_names, optional_field
from resift.retrievers.fuse import DEEPER, fuse
from resift.search.options import Mode
from resift.types import Candidate

Retrieve = Callable[[int], list[Candidate]]
"""The best candidates of one retriever, so many at most."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that make a candidate; those in `metadata` become its metadata, by name."""

    id: str
    text: str
    title: str | None = None
    metadata: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order of a row that `candidate` reads."""
        title = () if self.title is None else (self.title,)
        return (self.id, self.text, *title, *self.metadata)

    def candidate(self, row: Sequence[Any], rank: int, score: Any) -> Candidate:
        """A row with the values of `names` as a candidate; a text that is no string stays so."""
        name, text, *others = row
        title = None if self.title is None else others.pop(0)
        return Candidate(
            id=str(text if name is None else name),  # a null would be one id of many rows
            text=text,
            title=title if isinstance(title, str) else "",
            metadata=dict(zip(self.metadata, others, strict=True)),
            rank=rank,
            score=None if score is None else float(score),
        )

    def candidates(self, rows: Sequence[Sequence[Any]]) -> list[Candidate]:
        """Rows with a score behind the values of `names`, best first, as candidates."""
        return [self.candidate(row[:-1], rank, row[-1]) for rank, row in enumerate(rows, start=1)]


def checked_columns(id: object, text: object, title: object, metadata: object) -> Columns:
    """Column names from a caller. Raises `InputError`."""
    return Columns(
        id=checked_field("id", id),
        text=checked_field("text", text),
        title=optional_field("title", title),
        metadata=checked_names("metadata", metadata),
    )


def quoted(name: str) -> str:
    """An identifier in SQL: between double quotes, those in it doubled."""
    return '"' + name.replace('"', '""') + '"'


def checked_where(where: object, parameters: object) -> tuple[str | None, tuple[Any, ...]]:
    """A condition in SQL and the values of its placeholders. Raises `InputError`."""
    if where is not None and (not isinstance(where, str) or not where.strip()):
        raise InputError(f"where={shown(where)}: expected a condition in SQL, or None")
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise InputError(f"parameters={shown(parameters)}: expected a list of values for where")
    if parameters and where is None:
        raise InputError("parameters: are for the placeholders of where; give where, or leave out")
    return where, tuple(parameters)


def by_mode(mode: Mode, k: int, lexical: Retrieve, dense: Retrieve) -> list[Candidate]:
    """The best `k` candidates of one retriever, or of both, fused by their ranks."""
    if mode == "lexical":
        return lexical(k)
    if mode == "dense":
        return dense(k)
    return fuse([lexical(DEEPER * k), dense(DEEPER * k)], k)
