"""A bucket's prefix as a source: listed by `bucket_listing`, read through obstore."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from resift.errors import MissingExtra, SettingsError, SourceError, SourceLost, Unreadable, Vanished
from resift.extras import require
from resift.index.sources.listing import (
    Fetched,
    RawListing,
    SourceObject,
    UnreadEntry,
    folder_of,
    index_folders,
    key_problem,
    refuse_large,
)
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import are_credentials_bad, describe
from resift.index.storage.listing_page import ListedObject, substitute_etag
from resift.index.storage.location import Location


class Bucket:
    """The objects below a prefix. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Store the location; no request is sent yet."""
        self._location = location

    @cached_property
    def _store(self) -> Any:
        return open_bucket(self._location, patient=True)

    def list(self, follow_links: bool) -> RawListing:
        """List all objects; raise `SourceError` if that fails. Buckets have no links."""
        listing = RawListing(requests=0)
        objects: dict[str, ListedObject] = {}
        prefix = self._location.prefix
        with _source_errors(self._location):
            for page in BucketListing(self._location).pages(prefix):
                listing.requests += 1
                objects |= {item.key.removeprefix(prefix): item for item in page}
        folders = index_folders(objects)
        indexes = set()
        for key, item in objects.items():
            index = folder_of(key, folders)
            reason = key_problem(key)
            if index is not None:
                indexes.add(index)
            elif not key or (key.endswith("/") and not item.size):
                continue  # the marker of a folder
            elif reason:
                listing.unsupported.append(UnreadEntry(key, reason))
            else:
                listing.files.append(self._object(key, item.etag, item.size))
        listing.indexes = sorted(indexes)
        return listing

    def is_empty(self) -> bool:
        """Whether the prefix has no objects; raise `SourceError` if that is unknown."""
        prefix = self._location.prefix
        with _source_errors(self._location):
            pages = BucketListing(self._location).pages(prefix, page_size=2)
            # The marker of a folder does not count. Azure sends empty pages before others.
            return all(item.key == prefix for page in pages for item in page)

    def stat(self, key: str) -> SourceObject:
        """Look up one object; raise `SourceError` if it does not exist."""
        with _source_errors(self._location, key):
            meta = require("obstore", "index").head(open_bucket(self._location), key)
        return self._object(key, _etag(meta), meta["size"])

    def check(self) -> None:
        """Raise `SourceError` if the prefix cannot be listed now."""
        self.is_empty()

    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched:
        """Read an object, or an old version of it.

        Raise `Vanished`, `Unreadable`, `SourceError` for a large object, or `SourceLost` if these
        credentials can read nothing.
        """

        def check(meta: Mapping[str, Any]) -> None:
            refuse_large(int(meta["size"]), max_bytes)

        try:
            data, meta = fetch(self._store, key, check, {"version": version} if version else None)
            return Fetched(data, _etag(meta), meta["version"])
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise Vanished("gone since the source was listed") from error
        except Exception as error:  # obstore raises its own classes and built-in ones
            if are_credentials_bad(error):
                raise SourceLost(f"{self._location.label}: {self._describe(error)}") from error
            raise Unreadable(f"cannot be read: {self._describe(error)}") from error

    def _describe(self, error: BaseException) -> str:
        return describe(error, self._location)

    def _object(self, key: str, etag: str, size: int) -> SourceObject:
        return SourceObject(key, self._location.child(key), etag, size)


@contextmanager
def _source_errors(location: Location, key: str = "") -> Iterator[None]:
    """Convert errors of obstore or a listing to a `SourceError` that names location or object."""
    try:
        yield
    except (MissingExtra, SettingsError):  # they name what to do already
        raise
    except Exception as error:  # obstore raises its own classes and built-in ones
        label = location.child(key) if key else location.label
        raise SourceError(f"{label}: {describe(error, location)}") from error


def _etag(meta: Mapping[str, Any]) -> str:
    etag = meta["e_tag"] or substitute_etag(meta["last_modified"], meta["size"])
    return str(etag).strip('"')
