"""Published versions of an index: one small record each, created once and never changed.

A version is published by creating ``versions/NUMBER.json``. This is a conditional write, as in
Lance's commits: it fails if the file exists, so one of two concurrent writers wins. The record
names a version of the table, its files, and the manifest of objects. In an index of shards it names
a version of each shard, whose records and manifests lie with the shard. This file does not know
Lance.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

from resift.errors import IndexNotFound, StoreError
from resift.extras import require
from resift.index.manifest import Entry, from_parquet, to_parquet
from resift.index.shards.layout import SHARDS, shard_location, shard_name
from resift.index.storage import local
from resift.index.storage.bucket_listing import BucketListing
from resift.index.storage.client import fetch, open_bucket
from resift.index.storage.errors import store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.versions.record import (
    ShardCount,
    Version,
    read_record,
    read_shard_count,
    write_record,
    write_shard_count,
)

_THREADS = 16
_RECORD = re.compile(r"versions/([0-9]{8,18})\.json")
# Larger files were not written by resift, and would have to fit in memory.
_MAX_RECORD_BYTES, _MAX_MANIFEST_BYTES = 64 << 20, 1 << 30
_MAX_SHARD_COUNT_BYTES = 65_536
_FOLDERS = ("versions", "manifests")
_SHARD_COUNT = f"{SHARDS}/shards.json"

T = TypeVar("T")


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
        """Read the manifest of a version: entries by URI. Shards are read at once."""
        if version.shards:
            read = self.in_shards(version, lambda shard, part: shard.entries(part))
            return {uri: entry for part in read for uri, entry in (part or {}).items()}
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

    def shard(self, number: int) -> "Versions":
        """The versions of one shard; `number` counts from 0."""
        if not self.location.bucket:
            with store_errors(self.location):
                local.refuse_links(self.location.folder, (SHARDS, shard_name(number)))
        return Versions(shard_location(self.location, number))

    def claimed_shards(self) -> ShardCount | None:
        """Read how many shards the index has, which is known before its first version."""
        try:
            body = self._read(_SHARD_COUNT, _MAX_SHARD_COUNT_BYTES)
        except FileNotFoundError:
            return None
        try:
            return read_shard_count(body, self.location.uri)
        except ValueError as error:
            raise self._damage_error(f"{_SHARD_COUNT} is damaged ({error})") from error

    def claim_shards(self, count: int) -> ShardCount:
        """Record the number of shards of a new index; return what is recorded, by whomever.

        The folder of a shard must exist.
        """
        obstore = require("obstore", "index")
        already_exists = require("obstore.exceptions", "index").AlreadyExistsError
        body = write_shard_count(ShardCount(count, uuid.uuid4().hex))
        with store_errors(self.location), suppress(already_exists):
            obstore.put(self._store, _SHARD_COUNT, body, mode="create")
        claimed = self.claimed_shards()
        if claimed is None:
            raise self._damage_error(f"{_SHARD_COUNT} was deleted just now")
        return claimed

    def shard_versions(self, version: Version) -> list[Version | None]:
        """Read the versions of the shards that a version names; None for one without documents."""
        return self.in_shards(version, lambda _, part: part)

    def in_shards(
        self, version: Version, work: "Callable[[Versions, Version], T]"
    ) -> list[T | None]:
        """Call `work` with each shard and the version of it that `version` names, in threads.

        Return the results in the order of the shards; None for a shard that has no version.
        """

        def of_shard(number: int, named: int) -> T | None:
            shard = self.shard(number)
            return work(shard, shard.get(named)) if named else None

        with ThreadPoolExecutor(_THREADS, "resift-shards") as pool:
            return list(pool.map(of_shard, range(len(version.shards)), version.shards))

    def publish(self, version: Version, entries: Mapping[str, Entry]) -> bool:
        """Create the version; return False if another writer has already created that number.

        A version that names shards has no entries beside theirs.
        """
        obstore = require("obstore", "index")
        already_exists = require("obstore.exceptions", "index").AlreadyExistsError
        name = _record_name(version.number)
        if not _RECORD.fullmatch(name):
            raise self._damage_error(
                f"{_record_name(version.number - 1)} leaves no number for another"
            )
        with store_errors(self.location):
            if version.manifest:
                obstore.put(self._store, version.manifest, to_parquet(entries))
            try:
                obstore.put(self._store, name, write_record(version), mode="create")
            except already_exists:
                stored = self.get(version.number)
                if not version.manifest:  # two equal records of shards are one version
                    return stored == version
                # The same manifest: this write succeeded, but its response was lost.
                if stored.manifest == version.manifest:
                    return True
                obstore.delete(self._store, version.manifest)
                return False
        return True

    def check_files_exist(self, version: Version) -> None:
        """Raise `StoreError` if files are missing or incomplete. One request per thousand files."""
        if version.shards:
            self.in_shards(version, lambda shard, part: shard.check_files_exist(part))
            return
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
        for path in filter(None, (_record_name(version.number), version.manifest)):
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
