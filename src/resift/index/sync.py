"""An index is brought up to date with its source: list, compare, read, embed, commit, publish.

An object is known by URI, ETag, size and the parser that read it. What has changed is written
beside what was there, whole objects in a commit; `publish` drops what is replaced. So a run can
end at any moment: the next one finds what is done, and does the rest. Readers see none of it before
it is all there.

Only what lies below the given source is compared: one index can hold several sources.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from resift.errors import IndexMismatch, SourceError, Unreadable, Vanished
from resift.index.attempts import after, new_attempt
from resift.index.diff import Diff, Expected, below, compare
from resift.index.doctor import refuse_unsafe
from resift.index.embed import Embedder
from resift.index.keep import Keeper
from resift.index.location import Location
from resift.index.manifest import Entry, newest
from resift.index.parsing.columns import Columns
from resift.index.parsing.cut import CutFile
from resift.index.parsing.limits import Limits
from resift.index.parsing.parse import abilities, parsing_fingerprint
from resift.index.parsing.parsers import Parsers
from resift.index.publish import News, publish
from resift.index.rows import Origin
from resift.index.source import ALL, Globs, Listing, Source, SourceObject
from resift.index.store import Store
from resift.index.versions import Version, Versions
from resift.index.writer import Writer
from resift.settings import StorageSettings


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is: `passages` are in the index, `bytes` of documents read."""

    done_objects: int
    total_objects: int
    passages: int
    bytes: int
    total_bytes: int


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source is read: which keys, which columns of tables, within which limits."""

    globs: Globs = ALL
    columns: Columns = field(default_factory=Columns)
    limits: Limits = field(default_factory=Limits)


AS_IT_IS = Reading()


@dataclass(frozen=True, slots=True)
class Models:
    """What reads texts: for vectors, and for what a reranker need not read again, if one should."""

    embedder: Embedder
    keeper: Callable[[], Keeper | None] = lambda: None
    keep_states: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where an index is."""

    location: Location
    storage: StorageSettings
    versions: Versions


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Counts are of objects (files), unless they say otherwise.

    `skipped` has ``(uri, reason)`` for each file that is not in the index and, where a file has
    rows, for each of those that is not; files that were skipped before and have not changed are
    named again. `unsupported` files have a suffix that is not read. Of the passages written,
    `passages_embedded` were new and `passages_reused` had a vector already, from before a change
    or under another name. `kept_bytes` of token states were written beside them. `version` is the
    one that readers are given now.
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
    passages_reused: int = 0


def sync(
    source: Source,
    place: Place,
    models: Models,
    reading: Reading = AS_IT_IS,
    progress: ProgressCallback | None = None,
    *,
    allow_unsafe: bool = False,
) -> SyncReport:
    """Make the index hold what `source` holds, and publish it; without changes nothing is written.

    Raise `SourceError` if the source cannot be listed, or has no documents and never had, and
    `SourceLost` if it cannot be read any more: what was committed until then is not lost.
    """
    started = time.perf_counter()
    attempt = new_attempt()
    listing = source.list(reading.globs)
    before = place.versions.newest()
    check_embedder(place, before, models.embedder)
    published = place.versions.entries(before) if before else {}
    expected = expect(models, reading)
    diff = compare(listing.objects, below(source.uri, published), expected)
    refuse_empty(source, listing, diff)
    if before and not diff:
        return _report(started, listing, diff, None, before)
    if not allow_unsafe:
        refuse_unsafe(place.location, place.storage)
    store = Store.open(place.location, place.storage, models.embedder)
    known = _known(store, before, published)
    diff = compare(listing.objects, below(source.uri, known), expected)
    writer = Writer(store, models, known, after(known.values(), attempt))
    run = _Run(writer, expected, diff, progress)
    for found, outcome in read(source, diff.to_read, reading):
        run.take(found, outcome)
    writer.commit(run.tell)
    gone = frozenset(entry.origin.uri for entry in diff.gone)
    news = News(writer.read | run.skipped, gone, run.stale())
    version = publish(store, place.versions, models.embedder, news)
    return _report(started, listing, diff, run, version)


def expect(models: Models, reading: Reading) -> Expected:
    """How an entry must have been made to be left alone."""
    keeper = models.keeper() if models.keep_states else None
    return Expected(
        made_by=lambda key: parsing_fingerprint(key, reading.columns),
        limits=f"{reading.limits} {abilities()}",
        kept_by=keeper.fingerprint if keeper else None,
    )


def refuse_empty(source: Source, listing: Listing, diff: Diff) -> None:
    """Raise `SourceError` for a source without documents that never had any."""
    if not listing.objects and not diff.gone:
        raise SourceError(f"{source.uri}: no documents there: check the place and the patterns")


