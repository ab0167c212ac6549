"""An index is brought up to date with its source: list, compare, read, embed, commit, publish.

An object is known by URI, ETag and size. The passages of one that is gone or has changed are
removed first; readers do not see that until all is done. So a file that was indexed, has changed
and can no longer be read is then found nowhere: the index never answers with what its source no
longer says. The report names it, and the next run tries it again.

Only what lies below the given source is compared: one index can hold several sources.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from resift.errors import SourceError
from resift.index.chunk import chunk
from resift.index.documents import ParsedDocument
from resift.index.embed import Embedder
from resift.index.keep import Keeper, keep
from resift.index.parse import parse
from resift.index.rows import Passage
from resift.index.source import Source, SourceObject
from resift.index.store import Indexed, Store

# Passages in one commit: some 3 MB of text and vectors, and a few seconds of embedding.
_COMMIT = 1_000
# With token states, some 200 kB a passage.
_COMMIT_WITH_STATES = 250
# Passages between two signs of life.
_EMBED = 128


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is: `passages` are embedded, `bytes` read."""

    done_objects: int
    total_objects: int
    passages: int
    bytes: int


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Counts are of objects (files), unless they say otherwise.

    `skipped` has ``(uri, reason)`` for each file that is not in the index and, when a JSON Lines
    file is read, for each of its lines that is not. `unsupported` files have a suffix that is not
    read. `kept_bytes` of token states were written beside the passages that were embedded.
    `version` is the published one.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    unsupported: int
    passages_embedded: int
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    version: int
    kept_bytes: int = 0


def sync(
    source: Source,
    store: Store,
    embedder: Embedder,
    progress: ProgressCallback | None = None,
    keeper: Keeper | None = None,
    keep_states: bool = False,
) -> SyncReport:
    """Make `store` hold what `source` holds, and publish it; a run without changes writes nothing.

    Passages are kept as `keeper` has read them: their token ids and, with `keep_states`, their
    token states; objects without states of this model are read again then. Raise `SourceError` if
    the source cannot be listed, or has no documents and never had.
    """
    started = time.perf_counter()
    listing = source.list()
    kept = store.objects(source.uri)
    if not listing.objects and not kept:
        raise SourceError(f"{source.uri}: no documents there: expected .txt .md .html .pdf .jsonl")
    wanted = keeper.fingerprint if keeper and keep_states else None
    diff = _compare(listing.objects, kept, wanted)
    store.remove(diff.stale)
    writer = _Writer(store, embedder, len(diff.to_read), progress, keeper, keep_states)
    for item, data in source.read_many(diff.to_read):
        writer.take(item, data)
    writer.commit()
    version = store.publish()
    return SyncReport(
        added=len(writer.indexed - kept.keys()),
        changed=len(writer.indexed & kept.keys()),
        deleted=diff.deleted,
        unchanged=len(listing.objects) - len(diff.to_read),
        unsupported=listing.unsupported,
        passages_embedded=writer.embedded,
        skipped=tuple(writer.skipped),
        seconds=time.perf_counter() - started,
        version=version,
        kept_bytes=writer.kept_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Diff:
    to_read: list[SourceObject]
    stale: list[str]
    deleted: int


def _compare(
    objects: tuple[SourceObject, ...], kept: dict[str, Indexed], wanted: str | None
) -> _Diff:
    """What is missing, has changed, or lacks the states that the model `wanted` keeps."""

    def is_there(item: SourceObject) -> bool:
        own = kept.get(item.uri)
        if own is None or (own.etag, own.size, own.is_whole) != (item.etag, item.size, True):
            return False
        return wanted is None or own.kept_by == wanted

    to_read = [item for item in objects if not is_there(item)]
    changed = [item.uri for item in to_read if item.uri in kept]
    gone = sorted(kept.keys() - {item.uri for item in objects})
    return _Diff(to_read, changed + gone, len(gone))


@dataclass
class _Writer:
    """Gathers the passages of many objects and commits them a batch at a time."""

    store: Store
    embedder: Embedder
    total: int
    progress: ProgressCallback | None
    keeper: Keeper | None = None
    keep_states: bool = False
    indexed: set[str] = field(default_factory=set)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    embedded: int = 0
    kept_bytes: int = 0
    _pending: list[Passage] = field(default_factory=list)
    _done: int = 0
    _bytes: int = 0

    def take(self, item: SourceObject, data: bytes | SourceError) -> None:
        """Add an object's passages, or note why there are none."""
        try:
            if isinstance(data, SourceError):
                raise data
            passages, problems = _passages(item, data, self.embedder)
            self.skipped.extend((item.uri, problem) for problem in problems)
            if passages:
                self.indexed.add(item.uri)
                self._pending.extend(passages)
        except SourceError as error:
            self.skipped.append((item.uri, str(error)))
        self._done += 1
        self._bytes += item.size
        self._tell()
        while len(self._pending) >= self._at_once:
            self.commit()

    @property
    def _at_once(self) -> int:
        return _COMMIT_WITH_STATES if self.keep_states else _COMMIT

    def commit(self) -> None:
        """Embed and write one batch of what is waiting."""
        batch, self._pending = self._pending[: self._at_once], self._pending[self._at_once :]
        if not batch:
            return
        vectors = []
        for at in range(0, len(batch), _EMBED):
            texts = [passage.search_text for passage in batch[at : at + _EMBED]]
            vectors.append(self.embedder.embed(texts))
            self.embedded += len(texts)
            self._tell()
        if self.keeper is not None:
            kept = keep(batch, self.keeper, self.keep_states)
            batch = [replace(one, kept=own) for one, own in zip(batch, kept, strict=True)]
            self.kept_bytes += sum(len(own.states) for own in kept if own)
        self.store.add(batch, np.concatenate(vectors))

    def _tell(self) -> None:
        if self.progress:
            self.progress(Progress(self._done, self.total, self.embedded, self._bytes))


def _passages(
    item: SourceObject, data: bytes, embedder: Embedder
) -> tuple[list[Passage], tuple[str, ...]]:
    parsed = parse(item.key, data)
    found = [passage for document in parsed.documents for passage in _cut(item, document, embedder)]
    return [replace(passage, passages=len(found)) for passage in found], parsed.problems


def _cut(item: SourceObject, document: ParsedDocument, embedder: Embedder) -> Iterator[Passage]:
    # A file that is one document names it; only JSON Lines have names of their own.
    name = item.uri if document.id == item.key else f"{item.uri}#{document.id}"
    chunks = chunk(document.text, document.sections, embedder.token_starts(document.text))
    for ordinal, piece in enumerate(chunks):
        yield Passage(
            id=f"{name}#{ordinal}",
            uri=item.uri,
            etag=item.etag,
            size=item.size,
            passages=0,
            doc_id=document.id,
            title=document.title,
            heading=piece.heading,
            text=document.text[piece.start : piece.end],
            start=piece.start,
            end=piece.end,
            page=piece.page,
            ordinal=ordinal,
            metadata=document.metadata,
        )
