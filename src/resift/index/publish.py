"""Publishes committed rows as a version that readers see.

`publish` keeps the last attempt at each object, merges small files and updates both search indexes.
It publishes the result only if the table has each object once and complete, and every row is
indexed. If another writer interferes, it starts again.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from secrets import token_hex
from typing import Any

from resift.errors import IndexBusy, IndexMismatch, IndexNotFound, InputError, StoreError
from resift.index.embed import Embedder
from resift.index.manifest import Entry, latest_attempts
from resift.index.shards.layout import whole_location
from resift.index.table.rows import Origin
from resift.index.table.store import Conflict, Store
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.record import VectorIndex, Version
from resift.index.versions.shard_count import claimed_shards
from resift.index.writer import IndexedObjects

_TRIES = 30
_MAX_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SyncDelta:
    """The results of a sync that are not in the table's rows.

    `current` are the entries of the source's objects after the sync, `gone` the URIs of deleted
    objects. Passages of `stale` origins are removed: their objects are gone or have no text now.
    `source_options` are stored with the version, by source URI.
    """

    current: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    stale: frozenset[Origin] = frozenset()
    source_options: Mapping[str, Any] = field(default_factory=dict)


def publish(store: Store, versions: Versions, embedder: Embedder, delta: SyncDelta) -> Version:
    """Publish what is committed; raise `IndexBusy` if other writers interfere every time."""
    for _ in tries():
        before = versions.newest()
        refuse_other_kind(versions, before, is_sharded=False)
        store.refresh()
        try:
            entries, vectors = _prepare(store, versions, embedder, before, delta)
        except Conflict:
            continue
        source_options = {**(before.source_options if before else {}), **delta.source_options}
        if before and entries is None:
            if source_options == before.source_options:
                return before
            entries = versions.entries(before)
        entries = entries or {}
        version = Version(
            number=before.number + 1 if before else 1,
            table=store.table,
            embedder=embedder.name,
            fingerprint=embedder.fingerprint,
            passages=sum(entry.passages for entry in entries.values()),
            documents=sum(1 for entry in entries.values() if entry.passages),
            vectors=vectors,
            analyser=store.analyser,
            source_options=source_options,
            **_table_state(store),
        )
        if versions.publish(version, entries):
            return version
    raise IndexBusy(
        f"{store.uri}: others wrote there {_TRIES} times while this version was made: "
        "run the sync again"
    )


def rollback(store: Store, versions: Versions, number: int, least: int = 1) -> Version:
    """Publish an old version again, as the newest; raise `IndexNotFound` if it does not exist.

    `least` is the lowest number that it may get.
    """
    refuse_shard(versions)
    old = versions.get(number)
    entries = versions.entries(old)
    versions.check_files_exist(old)

    def restored(new_number: int) -> Version:
        store.restore(old.table_version)
        note = f"version {number} again"
        return replace(old, number=new_number, note=note, **_table_state(store))

    return _publish_anew(store, versions, restored, entries, least)


def publish_empty(store: Store, versions: Versions, embedder: Embedder, least: int) -> Version:
    """Publish a version without documents, as the newest; `least` is the lowest number it may get.

    Raise `IndexBusy` if other writers interfere every time.
    """

    def emptied(new_number: int) -> Version:
        contents = store.contents()
        store.remove([*contents.whole, *contents.broken])
        vectors = store.index(None, embedder)
        if len(store):
            raise Conflict(f"{store.uri}: rows were added while they were removed")
        return Version(
            number=new_number,
            table=store.table,
            embedder=embedder.name,
            fingerprint=embedder.fingerprint,
            passages=0,
            documents=0,
            vectors=vectors,
            analyser=store.analyser,
            **_table_state(store),
        )

    return _publish_anew(store, versions, emptied, {}, least)


def _publish_anew(
    store: Store,
    versions: Versions,
    change_table: Callable[[int], Version],
    entries: Mapping[str, Entry],
    least: int,
) -> Version:
    """Publish what `change_table` makes, for the number that it gets, whatever is published now."""
    with suppress(Damaged, IndexNotFound):  # this damage may be the reason for the rollback
        versions.newest()  # raises `IndexMismatch` if a newer resift wrote it
    for _ in tries():
        last = versions.numbers()[-1:]  # only its number: the version may be damaged
        store.refresh()
        try:
            version = change_table(max(least, max(last, default=0) + 1))
        except Conflict:
            continue
        if versions.publish(version, entries):
            return version
    raise IndexBusy(f"{store.uri}: others wrote there {_TRIES} times: roll back again")


def undone_versions(versions: Versions, newest: Version | None) -> tuple[IndexedObjects, ...]:
    """Return the entries of the versions that a rollback to `newest` has undone, latest first."""
    undone: list[IndexedObjects] = []
    version = newest
    while version and version.note:
        try:
            version = versions.get(version.number - 1)
            undone.append(IndexedObjects(versions.entries(version), version.table_version))
        except StoreError:  # deleted or damaged, which may be the reason for the rollback
            break
    return tuple(undone)


def clean(
    store: Store, versions: Versions, keep: int, older_than_s: float
) -> tuple[list[int], int]:
    """Delete versions that were replaced over `older_than_s` seconds ago, except the last `keep`.

    Return the numbers of the deleted versions and the bytes that this freed. Readers that still
    use a deleted version fail.
    """
    refuse_shard(versions)
    readable = versions.readable()
    newest_numbers = {version.number for version in readable[-keep:]}
    remaining = remove_replaced(versions, readable, newest_numbers, older_than_s)
    removed = [version.number for version in readable if version not in remaining]
    return removed, store.clean([version.table_version for version in remaining], older_than_s)


def remove_replaced(
    versions: Versions, readable: Sequence[Version], keep: Set[int], older_than_s: float
) -> list[Version]:
    """Remove versions that were replaced over `older_than_s` seconds ago, except those to `keep`.

    Return the remaining ones of the `readable` versions, ascending.
    """
    limit = datetime.now(UTC).timestamp() - older_than_s
    remaining = list(readable)
    for version, following in pairwise(readable):
        replaced = datetime.fromisoformat(following.created).timestamp()
        if replaced <= limit and version.number not in keep:
            versions.remove(version)
            remaining.remove(version)
    return remaining


def refuse_other_kind(versions: Versions, before: Version | None, *, is_sharded: bool) -> None:
    """Raise `IndexMismatch` if another writer has made the new index with shards, or without."""
    if before and bool(before.shards) != is_sharded:
        uri = versions.location.uri
        raise IndexMismatch(
            f"{uri}: made {'with' if before.shards else 'without'} shards by another sync at the "
            "same time: sync again, without --shards"
        )


def refuse_shard(versions: Versions) -> None:
    """Raise `InputError` for a shard that is not written to as a part of its index."""
    whole = None if versions.is_shard else whole_location(versions.location)
    if whole and (Versions(whole).numbers() or claimed_shards(whole)):
        raise InputError(
            f"{versions.location.uri}: a shard, which is changed only together with the others: "
            f"expected their index, {whole.uri}"
        )


def tries() -> Iterator[int]:
    """Yield the numbers of the tries; wait a growing random time before all but the first."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(random.uniform(0, min(_MAX_WAIT_S, 0.05 * 2**attempt)))
        yield attempt


