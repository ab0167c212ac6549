"""Published versions of an index: one small record each, made once and never changed.

A version is published by creating ``versions/NUMBER.json``, which fails if it is there: the same
conditional write that Lance commits with. So versions are a line, and of two writers one is first.
The record names a version of the table, the files that it is made of, and the manifest of objects.
Knows nothing of Lance.
"""

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

from resift.errors import IndexMismatch, IndexNotFound, StoreError
from resift.extras import require
from resift.index import local, names
from resift.index.bucket import open_bucket
from resift.index.faults import store_errors
from resift.index.location import TABLE, Location
from resift.index.manifest import Entry, from_parquet, to_parquet
from resift.index.pace import fetch
from resift.index.s3_listing import Pages
from resift.settings import StorageSettings

# Raised by one whenever files or columns change their meaning.
FORMAT = 3
_DIGITS = 8
_READERS = 16
_RECORD = re.compile(r"versions/([0-9]{8,18})\.json")
# What is larger was written by nobody who means well, and would have to be held in memory.
_MOST_RECORD_BYTES, _MOST_MANIFEST_BYTES = 64 << 20, 1 << 30
_MOST_EFFORT = 1_000_000
_FOLDERS = ("versions", "manifests")


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """How vectors are searched: `kind` is ``exact`` or Lance's name of an approximate index.

    `rows` it was made of, in so many `partitions`; all of them are searched, as far as `effort`
    (HNSW's ef). `recall` is the share of the exact 100 nearest that this finds, measured when it
    was made on `sample` short queries out of the index's own texts.
    """

    kind: str = "exact"
    rows: int = 0
    partitions: int = 0
    effort: int = 0
    recall: float = 1.0
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """A published version. `number` counts from 1, `created` is UTC in ISO format.

    `table` names the table itself: another one may be made in its place some day, with versions of
    the same numbers. `files` are all files of it that are needed, ``(path, bytes)``; none of them
    ever changes. `readings` says how each source was read, by its URI (`Reading.to_json`).
    """

    number: int
    table: str
    table_version: int
    created: str
    embedder: str
    fingerprint: str
    passages: int
    documents: int
    manifest: str
    files: tuple[tuple[str, int], ...]
    vectors: VectorIndex = VectorIndex()
    note: str = ""
    readings: Mapping[str, Any] = field(default_factory=dict)


class Damaged(StoreError):
    """A record or a manifest that nobody has written so."""


class Versions:
    """The published versions below one place. Threads may share it."""

    def __init__(self, location: Location, storage: StorageSettings) -> None:
        """Name the place; nothing is read or made there yet."""
        self._location = location
        self._storage = storage

    @cached_property
    def _store(self) -> Any:
        if self._location.bucket:
            return open_bucket(self._location, self._storage, patient=True)
        folder = self._location.folder
        with store_errors(self._location.uri):
            is_there = folder.is_dir()
            local.refuse_links(folder, _FOLDERS)
        if not is_there:
            raise FileNotFoundError(self._location.path)
        return require("obstore.store", "index").LocalStore(self._location.path)

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
            pages = list(Pages(self._location, self._storage).all(f"{above}versions/"))
        return [(file.key.removeprefix(above), file.changed) for page in pages for file in page]

    def _names_in_folder(self) -> list[tuple[str, float]]:
        folder = self._location.folder
        with store_errors(self._location.uri):
            if folder.exists() and not folder.is_dir():
                raise IndexNotFound(f"{self._location.uri}: is a file; name the folder of an index")
            return local.listed(folder, "versions")

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

    def get(self, number: int) -> Version:
        """One version; raise `IndexNotFound` if it is not there, or not there any more."""
        try:
            body = self._read(_record(number), _MOST_RECORD_BYTES)
        except FileNotFoundError as error:
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
        return Damaged(f"{self._location.uri}: {what}: roll back to another version")

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
                f"{len(version.files)} files, {lost[0]} first: restore them, roll back to a version"
                " that is whole, or index into a new place"
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
                raise local.NoFile(f"{path} has more than {most:,} bytes")

        try:
            if not self._location.bucket:
                return local.read(self._location.folder, path, most)
            return fetch(self._store, path, check)[0]
        except local.NoFile as error:
            raise self._damaged(str(error)) from error
        except FileNotFoundError:
            raise
        except Exception:  # obstore raises its own classes and built-in ones
            with store_errors(self._location.uri):
                raise


def write_record(version: Version) -> bytes:
    """The record of a version, as `read_record` reads it."""
    return json.dumps({"format": FORMAT} | asdict(version), indent=1).encode()


def read_record(body: bytes, number: int, uri: str) -> Version:
    """Read the record of version `number` at `uri`, whoever has written it.

    Raise `IndexMismatch` for another format and `ValueError` for what no resift has written.
    """
    record = names.read_object(body)
    found = names.count(record.get("format"))
    if found != FORMAT:
        remedy = "update resift" if found > FORMAT else "index into a new place"
        raise IndexMismatch(f"{uri}: index format {found}, expected {FORMAT}: {remedy}")
    record.setdefault("readings", {})  # of a version that remembers none
    values = names.read_fields(record, _FIELDS)
    if values["number"] != number:
        raise ValueError(f"number: {values['number']}, expected {number}")
    return Version(**values)


def _read_vectors(value: Any) -> VectorIndex:
    if not isinstance(value, dict) or value.keys() - _VECTOR_FIELDS.keys():
        raise ValueError("expected an object that says how vectors are searched")
    how = VectorIndex(**names.read_fields(value, _VECTOR_FIELDS))
    if how.kind != "exact" and not (how.partitions and how.effort):
        raise ValueError("expected partitions and an effort")
    return how


def _read_manifest_name(value: Any) -> str:
    name = names.path_inside(value)
    if not name.startswith("manifests/"):  # a clean-up deletes it
        raise ValueError("expected a name below manifests/")
    return name


def _record(number: int) -> str:
    return f"versions/{number:0{_DIGITS}d}.json"


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "number": partial(names.count, least=1),
    "table": names.single_name,
    "table_version": partial(names.count, least=1),
    "created": names.moment,
    "embedder": names.line,
    "fingerprint": names.line,
    "passages": names.count,
    "documents": names.count,
    "manifest": _read_manifest_name,
    "files": names.files,
    "vectors": _read_vectors,
    "note": names.line,
    "readings": names.mapping,
}
_VECTOR_FIELDS: dict[str, Callable[[Any], Any]] = {
    "kind": names.line,
    "rows": names.count,
    "partitions": partial(names.count, most=_MOST_EFFORT),
    "effort": partial(names.count, most=_MOST_EFFORT),
    "recall": names.share,
    "sample": names.count,
}
