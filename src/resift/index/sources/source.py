"""A source of documents: lists and reads a folder, a bucket's prefix or one file.

Knows the names of documents, but not their contents.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from resift.errors import SourceError, SourceLost, Unreadable, Vanished
from resift.index.parsing.formats import SUFFIXES, is_supported, unread_kind
from resift.index.shards.layout import FIRST_TABLE
from resift.index.sources.bucket import Bucket
from resift.index.sources.folder import Folder, kind_of
from resift.index.sources.listing import (
    Fetched,
    SourceObject,
    UnreadEntry,
    escape_key,
    is_part_of_index,
    is_table,
    refuse_large,
)
from resift.index.sources.patterns import ALL, Globs
from resift.index.storage.location import TABLE, Location, locate, locate_object
from resift.settings import StorageSettings

_READERS = 16
# The limit for objects that wait in memory to be parsed; one object may exceed it.
_READ_AHEAD_BYTES = 64 << 20
# After this many failures in a row, check whether the source itself can still be read.
_FAILURES_IN_A_ROW = 10
INDEX = "index"
"""The kind of an index within a source."""
# Folders with the code of others, which a package manager installs beside that of a project.
_PACKAGES = frozenset({"node_modules", "bower_components", "site-packages", "__pycache__"})
FOLDER_KINDS = _PACKAGES | {INDEX}
"""The kinds that are folders, and not files."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The contents of a source, without hidden files and files that the patterns exclude.

    `objects` are its documents, by key. `unsupported` has ``(uri, reason)`` for entries that are
    never read, `unseen` for entries that could not be examined this time. `not_documents` has
    ``(uri, kind)`` for files of unsupported formats, for folders of installed packages, and for
    indexes.
    """

    objects: tuple[SourceObject, ...]
    unsupported: tuple[tuple[str, str], ...] = ()
    unseen: tuple[tuple[str, str], ...] = ()
    not_documents: tuple[tuple[str, str], ...] = ()
    requests: int = 1

    @property
    def passed_over(self) -> Mapping[str, int]:
        """The number of `not_documents` of each kind: a suffix, or ``index`` for an index."""
        return dict(sorted(Counter(kind for _, kind in self.not_documents).items()))

    @property
    def count(self) -> int:
        """The number of all entries."""
        counts = (self.objects, self.unsupported, self.unseen)
        return sum(map(len, counts)) + sum(self.passed_over.values())


class Source:
    """Documents below one location. `uri` is canonical."""

    def __init__(self, location: Location, only: str | None = None) -> None:
        """Read the files of `location`, or `only` the one with this name."""
        self._files = Bucket(location) if location.bucket else Folder(location)
        self._location = location
        self._only = only
        self.uri = location.child(only) if only else location.uri

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle holds the arguments: the copy connects again."""
        return Source, (self._location, self._only)

    def list(self, globs: Globs = ALL, *, follow_links: bool = False) -> Listing:
        """List all documents, sorted by key; raise `SourceError` if that fails."""
        if self._only:
            return Listing((self._files.stat(self._only),))
        raw = self._files.list(follow_links)
        files = [f for f in raw.files if not is_hidden(f.key) and globs.match(f.key)]
        unsupported, unsupported_others = self._sort(raw.unsupported, globs)
        unseen, unseen_others = self._sort(raw.unseen, globs)
        others = {**unsupported_others, **unseen_others}
        others |= {key: INDEX for key in raw.indexes if globs.may_match_below(key)}
        objects: list[SourceObject] = []
        for file in files:
            other = _not_document(file.key, globs)
            if other is None:
                objects.append(file)
            else:
                others |= [other]
        not_documents = ((escape_key(self._location.child(k)), kind) for k, kind in others.items())
        return Listing(
            tuple(sorted(objects, key=lambda item: item.key)),
            tuple(sorted(unsupported)),
            tuple(sorted(unseen)),
            tuple(sorted(not_documents)),
            raw.requests,
        )

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or a file of this machine."""
        return self._location.bucket is None

    @property
    def numbers_every_write(self) -> bool:
        """Whether each object has a version, also where the store keeps no old ones (GCS)."""
        return self._location.scheme == "gs"

    def check(self) -> None:
        """Raise `SourceError` if the source cannot be listed now."""
        self._files.check()

    def read(self, key: str, max_bytes: int | None = None, version: str | None = None) -> Fetched:
        """Read one object.

        Raise `Vanished` if it no longer exists, `SourceError` if it is over the limit, `Unreadable`
        if it cannot be read, `SourceLost` if these credentials can read nothing.
        """
        return self._files.read(key, max_bytes, version)

    def find(self, key: str, version: str | None = None) -> Fetched | None:
        """Read an object, or an old version of it; None if it does not exist."""
        try:
            return self.read(key, version=version)
        except Unreadable as error:
            raise SourceError(f"{self._location.child(key)}: {error}") from error
        except Vanished:
            return None

    def read_many(
        self, items: Sequence[SourceObject], max_bytes: int | None = None
    ) -> Iterator[tuple[SourceObject, Fetched | SourceError]]:
        """Read objects in parallel and ahead; yield each with its bytes or its error, in order.

        Raise `SourceLost` if many in a row cannot be read and the source cannot be listed either.
        """
        pending: deque[tuple[SourceObject, Future[Fetched]]] = deque()
        pending_bytes = 0
        failed_in_a_row = 0

        def result() -> tuple[SourceObject, Fetched | SourceError]:
            nonlocal failed_in_a_row
            item, read = pending.popleft()
            try:
                fetched = read.result()
            except SourceLost:
                raise
            except Unreadable as error:
                failed_in_a_row += 1
                if failed_in_a_row % _FAILURES_IN_A_ROW == 0:
                    self._check_after(error, failed_in_a_row)
                return item, error
            except SourceError as error:
                return item, error
            failed_in_a_row = 0
            return item, fetched

        with ThreadPoolExecutor(_READERS, "resift-read") as pool:
            try:
                for item in items:
                    pending.append((item, pool.submit(self._read_listed, item, max_bytes)))
                    pending_bytes += item.size
                    while pending and (
                        len(pending) > 4 * _READERS or pending_bytes > _READ_AHEAD_BYTES
                    ):
                        pending_bytes -= pending[0][0].size
                        yield result()
                while pending:
                    yield result()
            finally:
                # A caller that stops early does not wait for the other reads.
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_listed(self, item: SourceObject, max_bytes: int | None) -> Fetched:
        refuse_large(item.size, max_bytes)  # checks the listed size, before a request is sent
        return self.read(item.key, max_bytes)

    def _check_after(self, error: Unreadable, failures: int) -> None:
        try:
            self.check()
        except SourceError as lost:
            raise SourceLost(f"{lost} ({failures} in a row {error})") from error

    def _sort(
        self, entries: Sequence[UnreadEntry], globs: Globs
    ) -> tuple[Sequence[tuple[str, str]], Mapping[str, str]]:
        """Split entries into ``(uri, reason)`` of possible documents, and others with kinds."""
        named: list[tuple[str, str]] = []
        others: dict[str, str] = {}
        for entry in entries:
            may_be_folder = entry.is_folder is not False
            is_selected = (may_be_folder and globs.may_match_below(entry.key)) or (
                not entry.is_folder and globs.match(entry.key)
            )
            if is_hidden(entry.key) or not is_selected:
                continue
            other = _not_document(entry.key, globs)
            if other is None or (may_be_folder and other[0] == entry.key):
                named.append((escape_key(self._location.child(entry.key)), entry.reason))
            else:
                others |= [other]
        return named, others


def open_source(uri: str, storage: StorageSettings) -> Source:
    """Open a folder, a bucket's prefix or a single file; raise `SourceError` if there is none."""
    location = locate(uri, storage)
    if is_inside_index(location):
        raise SourceError(f"{uri}: an index, or a part of one: expected the documents it is of")
    if not _is_single_file(uri, location):
        return Source(location)
    if location.bucket:
        path, _, name = location.path.rpartition("/")
    else:
        path, name = os.path.split(location.path)
    return Source(replace(location, path=path), name)


