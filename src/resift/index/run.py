"""What becomes of each object that a sync reads, and how far it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import groupby

from resift.errors import SourceError, Unreadable, Vanished
from resift.index.diff import Diff, Expected, is_made_so, is_new
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedFile
from resift.index.parsing.formats import NO_TEXT
from resift.index.parsing.options import ParseOptions
from resift.index.parsing.pool import ParserPool
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Source
from resift.index.table.rows import Origin
from resift.index.writer import Writer

Outcome = ChunkedFile | SourceError
# Of the work that a byte is, the part that is done once it was read and parsed. The bundled
# embedder takes ten times as long as the parsers.
_READ_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is: `passages` are in the index, `bytes` of documents read.

    `work` is the share of all that is done, from 0 to 1: most of it is embedding.
    """

    done_objects: int
    total_objects: int
    passages: int
    bytes: int
    total_bytes: int
    work: float


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class ReadObject:
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
    source: Source, items: Sequence[SourceObject], source_options: SourceOptions
) -> Iterator[tuple[ReadObject, Outcome]]:
    """Each object as documents cut into passages, or why there are none.

    In order, but files with columns of their own come after one another.
    """
    by_columns = sorted(items, key=lambda item: source_options.columns_for(item.key).fingerprint)
    for _, group in groupby(
        by_columns, key=lambda item: source_options.columns_for(item.key).fingerprint
    ):
        same = list(group)
        columns = source_options.columns_for(same[0].key)
        with ParserPool(ParseOptions(columns, source_options.limits)) as parsers:
            yield from parsers.map(_files(source, same, source_options.limits.max_bytes))


def _files(
    source: Source, items: Sequence[SourceObject], max_bytes: int
) -> Iterator[tuple[ReadObject, str, bytes | SourceError]]:
    for item, got in source.read_many(items, max_bytes):
        if isinstance(got, SourceError):
            yield ReadObject(item, item.etag, item.size, b"", None), item.key, got
        else:
            content = blake2b(got.data, digest_size=16).digest()
            yield (
                ReadObject(item, got.etag, len(got.data), content, got.version),
                item.key,
                got.data,
            )


@dataclass
class SyncRun:
    """Notes what becomes of each object.

    `diff` is between the source and what the table holds, published or not. `again` are objects
    that were read once more and gave what the table holds already, `skipped` those of which nothing
    could be indexed; `unread` those that could not be read this time, with the reason; `vanished`
    the URIs of those that are gone since they were listed.
    """

    writer: Writer
    expected: Expected
    diff: Diff
    progress: ProgressCallback | None
    skipped: dict[str, Entry] = field(default_factory=dict)
    again: dict[str, Entry] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    _done: int = 0
    _bytes: int = 0
    _bytes_without: int = 0

    def __post_init__(self) -> None:
        # Once: it is told of each object.
        self._total = len(self.diff.added) + len(self.diff.changed)
        self._total_bytes = sum(item.size for item in self.diff.added + self.diff.changed)

    def take(self, found: ReadObject, outcome: Outcome) -> None:
        """Add an object's passages, or note why there are none."""
        uri, key, attempt = found.item.uri, found.item.key, self.writer.attempt
        if isinstance(outcome, ChunkedFile) and any(doc.chunks for doc in outcome.documents):
            origin = found.origin(self.expected.of(key, passages=1), attempt)
            known = self.writer.known.get(uri)
            if known and known.passages and self._is_same(key, origin, known):
                self._bytes_without += found.item.size
                self.again[uri] = replace(known, problems=outcome.problems)
            else:
                self.writer.take(origin, outcome)
        else:
            self._bytes_without += found.item.size
            if isinstance(outcome, Unreadable | Vanished):
                # Not noted in the manifest: it may come back with the same ETag.
                self.unread.append((uri, str(outcome)))
                self.vanished += [uri] if isinstance(outcome, Vanished) else []
            else:
                origin = found.origin(self.expected.of(key, passages=0), attempt)
                reasons = outcome.problems if isinstance(outcome, ChunkedFile) else (str(outcome),)
                self.skipped[uri] = Entry(origin, 0, problems=reasons or (NO_TEXT,))
        self._done += 1
        self._bytes += found.item.size
        self.tell()
        if self.writer.is_full:
            self.writer.commit(self.tell)

    def _is_same(self, key: str, read: Origin, known: Entry) -> bool:
        held = known.origin
        if (read.content, read.etag, read.size) != (held.content, held.etag, held.size):
            return False
        return is_made_so(known, self.expected, key)

    def current(self) -> dict[str, Entry]:
        """What the index holds of each object of the source after this run, by URI.

        What could not be read this time stays as it was, unless it is gone.
        """
        known = self.writer.known
        kept = {uri: known[uri] for uri, _ in self.unread if uri in known}
        kept = {uri: entry for uri, entry in kept.items() if entry.passages}
        unchanged = {entry.origin.uri: entry for entry in self.diff.unchanged}
        current = unchanged | kept | self.again | self.writer.read | self.skipped
        return {uri: entry for uri, entry in current.items() if uri not in self.vanished}

    def new(self, published: Mapping[str, Entry]) -> int:
        """How many objects have other passages now than those that are published."""
        entries = self.current().values()
        return sum(1 for entry in entries if entry.passages and is_new(entry, published))

    def emptied(self, published: Mapping[str, Entry]) -> list[tuple[Entry, str]]:
        """Published entries of objects that give no text any more, with the reason."""
        before = ((published.get(uri), entry) for uri, entry in self.skipped.items())
        return [(old, entry.problems[0]) for old, entry in before if old and old.passages]

    def stale(self) -> frozenset[Origin]:
        """What is in the index of objects that are gone, or of which nothing can be read now."""
        vanished = (self.writer.known.get(uri) for uri in self.vanished)
        emptied = (entry for entry, _ in self.emptied(self.writer.known))
        entries = (*self.diff.gone, *vanished, *emptied)
        return frozenset(entry.origin for entry in entries if entry and entry.passages)

    def tell(self) -> None:
        """Interpolation how far it is."""
        if not self.progress:
            return
        finished = self._bytes_without + self.writer.bytes
        work = _READ_SHARE * self._bytes + (1 - _READ_SHARE) * finished
        share = min(1.0, work / self._total_bytes) if self._total_bytes else 1.0
        counts = (self._done, self._total, self.writer.written, self._bytes, self._total_bytes)
        self.progress(Progress(*counts, share))
