"""Passages next to others in their documents, from an open version of an index."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from resift.errors import InputError, shown
from resift.index.claims import Cited, citation_of
from resift.index.table.ids import following_ids, passage_id, split_id
from resift.index.table.rows import Passage
from resift.index.table.sharded import OpenVersion
from resift.search.retrieval import as_candidate
from resift.types import Candidate, Citation, Hit, PassageReader

_AT_ONCE = 100
Step = Literal[1, -1]
"""The passage after another, or before it."""

Read = Callable[[Sequence[str]], Sequence[Passage]]


class VersionReader:
    """Reads passages of the version that a search has read. The search's ranking holds it.

    Pickling or copying gives None, so that a stored ranking does not hold the version.
    """

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: OpenVersion) -> None:
        self._snapshot = snapshot

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    def read(self, ids: Sequence[str]) -> Sequence[Passage]:
        """The passages with these ids, in any order. Raises `StoreError`."""
        return self._snapshot.view().find(ids)


class Passages:
    """Passages of the index that was searched, each read once."""

    def __init__(self, reader: PassageReader | None) -> None:
        self._reader = reader
        self._rows: dict[str, list[Passage]] = {}

    def read(self, ids: Sequence[str]) -> None:
        """Read those that are not read yet. Raises `StoreError`."""
        missing = unique(id_ for id_ in ids if id_ not in self._rows)
        if self._reader is None or not missing:
            return
        self._rows |= {id_: [] for id_ in missing}
        for row in self._reader.read(missing):
            self._rows[row.id].append(row)

    def of_hit(self, hit: Hit) -> Passage | None:
        """The passage of a hit; None if the index does not have it with this text."""
        rows = (row for row in self._rows.get(hit.id, ()) if row.text == hit.text)
        return next((row for row in rows if hit.citation and _is_cited(row, hit.citation)), None)

    def next_to(self, edge: Passage, step: Step) -> Passage | None:
        """The passage after `edge`, or before it; None at an end of the document."""
        id_ = next(following_ids(edge.id, step), "")
        rows = (row for row in self._rows.get(id_, ()) if _is_of_document(row, edge))
        return next(rows, None)

    def has_read_next(self, edge: Passage, step: Step) -> bool:
        """Whether the passage after `edge`, or before it, was read or cannot be there."""
        id_ = next(following_ids(edge.id, step), None)
        return self._reader is None or id_ is None or id_ in self._rows


def neighbours(read: Read, given: str | Cited, before: int, after: int) -> list[Passage]:
    """Up to so many passages before and after one, in the order of their document.

    Raises `InputError` if the index does not have that passage, or has it with another text.
    """
    rows, centre = _around(read, given, before, after)
    if centre is None:
        id_ = given if isinstance(given, str) else given.id
        raise InputError(
            f"{shown(id_)}: this version of the index has no such passage, or it has changed; "
            "search again"
        )
    return [row for row in rows if row is not centre]


def widened(read: Read, id_: str, before: int, after: int) -> Candidate | None:
    """A passage, and up to so many before and after it, as one; None if there is none.

    Its text is a range of the document; heading and page are those where it begins.
    """
    rows, centre = _around(read, id_, before, after)
    if centre is None:
        return None
    at = next(index for index, row in enumerate(rows) if row is centre)
    first = last = at
    while first and _touch(rows[first - 1], rows[first]):
        first -= 1
    while last + 1 < len(rows) and _touch(rows[last], rows[last + 1]):
        last += 1
    if first == last:
        return as_candidate(centre)
    text = "".join(row.text + row.after for row in rows[first:last]) + rows[last].text
    citation = replace(citation_of(rows[first]), end=rows[last].end)
    return replace(as_candidate(centre), text=text, citation=citation, precomputed=None)


def _touch(first: Passage, second: Passage) -> bool:
    return first.end + len(first.after) == second.start


def _around(
    read: Read, given: str | Cited, before: int, after: int
) -> tuple[list[Passage], Passage | None]:
    """The given passage with those around it, in order; and which it is, None if it is not there.

    Raises `InputError` for the id of several passages: of a row and of a file with that name.
    The end of a document is not known: reading ends with ids that no passage has.
    """
    id_ = given if isinstance(given, str) else given.id
    parts = split_id(id_)
    if parts is None:
        return [], None
    name, ordinal = parts
    end = ordinal + after + 1
    rows: list[Passage] = []
    for start in range(max(ordinal - before, 0), end, _AT_ONCE):
        ids = [passage_id(name, at) for at in range(start, min(start + _AT_ONCE, end))]
        batch = read(ids)
        rows += batch
        if len(batch) < len(ids):
            break
    centres = [row for row in rows if row.id == id_ and _is_same(row, given)]
    if not centres:
        return [], None
    if isinstance(given, str) and len(centres) > 1:
        uris = " and ".join(sorted(row.origin.uri for row in centres))
        raise InputError(
            f"{shown(id_)}: {len(centres)} passages have this id, of {uris}; take the hit, whose "
            "citation says which"
        )
    centre = centres[0]
    of_document = [row for row in rows if _is_of_document(row, centre)]
    return sorted(of_document, key=lambda row: row.ordinal), centre


def _is_same(row: Passage, given: str | Cited) -> bool:
    """Whether a passage with the given id is the given one: with the same text and citation."""
    return isinstance(given, str) or (row.text == given.text and _is_cited(row, given.citation))


def _is_cited(row: Passage, citation: Citation | None) -> bool:
    """Whether a passage is the one of a citation; also if there is no citation."""
    return citation is None or (
        (row.origin.uri, row.doc_id, row.origin.etag, row.start, row.end)
        == (citation.uri, citation.doc_id, citation.etag, citation.start, citation.end)
    )


def _is_of_document(row: Passage, other: Passage) -> bool:
    """Whether two passages are of one document in the same state."""
    return (row.origin.uri, row.origin.attempt, row.doc_id, row.row) == (
        other.origin.uri,
        other.origin.attempt,
        other.doc_id,
        other.row,
    )


def unique(ids: Iterable[str]) -> list[str]:
    """The ids, each once, in order."""
    return list(dict.fromkeys(ids))
