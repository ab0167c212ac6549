"""Passages of many objects, embedded and committed a batch at a time. Never half an object."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resift.index.keep import Keeper, keep
from resift.index.manifest import Entry
from resift.index.parsing.cut import CutDocument, CutFile
from resift.index.rows import Origin, Passage, to_arrow
from resift.index.store import Store

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


@dataclass
class Writer:
    """Gathers objects, and commits them. `known` is what the index holds, by URI."""

    store: Store
    models: "Models"
    known: dict[str, Entry]
    attempt: str
    read: dict[str, Entry] = field(default_factory=dict)
    embedded: int = 0
    reused: int = 0
    kept_bytes: int = 0
    _pending: list[tuple[Entry, list[Passage]]] = field(default_factory=list)
    _passages: int = 0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._by_content = {e.origin.content: e for e in self.known.values() if e.passages}
        self._keeper: Keeper | None = None

    @property
    def written(self) -> int:
        """Passages that have their vectors."""
        return self.embedded + self.reused

    @property
    def is_full(self) -> bool:
        """Whether it is time to commit."""
        most = _COMMIT_WITH_STATES if self.models.keep_states else COMMIT_PASSAGES
        late = time.monotonic() - self._since > _COMMIT_SECONDS
        return self._passages >= most or (late and self._passages > _EMBED)

    def take(self, origin: Origin, file: CutFile) -> None:
        """Add an object's passages."""
        passages = [passage for document in file.documents for passage in _cut(origin, document)]
        passages = [replace(passage, passages=len(passages)) for passage in passages]
        self._pending.append((Entry(origin, len(passages), problems=file.problems), passages))
        self._passages += len(passages)

    def commit(self, tell: Tell = _silent) -> None:
        """Embed and write what is waiting, all of it in one commit."""
        if not self._pending:
            return
        self._keeper = self._keeper or self.models.keeper()
        pending, self._pending = self._pending, []
        vectors = self._known_vectors(pending)
        batches = self._batches(pending, vectors, tell)
        # Computed here and not while Lance writes, unless one object alone is too large for that.
        most = 2 * COMMIT_PASSAGES
        self.store.append(batches if self._passages > most else list(batches))
        kept_by = self._keeper.fingerprint if self._keeper and self.models.keep_states else None
        for entry, _ in pending:
            self.read[entry.origin.uri] = replace(entry, kept_by=kept_by)
            self._by_content[entry.origin.content] = entry
        self._passages = 0
        self._since = time.monotonic()

    def _known_vectors(self, pending: Sequence[tuple[Entry, list[Passage]]]) -> Vectors:
        """Vectors that the index has already: by text, and by content and place.

        Of an object that has changed, since most of it may not have; and of one with the same
        bytes under another name. There even the title that a text was embedded under may differ,
        if it is the file's name: a document that is moved is not embedded again.
        """
        entries = {}
        for entry, _ in pending:
            for other in (
                self.known.get(entry.origin.uri),
                self._by_content.get(entry.origin.content),
            ):
                if other and other.passages:
                    entries[other.origin.uri, other.origin.attempt] = other
        found: Vectors = {}
        for known in self.store.vectors(list(entries.values())):
            found[known.search_text] = known.vector
            found[known.content, known.made_by, known.ordinal] = known.vector
        return found

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
        kept = keep(passages, self._keeper, self.models.keep_states)
        self.kept_bytes += sum(len(own.states) for own in kept if own)
        return [replace(one, kept=own) for one, own in zip(passages, kept, strict=True)]


def _is_alone(passages: Sequence[Passage]) -> bool:
    """Whether an object is one document: then a place in it says which passage is meant."""
    return passages[0].doc_id == passages[-1].doc_id


def _cut(origin: Origin, document: CutDocument) -> Iterator[Passage]:
    # A file that is one document names it; only those with rows have names of their own.
    name = origin.uri if document.row is None else f"{origin.uri}#{document.id}"
    for ordinal, piece in enumerate(document.pieces):
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