def is_inside_index(location: Location) -> bool:
    """Whether a location is an index or lies in one, by the names in its path.

    Sends requests only if the path contains a name that indexes use.
    """
    parts = location.path.split("/")
    if any(map(is_table, parts)):
        return True
    tables = [
        replace(location, path="/".join([*parts[:depth], table]))
        for depth, name in enumerate(parts)
        for table in (TABLE, FIRST_TABLE)
        if is_part_of_index(name, [table])
    ]
    if location.bucket:
        return any(not Bucket(table).is_empty() for table in tables)
    return any(kind_of(table.path) == "folder" for table in tables)


def open_object(uri: str, storage: StorageSettings) -> tuple[Source, str]:
    """Open the source that holds the object `uri`; return it with the object's key. No request."""
    parent, name = locate_object(uri, storage)
    if not parent.bucket and kind_of(parent.path) != "folder":
        raise SourceError(f"{uri}: no such file: check the path")
    return Source(parent), name


def is_document(path: str, globs: Globs = ALL) -> bool:
    """Whether a file with this name is a document; patterns can name what is left out else."""
    return _not_document(path, globs) is None


def _not_document(key: str, globs: Globs) -> tuple[str, str] | None:
    """Return the ``(key, kind)`` that is counted for a file, by its name; None for a document."""
    packages = _packages(key)
    if packages and not globs.names(packages[1]):
        return packages
    kind = unread_kind(key)
    if kind is None or (is_supported(key) and globs.names(key.rpartition("/")[2])):
        return None
    return key, kind


def _packages(key: str) -> tuple[str, str] | None:
    """Return the folder of installed packages in which a file lies, with a slash, and its name."""
    parts = key.split("/")[:-1]
    for depth, name in enumerate(parts):
        if name in _PACKAGES:
            return "/".join([*parts[: depth + 1], ""]), name
    return None


def _is_single_file(uri: str, location: Location) -> bool:
    """Whether a location is one document; raise `SourceError` if it cannot be a source."""
    if location.bucket:  # a prefix may be named like a file
        return is_supported(location.path) and Bucket(location).is_empty()
    kind = kind_of(location.path)
    if kind is None:
        raise SourceError(f"{uri}: no such folder or file: check the path")
    if kind not in ("file", "folder"):
        raise SourceError(f"{uri}: {kind}: expected a folder or a file")
    if kind == "file" and not is_supported(uri):
        expected = ", ".join(sorted(SUFFIXES))
        raise SourceError(f"{uri}: not a document: expected one of {expected}")
    return kind == "file"


def is_hidden(path: str) -> bool:
    """Whether a part of a path begins with a dot, other than ``.`` and ``..``."""
    return any(part.strip(".") and part.startswith(".") for part in path.split("/"))
