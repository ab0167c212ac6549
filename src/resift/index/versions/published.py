"""Published versions of an index: one small record each, created once and never changed.

A version is published by creating ``versions/NUMBER.json``. This is a conditional write, as in
Lance's commits: it fails if the file exists, so one of two concurrent writers wins. The record
names a version of the table, its files, and the manifest of objects. This file does not know Lance.
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
from resift.index.storage import local
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.versions.record import Version, read_record, write_record

_THREADS = 16
_RECORD = re.compile(r"versions/([0-9]{8,18})\.json")
# Larger files were not written by resift, and would have to fit in memory.
_MAX_RECORD_BYTES, _MAX_MANIFEST_BYTES = 64 << 20, 1 << 30
_FOLDERS = ("versions", "manifests")


class Damaged(StoreError):
    """A record or a manifest has content that resift does not write."""


class Versions:
    """The published versions of the index at one location. Threads may share it."""

    def __init__(self, location: Location) -> None:
        """Store the location; nothing is read or created yet."""
        self.location = location

    @cached_property
    def _store(self) -> Any:
        if self.location.bucket:
            return open_bucket(self.location, patient=True)
        folder = self.location.folder
        with store_errors(self.location):
            exists = folder.is_dir()
            local.refuse_links(folder, _FOLDERS)
        if not exists:
            raise FileNotFoundError(self.location.path)
        return require("obstore.store", "index").LocalStore(folder)

    def numbers(self) -> list[int]:
        """List the numbers of all published versions, ascending. One request."""
        return [number for number, _ in self.listed()]

    def listed(self) -> list[tuple[int, float]]:
        """List all published versions, ascending: number and Unix time of publication."""
        files = self._files_in_bucket() if self.location.bucket else self._files_in_folder()
        matches = [(_RECORD.fullmatch(name), published) for name, published in files]
        numbered = [(int(match[1]), match[0], published) for match, published in matches if match]
        return sorted((n, published) for n, name, published in numbered if name == _record_name(n))

    def _files_in_bucket(self) -> list[tuple[str, float]]:
        """List files below ``versions/``; raise `StoreError` if the response is not a listing."""
        prefix = f"{self.location.path}/" if self.location.path else ""
        with store_errors(self.location):
            pages = list(BucketListing(self.location).pages(f"{prefix}versions/"))
        return [(file.key.removeprefix(prefix), file.modified) for page in pages for file in page]

    def _files_in_folder(self) -> list[tuple[str, float]]:
        folder = self.location.folder
        with store_errors(self.location):
            if folder.exists() and not folder.is_dir():
                raise IndexNotFound(
                    f"{self.location.uri}: not a folder; expected an index's folder"
                )
            return local.list_folder(folder, "versions")

    def readable(self) -> list[Version]:
        """Read all published versions, ascending, except damaged ones."""
        with ThreadPoolExecutor(_THREADS, "resift-versions") as pool:
            versions = list(pool.map(self._get_unless_damaged, self.numbers()))
        return [version for version in versions if version]

    def _get_unless_damaged(self, number: int) -> Version | None:
        try:
            return self.get(number)
        except (Damaged, IndexNotFound):  # not found: deleted after it was listed
            return None

    def newest(self) -> Version | None:
        """Read the newest version; None if there is none."""
        numbers = self.numbers()
        return self.get(numbers[-1]) if numbers else None

    def find(self, number: int | None = None) -> Version:
        """Read one version, or the newest; raise `IndexNotFound` if it does not exist."""
        version = self.newest() if number is None else self.get(number)
        if version is None:
            raise self._index_not_found()
        return version

    def get(self, number: int) -> Version:
        """Read one version; raise `IndexNotFound` if it does not exist."""
        name = _record_name(number)
        try:
            body = self._read(name, _MAX_RECORD_BYTES)
        except FileNotFoundError as error:
            if not self.numbers():
                raise self._index_not_found() from error
            raise IndexNotFound(
                f"{self.location.uri}: no version {number}: resift versions --index lists them"
            ) from error
        try:
            return read_record(body, number, self.location.uri)
        except ValueError as error:
            raise self._damage_error(f"{name} is damaged ({error})") from error

    def entries(self, version: Version) -> dict[str, Entry]:
        """Read the manifest of a version: entries by URI."""
        try:
            data = self._read(version.manifest, _MAX_MANIFEST_BYTES)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.location.uri}: version {version.number} has lost its manifest: "
                "it was cleaned up, or the index is damaged"
            ) from error
        try:
            return from_parquet(data)
        except (KeyError, TypeError, ValueError, OSError, NotImplementedError) as error:
            raise self._damage_error(f"{version.manifest} is damaged") from error

    def publish(self, version: Version, entries: Mapping[str, Entry]) -> bool:
        """Create the version; return False if another writer has already created that number."""
        obstore = require("obstore", "index")
        already_exists = require("obstore.exceptions", "index").AlreadyExistsError
        name = _record_name(version.number)
        if not _RECORD.fullmatch(name):
            raise self._damage_error(
                f"{_record_name(version.number - 1)} leaves no number for another"
            )
        with store_errors(self.location):
            obstore.put(self._store, version.manifest, to_parquet(entries))
            try:
                obstore.put(self._store, name, write_record(version), mode="create")
            except already_exists:
                # The same manifest: this write succeeded, but its response was lost.
                if self.get(version.number).manifest == version.manifest:
                    return True
                obstore.delete(self._store, version.manifest)
                return False
        return True

    def check_files_exist(self, version: Version) -> None:
        """Raise `StoreError` if files are missing or incomplete. One request per thousand files."""
        obstore = require("obstore", "index")
        with store_errors(self.location):
            pages = obstore.list(self._store, TABLE)
            sizes = {meta["path"]: meta["size"] for page in pages for meta in page}
        lost = [path for path, size in version.files if sizes.get(f"{TABLE}/{path}") != size]
        if lost:
            raise StoreError(
                f"{self.location.uri}: version {version.number} has lost {len(lost)} of its "
                f"{len(version.files)} files, {lost[0]} first: {self._remedy()}"
            )

    def remove(self, version: Version) -> None:
        """Delete a version's record, then its manifest, but no files of the table."""
        obstore = require("obstore", "index")
        for path in (_record_name(version.number), version.manifest):
            with store_errors(self.location), suppress(FileNotFoundError):
                obstore.delete(self._store, path)

    def _read(self, path: str, max_bytes: int) -> bytes:
        def check(meta: Mapping[str, Any]) -> None:
            if meta["size"] > max_bytes:
                raise local.NotAFile(f"{path} has more than {max_bytes:,} bytes")

        try:
            if not self.location.bucket:
                return local.read(self.location.folder, path, max_bytes)
            return fetch(self._store, path, check)[0]
        except local.NotAFile as error:
            raise self._damage_error(str(error)) from error
        except FileNotFoundError:
            raise
        except Exception:  # obstore raises its own classes and built-in ones
            with store_errors(self.location):
                raise

    def _index_not_found(self) -> IndexNotFound:
        uri = self.location.uri
        return IndexNotFound(
            f"{uri}: no index there: make one with  resift index SOURCE --index {uri}"
        )

    def _damage_error(self, problem: str) -> Damaged:
        return Damaged(f"{self.location.uri}: {problem}: {self._remedy()}")

    def _remedy(self) -> str:
        """Return what to do about a version that cannot be used."""
        if len(self.numbers()) > 1:
            return "restore it, roll back to another version, or build a new index"
        return "restore it, or build a new index"


def _record_name(number: int) -> str:
    return f"versions/{number:08}.json"
