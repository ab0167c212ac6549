"""Documents as objects: a folder or an ``s3://`` prefix, listed and read through obstore.

Knows what a document is called, not what is in it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from resift.errors import SourceError, SourceLost, Unreadable, Vanished
from resift.extras import require
from resift.index.bucket import open_bucket
from resift.index.faults import are_credentials_bad, meaning
from resift.index.location import Location, locate
from resift.index.parsing.parse import SUFFIXES
from resift.settings import StorageSettings

_READERS = 16
# What may wait in memory to be parsed; one object more than that is read all the same.
_READ_AHEAD_BYTES = 64 << 20
_FAILURES_IN_A_ROW = 10


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One file. `key` is its path below the source; `etag` changes when its content does."""

    key: str
    uri: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, and the ETag (and the version, where the store keeps some) they have.

    It is the answer's own ETag: an object may have changed since it was listed.
    """

    data: bytes
    etag: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Globs:
    """Which keys are documents of a source: one of `include`, and none of `exclude`.

    A pattern is matched against the whole key below the source; ``*`` stands for any characters,
    slashes as well. Without `include` everything is included.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def match(self, key: str) -> bool:
        """Whether this key is wanted."""
        if any(fnmatchcase(key, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatchcase(key, pattern) for pattern in self.include)


ALL = Globs()


@dataclass(frozen=True, slots=True)
class Listing:
    """The documents of a source, by key, and how many other files lie between them."""

    objects: tuple[SourceObject, ...]
    unsupported: int
    requests: int = 1


class Source:
    """Documents below one place. `uri` is canonical."""

    def __init__(
        self, store: Any, location: Location, only: str | None = None, patient: Any = None
    ) -> None:
        """Read from an obstore `store` rooted at `location`; `only` names a single file in it.

        `patient` is the same store, for reading what was listed: a pause of it ends no work.
        """
        self._store = store
        self._patient = patient or store
        self._location = location
        self._only = only
        self.uri = location.child(only) if only else location.uri

    def list(self, globs: Globs = ALL) -> Listing:
        """Every document, sorted by key; raise `SourceError` if the place cannot be listed."""
        obstore = require("obstore", "index")
        try:
            if self._only:
                return Listing((self._object(obstore.head(self._store, self._only)),), 0)
            pages = list(obstore.list(self._store, chunk_size=1000))
        except Exception as error:  # obstore raises its own classes and built-in ones
            raise SourceError(f"{self.uri}: {meaning(error)}") from error
        found = [meta for page in pages for meta in page]
        visible = [m for m in found if not _is_hidden(m["path"]) and globs.match(m["path"])]
        documents = [meta for meta in visible if is_document(meta["path"])]
        objects = sorted(map(self._object, documents), key=lambda item: item.key)
        return Listing(tuple(objects), len(visible) - len(documents), max(1, len(pages)))

    def read(self, key: str, max_bytes: int | None = None, version: str | None = None) -> Fetched:
        """All bytes of one object.

        Raise `Vanished` if it is gone, `SourceError` if it is over the limit, `Unreadable` if it is
        there and cannot be read, `SourceLost` if nothing there can be with these credentials.
        """
        obstore = require("obstore", "index")
        try:
            options = {"version": version} if version else None
            answer = obstore.get(self._patient, key, options=options)
            _refuse_large(int(answer.meta["size"]), max_bytes)
            etag, version = _etag(answer.meta), answer.meta["version"]
            return Fetched(bytes(answer.bytes()), etag, version)
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise Vanished("gone since the source was listed") from error
        except Exception as error:  # obstore raises its own classes and built-in ones
            if are_credentials_bad(error):
                raise SourceLost(f"{self.uri}: {meaning(error)}") from error
            raise Unreadable(f"cannot be read: {meaning(error)}") from error

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

        Raise `SourceLost` where one after the other cannot be read: then it is not the objects.
        """
        waiting: deque[tuple[SourceObject, Future[Fetched]]] = deque()
        ahead = 0
        patience = _Patience(self.uri)
        with ThreadPoolExecutor(_READERS, "resift-read") as pool:
            try:
                for item in items:
                    waiting.append((item, pool.submit(self._read_listed, item, max_bytes)))
                    ahead += item.size
                    while len(waiting) > 4 * _READERS or (ahead > _READ_AHEAD_BYTES and waiting):
                        ahead -= waiting[0][0].size
                        yield patience.result(*waiting.popleft())
                while waiting:
                    yield patience.result(*waiting.popleft())
            finally:
                # Whoever stops half-way does not wait for what nobody will look at.
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_listed(self, item: SourceObject, max_bytes: int | None) -> Fetched:
        _refuse_large(item.size, max_bytes)  # known from the listing: nothing is asked for
        return self.read(item.key, max_bytes)

    def _object(self, meta: dict[str, Any]) -> SourceObject:
        key = meta["path"]
        return SourceObject(key, self._location.child(key), _etag(meta), meta["size"])


def open_source(uri: str, storage: StorageSettings) -> Source:
    """Open a folder, a bucket's prefix or a single file; raise `SourceError` if there is none."""
    location = locate(uri)
    return _open_bucket(location, storage) if location.bucket else _open_folder(uri, location)


def open_object(uri: str, storage: StorageSettings) -> tuple[Source, str]:
    """The source that holds the object `uri`, and its key there. Does no I/O in a bucket."""
    location = locate(uri)
    prefix, _, name = location.path.rpartition("/")
    parent = Location(location.bucket, prefix or ("" if location.bucket else "/"))
    if parent.bucket:
        return _in_bucket(parent, storage), name
    if not Path(parent.path).is_dir():
        raise SourceError(f"{uri}: no such file: check the path")
    stores = require("obstore.store", "index")
    return Source(stores.LocalStore(parent.path), parent), name


def is_document(path: str) -> bool:
    """Whether a file of this name is read."""
    return Path(path).suffix.lower() in SUFFIXES


def _open_folder(uri: str, location: Location) -> Source:
    stores = require("obstore.store", "index")
    path = Path(location.path)
    if path.is_file():
        _refuse_unsupported(uri)
        return Source(stores.LocalStore(path.parent), locate(str(path.parent)), path.name)
    if not path.is_dir():
        raise SourceError(f"{uri}: no such folder or file: check the path")
    return Source(stores.LocalStore(path), location)


def _open_bucket(location: Location, storage: StorageSettings) -> Source:
    root = _in_bucket(location, storage)
    if not location.path or not is_document(location.path):
        return root
    if root.list().objects:  # a prefix may be named like a file
        return root
    prefix, _, name = location.path.rpartition("/")
    parent = Location(location.bucket, prefix)
    return _in_bucket(parent, storage, name)


def _in_bucket(location: Location, storage: StorageSettings, only: str | None = None) -> Source:
    patient = open_bucket(location, storage, patient=True)
    return Source(open_bucket(location, storage), location, only, patient)


def _refuse_unsupported(uri: str) -> None:
    if not is_document(uri):
        raise SourceError(f"{uri}: not a document: expected one of {', '.join(sorted(SUFFIXES))}")


def _refuse_large(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise SourceError(f"{size:,} bytes, over the limit of {max_bytes:,} (max_bytes)")


def _etag(meta: dict[str, Any]) -> str:
    # A store without ETags still tells time and size.
    etag = meta["e_tag"] or f"{meta['last_modified'].timestamp()}-{meta['size']}"
    return str(etag).strip('"')


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


class _Patience:
    """Counts what could not be read in a row."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
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
            if self._failed >= _FAILURES_IN_A_ROW:
                raise SourceLost(f"{self._uri}: {self._failed} in a row {error}") from error
            return item, error
        except SourceError as error:
            return item, error
        self._failed = 0
        return item, fetched
