"""Committed rows become a version that readers see.

Of each object only the last attempt stays. Then files are merged, both search indexes are brought
up to date, and the result is checked as one fixed version of the table: it is published only if
every object is there once and whole, and every row is indexed. If other writers interfere, all of
this is repeated.
"""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from secrets import token_hex
from typing import Any

from resift.errors import IndexBusy, IndexNotFound, StoreError
from resift.index.embed import Embedder
from resift.index.manifest import Entry, newest
from resift.index.table.rows import Origin
from resift.index.table.store import Conflict, Store
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.record import VectorIndex, Version
from resift.index.writer import KnownObjects

_TRIES = 30
_MAX_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SyncDelta:
    """What a run knows that is not in the rows.

    `current` are the entries of the source's objects after the run, `gone` the URIs of deleted
    ones, `stale` the origins whose passages must be removed: of objects that are gone, or that
    cannot be parsed any more. `source_options` are how sources were read, by URI.
    """

    current: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    stale: frozenset[Origin] = frozenset()
    source_options: Mapping[str, Any] = field(default_factory=dict)


def publish(store: Store, versions: Versions, embedder: Embedder, delta: SyncDelta) -> Version:
    """Publish what is committed; raises `IndexBusy` if other writers always interfere."""
    for _ in _tries():
        before = versions.newest()
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
            source_options=source_options,
            **_table_state(store),
        )
        if versions.publish(version, entries):
            return version
    raise IndexBusy(
        f"{store.uri}: others wrote there {_TRIES} times while this version was made: "
        "run the sync again"
    )


def rollback(store: Store, versions: Versions, number: int) -> Version:
    """Publish an old version again, as the newest; raises `IndexNotFound` if it is not there."""
    old = versions.get(number)
    entries = versions.entries(old)
    versions.refuse_lost(old)
    with suppress(Damaged, IndexNotFound):  # perhaps the reason for the rollback
        versions.newest()  # raises where a newer resift wrote it
    for _ in _tries():
        last = versions.numbers()[-1:]  # only its number: the version may be damaged
        store.refresh()
        try:
            store.restore(old.table_version)
        except Conflict:
            continue
        version = replace(
            old,
            number=max(last, default=0) + 1,
            note=f"version {number} again",
            **_table_state(store),
        )
        if versions.publish(version, entries):
            return version
    raise IndexBusy(f"{store.uri}: others wrote there {_TRIES} times: roll back again")


def rolled_back(versions: Versions, newest: Version | None) -> tuple[KnownObjects, ...]:
    """What the versions held that a rollback to the newest one has undone, latest first."""
    undone: list[KnownObjects] = []
    version = newest
    while version and version.note:
        try:
            version = versions.get(version.number - 1)
            undone.append(KnownObjects(versions.entries(version), version.table_version))
        except StoreError:  # deleted, or damaged: perhaps the reason for the rollback
            break
    return tuple(undone)


def clean(
    store: Store, versions: Versions, keep: int, older_than_s: float
) -> tuple[list[int], int]:
    """Delete versions that were replaced so long ago, except the last `keep`.

    Returns their numbers and the bytes that were freed. A reader that still uses one of them must
    have opened it before that.
    """
    readable = versions.readable()
    limit = datetime.now(UTC).timestamp() - older_than_s
    removed = []
    for version, following in pairwise(readable):
        replaced = datetime.fromisoformat(following.created).timestamp()
        if replaced <= limit and version not in readable[-keep:]:
            versions.remove(version)
            removed.append(version.number)
    remaining = [version.table_version for version in readable if version.number not in removed]
    return removed, store.clean(remaining, older_than_s)


def _tries() -> Iterator[int]:
    """Attempts, with a growing random wait between them."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(random.uniform(0, min(_MAX_WAIT_S, 0.05 * 2**attempt)))
        yield attempt


def _prepare(
    store: Store, versions: Versions, embedder: Embedder, before: Version | None, delta: SyncDelta
) -> tuple[dict[str, Entry] | None, VectorIndex]:
    """The entries of the version to publish, None if it is published already; how it is indexed."""
    known = versions.entries(before) if before else {}
    if (
        before
        and before.table_version == store.version
        and not any(entry.origin in delta.stale for entry in known.values())
    ):
        entries = _entries([e for e in known.values() if e.passages], known, delta)
        return (None if entries == known else entries), before.vectors
    contents = store.contents()
    _, replaced = newest(contents.whole)
    stale = (entry for entry in contents.whole if entry.origin in delta.stale)
    store.remove([*replaced, *contents.broken, *stale])
    vectors = store.index(before.vectors if before else None, embedder)
    contents = store.contents()
    current, replaced = newest(contents.whole)
    if replaced or contents.broken:
        raise Conflict(f"{store.uri}: others wrote the same objects meanwhile")
    return _entries(current.values(), known, delta), vectors


def _entries(
    rows: Iterable[Entry], known: Mapping[str, Entry], delta: SyncDelta
) -> dict[str, Entry]:
    """All objects: those with rows, and those that are known to have none."""
    entries = {
        uri: entry
        for uri, entry in {**known, **delta.current}.items()
        if not entry.passages and uri not in delta.gone
    }
    for entry in rows:
        uri = entry.origin.uri
        problems = [
            other[uri].problems
            for other in (delta.current, known)
            if uri in other and other[uri].origin.attempt == entry.origin.attempt
        ]
        entries[uri] = replace(entry, problems=problems[0] if problems else ())
    return entries


def _table_state(store: Store) -> dict[str, Any]:
    """The fields of a version that depend on the table as it is now."""
    return {
        "table_version": store.version,
        "created": _now(),
        "manifest": f"manifests/{store.version:08d}-{token_hex(4)}.parquet",
        "files": store.files(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
