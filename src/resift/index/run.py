"""Reads the objects of one sync, and records the passages or the problems of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from resift.errors import SourceError, Unreadable, Vanished
from resift.index.diff import Diff, Expected
from resift.index.manifest import Entry
from resift.index.parsing.documents import ChunkedFile
from resift.index.parsing.formats import NO_TEXT
from resift.index.parsing.options import ParseOptions
from resift.index.parsing.pool import ParserPool
from resift.index.parts import PartCommitter, PartResult
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Source
from resift.index.table.rows import Origin
from resift.index.writer import Writer

# Reading and parsing as a share of all work: the bundled embedder takes ten times as long.
_READ_SHARE = 0.1


OpenParsers = Callable[[ParseOptions], AbstractContextManager[ParserPool]]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a sync: `passages` have been embedded, `bytes` of documents were read.

    `work` is the share of all work that is done, from 0 to 1. Most of the work is embedding.
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
    """An object, with its ETag, size, hash of its bytes and store version when it was read."""

    item: SourceObject
    etag: str
    size: int
    content: bytes
    version: str | None

    def origin(self, made_by: str, attempt: str) -> Origin:
        """Return the origin of this object's passages."""
        return Origin(
            self.item.uri, self.etag, self.size, self.content, made_by, attempt, self.version
        )


def read_objects(
    source: Source,
    items: Sequence[SourceObject],
    source_options: SourceOptions,
    open_parsers: OpenParsers | None = None,
) -> Iterator[tuple[ReadObject, ChunkedFile | SourceError]]:
    """Read and parse objects; yield each with its chunked documents or its error.

    The order is that of `items`, except that files with the same columns follow each other.
    `open_parsers` opens a pool of parsers for some options; None is a new pool each time.
    """

    def fingerprint(item: SourceObject) -> str:
        return source_options.columns_for(item.key).fingerprint

    limits = source_options.limits
    for _, group in groupby(sorted(items, key=fingerprint), key=fingerprint):
        group_items = list(group)
        options = ParseOptions(source_options.columns_for(group_items[0].key), limits)
        with (open_parsers or ParserPool)(options) as parsers:
            yield from parsers.map(_fetch(source, group_items, limits.max_bytes))


def _fetch(
    source: Source, items: Sequence[SourceObject], max_bytes: int
) -> Iterator[tuple[ReadObject, str, bytes | SourceError]]:
    for item, fetched in source.read_many(items, max_bytes):
        if isinstance(fetched, SourceError):
            yield ReadObject(item, item.etag, item.size, b"", None), item.key, fetched
        else:
            data = fetched.data
            content = blake2b(data, digest_size=16).digest()
            object_ = ReadObject(item, fetched.etag, len(data), content, fetched.version)
            yield object_, item.key, data


