"""Publishes, rolls back and cleans an index of shards.

Each shard publishes its versions like an ordinary index; readers see none of them before a version
of the whole names it. A version of the whole is one conditional write. Writers never name an older
version of a shard than the newest version of the whole does, so none loses what another has
published.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from resift.errors import IndexBusy, IndexMismatch, IndexNotFound
from resift.index.analysis.spec import AnalyserSpec
from resift.index.embed import Embedder
from resift.index.publish import (
    now,
    publish_empty,
    refuse_other_kind,
    remove_replaced,
    rollback,
    tries,
)
from resift.index.shards.layout import shard_name
from resift.index.storage.errors import store_errors
from resift.index.table.dataset import open_table
from resift.index.table.store import Store
from resift.index.table.vectors import spread
from resift.index.versions.published import Damaged, Versions
from resift.index.versions.record import VectorIndex, Version
from resift.index.versions.shard_count import ShardCount

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
        tables = list(before.shard_tables) if before else [""] * whole.count.shards
        for shard, version in changed.items():
            named[shard] = max(named[shard], version.number)
            tables[shard] = tables[shard] or version.table
        options = {**(before.source_options if before else {}), **source_options}
        if before and (before.shards, before.source_options) == (tuple(named), options):
            return before
        version = _version_of(versions, whole, before, (named, tables), options)
        if versions.publish(version, {}):
            return version
    raise _busy(versions, "run the sync again")


def _version_of(
    versions: Versions,
    whole: Whole,
    before: Version | None,
    named: tuple[Sequence[int], Sequence[str]],
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
        shards=tuple(named[0]),
        shard_tables=tuple(named[1]),
    )
    shards = versions.shard_versions(version)
    parts = [shard for shard in shards if shard]
    return replace(
        version,
        passages=sum(shard.passages for shard in parts),
        documents=sum(shard.documents for shard in parts),
        files=_files(shards),
        vectors=summarise(
            [(shard.vectors, shard.passages) for shard in parts], _spread(versions, shards)
        ),
    )


def _files(shards: Sequence[Version | None]) -> tuple[tuple[str, int], ...]:
    """The folder of each shard with the bytes of its files."""
    return tuple(
        (shard_name(number), sum(size for _, size in shard.files))
        for number, shard in enumerate(shards)
        if shard
    )


def _spread(versions: Versions, shards: Sequence[Version | None]) -> float:
    """The spread of cosines over the passages of all shards, as one index would have it."""
    with store_errors(versions.location):
        return spread(
            open_table(versions.shard(number).location, patient=True, version=shard.table_version)
            for number, shard in enumerate(shards)
            if shard
        )


def summarise(shards: Sequence[tuple[VectorIndex, int]], spread: float = 0.0) -> VectorIndex:
    """Describe the search of all shards' vectors, given with the number of their passages.

    An exact search has a recall of 1. `spread` is that of all passages together.
    """
    total = sum(passages for _, passages in shards)
    indexes = [vectors for vectors, _ in shards if vectors.kind != "exact"]
    return VectorIndex(
        kind=indexes[0].kind if indexes else "exact",
        rows=sum(vectors.rows for vectors in indexes),
        partitions=sum(vectors.partitions for vectors in indexes),
        effort=max((vectors.effort for vectors in indexes), default=0),
        recall=min(1.0, sum(v.recall * passages for v, passages in shards) / total if total else 1),
        sample=sum(vectors.sample for vectors in indexes),
        spread=spread,
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
    named = _named_shards(versions, old)
    numbers = old.shards
    for _ in tries():
        last = versions.numbers()[-1:]  # only its number: the version may be damaged
        # In each try, because a sync may have published a version of a shard meanwhile.
        shards = [
            _roll_back_shard(
                versions.shard(shard), shard_number, embedder, open_shard, named[shard]
            )
            for shard, shard_number in enumerate(numbers)
        ]
        numbers = tuple(shard.number if shard else 0 for shard in shards)
        version = replace(
            old,
            number=max(last, default=0) + 1,
            created=now(),
            files=_files(shards),
            shards=numbers,
            shard_tables=tuple(shard.table if shard else "" for shard in shards),
            note=f"version {number} again",
        )
        if versions.publish(version, {}):
            return version
    raise _busy(versions, "roll back again")


@dataclass(frozen=True, slots=True)
class _NamedShard:
    """What versions of the whole name of a shard: its newest version, and the id of its table."""

    newest: int
    table: str


def _named_shards(versions: Versions, old: Version) -> list[_NamedShard]:
    """What the readable versions name of each shard, also of shards that `old` is without."""
    by_version = [zip(v.shards, v.shard_tables, strict=True) for v in (old, *versions.readable())]
    named = []
    for of_shard in zip(*by_version, strict=True):
        numbers, tables = zip(*of_shard, strict=True)
        named.append(_NamedShard(max(numbers), next(filter(None, tables), "")))
    return named


def _checked(open_shard: OpenShard, table: str) -> OpenShard:
    """Open shards as `open_shard` does; raise `IndexMismatch` for another table than this."""

    def open_checked(shard: Versions) -> Store:
        store = open_shard(shard)
        check_table(shard, store, table)
        return store

    return open_checked


def check_table(shard: Versions, store: Store, table: str) -> None:
    """Raise `IndexMismatch` if a shard's open table is not the recorded one; "" is any."""
    if table not in ("", store.table):
        raise IndexMismatch(
            f"{shard.location.uri}: is not the shard that the index names: restore it, or build a "
            "new index"
        )


