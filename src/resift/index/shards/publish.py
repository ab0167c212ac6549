"""Publishes, rolls back and cleans an index of shards.

Each shard publishes its versions like an ordinary index; readers see none of them before a version
of the whole names it. A version of the whole is one conditional write. Writers never name an older
version of a shard than the newest version of the whole does, so none loses what another has
published.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from resift.errors import IndexBusy, IndexNotFound
from resift.index.analysis.spec import AnalyserSpec
from resift.index.embed import Embedder
from resift.index.publish import (
    SyncDelta,
    now,
    publish,
    refuse_other_kind,
    remove_replaced,
    rollback,
    tries,
)
from resift.index.shards.layout import shard_name
from resift.index.table.store import Store
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.record import ShardCount, VectorIndex, Version

OpenShard = Callable[[Versions], Store]
"""Opens the table of a shard for writing, or creates it."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What all versions of an index of shards have in common."""

    count: ShardCount
    embedder: Embedder
    analyser: AnalyserSpec


def publish_whole(
    versions: Versions,
    whole: Whole,
    changed: Mapping[int, Version],
    source_options: Mapping[str, Any],
) -> Version:
    """Publish a version that names the `changed` versions of shards, by the shard's number.

    All others stay as the newest version has them. Raise `IndexBusy` if other writers interfere
    every time.
    """
    for _ in tries():
        before = versions.newest()
        refuse_other_kind(versions, before, is_sharded=True)
        named = list(before.shards) if before else [0] * whole.count.shards
        for shard, version in changed.items():
            named[shard] = max(named[shard], version.number)
        options = {**(before.source_options if before else {}), **source_options}
        if before and (before.shards, before.source_options) == (tuple(named), options):
            return before
        version = _version_of(versions, whole, before, named, options)
        if versions.publish(version, {}):
            return version
    raise _busy(versions, "run the sync again")


def _version_of(
    versions: Versions,
    whole: Whole,
    before: Version | None,
    named: Sequence[int],
    source_options: Mapping[str, Any],
) -> Version:
    version = Version(
        number=before.number + 1 if before else 1,
        table=whole.count.table,
        table_version=1,
        created=now(),
        embedder=whole.embedder.name,
        fingerprint=whole.embedder.fingerprint,
        passages=0,
        documents=0,
        manifest="",
        files=(),
        analyser=whole.analyser,
        source_options=source_options,
        shards=tuple(named),
    )
    shards = versions.shard_versions(version)
    parts = [shard for shard in shards if shard]
    return replace(
        version,
        passages=sum(shard.passages for shard in parts),
        documents=sum(shard.documents for shard in parts),
        files=tuple(
            (shard_name(number), sum(size for _, size in shard.files))
            for number, shard in enumerate(shards)
            if shard
        ),
        vectors=summarise([(shard.vectors, shard.passages) for shard in parts]),
    )


def summarise(shards: Sequence[tuple[VectorIndex, int]]) -> VectorIndex:
    """Describe the search of all shards' vectors, given with the number of their passages.

    An exact search has a recall of 1. The variances of shards are pooled by passages.
    """
    total = sum(passages for _, passages in shards)
    indexes = [vectors for vectors, _ in shards if vectors.kind != "exact"]
    spread_over = sum(passages for vectors, passages in shards if vectors.spread)
    variance = sum(vectors.spread**2 * passages for vectors, passages in shards)
    return VectorIndex(
        kind=indexes[0].kind if indexes else "exact",
        rows=sum(vectors.rows for vectors in indexes),
        partitions=sum(vectors.partitions for vectors in indexes),
        effort=max((vectors.effort for vectors in indexes), default=0),
        recall=min(1.0, sum(v.recall * passages for v, passages in shards) / total if total else 1),
        sample=sum(vectors.sample for vectors in indexes),
        spread=math.sqrt(variance / spread_over) if spread_over else 0.0,
    )


def rollback_whole(
    versions: Versions, number: int, embedder: Embedder, open_shard: OpenShard
) -> Version:
    """Publish an old version of the whole again, as the newest, after each of its shards.

    Raise `IndexNotFound` if it does not exist. A later sync continues from it.
    """
    old = versions.get(number)
    versions.check_files_exist(old)
    with suppress(Damaged, IndexNotFound):  # this damage may be the reason for the rollback
        versions.newest()  # raises `IndexMismatch` if a newer resift wrote it
    named = tuple(
        _roll_back_shard(versions.shard(shard), version, embedder, open_shard)
        for shard, version in enumerate(old.shards)
    )
    for _ in tries():
        last = versions.numbers()[-1:]  # only its number: the version may be damaged
        version = replace(
            old,
            number=max(last, default=0) + 1,
            created=now(),
            shards=named,
            note=f"version {number} again",
        )
        if versions.publish(version, {}):
            return version
    raise _busy(versions, "roll back again")


def _roll_back_shard(
    shard: Versions, number: int, embedder: Embedder, open_shard: OpenShard
) -> int:
    """Publish a version of a shard again, an empty one for 0; return the number that it gets."""
    newest = max(shard.numbers(), default=0)
    if newest == 0:
        return 0
    store = open_shard(shard)
    if number == 0:
        gone = {entry.origin for entry in store.contents().whole}
        delta = SyncDelta(gone=frozenset(origin.uri for origin in gone), stale=frozenset(gone))
        return publish(store, shard, embedder, delta).number
    if newest == number and shard.get(number).table_version == store.version:
        return number
    return rollback(store, shard, number).number


def clean_whole(
    versions: Versions, keep: int, older_than_s: float, open_shard: OpenShard
) -> tuple[list[int], int]:
    """Delete versions of the whole as `clean` does, and those of shards that none names.

    Return the numbers of the deleted versions of the whole and the bytes that this freed.
    """
    readable = versions.readable()
    newest_numbers = {version.number for version in readable[-keep:]}
    remaining = remove_replaced(versions, readable, newest_numbers, older_than_s)
    freed = 0
    for number, newest in enumerate(readable[-1].shards if readable else ()):
        if newest:
            named = {version.shards[number] for version in remaining}
            freed += _clean_shard(versions.shard(number), named, older_than_s, open_shard)
    removed = [version.number for version in readable if version not in remaining]
    return removed, freed


def _clean_shard(
    shard: Versions, named: set[int], older_than_s: float, open_shard: OpenShard
) -> int:
    readable = shard.readable()
    # A sync that runs now may have published newer ones, and name them when it ends.
    newer = {version.number for version in readable if version.number > max(named)}
    remaining = remove_replaced(shard, readable, named | newer, older_than_s)
    store = open_shard(shard)
    return store.clean([version.table_version for version in remaining], older_than_s)


def _busy(versions: Versions, remedy: str) -> IndexBusy:
    return IndexBusy(
        f"{versions.location.uri}: others published there each time that a version was to be "
        f"published: {remedy}"
    )