class SyncWriter(Protocol):
    """What a sync has written: as in `Writer`, or in `PartCommitter` if workers write."""

    indexed: dict[str, Entry]
    attempt: str
    committed: dict[str, Entry]
    embedded: int
    reused: int
    precomputed_bytes: int

    @property
    def written(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def is_full(self) -> bool: ...

    def commit(self, report_progress: Callable[[], None]) -> None: ...


W = TypeVar("W", bound=SyncWriter)


@dataclass
class SyncRun(Generic[W]):
    """The results of a sync, object by object.

    `diff` compares the source with the table, including rows that are not published yet. `reread`
    objects were read again and have not changed. `skipped` objects have nothing to index.
    `unread` objects could not be read this time: ``(uri, reason)``. `vanished` has the URIs of
    objects that were deleted after they were listed.
    """

    writer: W
    expected: Expected
    diff: Diff
    progress: ProgressCallback | None
    skipped: dict[str, Entry] = field(default_factory=dict)
    reread: dict[str, Entry] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    _done: int = 0
    _bytes: int = 0
    _bytes_without: int = 0

    def __post_init__(self) -> None:
        items = self.diff.added + self.diff.changed
        self._total = len(items)
        self._total_bytes = sum(item.size for item in items)

    def add(self: "SyncRun[Writer]", read: ReadObject, parsed: ChunkedFile | SourceError) -> None:
        """Add an object's passages, or record why it has none."""
        if isinstance(parsed, ChunkedFile) and any(doc.chunks for doc in parsed.documents):
            self._add_passages(read, parsed)
        else:
            self._bytes_without += read.item.size
            self._skip(read, parsed)
        self._count(1, read.item.size)

    def add_part(self: "SyncRun[PartCommitter]", part: PartResult) -> None:
        """Add what a worker did with some objects."""
        self.writer.add(part)
        self.skipped |= part.skipped
        self.reread |= part.reread
        self.unread += part.unread
        self.vanished += part.vanished
        self._count(len(part.items), part.bytes)

    def _count(self, objects: int, size: int) -> None:
        self._done += objects
        self._bytes += size
        self.report_progress()
        if self.writer.is_full:
            self.writer.commit(self.report_progress)

    def _add_passages(self: "SyncRun[Writer]", read: ReadObject, file: ChunkedFile) -> None:
        uri, key = read.item.uri, read.item.key
        origin = read.origin(self.expected.fingerprint(key, passages=1), self.writer.attempt)
        entry = self.writer.indexed.get(uri)
        if entry and entry.passages and self._is_unchanged(key, origin, entry):
            self._bytes_without += read.item.size
            self.reread[uri] = replace(entry, problems=file.problems)
        else:
            self.writer.add(origin, file)

    def _skip(self, read: ReadObject, parsed: ChunkedFile | SourceError) -> None:
        uri = read.item.uri
        if isinstance(parsed, Unreadable | Vanished):
            # Not recorded in the manifest: the next sync may read it with the same ETag.
            self.unread.append((uri, str(parsed)))
            self.vanished += [uri] if isinstance(parsed, Vanished) else []
            return
        fingerprint = self.expected.fingerprint(read.item.key, passages=0)
        origin = read.origin(fingerprint, self.writer.attempt)
        problems = parsed.problems if isinstance(parsed, ChunkedFile) else (str(parsed),)
        self.skipped[uri] = Entry(origin, 0, problems=problems or (NO_TEXT,))

    def _is_unchanged(self, key: str, read: Origin, entry: Entry) -> bool:
        before = entry.origin
        if (read.content, read.etag, read.size) != (before.content, before.etag, before.size):
            return False
        return self.expected.matches(key, entry)

    def current_entries(self) -> dict[str, Entry]:
        """Return the entries of the source's objects after this run, by URI.

        Objects that could not be read this time keep their entries, unless they were deleted.
        """
        indexed = self.writer.indexed
        unread = {uri: indexed[uri] for uri, _ in self.unread if uri in indexed}
        unread = {uri: entry for uri, entry in unread.items() if entry.passages}
        unchanged = {entry.origin.uri: entry for entry in self.diff.unchanged}
        current = unchanged | unread | self.reread | self.writer.committed | self.skipped
        return {uri: entry for uri, entry in current.items() if uri not in self.vanished}

    def contents(self, items: Iterable[SourceObject]) -> dict[str, bytes]:
        """Return the hash of each object's content, by URI; empty if it has no passages."""
        current = self.current_entries()
        entries = ((item.uri, current.get(item.uri)) for item in items)
        return {
            uri: entry.origin.content if entry and entry.passages else b"" for uri, entry in entries
        }

    def emptied_entries(self, published: Mapping[str, Entry]) -> list[tuple[Entry, str]]:
        """Return published entries of objects that no longer have text, with the reason."""
        before = ((published.get(uri), entry) for uri, entry in self.skipped.items())
        return [(old, entry.problems[0]) for old, entry in before if old and old.passages]

    def stale_origins(self) -> frozenset[Origin]:
        """Return the origins of passages to delete: their objects are gone, or have no text now."""
        vanished = (self.writer.indexed.get(uri) for uri in self.vanished)
        emptied = (entry for entry, _ in self.emptied_entries(self.writer.indexed))
        entries = (*self.diff.gone, *vanished, *emptied)
        return frozenset(entry.origin for entry in entries if entry and entry.passages)

    def report_progress(self) -> None:
        """Call the progress callback, if the caller gave one."""
        if not self.progress:
            return
        finished = self._bytes_without + self.writer.bytes
        work = _READ_SHARE * self._bytes + (1 - _READ_SHARE) * finished
        share = min(1.0, work / self._total_bytes) if self._total_bytes else 1.0
        counts = (self._done, self._total, self.writer.written, self._bytes, self._total_bytes)
        self.progress(Progress(*counts, share))
