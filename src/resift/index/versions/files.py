"""The small files of an index, beside its table: listed and read, from a folder or a bucket."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from resift.errors import IndexNotFound
from resift.extras import require
from resift.index.storage import local
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import store_errors
from resift.index.storage.location import Location

_FOLDERS = ("versions", "manifests")


class IndexFiles:
    """The files of the index at one location. Threads may share it."""

    def __init__(self, location: Location, *, patient: bool = False) -> None:
        """Store the location; nothing is read or created yet.

        With `patient` wait longer, for a store that has responded before.
        """
        self._location = location
        self._patient = patient

    @cached_property
    def store(self) -> Any:
        """The obstore of the location; raises `FileNotFoundError` for a folder that is missing."""
        if self._location.bucket:
            return open_bucket(self._location, patient=self._patient)
        folder = self._location.folder
        with store_errors(self._location):
            exists = folder.is_dir()
            local.refuse_links(folder, _FOLDERS)
        if not exists:
            raise FileNotFoundError(self._location.path)
        return require("obstore.store", "index").LocalStore(folder)

    def versions(self) -> list[tuple[str, float]]:
        """List the files below ``versions/``: path and Unix time of the last change."""
        return self._in_bucket() if self._location.bucket else self._in_folder()

    def _in_bucket(self) -> list[tuple[str, float]]:
        """List files below ``versions/``; raise `StoreError` if the response is not a listing."""
        prefix = f"{self._location.path}/" if self._location.path else ""
        with store_errors(self._location):
            listing = BucketListing(self._location, patient=self._patient)
            pages = list(listing.pages(f"{prefix}versions/"))
        return [(file.key.removeprefix(prefix), file.modified) for page in pages for file in page]

    def _in_folder(self) -> list[tuple[str, float]]:
        folder = self._location.folder
        with store_errors(self._location):
            if folder.exists() and not folder.is_dir():
                raise IndexNotFound(
                    f"{self._location.uri}: not a folder; expected an index's folder"
                )
            return local.list_folder(folder, "versions")

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read a file; raise `FileNotFoundError`, or `NotAFile` for anything else and larger ones.

        Raise `StoreError` if the store fails.
        """

        def check(meta: Mapping[str, Any]) -> None:
            if meta["size"] > max_bytes:
                raise local.NotAFile(f"{path} has more than {max_bytes:,} bytes")

        try:
            if not self._location.bucket:
                return local.read(self._location.folder, path, max_bytes)
            return fetch(self.store, path, check)[0]
        except (FileNotFoundError, local.NotAFile):
            raise
        except Exception:  # obstore raises its own classes and built-in ones
            with store_errors(self._location):
                raise