def _known(store: Store, before: Version | None, published: dict[str, Entry]) -> dict[str, Entry]:
    """What the newest version of the table holds, and what is known to have no passages."""
    if before and before.table_version == store.version:
        return published
    rows, _ = newest(store.contents().whole)
    empty = {uri: entry for uri, entry in published.items() if not entry.passages}
    return empty | rows


Outcome = CutFile | SourceError


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and what is known of it once it was read: its own ETag, and its bytes' hash."""

    item: SourceObject
    etag: str
    size: int
    content: bytes
    version: str | None

    def origin(self, made_by: str, attempt: str) -> Origin:
        """Where its passages come from."""
        return Origin(
            self.item.uri, self.etag, self.size, self.content, made_by, attempt, self.version
        )


def read(
    source: Source, items: Sequence[SourceObject], reading: Reading
) -> Iterator[tuple[Found, Outcome]]:
    """Each object as documents cut into passages, or why there are none; in order."""

    def files() -> Iterator[tuple[Found, str, bytes | SourceError]]:
        for item, got in source.read_many(items, reading.limits.max_bytes):
            if isinstance(got, SourceError):
                yield Found(item, item.etag, item.size, b"", None), item.key, got
            else:
                content = blake2b(got.data, digest_size=16).digest()
                found = Found(item, got.etag, len(got.data), content, got.version)
                yield found, item.key, got.data

    with Parsers(reading.limits, reading.columns) as parsers:
        yield from parsers.map(files())


@dataclass
class _Run:
    """Notes what becomes of each object."""

    writer: Writer
    expected: Expected
    diff: Diff
    progress: ProgressCallback | None
    skipped: dict[str, Entry] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    _done: int = 0
    _bytes: int = 0

    def __post_init__(self) -> None:
        # Once: it is told of each object.
        self._total = len(self.diff.added) + len(self.diff.changed)
        self._total_bytes = sum(item.size for item in self.diff.added + self.diff.changed)

    def take(self, found: Found, outcome: Outcome) -> None:
        """Add an object's passages, or note why there are none."""
        uri, key, attempt = found.item.uri, found.item.key, self.writer.attempt
        if isinstance(outcome, Unreadable | Vanished):
            # Not noted in the manifest: it may come back with the same ETag.
            self.unread.append((uri, str(outcome)))
            self.vanished += [uri] if isinstance(outcome, Vanished) else []
        elif isinstance(outcome, CutFile) and any(own.pieces for own in outcome.documents):
            self.writer.take(found.origin(self.expected.of(key, passages=1), attempt), outcome)
        else:
            origin = found.origin(self.expected.of(key, passages=0), attempt)
            reasons = outcome.problems if isinstance(outcome, CutFile) else (str(outcome),)
            self.skipped[uri] = Entry(origin, 0, problems=reasons)
        self._done += 1
        self._bytes += found.item.size
        self.tell()
        if self.writer.is_full:
            self.writer.commit(self.tell)

    def stale(self) -> frozenset[Origin]:
        """What is in the index of objects that are gone, or of which nothing can be read now."""
        unreadable = (self.writer.known.get(uri) for uri in (*self.skipped, *self.vanished))
        entries = (*self.diff.gone, *unreadable)
        return frozenset(entry.origin for entry in entries if entry and entry.passages)

    def tell(self) -> None:
        """Say how far it is."""
        if self.progress:
            written = self.writer.written
            self.progress(
                Progress(self._done, self._total, written, self._bytes, self._total_bytes)
            )


def _report(
    started: float, listing: Listing, diff: Diff, run: _Run | None, version: Version
) -> SyncReport:
    entries = [*diff.unchanged]
    read: dict[str, Entry] = {}
    if run:
        read = run.writer.read
        entries += [*read.values(), *run.skipped.values()]
    skipped = [(entry.origin.uri, reason) for entry in entries for reason in entry.problems]
    return SyncReport(
        added=sum(item.uri in read for item in diff.added),
        changed=sum(item.uri in read for item in diff.changed),
        deleted=sum(1 for entry in diff.gone if entry.passages),
        unchanged=len(diff.unchanged),
        unsupported=listing.unsupported,
        passages_embedded=run.writer.embedded if run else 0,
        passages_reused=run.writer.reused if run else 0,
        kept_bytes=run.writer.kept_bytes if run else 0,
        skipped=tuple(sorted(skipped + (run.unread if run else []))),
        seconds=time.perf_counter() - started,
        version=version.number,
    )


def check_embedder(place: Place, before: Version | None, embedder: Embedder) -> None:
    """Raise `IndexMismatch` if what is there was made by another embedder."""
    if before and before.fingerprint != embedder.fingerprint:
        raise IndexMismatch(
            f"{place.location.uri}: made by embedder {before.embedder} ({before.fingerprint}), "
            f"not by {embedder.name} ({embedder.fingerprint}): use that one, or another place"
        )
