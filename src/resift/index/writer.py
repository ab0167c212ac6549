"""Embeds the passages of many objects and commits them in batches of whole objects."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resift.errors import StoreError
from resift.index.embed import Models, Precomputer
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedDocument, ChunkedFile
from resift.index.table.ids import passage_id
from resift.index.table.rows import Origin, Passage, search_hash, to_arrow
from resift.index.table.store import Problems, StoredPassage
from resift.types import Document

# A commit costs files and requests; a killed run loses the passages since its last commit.
COMMIT_PASSAGES = 10_000
COMMIT_SECONDS = 20.0
# With token states, about 200 kB a passage.
_COMMIT_WITH_STATES = 500
# Passages between two reports of progress.
_EMBED = 128

Pending = Sequence[tuple[Entry, list[Passage]]]
# Vectors by the hash of the embedded text, and by content, parser and ordinal.
Vectors = dict[bytes | tuple[bytes, str, int], NDArray[np.float32]]


class PassageStore(Protocol):
    """The table of an index, as far as a `Writer` uses it (`Store`)."""

    @property
    def schema(self) -> Any: ...

    def append(self, batches: Iterable[Any], problems: Problems) -> None: ...

    def vectors(
        self, entries: Sequence[Entry], version: int | None = None
    ) -> Iterator[StoredPassage]: ...


class StoredVectors(Protocol):
    """Vectors of objects that are not in the newest version (`IndexedObjects`)."""

    def vectors(self, store: PassageStore, pending: Pending) -> Vectors:
        """Read those that pending objects may need; raise `StoreError`."""
        ...


@dataclass(frozen=True, slots=True)
class IndexedObjects:
    """The entries of one version of the table, by URI; `table_version` None is the current one."""

    entries: Mapping[str, Entry]
    table_version: int | None = None
    by_content: dict[bytes, Entry] = field(init=False)

    def __post_init__(self) -> None:
        by_content = {e.origin.content: e for e in self.entries.values() if e.passages}
        object.__setattr__(self, "by_content", by_content)

    def vectors(self, store: PassageStore, pending: Pending) -> Vectors:
        """Read the vectors of objects with the same URI or the same bytes as a pending one."""
        entries = {}
        for new, _ in pending:
            same_uri = self.entries.get(new.origin.uri)
            for entry in (same_uri, self.by_content.get(new.origin.content)):
                if entry and entry.passages:
                    entries[entry.origin.uri, entry.origin.attempt] = entry
        vectors: Vectors = {}
        for row in store.vectors(list(entries.values()), self.table_version):
            vectors[row.search_hash] = row.vector
            vectors[row.content, row.made_by, row.ordinal] = row.vector
        return vectors


@dataclass
class Writer:
    """Collects objects and commits them. `indexed` are the entries of the index, by URI.

    Vectors of `earlier` objects are reused, such as those of versions that a rollback has undone,
    latest first.
    `committed` are the entries that this writer has written.
    """

    store: PassageStore
    models: Models
    indexed: dict[str, Entry]
    attempt: str
    earlier: Sequence[StoredVectors] = ()
    committed: dict[str, Entry] = field(default_factory=dict)
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
        self._current = IndexedObjects(self.indexed)
        self._precomputer: Precomputer | None = None

    @property
    def written(self) -> int:
        """The number of passages that have vectors."""
        return self.embedded + self.reused

    @property
    def bytes(self) -> int:
        """The bytes of objects whose passages have vectors; a commit in progress counts partly."""
        return self._bytes_before + int(self._done * self._bytes)

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        limit = _COMMIT_WITH_STATES if self.models.token_states else COMMIT_PASSAGES
        is_late = time.monotonic() - self._since > COMMIT_SECONDS
        return self._passages >= limit or (is_late and self._passages > _EMBED)

    def add(self, origin: Origin, file: ChunkedFile) -> None:
        """Add an object's passages."""
        passages = [passage for document in file.documents for passage in _cut(origin, document)]
        passages = [replace(passage, passages=len(passages)) for passage in passages]
        self._pending.append((Entry(origin, len(passages), problems=file.problems), passages))
        self._passages += len(passages)
        self._bytes += origin.size

    def commit(self, report_progress: Callable[[], None] = lambda: None) -> None:
        """Embed and write everything pending, in one commit."""
        if not self._pending:
            return
        self._precomputer = self._precomputer or self.models.precomputer()
        pending, self._pending = self._pending, []
        batches = self._batches(pending, self._stored_vectors(pending), report_progress)
        # Embed everything before Lance writes, unless one object is too large for memory.
        is_large = self._passages > 2 * COMMIT_PASSAGES
        problems = {(e.origin.uri, e.origin.attempt): e.problems for e, _ in pending}
        self.store.append(batches if is_large else list(batches), problems)
        states_by = self._precomputer if self.models.token_states else None
        fingerprint = states_by.fingerprint if states_by else None
        for entry, _ in pending:
            self.committed[entry.origin.uri] = replace(entry, precomputed_by=fingerprint)
            self._current.by_content[entry.origin.content] = entry
        self._bytes_before += self._bytes
        self._passages, self._bytes, self._done = 0, 0, 0.0
        self._since = time.monotonic()

    def _stored_vectors(self, pending: Pending) -> Vectors:
        """Read vectors that the index already has, so that these texts are not embedded again.

        Most passages of a changed object are often the same. A moved object has the same bytes; its
        vectors are reused although its title, the file's name, was embedded with the text.
        """
        vectors: Vectors = {}
        for version in reversed(self.earlier):
            try:
                vectors |= version.vectors(self.store, pending)
            except StoreError:  # this damage may be the reason for the rollback
                continue
        return vectors | self._current.vectors(self.store, pending)

    def _batches(
        self, pending: Pending, stored: Vectors, report_progress: Callable[[], None]
    ) -> Iterator[Any]:
        """Yield Arrow batches of the passages with their vectors."""
        passages = [passage for _, group in pending for passage in group]
        # The ordinal identifies a passage only in an object that is one document.
        single = [group[0].doc_id == group[-1].doc_id for _, group in pending for _ in group]
        for start in range(0, len(passages), _EMBED):
            end = start + _EMBED
            vectors = self._vectors(passages[start:end], single[start:end], stored)
            batch = self._precompute(passages[start:end])
            self._done = min(1.0, end / len(passages))
            yield to_arrow(batch, vectors, self.store.schema)
            report_progress()

    def _vectors(
        self, passages: Sequence[Passage], single: Sequence[bool], stored: Vectors
    ) -> NDArray[np.float32]:
        """Return the passages' vectors, ``(n, dim)``; embed those that are not stored."""
        vectors = np.empty((len(passages), self.models.embedder.dim), np.float32)
        missing = []
        for index, passage in enumerate(passages):
            vector = stored.get(search_hash(passage.search_text))
            if vector is None and single[index]:
                origin = passage.origin
                vector = stored.get((origin.content, origin.made_by, passage.ordinal))
            if vector is None:
                missing.append(index)
            else:
                vectors[index] = vector
        if missing:
            texts = [passages[index].search_text for index in missing]
            vectors[missing] = self.models.embedder.embed(texts)
        self.embedded += len(missing)
        self.reused += len(passages) - len(missing)
        return vectors

    def _precompute(self, passages: list[Passage]) -> list[Passage]:
        """Add to each passage the part of reranking that does not depend on a query."""
        if self._precomputer is None:
            return passages
        documents = [Document(passage.id, passage.text, passage.title) for passage in passages]
        parts = self._precomputer.precompute(documents, states=self.models.token_states)
        self.precomputed_bytes += sum(len(part.states) for part in parts if part)
        return [
            replace(passage, precomputed=part)
            for passage, part in zip(passages, parts, strict=True)
        ]


def _cut(origin: Origin, document: ChunkedDocument) -> Iterator[Passage]:
    # A file that is one document is identified by its URI, a row by URI and id.
    name = origin.uri if document.row is None else f"{origin.uri}#{document.id}"
    for ordinal, chunk in enumerate(document.chunks):
        yield Passage(
            id=passage_id(name, ordinal),
            origin=origin,
            passages=0,
            doc_id=document.id,
            title=document.title,
            heading=chunk.heading,
            text=chunk.text,
            start=chunk.start,
            end=chunk.end,
            page=chunk.page,
            row=document.row,
            line=chunk.line,
            ordinal=ordinal,
            after=chunk.after,
            metadata=document.metadata,
        )
