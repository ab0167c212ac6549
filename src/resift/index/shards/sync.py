"""Updates an index of shards from a source: each changed shard, then the version of the whole.

The source is listed once, and each object belongs to one shard. Changed shards are written one
after the other, because each takes memory; workers write and publish several at a time. Only when
all are written, and what would leave the index is not too much of the whole, each publishes its
version, and then the whole one that names them. So a run may be interrupted at any time: readers
see the version before, and the next run does the rest.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resift.index.analysis.spec import AnalyserChoice
from resift.index.diff import Diff, SourceComparison
from resift.index.embed import Models
from resift.index.manifest import Entry, new_attempt
from resift.index.part_work import Workers, connected_for
from resift.index.publish import refuse_other_kind
from resift.index.report import SyncReport, make_report
from resift.index.run import ProgressCallback, SyncRun
from resift.index.shards.layout import by_shard, check_shard_count, shard_of, shards_of
from resift.index.shards.moved import gone_objects
from resift.index.shards.progress import AddedProgress
from resift.index.shards.publication import ShardPublication, publish_shards
from resift.index.shards.publish import Whole, check_table, publish_whole
from resift.index.source_options import SourceOptions
from resift.index.sources.source import Listing, Source
from resift.index.sync import (
    NO_CONSENT,
    Changes,
    SyncConsent,
    allowed_comparison,
    check_emptied,
    sync_delta,
    write_all,
)
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.index.versions.shard_count import (
    ShardCount,
    claim_shards,
    claimed_shards,
    restore_shard_count,
)


def shard_count(versions: Versions, newest: Version | None, chosen: int | None) -> int:
    """The number of shards of an index; 1 for an ordinary one, or a new one without a choice.

    Raise `IndexMismatch` if the index exists and has another number than the chosen one.
    """
    if newest:
        recorded = len(newest.shards) or 1
    else:
        claimed = claimed_shards(versions.location)  # by a first sync that has not ended yet
        if claimed is None:
            return chosen or 1
        recorded = claimed.shards
    check_shard_count(versions.location.uri, recorded, chosen)
    return recorded


def sync_shards(
    source: Source,
    versions: Versions,
    models: Models,
    shards: int,
    source_options: SourceOptions | None = None,
    progress: ProgressCallback | None = None,
    *,
    consent: SyncConsent = NO_CONSENT,
    workers: Workers | None = None,
) -> SyncReport:
    """Do for an index of so many shards what `sync` does for an ordinary one.

    Raises the same errors, and `IndexMismatch` for an index with another number of shards.
    """
    started = time.perf_counter()
    comparison = allowed_comparison(source, versions, models, source_options, consent)
    before = comparison.before
    if before and comparison.is_published:
        return make_report(started, comparison, None, before)
    with connected_for(workers):
        whole = _open_whole(versions, before, models, shards)
        work = _ShardWork(source, versions, comparison, models, whole, workers)
        written = work.write(_changed_shards(versions, comparison, whole.count), progress)
        if not consent.deletes:
            check_emptied(comparison, work.run)
        changed = publish_shards(written, models, workers)
    version = publish_whole(versions, whole, changed, comparison.stored_options)
    return make_report(started, comparison, work.run, version)


def _open_whole(versions: Versions, before: Version | None, models: Models, shards: int) -> Whole:
    """Return what all versions have in common; for a new index, make the first shard's table.

    That table decides the analyser of the others, and the recorded number of shards where each
    object is, before any row is written.
    """
    if before:
        refuse_other_kind(versions, before, is_sharded=True)
        count = ShardCount(len(before.shards), before.table)
        restore_shard_count(versions.location, count)
        return Whole(count, models.embedder, before.analyser)
    first = Store.open(versions.shard(0).location, models.embedder, models.analyser)
    count = claim_shards(versions.location, shards)
    check_shard_count(versions.location.uri, count.shards, shards)
    return Whole(count, models.embedder, first.analyser)


def _changed_shards(
    versions: Versions, comparison: SourceComparison, count: ShardCount
) -> dict[int, SourceComparison]:
    """Compare the source with each shard that differs from it; the first is always in a new index.

    `SourceComparison.before` is the version that the newest one of the whole names.
    """
    before = comparison.before
    differing = shards_of(comparison.changes.uris, count.shards) | (set() if before else {0})
    named = versions.shard_versions(before) if before else [None] * count.shards
    published = by_shard(comparison.published, count.shards)
    objects = by_shard({item.uri: item for item in comparison.listing.objects}, count.shards)
    return {
        number: replace(
            comparison,
            before=named[number],
            published=published[number],
            listing=Listing(tuple(objects[number].values()), unseen=comparison.listing.unseen),
        )
        for number in sorted(differing)
    }


@dataclass
class _WrittenByShards:
    """What all shards' writers have written: a `SyncWriter` to which nothing is added."""

    attempt: str
    indexed: dict[str, Entry] = field(default_factory=dict)
    committed: dict[str, Entry] = field(default_factory=dict)
    embedded: int = 0
    reused: int = 0
    precomputed_bytes: int = 0
    bytes: int = 0
    is_full: bool = False

    @property
    def written(self) -> int:
        """The number of passages that have vectors."""
        return self.embedded + self.reused

    def commit(self, report_progress: Callable[[], None]) -> None:
        """Do nothing: each shard has committed what it wrote."""


