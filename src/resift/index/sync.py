"""Updates an index from a source: list, compare, read, embed, commit, publish.

An object is unchanged if its URI, ETag, size and parser are. Passages of changed objects are added
beside the existing ones, whole objects in one commit; `publish` removes the passages that they
replace. So a run may be interrupted at any time, and the next run does the rest. Readers see the
result only when it is complete.

A sync compares only entries below its source, so one index can hold several sources.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resift.errors import IndexMismatch, InputError, SourceError, StoreError
from resift.index.diff import Expected, SourceComparison
from resift.index.embed import Embedder, Models
from resift.index.manifest import Entry, attempt_after, latest_attempts, new_attempt
from resift.index.parsing.formats import may_exceed, optional_parsers, parsing_fingerprint
from resift.index.parsing.options import NO_LIMITS, ParseLimits
from resift.index.part_work import PartJob, Workers, connected_for
from resift.index.parts import PartCommitter
from resift.index.publish import SyncDelta, publish, refuse_shard, undone_versions
from resift.index.report import SyncReport, make_report
from resift.index.run import ProgressCallback, SyncRun, read_objects
from resift.index.source_options import SourceOptions, stored_options
from resift.index.sources.source import Source, is_inside_index
from resift.index.storage.doctor import refuse_unsafe
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.index.writer import StoredVectors, Writer


@dataclass(frozen=True, slots=True)
class SyncConsent:
    """What the user allows: writing to an unsafe store, and deleting most documents."""

    unsafe: bool = False
    deletes: bool = False


NO_CONSENT = SyncConsent()


def sync(
    source: Source,
    versions: Versions,
    models: Models,
    source_options: SourceOptions | None = None,
    progress: ProgressCallback | None = None,
    *,
    consent: SyncConsent = NO_CONSENT,
    workers: Workers | None = None,
) -> SyncReport:
    """Update the index from `source` and publish a version; without changes write nothing.

    `source_options` None uses the options of the last sync. `workers` read, parse and embed the
    changed objects; None is this process. Raise `SourceError` if the source
    cannot be listed, or has no documents and never had any; `SourceLost` if it becomes unreadable
    during the sync, which keeps what is already committed; and `MassDeletion` instead of deleting
    most indexed documents.
    """
    started = time.perf_counter()
    attempt = new_attempt()
    comparison = allowed_comparison(source, versions, models, source_options, consent)
    before = comparison.before
    if before and comparison.is_published:
        return make_report(started, comparison, None, before)
    with connected_for(workers):
        store = Store.open(versions.location, models.embedder, models.analyser)
        changes = Changes(source, versions, comparison, store, attempt)
        ((_, run),) = write_all([changes], models, lambda: progress, workers)
    if not consent.deletes:
        check_emptied(comparison, run)
    version = publish(store, versions, models.embedder, sync_delta(comparison, run))
    return make_report(started, comparison, run, version)


def allowed_comparison(
    source: Source,
    versions: Versions,
    models: Models,
    source_options: SourceOptions | None,
    consent: SyncConsent,
) -> SourceComparison:
    """Compare the source with the newest version.

    Raise as `compare_source` does, and `MassDeletion` or `UnsafeStore` for what is not allowed.
    """
    comparison = compare_source(source, versions, models, source_options)
    if not consent.deletes:
        comparison.check_deletions()
    if not (consent.unsafe or comparison.is_published):
        refuse_unsafe(versions.location)
    return comparison


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of a source that a sync writes to a table. `attempt` is the id of the sync.

    `earlier` are objects elsewhere whose vectors may be reused.
    """

    source: Source
    versions: Versions
    comparison: SourceComparison
    store: Store
    attempt: str
    earlier: Sequence[StoredVectors] = ()


def write_all(
    changes: Iterable[Changes],
    models: Models,
    start: Callable[[], ProgressCallback | None],
    workers: Workers | None,
) -> Iterator[tuple[Changes, SyncRun[Any]]]:
    """Read, embed and commit what has changed in each table, in this order. Publishes nothing.

    This process writes one table after the other; workers write all at once. `start` begins the
    progress of the next table.
    """
    if workers is None:
        yield from ((each, _write_here(each, models, start())) for each in changes)
    else:
        changes = list(changes)
        yield from zip(changes, _write_in_workers(changes, models, start, workers), strict=True)


def _write_here(
    changes: Changes, models: Models, progress: ProgressCallback | None
) -> SyncRun[Writer]:
    job = _part_job(changes)
    writer = Writer(changes.store, models, dict(job.indexed), job.attempt, job.earlier)
    run = SyncRun(writer, job.expected, changes.comparison.diff(job.indexed), progress)
    for read, parsed in read_objects(job.source, run.diff.to_read, job.source_options):
        run.add(read, parsed)
    writer.commit(run.report_progress)
    return run


def _write_in_workers(
    changes: Sequence[Changes],
    models: Models,
    start: Callable[[], ProgressCallback | None],
    workers: Workers,
) -> list[SyncRun[PartCommitter]]:
    jobs = [_part_job(each) for each in changes]
    runs = []
    for each, job in zip(changes, jobs, strict=True):
        committer = PartCommitter(each.store, dict(job.indexed), job.attempt)
        diff = each.comparison.diff(job.indexed)
        runs.append(SyncRun(committer, job.expected, diff, start()))
    to_read = [(job, run.diff.to_read) for job, run in zip(jobs, runs, strict=True)]
    last = 0
    for number, part in workers.write(to_read, models):
        if number != last:  # most often all of that table is written
            runs[last].writer.commit(runs[last].report_progress)
        runs[number].add_part(part)
        last = number
    for run in runs:
        run.writer.commit(run.report_progress)
    return runs


