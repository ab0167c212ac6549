"""Passages of many objects, embedded and committed a batch at a time. Never half an object."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import StoreError
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedDocument, ChunkedFile
from resift.index.precompute import Precomputer, precompute
from resift.index.table.rows import Origin, Passage, to_arrow
from resift.index.table.store import Store

if TYPE_CHECKING:
    from resift.index.sync import Models

# A commit is some files and a round of requests, and what a killed run has to do again.
COMMIT_PASSAGES = 10_000
_COMMIT_SECONDS = 20.0
# With token states, some 200 kB a passage.
_COMMIT_WITH_STATES = 500
# Passages between two signs of life.
_EMBED = 128
Tell = Callable[[], None]
# By what was embedded, and by bytes, parser and place in the document.
Vectors = dict[str | tuple[bytes, str, int], NDArray[np.float32]]


def _silent() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier version of the table held, by URI: its vectors need not be computed again."""

    table_version: int
    entries: Mapping[str, Entry]


@dataclass
class Writer:
    """Gathers objects, and commits them. `known` is what the index holds, by URI.

    `earlier` are versions that hold more than that: those that a rollback has taken back.
    """

    store: Store
    models: "Models"
    known: dict[str, Entry]
    attempt: str
    earlier: Sequence[Past] = ()
    read: dict[str, Entry] = field(default_factory=dict)
    embedded: int = 0
    reused: int = 0
    precomputed_bytes: int = 0
    _pending: list[tuple[Entry, list[Passage]]] = field(default_factory=list)
    _passages: int = 0
    _bytes: int = 0
    _bytes_before: int = 0
    _done: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._by_content = _by_content(self.known)
        self._keeper: Precomputer | None = None

    @property
    def written(self) -> int:
        """Passages that have their vectors."""
        return self.embedded + self.reused

    @property
    def bytes(self) -> int:
        """Bytes of the objects whose passages have their vectors: of a commit, a part of them."""
        return self._bytes_before + int(self._done * self._bytes)

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        most = _COMMIT_WITH_STATES if self.models.token_states else COMMIT_PASSAGES
        late = time.monotonic() - self._since > _COMMIT_SECONDS
        return self._passages >= most or (late and self._passages > _EMBED)

    def take(self, origin: Origin, file: ChunkedFile) -> None:
        """Add an object's passages."""
        passages = [passage for document in file.documents for passage in _cut(origin, document)]
        passages = [replace(passage, passages=len(passages)) for passage in passages]
        self._pending.append((Entry(origin, len(passages), problems=file.problems), passages))
        self._passages += len(passages)
        self._bytes += origin.size

    def commit(self, tell: Tell = _silent) -> None:
        """Embed and write what is waiting, all of it in one commit."""
        if not self._pending:
            return
        self._keeper = self._keeper or self.models.precomputer()
        pending, self._pending = self._pending, []
        vectors = self._known_vectors(pending)
        batches = self._batches(pending, vectors, tell)
        # Computed here and not while Lance writes, unless one object alone is too large for that.
        most = 2 * COMMIT_PASSAGES
        problems = {(e.origin.uri, e.origin.attempt): e.problems for e, _ in pending}
        self.store.append(batches if self._passages > most else list(batches), problems)
        precomputed_by = (
            self._keeper.fingerprint if self._keeper and self.models.token_states else None
        )
        for entry, _ in pending:
            self.read[entry.origin.uri] = replace(entry, precomputed_by=precomputed_by)
            self._by_content[entry.origin.content] = entry
        self._bytes_before += self._bytes
        self._passages, self._bytes, self._done = 0, 0, 0.0
        self._since = time.monotonic()

    def _known_vectors(self, pending: Sequence[tuple[Entry, list[Passage]]]) -> Vectors:
        """Vectors that the index has already: by text, and by content and place.

        Of an object that has changed, since most of it may not have; and of one with the same
        bytes under another name. There even the title that a text was embedded under may differ,
        if it is the file's name: a document that is moved is not embedded again.
        """
        vectors = _vectors_of(self.store, pending, self.known, self._by_content)
        for past in self.earlier:
            by_content = _by_content(past.entries)
            try:
                more = _vectors_of(
                    self.store, pending, past.entries, by_content, past.table_version
                )
            except StoreError:  # perhaps that is why it was rolled back: then all is embedded
                continue
            vectors = more | vectors
        return vectors

    def _batches(
        self,
        pending: Sequence[tuple[Entry, list[Passage]]],
        vectors: Vectors,
        tell: Tell,
    ) -> Iterator[Any]:
        passages = [(own, _is_alone(group)) for _, group in pending for own in group]
        for at in range(0, len(passages), _EMBED):
            some = passages[at : at + _EMBED]
            rows = self._vectors(some, vectors)
            batch = self._kept([passage for passage, _ in some])
            self._done = min(1.0, (at + _EMBED) / len(passages))
            yield to_arrow(batch, rows, self.store.schema)
            tell()

    def _vectors(
        self,
        passages: Sequence[tuple[Passage, bool]],
        known: Vectors,
    ) -> NDArray[np.float32]:
        """``(n, dim)``: those that are known, and the rest embedded."""
        rows = np.empty((len(passages), self.models.embedder.dim), np.float32)
        missing = []
        for place, (passage, is_alone) in enumerate(passages):
            vector = known.get(passage.search_text)
            if vector is None and is_alone:
                vector = known.get(
                    (passage.origin.content, passage.origin.made_by, passage.ordinal)
                )
            if vector is None:
                missing.append(place)
            else:
                rows[place] = vector
        if missing:
            texts = [passages[place][0].search_text for place in missing]
            rows[missing] = self.models.embedder.embed(texts)
        self.embedded += len(missing)
        self.reused += len(passages) - len(missing)
        return rows

    def _kept(self, passages: list[Passage]) -> list[Passage]:
        if self._keeper is None:
            return passages
        kept = precompute(passages, self._keeper, self.models.token_states)
        self.precomputed_bytes += sum(len(own.states) for own in kept if own)
        return [replace(one, precomputed=own) for one, own in zip(passages, kept, strict=True)]


