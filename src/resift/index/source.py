"""Documents as objects: a folder or an ``s3://`` prefix, listed and read.

Knows what a document is called, not what is in it.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol

from resift.errors import SourceError, SourceLost, Unreadable, Vanished
from resift.index.folder import Folder, kind_of
from resift.index.location import TABLE, Location, locate, locate_object
from resift.index.marker import is_part, is_table
from resift.index.objects import Objects
from resift.index.parsing.formats import SUFFIXES
from resift.index.patterns import ALL
from resift.index.patterns import Globs as Globs
from resift.index.raw_listing import Fetched as Fetched
from resift.index.raw_listing import File, Odd, RawListing, refuse_large, shown
from resift.settings import StorageSettings

_READERS = 16
# What may wait in memory to be parsed; one object more than that is read all the same.
_READ_AHEAD_BYTES = 64 << 20
# So many failures in a row, and the source itself is asked whether it is still there.
_FAILURES_IN_A_ROW = 10
INDEX = "index"
"""The kind under which an index between the files is counted."""


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One file. `key` is its path below the source; `etag` changes when its content does."""

    key: str
    uri: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source holds, but for hidden files and what the patterns leave out.

    `objects` are its documents, by key. `odd` has ``(uri, reason)`` for what is there and is not
    read, `unseen` for what is there and could not be looked at this time, and what is below it: of
    these nothing is known.
    `passed_over` counts what is no document, by suffix.
    """

    objects: tuple[SourceObject, ...]
    odd: tuple[tuple[str, str], ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    requests: int = 1

    @property
    def count(self) -> int:
        """Of all of it."""
        counts = (self.objects, self.odd, self.unseen)
        return sum(map(len, counts)) + sum(self.passed_over.values())


class Files(Protocol):
    """What lies at a place: `Folder` or `Objects`. Threads may share it."""

    def look(self, follow_links: bool) -> RawListing: ...
    def look_at(self, key: str) -> File: ...
    def check(self) -> None: ...
    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched: ...


class Source:
    """Documents below one place. `uri` is canonical."""

    def __init__(self, files: Files, location: Location, only: str | None = None) -> None:
        """Read `files`, which are rooted at `location`; `only` names a single file in it."""
        self._files = files
        self._location = location
        self._only = only
        self.uri = location.child(only) if only else location.uri

    def list(self, globs: Globs = ALL, *, follow_links: bool = False) -> Listing:
        """Every document, sorted by key; raise `SourceError` if the place cannot be listed."""
        if self._only:
            return Listing((self._object(self._files.look_at(self._only)),))
        seen = self._files.look(follow_links)
        wanted = [f for f in seen.files if not _is_hidden(f.key) and globs.match(f.key)]
        objects = [self._object(file) for file in wanted if is_document(file.key)]
        others = [file.key for file in wanted if not is_document(file.key)]
        odd, no_documents = self._sort(seen.odd, globs)
        unseen, unknown = self._sort(seen.unseen, globs)
        indexes = [key for key in seen.indexes if globs.may_match_below(key)]
        passed_over = Counter(
            PurePath(key).suffix.lower() or "no suffix"
            for key in (*others, *no_documents, *unknown)
        )
        return Listing(
            tuple(sorted(objects, key=lambda item: item.key)),
            tuple(sorted(odd)),
            tuple(sorted(unseen)),
            dict(sorted(passed_over.items())) | ({INDEX: len(indexes)} if indexes else {}),
            seen.requests,
        )

    def check(self) -> None:
        """Raise `SourceError` if nothing can be read there now."""
        self._files.check()

    def read(self, key: str, max_bytes: int | None = None, version: str | None = None) -> Fetched:
        """All bytes of one object.

        Raise `Vanished` if it is gone, `SourceError` if it is over the limit, `Unreadable` if it is
        there and cannot be read, `SourceLost` if nothing there can be with these credentials.
        """
        return self._files.read(key, max_bytes, version)

    def find(self, key: str, version: str | None = None) -> Fetched | None:
        """The bytes of an object, or of an old version of it; None if there is no such thing."""
        try:
            return self.read(key, version=version)
        except Unreadable as error:
            raise SourceError(f"{self._location.child(key)}: {error}") from error
        except Vanished:
            return None

    def read_many(
        self, items: Sequence[SourceObject], max_bytes: int | None = None
    ) -> Iterator[tuple[SourceObject, Fetched | SourceError]]:
        """Read ahead, some at once; give each object with its bytes or its error, in order.

        Raise `SourceLost` where one after the other cannot be read and the source cannot be listed
        any more either: then it is not the objects.
        """
        waiting: deque[tuple[SourceObject, Future[Fetched]]] = deque()
        ahead = 0
        deadline = _SourceCheck(self.check)
        with ThreadPoolExecutor(_READERS, "resift-read") as pool:
            try:
                for item in items:
                    waiting.append((item, pool.submit(self._read_listed, item, max_bytes)))
                    ahead += item.size
                    while len(waiting) > 4 * _READERS or (ahead > _READ_AHEAD_BYTES and waiting):
                        ahead -= waiting[0][0].size
                        yield deadline.result(*waiting.popleft())
                while waiting:
                    yield deadline.result(*waiting.popleft())
            finally:
                # Whoever stops half-way does not wait for what nobody will look at.
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_listed(self, item: SourceObject, max_bytes: int | None) -> Fetched:
        refuse_large(item.size, max_bytes)  # known from the listing: nothing is asked for
        return self.read(item.key, max_bytes)

    def _object(self, file: File) -> SourceObject:
        return SourceObject(file.key, self._location.child(file.key), file.etag, file.size)

    def _sort(
        self, items: Sequence[Odd], globs: Globs
    ) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
        """What of this would be a document or may hold some, named; the keys of all else."""
        wanted = [item for item in items if not _is_hidden(item.key) and _is_wanted(item, globs)]
        named = [
            self._named(item)
            for item in wanted
            if item.is_folder is not False or is_document(item.key)
        ]
        others = [i.key for i in wanted if i.is_folder is False and not is_document(i.key)]
        return named, others

    def _named(self, item: Odd) -> tuple[str, str]:
        return shown(self._location.child(item.key)), item.reason


def open_source(uri: str, storage: StorageSettings) -> Source:
    """Open a folder, a bucket's prefix or a single file; raise `SourceError` if there is none."""
    location = locate(uri)
    if lies_in_an_index(location, storage):
        raise SourceError(f"{uri}: an index, or a part of one: expected the documents it is of")
    return _open_bucket(location, storage) if location.bucket else _open_folder(uri, location)


