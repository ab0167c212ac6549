"""Published versions of an index: one small record each, made once and never changed.

A version is published by creating ``versions/NUMBER.json``, which fails if it is there: the same
conditional write that Lance commits with. So versions are a line, and of two writers one is first.
The record names a version of the table, the files that it is made of, and the manifest of objects.
Knows nothing of Lance.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import Any

from resift.errors import IndexNotFound, StoreError
from resift.extras import require
from resift.index.manifest import Entry, from_parquet, to_parquet
from resift.index.record import FORMAT as FORMAT
from resift.index.record import VectorIndex as VectorIndex
from resift.index.record import Version as Version
from resift.index.record import read_record as read_record
from resift.index.record import write_record as write_record
from resift.index.storage import local
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.storage.s3_listing import BucketListing

_DIGITS = 8
_READERS = 16
_RECORD = re.compile(r"versions/([0-9]{8,18})\.json")
# What is larger was written by nobody who means well, and would have to be held in memory.
_MOST_RECORD_BYTES, _MOST_MANIFEST_BYTES = 64 << 20, 1 << 30
_FOLDERS = ("versions", "manifests")


class Damaged(StoreError):
    """A record or a manifest that nobody has written so."""


class Versions:
    """The published versions below one place. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Name the place; nothing is read or made there yet."""
        self._location = location

    @cached_property
    def _store(self) -> Any:
        if self._location.bucket:
            return open_bucket(self._location, patient=True)
        folder = self._location.folder
        with store_errors(self._location.uri):
            is_there = folder.is_dir()
            local.refuse_links(folder, _FOLDERS)
        if not is_there:
            raise FileNotFoundError(self._location.path)
        return require("obstore.store", "index").LocalStore(folder)

    def numbers(self) -> list[int]:
        """All published versions, ascending. One request."""
        return [number for number, _ in self.listed()]

    def listed(self) -> list[tuple[int, float]]:
        """All published versions, ascending, with the time at which each was: Unix seconds."""
        names = self._names_in_bucket() if self._location.bucket else self._names_in_folder()
        records = [(_RECORD.fullmatch(name), published) for name, published in names]
        return sorted(
            (int(name[1]), published)
            for name, published in records
            if name and name[0] == _record(int(name[1]))
        )

    def _names_in_bucket(self) -> list[tuple[str, float]]:
        """What is no listing must not pass for an index that is empty."""
        above = f"{self._location.path}/" if self._location.path else ""
        with store_errors(self._location.uri):
            pages = list(BucketListing(self._location).pages(f"{above}versions/"))
        return [(file.key.removeprefix(above), file.modified) for page in pages for file in page]

    def _names_in_folder(self) -> list[tuple[str, float]]:
        folder = self._location.folder
        with store_errors(self._location.uri):
            if folder.exists() and not folder.is_dir():
                raise IndexNotFound(
                    f"{self._location.uri}: is no folder; expected one for an index"
                )
            return local.list_folder(folder, "versions")

    def readable(self) -> list[Version]:
        """All published versions, ascending, but for damaged ones: nobody can use those."""
        with ThreadPoolExecutor(_READERS, "resift-versions") as pool:
            found = list(pool.map(self._get_readable, self.numbers()))
        return [version for version in found if version]

    def _get_readable(self, number: int) -> Version | None:
        try:
            return self.get(number)
        except (Damaged, IndexNotFound):  # or cleaned up meanwhile
            return None

    def newest(self) -> Version | None:
        """The version that readers are given now, if there is one."""
        numbers = self.numbers()
        return self.get(numbers[-1]) if numbers else None

    def no_index(self) -> IndexNotFound:
        """What to raise where nothing was published."""
        uri = self._location.uri
        return IndexNotFound(
            f"{uri}: no index there: make one with  resift index SOURCE --index {uri}"
        )

    def get(self, number: int) -> Version:
        """One version; raise `IndexNotFound` if it is not there, or not there any more."""
        try:
            body = self._read(_record(number), _MOST_RECORD_BYTES)
        except FileNotFoundError as error:
            if not self.numbers():
                raise self.no_index() from error
            raise IndexNotFound(
                f"{self._location.uri}: no version {number}: resift versions --index lists them"
            ) from error
        try:
            return read_record(body, number, self._location.uri)
        except ValueError as error:
            raise self._damaged(f"{_record(number)} is damaged ({error})") from error

    def entries(self, version: Version) -> dict[str, Entry]:
        """The objects of a version, by URI."""
        try:
            data = self._read(version.manifest, _MOST_MANIFEST_BYTES)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self._location.uri}: version {version.number} has lost its manifest: "
                "it was cleaned up, or the index is damaged"
            ) from error
        try:
            return from_parquet(data)
        except (KeyError, TypeError, ValueError, OSError, NotImplementedError) as error:
            raise self._damaged(f"{version.manifest} is damaged") from error

    def _damaged(self, what: str) -> Damaged:
        return Damaged(f"{self._location.uri}: {what}: {self._way_out()}")

    def _way_out(self) -> str:
        """What to do about a version that cannot be used."""
        if len(self.numbers()) > 1:
            return "restore it, roll back to another version, or index into a new place"
        return "restore it, or index into a new place"

    def publish(self, version: Version, entries: Mapping[str, Entry]) -> bool:
        """Create the version; give False if another writer has created that number before."""
        obstore = require("obstore", "index")
        already = require("obstore.exceptions", "index").AlreadyExistsError
        if not _RECORD.fullmatch(_record(version.number)):
            raise self._damaged(f"{_record(version.number - 1)} leaves no number for another")
        with store_errors(self._location.uri):
            obstore.put(self._store, version.manifest, to_parquet(entries))
            try:
                body = write_record(version)
                obstore.put(self._store, _record(version.number), body, mode="create")
            except already:
                # Or it was this one, and the answer was lost on its way: then it is done.
                if self.get(version.number).manifest == version.manifest:
                    return True
                obstore.delete(self._store, version.manifest)
                return False
        return True

    def refuse_lost(self, version: Version) -> None:
        """Raise `StoreError` for files that are gone or not whole. One request a thousand."""
        obstore = require("obstore", "index")
        with store_errors(self._location.uri):
            pages = obstore.list(self._store, TABLE)
            there = {meta["path"]: meta["size"] for page in pages for meta in page}
        lost = [path for path, size in version.files if there.get(f"{TABLE}/{path}") != size]
        if lost:
            raise StoreError(
                f"{self._location.uri}: version {version.number} has lost {len(lost)} of its "
                f"{len(version.files)} files, {lost[0]} first: {self._way_out()}"
            )

    def remove(self, version: Version) -> None:
        """Take a version from the list, then its manifest; the table's files are not touched."""
        obstore = require("obstore", "index")
        for path in (_record(version.number), version.manifest):
            with store_errors(self._location.uri), suppress(FileNotFoundError):
                obstore.delete(self._store, path)

    def _read(self, path: str, most: int) -> bytes:
        def check(meta: Mapping[str, Any]) -> None:
            if meta["size"] > most:
                raise local.NotAFile(f"{path} has more than {most:,} bytes")

        try:
            if not self._location.bucket:
                return local.read(self._location.folder, path, most)
            return fetch(self._store, path, check)[0]
        except local.NotAFile as error:
            raise self._damaged(str(error)) from error
        except FileNotFoundError:
            raise
        except Exception:  # obstore raises its own classes and built-in ones
            with store_errors(self._location.uri):
                raise


def _record(number: int) -> str:
    return f"versions/{number:0{_DIGITS}d}.json"
