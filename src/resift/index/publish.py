"""Rows that are committed become a version that readers are given.

Of each object the last attempt stays. Then files are merged and both arms' indexes brought up to
date, and what came of that is looked at once more, as one version of the table that can no longer
change: only if every object is there once and whole, and every row is indexed, is it published.
So it does not matter who else writes meanwhile: whoever is disturbed does it again.
"""

import random
import time
from collections.abc import Iterable, Mapping
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
from resift.index.writer import Past

_TRIES = 30
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class SyncDelta:
    """What a run knows that is not in the rows.

    `read` are the objects of which it knows what came, `gone` the URIs that its source no longer
    has, `stale` whose passages must go: of what is gone, or can no longer be read. `source_options` are
    how sources were read, by their URI, to be remembered.
    """

    read: Mapping[str, Entry] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    stale: frozenset[Origin] = frozenset()
    source_options: Mapping[str, Any] = field(default_factory=dict)


def publish(store: Store, versions: Versions, embedder: Embedder, news: SyncDelta) -> Version:
    """Publish what is committed; raise `IndexBusy` if others always come between."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, 0.05 * 2**attempt)))
        before = versions.newest()
        store.refresh()
        try:
            entries, vectors = _prepare(store, versions, embedder, before, news)
        except Conflict:
            continue
        source_options = {**(before.source_options if before else {}), **news.source_options}
        if before and entries is None:
            if source_options == before.source_options:
                return before
            entries = versions.entries(before)
        made = _version(store, embedder, before, entries or {}, vectors)
        made = replace(made, source_options=source_options)
        if versions.publish(made, entries or {}):
            return made
    raise IndexBusy(
        f"{store.uri}: others wrote there {_TRIES} times while this version was made: "
        "run the sync again"
    )


def rollback(store: Store, versions: Versions, number: int) -> Version:
    """Publish an old version anew, as the newest; raise `IndexNotFound` if it is not there."""
    old = versions.get(number)
    entries = versions.entries(old)
    versions.refuse_lost(old)
    with suppress(Damaged, IndexNotFound):  # that may be why; one of a newer resift is not
        versions.newest()
    for _ in range(_TRIES):
        last = versions.numbers()[-1:]  # only its number: it may be the damaged one
        store.refresh()
        try:
            store.restore(old.table_version)
        except Conflict:
            continue
        made = replace(
            old,
            number=max(last, default=0) + 1,
            table_version=store.version,
            created=_now(),
            manifest=_manifest(store),
            files=store.files(),
            note=f"version {number} again",
        )
        if versions.publish(made, entries):
            return made
    raise IndexBusy(f"{store.uri}: others wrote there {_TRIES} times: roll back again")


def rolled_back(versions: Versions, newest: Version | None) -> tuple[Past, ...]:
    """What the versions held that a rollback to the newest one has taken back, latest first."""
    past: list[Past] = []
    version = newest
    while version and version.note:
        try:
            version = versions.get(version.number - 1)
            past.append(Past(version.table_version, versions.entries(version)))
        except StoreError:  # cleaned up, or damaged: which may be why it was rolled back
            break
    return tuple(past)


def clean(
    store: Store, versions: Versions, keep: int, older_than_s: float
) -> tuple[list[int], int]:
    """Delete versions that were replaced so long ago, but the last `keep`; (numbers, bytes freed).

    A reader that holds one of them still must have opened it before that.
    """
    every = versions.readable()
    border = datetime.now(UTC).timestamp() - older_than_s
    removed = []
    for version, following in pairwise(every):
        replaced = datetime.fromisoformat(following.created).timestamp()
        if replaced <= border and version not in every[-keep:]:
            versions.remove(version)
            removed.append(version.number)
    kept = [version.table_version for version in every if version.number not in removed]
    return removed, store.clean(kept, older_than_s)


def _prepare(
    store: Store, versions: Versions, embedder: Embedder, before: Version | None, news: SyncDelta
) -> tuple[dict[str, Entry] | None, VectorIndex]:
    """The objects of the version to publish, None if it is published already; how it is indexed."""
    known = versions.entries(before) if before else {}
    if (
        before
        and before.table_version == store.version
        and not any(entry.origin in news.stale for entry in known.values())
    ):
        entries = _entries([e for e in known.values() if e.passages], known, news)
        return (None if entries == known else entries), before.vectors
    contents = store.contents()
    _, replaced = newest(contents.whole)
    stale = (entry for entry in contents.whole if entry.origin in news.stale)
    store.remove([*replaced, *contents.broken, *stale])
    vectors = store.index(before.vectors if before else None, embedder)
    contents = store.contents()
    current, replaced = newest(contents.whole)
    if replaced or contents.broken:
        raise Conflict(f"{store.uri}: others wrote the same objects meanwhile")
    return _entries(current.values(), known, news), vectors


def _entries(
    rows: Iterable[Entry], known: Mapping[str, Entry], news: SyncDelta
) -> dict[str, Entry]:
    """All objects: those with rows, and those of which is known that they have none."""
    entries = {
        uri: entry
        for uri, entry in {**known, **news.read}.items()
        if not entry.passages and uri not in news.gone
    }
    for entry in rows:
        uri = entry.origin.uri
        problems = [
            other[uri].problems
            for other in (news.read, known)
            if uri in other and other[uri].origin.attempt == entry.origin.attempt
        ]
        entries[uri] = replace(entry, problems=problems[0] if problems else ())
    return entries


def _version(
    store: Store,
    embedder: Embedder,
    before: Version | None,
    entries: Mapping[str, Entry],
    vectors: VectorIndex,
) -> Version:
    return Version(
        number=before.number + 1 if before else 1,
        table=store.table,
        table_version=store.version,
        created=_now(),
        embedder=embedder.name,
        fingerprint=embedder.fingerprint,
        passages=sum(entry.passages for entry in entries.values()),
        documents=sum(1 for entry in entries.values() if entry.passages),
        manifest=_manifest(store),
        files=store.files(),
        vectors=vectors,
    )


def _manifest(store: Store) -> str:
    return f"manifests/{store.version:08d}-{token_hex(4)}.parquet"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