def lies_in_an_index(location: Location, storage: StorageSettings) -> bool:
    """Whether a place is a part of an index or lies in one, by the names that lead to it.

    A bucket is asked only where a name on the way is one that an index uses.
    """
    parts = location.path.split("/")
    if any(map(is_table, parts)):
        return True
    tables = [
        Location(location.bucket, "/".join([*parts[:depth], TABLE]))
        for depth, name in enumerate(parts)
        if is_part(name, [TABLE])
    ]
    if location.bucket:
        return any(Objects(table, storage).holds_any() for table in tables)
    return any(kind_of(table.path) == "folder" for table in tables)


def open_object(uri: str, storage: StorageSettings) -> tuple[Source, str]:
    """The source that holds the object `uri`, and its key there. Does no I/O in a bucket."""
    parent, name = locate_object(uri)
    if parent.bucket:
        return Source(Objects(parent, storage), parent), name
    if kind_of(parent.path) != "folder":
        raise SourceError(f"{uri}: no such file: check the path")
    return Source(Folder(parent.path), parent), name


def is_document(path: str) -> bool:
    """Whether a file of this name is read."""
    return PurePath(path).suffix.lower() in SUFFIXES


def _open_folder(uri: str, location: Location) -> Source:
    kind = kind_of(location.path)
    if kind == "file":
        _refuse_unsupported(uri)
        path = PurePath(location.path)
        parent = Location(None, str(path.parent))
        return Source(Folder(parent.path), parent, path.name)
    if kind is None:
        raise SourceError(f"{uri}: no such folder or file: check the path")
    if kind != "folder":
        raise SourceError(f"{uri}: {kind}: expected a folder or a file")
    return Source(Folder(location.path), location)


def _open_bucket(location: Location, storage: StorageSettings) -> Source:
    place = Objects(location, storage)
    prefix, _, name = location.path.rpartition("/")
    parent = Location(location.bucket, prefix)
    # A prefix may be named like a file.
    if not location.path or not is_document(location.path) or place.holds_any():
        return Source(place, location)
    return Source(Objects(parent, storage), parent, name)


def _refuse_unsupported(uri: str) -> None:
    if not is_document(uri):
        raise SourceError(f"{uri}: not a document: expected one of {', '.join(sorted(SUFFIXES))}")


def _is_hidden(path: str) -> bool:
    return any(part.strip(".") and part.startswith(".") for part in path.split("/"))


def _is_wanted(item: Odd, globs: Globs) -> bool:
    as_folder = item.is_folder is not False and globs.may_match_below(item.key)
    return as_folder or (not item.is_folder and globs.match(item.key))


class _SourceCheck:
    """Counts what could not be read in a row, and asks the source then whether it is its fault."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._failed = 0

    def result(
        self, item: SourceObject, read: Future[Fetched]
    ) -> tuple[SourceObject, Fetched | SourceError]:
        """What a read gave, or its error."""
        try:
            fetched = read.result()
        except SourceLost:
            raise
        except Unreadable as error:
            self._failed += 1
            if self._failed % _FAILURES_IN_A_ROW == 0:
                self._ask(error)
            return item, error
        except SourceError as error:
            return item, error
        self._failed = 0
        return item, fetched

    def _ask(self, error: Unreadable) -> None:
        try:
            self._check()
        except SourceError as lost:
            raise SourceLost(f"{lost} ({self._failed} in a row {error})") from error