class _ShardWork:
    """Writes shards; `run` has their results, like those of one index."""

    def __init__(
        self,
        source: Source,
        versions: Versions,
        comparison: SourceComparison,
        models: Models,
        whole: Whole,
        workers: Workers | None,
    ) -> None:
        self._source, self._versions, self._workers = source, versions, workers
        self._comparison = comparison
        self._count = whole.count.shards
        choice = AnalyserChoice(whole.analyser.name, whole.analyser.language)
        self._models = replace(models, analyser=choice)
        written = _WrittenByShards(new_attempt())
        self.run: SyncRun[Any] = SyncRun(written, comparison.expected, _NO_CHANGES, None)

    def _open(self, number: int) -> Store:
        """Open the table of a shard, or create it."""
        shard, before = self._versions.shard(number), self._comparison.before
        store = Store.open(shard.location, self._models.embedder, self._models.analyser)
        check_table(shard, store, before.shard_tables[number] if before else "")
        return store

    def write(
        self, changed: Mapping[int, SourceComparison], progress: ProgressCallback | None
    ) -> list[ShardPublication]:
        """Write what has changed; return what is to be published of each shard."""
        self._add_unchanged(changed)
        shown = AddedProgress(progress, list(changed.values()))
        written = []
        for number, (changes, run) in zip(
            changed,
            write_all(self._changes(changed), self._models, shown.start_shard, self._workers),
            strict=True,
        ):
            delta = replace(sync_delta(changes.comparison, run), source_options={})
            whole, store = self._versions.location, changes.store
            written.append(ShardPublication(whole, number, store.table, len(store), delta))
            self._add(run)
        return written

    def _changes(self, changed: Mapping[int, SourceComparison]) -> Iterator[Changes]:
        gone = gone_objects(self._versions, changed)
        for number, comparison in changed.items():
            shard, attempt = self._versions.shard(number), self.run.writer.attempt
            elsewhere = tuple(objects for other, objects in gone.items() if other != number)
            store = self._open(number)
            yield Changes(self._source, shard, comparison, store, attempt, elsewhere)

    def _add_unchanged(self, changed: Mapping[int, SourceComparison]) -> None:
        changes = self._comparison.changes

        def others(entries: Sequence[Entry]) -> tuple[Entry, ...]:
            shards = ((shard_of(entry.origin.uri, self._count), entry) for entry in entries)
            return tuple(entry for shard, entry in shards if shard not in changed)

        rest = Diff((), (), (), others(changes.unchanged), others(changes.unseen))
        self.run.diff = rest

    def _add(self, run: SyncRun[Any]) -> None:
        """Add the results of a shard, without its table, which would stay open."""
        total, diff, more = self.run, self.run.diff, run.diff
        total.diff = Diff(
            diff.added + more.added,
            diff.changed + more.changed,
            diff.gone + more.gone,
            diff.unchanged + more.unchanged,
            diff.unseen + more.unseen,
        )
        total.skipped |= run.skipped
        total.reread |= run.reread
        total.unread += run.unread
        total.vanished += run.vanished
        total.writer.indexed |= run.writer.indexed
        total.writer.committed |= run.writer.committed
        total.writer.embedded += run.writer.embedded
        total.writer.reused += run.writer.reused
        total.writer.precomputed_bytes += run.writer.precomputed_bytes


_NO_CHANGES = Diff((), (), (), ())
