"""Published versions of an index: one small record each, created once and never changed.

A version is published by creating ``versions/NUMBER.json``. This is a conditional write, as in
Lance's commits: it fails if the file exists, so one of two concurrent writers wins. The record
names a version of the table, its files, and the manifest of objects. In an index of shards it names
a version of each shard, whose records and manifests lie with the shard. This file does not know
Lance.
"""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from resift.errors import IndexMismatch, IndexNotFound, StoreError, VersionGone
from resift.extras import require
from resift.index.manifest import Entry, from_parquet, to_parquet
from resift.index.shards.layout import SHARDS, shard_location, shard_name
from resift.index.storage import local
from resift.index.storage.errors import store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.versions.files import IndexFiles
from resift.index.versions.record import (
    Version,
    read_record,
    write_record,
)

_THREADS = 16
_RECORD = re.compile(r"versions/([0-9]{8,18})\.json")
# Larger files were not written by resift, and would have to fit in memory.
_MAX_RECORD_BYTES, _MAX_MANIFEST_BYTES = 64 << 20, 1 << 30

T = TypeVar("T")


class Damaged(StoreError):
    """A record or a manifest has content that resift does not write."""


class Versions:
    """The published versions of the index at one location. Threads may share it."""

    def __init__(
        self, location: Location, shard: "Shard | None" = None, *, patient: bool = False
    ) -> None:
        """Store the location, and which shard it is of another index; nothing is read yet.

        With `patient` wait longer for the store, as writers do: their work would be for nothing.
        """
        self.location = location
        self.is_shard = shard is not None
        self._shard = shard
        self._patient = patient
        self._files = IndexFiles(location, patient=patient)

    def patient(self) -> "Versions":
        """The same versions, for a writer."""
        return Versions(self.location, self._shard, patient=True)

    def numbers(self) -> list[int]:
        """List the numbers of all published versions, ascending. One request."""
        return [number for number, _ in self.listed()]

    def listed(self) -> list[tuple[int, float]]:
        """List all published versions, ascending: number and Unix time of publication."""
        files = self._files.versions()
        matches = [(_RECORD.fullmatch(name), published) for name, published in files]
        numbered = [(int(match[1]), match[0], published) for match, published in matches if match]
        return sorted((n, published) for n, name, published in numbered if name == _record_name(n))

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
                f"{self._described(version)} has lost its manifest: "
                "it was cleaned up, or the index is damaged"
            ) from error
        try:
            return from_parquet(data)
        except (KeyError, TypeError, ValueError, OSError, NotImplementedError) as error:
            raise self._damage_error(f"{version.manifest} is damaged") from error

    def shard(self, number: int, named_by: int = 0) -> "Versions":
        """The versions of one shard; `number` counts from 0.

        Messages name the version `named_by` of the whole, unless that is 0.
        """
        if not self.location.bucket:
            with store_errors(self.location):
                local.refuse_links(self.location.folder, (SHARDS, shard_name(number)))
        shard = Shard(self, number, named_by)
        return Versions(shard_location(self.location, number), shard, patient=self._patient)

    def named_shard(self, version: Version, number: int) -> "tuple[Versions, Version]":
        """Open a shard, and read the version of it that `version` names.

        Raise `VersionGone` if it is lost, and `IndexMismatch` if another table is in its place.
        """
        shard = self.shard(number, version.number)
        try:
            part = shard.get(version.shards[number])
        except IndexNotFound as error:
            with suppress(Damaged):
                if newest := shard.newest():
                    self._check_table(version, number, newest)
            raise VersionGone(
                f"{self.location.uri}: version {version.number} has lost {shard_name(number)}: "
                f"{self._remedy()}",
                version.number,
            ) from error
        self._check_table(version, number, part)
        return shard, part

    def _check_table(self, version: Version, number: int, part: Version) -> None:
        if part.table != version.shard_tables[number]:
            raise IndexMismatch(
                f"{shard_location(self.location, number).uri}: is not the shard that version "
                f"{version.number} of {self.location.uri} names: restore it, or build a new index"
            )

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
            return work(*self.named_shard(version, number)) if named else None

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
                obstore.put(self._files.store, version.manifest, to_parquet(entries))
            try:
                obstore.put(self._files.store, name, write_record(version), mode="create")
            except already_exists:
                stored = self.get(version.number)
                if not version.manifest:  # two equal records of shards are one version
                    return stored == version
                # The same manifest: this write succeeded, but its response was lost.
                if stored.manifest == version.manifest:
                    return True
                obstore.delete(self._files.store, version.manifest)
                return False
        return True

    def check_files_exist(self, version: Version) -> None:
        """Raise `StoreError` if files are missing or incomplete. One request per thousand files."""
        if version.shards:
            self.in_shards(version, lambda shard, part: shard.check_files_exist(part))
            return
        obstore = require("obstore", "index")
        with store_errors(self.location):
            pages = obstore.list(self._files.store, TABLE)
            sizes = {meta["path"]: meta["size"] for page in pages for meta in page}
        lost = [path for path, size in version.files if sizes.get(f"{TABLE}/{path}") != size]
        if lost:
            raise StoreError(
                f"{self._described(version)} has lost {len(lost)} of its "
                f"{len(version.files)} files, {lost[0]} first: {self._remedy()}"
            )

    def remove(self, version: Version) -> None:
        """Delete a version's record, then its manifest, but no files of the table."""
        obstore = require("obstore", "index")
        for path in filter(None, (_record_name(version.number), version.manifest)):
            with store_errors(self.location), suppress(FileNotFoundError):
                obstore.delete(self._files.store, path)

    def _read(self, path: str, max_bytes: int) -> bytes:
        try:
            return self._files.read(path, max_bytes)
        except local.NotAFile as error:
            raise self._damage_error(str(error)) from error

    def _index_not_found(self) -> IndexNotFound:
        uri = self.location.uri
        return IndexNotFound(
            f"{uri}: no index there: make one with  resift index SOURCE --index {uri}"
        )

    def _damage_error(self, problem: str) -> Damaged:
        shard = self._shard
        if shard and shard.named_by:
            problem = f"version {shard.named_by}: {shard_name(shard.number)}/{problem}"
            return shard.whole._damage_error(problem)
        return Damaged(f"{self.location.uri}: {problem}: {self._remedy()}")

    def _described(self, version: Version) -> str:
        """Name a version; one of a shard by the version of the whole that names it."""
        shard = self._shard
        if shard and shard.named_by:
            uri = shard.whole.location.uri
            return f"{uri}: version {shard.named_by}: {shard_name(shard.number)}"
        return f"{self.location.uri}: version {version.number}"

    def _remedy(self) -> str:
        """Return what to do about a version that cannot be used."""
        versions = self._shard.whole if self._shard else self
        if len(versions.numbers()) > 1:
            return "restore it, roll back to another version, or build a new index"
        return "restore it, or build a new index"


@dataclass(frozen=True, slots=True)
class Shard:
    """The shard `number` of the index `whole`, as its version `named_by` names it, if not 0."""

    whole: Versions
    number: int
    named_by: int


def _record_name(number: int) -> str:
    return f"versions/{number:08}.json"
