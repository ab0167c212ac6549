"""Documents as objects: a folder or an ``s3://`` prefix, listed and read through obstore.

Knows what a document is called, not what is in it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import SourceError
from resift.extras import require
from resift.index.bucket import open_bucket
from resift.index.faults import meaning
from resift.index.location import Location, locate
from resift.settings import StorageSettings

SUFFIXES = frozenset({".txt", ".md", ".markdown", ".html", ".htm", ".pdf", ".jsonl"})
_READERS = 8


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One file. `key` is its path below the source; `etag` changes when its content does."""

    key: str
    uri: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The documents of a source, by key, and how many other files lie between them."""

    objects: tuple[SourceObject, ...]
    unsupported: int


class Source:
    """Documents below one place. `uri` is canonical."""

    def __init__(self, store: Any, location: Location, only: str | None = None) -> None:
        """Read from an obstore `store` rooted at `location`; `only` names a single file in it."""
        self._store = store
        self._location = location
        self._only = only
        self.uri = location.child(only) if only else location.uri

    def list(self) -> Listing:
        """Every document, sorted by key; raise `SourceError` if the place cannot be listed."""
        obstore = require("obstore", "index")
        try:
            if self._only:
                return Listing((self._object(obstore.head(self._store, self._only)),), 0)
            found = [meta for page in obstore.list(self._store) for meta in page]
        except Exception as error:  # obstore raises its own classes and built-in ones
            raise SourceError(f"{self.uri}: {meaning(error)}") from error
        visible = [meta for meta in found if not _is_hidden(meta["path"])]
        documents = [meta for meta in visible if is_document(meta["path"])]
        objects = sorted(map(self._object, documents), key=lambda item: item.key)
        return Listing(tuple(objects), len(visible) - len(documents))

    def read(self, item: SourceObject) -> bytes:
        """All bytes of one object; raise `SourceError` if it cannot be read."""
        obstore = require("obstore", "index")
        try:
            return bytes(obstore.get(self._store, item.key).bytes())
        except FileNotFoundError as error:
            raise SourceError("gone since the source was listed") from error
        except Exception as error:  # obstore raises its own classes and built-in ones
            raise SourceError(f"cannot be read: {meaning(error)}") from error

    def read_many(
        self, items: Sequence[SourceObject]
    ) -> Iterator[tuple[SourceObject, bytes | SourceError]]:
        """Read ahead, a few at once; give each object with its bytes or its error, in order."""
        waiting: deque[tuple[SourceObject, Future[bytes]]] = deque()
        with ThreadPoolExecutor(_READERS, "resift-read") as pool:
            try:
                for item in items:
                    waiting.append((item, pool.submit(self.read, item)))
                    if len(waiting) > _READERS:
                        yield _result(*waiting.popleft())
                while waiting:
                    yield _result(*waiting.popleft())
            finally:
                # Whoever stops half-way does not wait for what nobody will look at.
                pool.shutdown(wait=False, cancel_futures=True)

    def _object(self, meta: dict[str, Any]) -> SourceObject:
        # A store without ETags still tells time and size.
        etag = meta["e_tag"] or f"{meta['last_modified'].timestamp()}-{meta['size']}"
        key = meta["path"]
        return SourceObject(key, self._location.child(key), etag.strip('"'), meta["size"])


def open_source(uri: str, storage: StorageSettings) -> Source:
    """Open a folder, a bucket's prefix or a single file; raise `SourceError` if there is none."""
    location = locate(uri)
    return _open_bucket(location, storage) if location.bucket else _open_folder(uri, location)


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
    root = Source(open_bucket(location, storage), location)
    if not location.path or not is_document(location.path):
        return root
    if root.list().objects:  # a prefix may be named like a file
        return root
    prefix, _, name = location.path.rpartition("/")
    parent = Location(location.bucket, prefix)
    return Source(open_bucket(parent, storage), parent, name)


def _refuse_unsupported(uri: str) -> None:
    if not is_document(uri):
        raise SourceError(f"{uri}: not a document: expected one of {', '.join(sorted(SUFFIXES))}")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _result(item: SourceObject, read: Future[bytes]) -> tuple[SourceObject, bytes | SourceError]:
    try:
        return item, read.result()
    except SourceError as error:
        return item, error