def _part_job(changes: Changes) -> PartJob:
    """What all parts of a table's changes have in common."""
    comparison = changes.comparison
    indexed = _indexed_entries(changes.store, comparison)
    return PartJob(
        location=changes.versions.location,
        table=changes.store.table,
        source=changes.source,
        source_options=comparison.source_options,
        expected=comparison.expected,
        indexed=indexed,  # an interrupted run may have written some of the changes
        attempt=attempt_after(indexed.values(), changes.attempt),
        earlier=(*undone_versions(changes.versions, comparison.before), *changes.earlier),
    )


def check_emptied(comparison: SourceComparison, run: SyncRun[Any]) -> None:
    """Raise `MassDeletion` if too many objects are gone or have no text any more."""
    contents = run.contents(comparison.changes.added)
    comparison.check_deletions(run.emptied_entries(comparison.published), contents)


def sync_delta(comparison: SourceComparison, run: SyncRun[Any]) -> SyncDelta:
    """What `publish` must know of a sync beside the table's rows."""
    gone = frozenset(entry.origin.uri for entry in run.diff.gone)
    options = comparison.stored_options
    return SyncDelta(run.current_entries(), gone, run.stale_origins(), options)


def compare_source(
    source: Source, versions: Versions, models: Models, source_options: SourceOptions | None
) -> SourceComparison:
    """List the source and compare it with the newest version.

    Raise the errors that `sync` raises before it reads any object.
    """
    refuse_shard(versions)
    before = versions.newest()
    if before is None and is_inside_index(versions.location):
        uri = versions.location.uri
        raise InputError(f"{uri}: lies in an index; name another folder or prefix for this one")
    _check_embedder(versions, before, models.embedder)
    models.analyser.spec(before.analyser if before else None, versions.location.uri)
    try:
        last = last_source_options(versions, before, source.uri).limits
    except StoreError:  # the stored options are damaged: the limits are not known
        last = NO_LIMITS
    source_options = source_options or last_source_options(versions, before, source.uri)
    listing = source.list(source_options.globs, follow_links=source_options.follow_links)
    published = versions.entries(before) if before else {}
    expected = expected_entries(models, source_options, last)
    comparison = SourceComparison(source.uri, before, published, source_options, expected, listing)
    if before is not None:
        versions.check_files_exist(before)
    elif source.uri.rstrip("/") == versions.location.uri.rstrip("/"):
        raise InputError(  # most likely a slip of the command line
            f"{versions.location.uri}: the index would be among the documents that it indexes; "
            "name another folder or prefix for it, below this one if you like"
        )
    if not (listing.objects or listing.unsupported or listing.unseen or comparison.changes.gone):
        raise SourceError(f"{source.uri}: no documents there: check the URI and the patterns")
    return comparison


def expected_entries(
    models: Models, source_options: SourceOptions, last: ParseLimits | None = None
) -> Expected:
    """Describe the entries that are up to date, so that their objects need not be read.

    `last` are the limits of the last sync; None stands for those of `source_options`.
    """
    precomputer = models.precomputer() if models.token_states else None
    limits = source_options.limits
    return Expected(
        made_by=lambda key: parsing_fingerprint(key, source_options.columns_for(key)),
        limits=f"{limits} {optional_parsers()}",
        precomputed_by=precomputer.fingerprint if precomputer else None,
        may_exceed=lambda item: may_exceed(item.key, item.size, last or limits, limits),
    )


def last_source_options(
    versions: Versions, version: Version | None, source_uri: str
) -> SourceOptions:
    """Return the options of a source's last sync; raise `StoreError` if they are damaged."""
    try:
        return stored_options(version.source_options if version else {}, source_uri)
    except ValueError as error:
        raise StoreError(
            f"{versions.location.uri}: the options of its last sync are damaged ({error}): give "
            "them again, starting from the defaults (--forget, or source_options=SourceOptions(…))"
        ) from error


def _indexed_entries(store: Store, comparison: SourceComparison) -> dict[str, Entry]:
    """Entries of the newest table version, and published entries of objects without passages."""
    before, published = comparison.before, comparison.published
    if before and before.table_version == store.version:
        return dict(published)
    rows, _ = latest_attempts(store.contents().whole)
    problems = {
        (uri, entry.origin.attempt): entry.problems for uri, entry in published.items()
    } | store.problems(since=before.table_version if before else 0)
    stored = {
        uri: replace(entry, problems=problems.get((uri, entry.origin.attempt), ()))
        for uri, entry in rows.items()
    }
    return {uri: entry for uri, entry in published.items() if not entry.passages} | stored


def _check_embedder(versions: Versions, before: Version | None, embedder: Embedder) -> None:
    if before and before.fingerprint != embedder.fingerprint:
        raise IndexMismatch(
            f"{versions.location.uri}: made by embedder {before.embedder} ({before.fingerprint}), "
            f"not by {embedder.name} ({embedder.fingerprint}): use that one, or index into "
            "another folder or prefix"
        )