def _roll_back_shard(
    shard: Versions, number: int, embedder: Embedder, open_shard: OpenShard, named: _NamedShard
) -> Version | None:
    """Publish a version of a shard again, an empty one for 0; None if it has had none.

    The new version never has a number that a version of the whole names: if the shard has lost its
    version, that version of the whole would have another shard now.
    """
    newest = max(shard.numbers(), default=0)
    if number == newest == 0:
        return None
    store = _checked(open_shard, named.table)(shard)
    if number == 0:
        return publish_empty(store, shard, embedder, named.newest + 1)
    old = shard.get(number)
    if number == newest >= named.newest and old.table_version == store.version:
        return old
    return rollback(store, shard, number, named.newest + 1)


def clean_whole(
    versions: Versions, keep: int, older_than_s: float, open_shard: OpenShard
) -> tuple[list[int], int]:
    """Delete versions of the whole as `clean` does, and those of shards that none names.

    Return the numbers of the deleted versions of the whole and the bytes that this freed.
    """
    readable = versions.readable()
    if readable:
        versions.shard_versions(readable[-1])  # raises if a shard is lost, or another in its place
    newest_numbers = {version.number for version in readable[-keep:]}
    remaining = remove_replaced(versions, readable, newest_numbers, older_than_s)
    freed = 0
    for number, newest in enumerate(readable[-1].shards if readable else ()):
        if newest:
            named = {version.shards[number] for version in remaining}
            opened = _checked(open_shard, readable[-1].shard_tables[number])
            freed += _clean_shard(versions.shard(number), named, older_than_s, opened)
    removed = [version.number for version in readable if version not in remaining]
    return removed, freed


def _clean_shard(
    shard: Versions, named: set[int], older_than_s: float, open_shard: OpenShard
) -> int:
    store = open_shard(shard)
    readable = shard.readable()
    # A sync that runs now may have published newer ones, and name them when it ends.
    newer = {version.number for version in readable if version.number > max(named)}
    remaining = remove_replaced(shard, readable, named | newer, older_than_s)
    return store.clean([version.table_version for version in remaining], older_than_s)


def _busy(versions: Versions, remedy: str) -> IndexBusy:
    return IndexBusy(
        f"{versions.location.uri}: others published there each time that a version was to be "
        f"published: {remedy}"
    )
