"""An index is brought up to date with a source: list, compare, read, embed, commit, publish.

An object is identified by URI, ETag, size and the parser that read it. What has changed is written
next to the existing passages, whole objects in one commit; `publish` drops what is replaced. So a
run can end at any moment: the next one finds what is done and does the rest. Readers see the result
only once it is complete.

Only what is below the given source is compared, so one index can hold several sources.
"""

import time
from dataclasses import dataclass, replace

from resift.errors import IndexMismatch, InputError, SourceError, StoreError
from resift.index.diff import Expected, SourceComparison
from resift.index.embed import Embedder, Models
from resift.index.manifest import Entry, attempt_after, new_attempt, newest
from resift.index.parsing.formats import may_exceed, optional_parsers, parsing_fingerprint
from resift.index.parsing.options import NO_LIMITS, ParseLimits
from resift.index.publish import SyncDelta, publish, rolled_back
from resift.index.report import SyncReport, make_report
from resift.index.run import ProgressCallback, SyncRun, read_objects
from resift.index.source_options import SourceOptions, remembered
from resift.index.sources.source import Source, lies_in_an_index
from resift.index.storage.doctor import refuse_unsafe
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.index.writer import Writer


@dataclass(frozen=True, slots=True)
class SyncConsent:
    """What stops a sync unless it is allowed: a store that loses writes, mass deletion."""

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
) -> SyncReport:
    """Make the index hold what `source` holds, and publish it; without changes nothing is written.

    `source_options` None takes the options of the last sync. Raises `SourceError` if the source
    cannot be listed, or has no documents and never had any; `SourceLost` if it cannot be read any
    more, though what was committed until then is kept; and `MassDeletion` before most of what is
    indexed would be deleted.
    """
    started = time.perf_counter()
    attempt = new_attempt()
    comparison = compare_source(source, versions, models, source_options)
    before, published = comparison.before, comparison.published
    if not consent.deletes:
        comparison.check_deletions()
    options = {source.uri: comparison.source_options.to_json()}
    if before and not comparison.changes and options.items() <= before.source_options.items():
        return make_report(started, comparison, None, before)
    if not consent.unsafe:
        refuse_unsafe(versions.location)
    store = Store.open(versions.location, models.embedder)
    known = _known(store, comparison)
    diff = comparison.diff(known)  # an interrupted run may have written some of it
    earlier = rolled_back(versions, before)
    writer = Writer(store, models, known, attempt_after(known.values(), attempt), earlier)
    run = SyncRun(writer, comparison.expected, diff, progress)
    for read, parsed in read_objects(source, diff.to_read, comparison.source_options):
        run.add(read, parsed)
    writer.commit(run.report_progress)
    if not consent.deletes:
        comparison.check_deletions(run.emptied(published), run.count_new(published))
    gone = frozenset(entry.origin.uri for entry in diff.gone)
    delta = SyncDelta(run.current(), gone, run.stale(), options)
    version = publish(store, versions, models.embedder, delta)
    return make_report(started, comparison, run, version)


def compare_source(
    source: Source, versions: Versions, models: Models, source_options: SourceOptions | None
) -> SourceComparison:
    """List the source and compare it with the newest version.

    Raises what `sync` raises before it reads anything.
    """
    before = versions.newest()
    if before is None and lies_in_an_index(versions.location):
        uri = versions.location.uri
        raise InputError(f"{uri}: lies in an index; name another folder or prefix for this one")
    _check_embedder(versions, before, models.embedder)
    last = _last_limits(versions, before, source.uri)
    source_options = source_options or last_source_options(versions, before, source.uri)
    listing = source.list(source_options.globs, follow_links=source_options.follow_links)
    published = versions.entries(before) if before else {}
    expected = expected_entries(models, source_options, last)
    comparison = SourceComparison(source.uri, before, published, source_options, expected, listing)
    if before is not None:
        versions.refuse_lost(before)
    elif source.uri.rstrip("/") == versions.location.uri.rstrip("/"):
        raise InputError(  # most likely a slip of the command line
            f"{versions.location.uri}: the index would be among the documents that it is of; name "
            "another folder or prefix for it, below this one if you like"
        )
    if not (listing.objects or listing.odd or listing.unseen or comparison.changes.gone):
        raise SourceError(f"{source.uri}: no documents there: check the URI and the patterns")
    return comparison


def expected_entries(
    models: Models, source_options: SourceOptions, last: ParseLimits | None = None
) -> Expected:
    """How entries must have been made to need no reading.

    `last` are the limits of the last sync; None for those of `source_options`.
    """
    precomputer = models.precomputer() if models.token_states else None
    limits = source_options.limits
    return Expected(
        made_by=lambda key: parsing_fingerprint(key, source_options.columns_for(key)),
        limits=f"{source_options.limits} {optional_parsers()}",
        precomputed_by=precomputer.fingerprint if precomputer else None,
        may_exceed=lambda item: may_exceed(item.key, item.size, last or limits, limits),
    )


def last_source_options(
    versions: Versions, version: Version | None, source_uri: str
) -> SourceOptions:
    """How a source was read for this version; raises `StoreError` if that record is damaged."""
    try:
        return remembered(version.source_options if version else {}, source_uri)
    except ValueError as error:
        raise StoreError(
            f"{versions.location.uri}: the options of its last sync are damaged ({error}): give "
            "them again, starting from the defaults (--forget, or source_options=SourceOptions(…))"
        ) from error


def _last_limits(versions: Versions, before: Version | None, source_uri: str) -> ParseLimits:
    try:
        return last_source_options(versions, before, source_uri).limits
    except StoreError:  # damaged, so the limits are not known
        return NO_LIMITS


def _known(store: Store, comparison: SourceComparison) -> dict[str, Entry]:
    """What the newest version of the table holds, and objects known to have no passages."""
    before, published = comparison.before, comparison.published
    if before and before.table_version == store.version:
        return dict(published)
    rows, _ = newest(store.contents().whole)
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