def _prepare(
    store: Store, versions: Versions, embedder: Embedder, before: Version | None, delta: SyncDelta
) -> tuple[dict[str, Entry] | None, VectorIndex]:
    """Return the entries of the version to publish, None if nothing changed, and its vector index.

    Raise `Conflict` if another writer interferes.
    """
    published = versions.entries(before) if before else {}
    if (
        before
        and before.table_version == store.version
        and not any(entry.origin in delta.stale for entry in published.values())
    ):
        rows = [entry for entry in published.values() if entry.passages]
        entries = _merge_entries(rows, published, delta)
        return (None if entries == published else entries), before.vectors
    contents = store.contents()
    _, replaced = latest_attempts(contents.whole)
    stale = (entry for entry in contents.whole if entry.origin in delta.stale)
    store.remove([*replaced, *contents.broken, *stale])
    vectors = store.index(before.vectors if before else None, embedder)
    contents = store.contents()
    current, replaced = latest_attempts(contents.whole)
    if replaced or contents.broken:
        raise Conflict(f"{store.uri}: others wrote the same objects meanwhile")
    return _merge_entries(current.values(), published, delta), vectors


def _merge_entries(
    rows: Iterable[Entry], published: Mapping[str, Entry], delta: SyncDelta
) -> dict[str, Entry]:
    """Combine the entries of objects with rows and of objects without passages."""
    entries = {
        uri: entry
        for uri, entry in {**published, **delta.current}.items()
        if not entry.passages and uri not in delta.gone
    }
    for entry in rows:
        uri = entry.origin.uri
        problems = [
            other[uri].problems
            for other in (delta.current, published)
            if uri in other and other[uri].origin.attempt == entry.origin.attempt
        ]
        entries[uri] = replace(entry, problems=problems[0] if problems else ())
    return entries


def _table_state(store: Store) -> dict[str, Any]:
    """Return the fields of a version that describe the current table."""
    return {
        "table_version": store.version,
        "created": now(),
        "manifest": f"manifests/{store.version:08d}-{token_hex(4)}.parquet",
        "files": store.files(),
    }


def now() -> str:
    """The current time as a version records it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
