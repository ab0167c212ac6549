"""A bucket's prefix as a source: listed by `s3_listing`, read through obstore."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from resift.errors import SourceError, SourceLost, Unreadable, Vanished
from resift.extras import require
from resift.index.sources.marker import lies_in, parts_of_indexes
from resift.index.sources.raw_listing import Fetched, File, Odd, RawListing, refuse_large, why_odd
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import are_credentials_bad, meaning
from resift.index.storage.location import Location
from resift.index.storage.s3_listing import BucketListing, ListedObject, substitute_etag


class Objects:
    """The objects below a prefix. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Name the prefix; the bucket is asked nothing yet."""
        self._location = location
        self._prefix = f"{location.path}/" if location.path else ""

    @cached_property
    def _store(self) -> Any:
        """For reading what was listed: a pause of the store ends no work."""
        return open_bucket(self._location, patient=True)

    def look(self, follow_links: bool) -> RawListing:
        """Every object; raise `SourceError` if they cannot be listed. Buckets have no links."""
        requests = 0
        listed: dict[str, ListedObject] = {}
        try:
            for page in BucketListing(self._location).pages(self._prefix):
                requests += 1
                listed |= {item.key.removeprefix(self._prefix): item for item in page}
        except Exception as error:  # obstore signs, and raises its own classes
            raise SourceError(f"{self._location.uri}: {meaning(error)}") from error
        parts = parts_of_indexes(listed)
        files, odd, indexes = [], [], set()
        for key, item in listed.items():
            part = lies_in(key, parts)
            reason = why_odd(key)
            if part is not None:
                indexes.add(part)
            elif not key or (key.endswith("/") and not item.size):
                continue  # a folder's marker
            elif reason:
                odd.append(Odd(key, reason))
            else:
                files.append(File(key, item.etag, item.size))
        return RawListing(files, odd, (), sorted(indexes), requests)

    def holds_any(self) -> bool:
        """Whether there is anything below the prefix; raise `SourceError` if that is not known."""
        try:
            page = next(BucketListing(self._location).pages(self._prefix, page_size=2))
        except Exception as error:  # obstore signs, and raises its own classes
            raise SourceError(f"{self._location.uri}: {meaning(error)}") from error
        return any(item.key != self._prefix for item in page)  # a folder's marker is nothing in it

    def look_at(self, key: str) -> File:
        """One object; raise `SourceError` if it is not there."""
        obstore = require("obstore", "index")
        try:
            meta = obstore.head(open_bucket(self._location), key)
        except Exception as error:  # obstore raises its own classes and built-in ones
            raise SourceError(f"{self._location.child(key)}: {meaning(error)}") from error
        return File(key, _etag(meta), meta["size"])

    def check(self) -> None:
        """Raise `SourceError` if the prefix cannot be listed now."""
        self.holds_any()

    def read(self, key: str, max_bytes: int | None, version: str | None = None) -> Fetched:
        """All bytes of an object, or of an old version of it.

        Raise `Vanished`, `Unreadable`, `SourceError` for a large one, or `SourceLost` if nothing
        can be read with these credentials.
        """

        def check(meta: Mapping[str, Any]) -> None:
            refuse_large(int(meta["size"]), max_bytes)

        try:
            options = {"version": version} if version else None
            data, meta = fetch(self._store, key, check, options)
            return Fetched(data, _etag(meta), meta["version"])
        except SourceError:
            raise
        except FileNotFoundError as error:
            raise Vanished("gone since the source was listed") from error
        except Exception as error:  # obstore raises its own classes and built-in ones
            if are_credentials_bad(error):
                raise SourceLost(f"{self._location.uri}: {meaning(error)}") from error
            raise Unreadable(f"cannot be read: {meaning(error)}") from error


def _etag(meta: Mapping[str, Any]) -> str:
    etag = meta["e_tag"] or substitute_etag(meta["last_modified"], meta["size"])
    return str(etag).strip('"')