def _by_content(entries: Mapping[str, Entry]) -> dict[bytes, Entry]:
    return {entry.origin.content: entry for entry in entries.values() if entry.passages}


def _vectors_of(
    store: Store,
    pending: Sequence[tuple[Entry, list[Passage]]],
    known: Mapping[str, Entry],
    by_content: Mapping[bytes, Entry],
    table_version: int | None = None,
) -> Vectors:
    """The vectors of objects with the same name or bytes as what is pending."""
    entries = {}
    for entry, _ in pending:
        for other in (known.get(entry.origin.uri), by_content.get(entry.origin.content)):
            if other and other.passages:
                entries[other.origin.uri, other.origin.attempt] = other
    vectors: Vectors = {}
    for row in store.vectors(list(entries.values()), table_version):
        vectors[row.search_text] = row.vector
        vectors[row.content, row.made_by, row.ordinal] = row.vector
    return vectors


def _is_alone(passages: Sequence[Passage]) -> bool:
    """Whether an object is one document: then a place in it says which passage is meant."""
    return passages[0].doc_id == passages[-1].doc_id


def _cut(origin: Origin, document: ChunkedDocument) -> Iterator[Passage]:
    # A file that is one document names it; only those with rows have names of their own.
    name = origin.uri if document.row is None else f"{origin.uri}#{document.id}"
    for ordinal, piece in enumerate(document.chunks):
        yield Passage(
            id=f"{name}#{ordinal}",
            origin=origin,
            passages=0,
            doc_id=document.id,
            title=document.title,
            heading=piece.heading,
            text=piece.text,
            start=piece.start,
            end=piece.end,
            page=piece.page,
            row=document.row,
            ordinal=ordinal,
            metadata=document.metadata,
        )
