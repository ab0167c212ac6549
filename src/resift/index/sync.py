"""An index is brought up to date with its source: list, compare, read, embed, commit, publish.

An object is known by URI, ETag, size and the parser that read it. What has changed is written
beside what was there, whole objects in a commit; `publish` drops what is replaced. So a run can
end at any moment: the next one finds what is done, and does the rest. Readers see none of it before
it is all there.

Only what lies below the given source is compared: one index can hold several sources. A run that
would take most of what is indexed out of the index stops (`guard`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from resift.errors import IndexMismatch, InputError, SourceError, StoreError
from resift.index.deletion_guard import DeletionGuard, refuse
from resift.index.diff import Diff, Expected, below, compare
from resift.index.embed import Embedder
from resift.index.manifest import Entry, attempt_after, new_attempt, newest
from resift.index.parsing.formats import may_exceed, optional_parsers, parsing_fingerprint
from resift.index.parsing.options import NO_LIMITS, ParseLimits
from resift.index.precompute import Precomputer
from resift.index.publish import SyncDelta, publish, rolled_back
from resift.index.report import Finished, SyncReport, make_report
from resift.index.run import Progress as Progress
from resift.index.run import ProgressCallback, SyncRun, read
from resift.index.source_options import AS_IT_IS as AS_IT_IS
from resift.index.source_options import SourceOptions, remembered
from resift.index.sources.source import Listing, Source, lies_in_an_index
from resift.index.storage.doctor import refuse_unsafe
from resift.index.storage.location import Location
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version
from resift.index.writer import Writer


@dataclass(frozen=True, slots=True)
class Models:
    """What reads texts: for vectors, and for what a reranker need not read again, if one should."""

    embedder: Embedder
    precomputer: Callable[[], Precomputer | None] = lambda: None
    token_states: bool = False


@dataclass(frozen=True, slots=True)
class IndexHandle:
    """Where an index is."""

    location: Location
    versions: Versions


@dataclass(frozen=True, slots=True)
class SyncConsent:
    """What a sync stops at unless it is allowed: a store that loses writes, most documents gone."""

    unsafe: bool = False
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """What is known before anything is read: the newest version, the listing, how they differ."""

    before: Version | None
    published: dict[str, Entry]
    source_options: SourceOptions
    expected: Expected
    listing: Listing

    def diff(self, source: Source, entries: dict[str, Entry]) -> Diff:
        """How the listing differs from these entries."""
        unseen = [uri for uri, _ in self.listing.unseen]
        return compare(self.listing.objects, below(source.uri, entries), self.expected, unseen)


def sync(
    source: Source,
    place: IndexHandle,
    models: Models,
    source_options: SourceOptions | None = None,
    progress: ProgressCallback | None = None,
    *,
    allowed: SyncConsent = SyncConsent(),
) -> SyncReport:
    """Make the index hold what `source` holds, and publish it; without changes nothing is written.

    `source_options` None is as the source was read last. Raise `SourceError` if the source cannot be
    listed, or has no documents and never had, `SourceLost` if it cannot be read any more: what was
    committed until then is not lost; and `MassDeletion` before most of what is indexed would go.
    """
    started = time.perf_counter()
    attempt = new_attempt()
    compared = look(source, place, models, source_options)
    before, published = compared.before, compared.published
    refuse_place(source, place, before)
    changes = compared.diff(source, published)
    refuse_empty(source, compared.listing, changes)
    guard = DeletionGuard(source.uri, below(source.uri, published))
    if not allowed.deletes:
        refuse(guard.why_not(changes))
    remember = {source.uri: compared.source_options.to_json()}
    told = partial(Finished, source.uri, compared.listing, before, published, changes)
    if before and not changes and remember.items() <= before.source_options.items():
        return make_report(started, told(None, before))
    if not allowed.unsafe:
        refuse_unsafe(place.location)
    store = Store.open(place.location, models.embedder)
    known = _known(store, before, published)
    diff = compared.diff(source, known)  # a run that was broken off may have done some of it
    earlier = rolled_back(place.versions, before)
    writer = Writer(store, models, known, attempt_after(known.values(), attempt), earlier)
    run = SyncRun(writer, compared.expected, diff, progress)
    for found, outcome in read(source, diff.to_read, compared.source_options):
        run.take(found, outcome)
    writer.commit(run.tell)
    if not allowed.deletes:
        refuse(guard.why_not(changes, run.emptied(published), new=run.new(published)))
    gone = frozenset(entry.origin.uri for entry in diff.gone)
    news = SyncDelta(run.current(), gone, run.stale(), remember)
    version = publish(store, place.versions, models.embedder, news)
    return make_report(started, told(run, version))


def refuse_place(source: Source, place: IndexHandle, before: Version | None) -> None:
    """Raise `StoreError` for an index that has lost files, `InputError` for one in its source.

    An index that begins in the very folder of its documents is a slip of the command line.
    """
    if before is not None:
        place.versions.refuse_lost(before)
    elif source.uri.rstrip("/") == place.location.uri.rstrip("/"):
        raise InputError(
            f"{place.location.uri}: the index would lie among the documents that it is of; name "
            "another folder or prefix for it, below this one if you like"
        )


def look(
    source: Source, place: IndexHandle, models: Models, source_options: SourceOptions | None
) -> SourceComparison:
    """Find out how the source is read, list it and load what the index holds."""
    before = place.versions.newest()
    if before is None and lies_in_an_index(place.location):
        raise InputError(f"{place.location.uri}: lies in an index; name another place for this one")
    check_embedder(place, before, models.embedder)
    last = _last_limits(place, before, source.uri)
    source_options = source_options or last_source_options(place, before, source.uri)
    listing = source.list(source_options.globs, follow_links=source_options.follow_links)
    published = place.versions.entries(before) if before else {}
    return SourceComparison(
        before, published, source_options, expect(models, source_options, last), listing
    )


def last_source_options(
    place: IndexHandle, version: Version | None, source_uri: str
) -> SourceOptions:
    """How a source was read when this version was made; raise `StoreError` if that is damaged."""
    try:
        return remembered(version.source_options if version else {}, source_uri)
    except ValueError as error:
        raise StoreError(
            f"{place.location.uri}: the options that it remembers are damaged ({error}): give them "
            "anew, beginning with the usual ones (--forget, or source_options=SourceOptions(…))"
        ) from error


def _last_limits(place: IndexHandle, before: Version | None, source_uri: str) -> ParseLimits:
    try:
        return last_source_options(place, before, source_uri).limits
    except StoreError:  # damaged: how it was read is not known
        return NO_LIMITS


def expect(
    models: Models, source_options: SourceOptions, last: ParseLimits | None = None
) -> Expected:
    """How an entry must have been made to be left alone; `last` are the limits it was read in.

    None is those of `source_options`.
    """
    precomputer = models.precomputer() if models.token_states else None
    limits = source_options.limits
    return Expected(
        made_by=lambda key: parsing_fingerprint(key, source_options.columns_for(key)),
        limits=f"{source_options.limits} {optional_parsers()}",
        precomputed_by=precomputer.fingerprint if precomputer else None,
        may_exceed=lambda item: may_exceed(item.key, item.size, last or limits, limits),
    )


def refuse_empty(source: Source, listing: Listing, diff: Diff) -> None:
    """Raise `SourceError` for a source without documents that never had any."""
    if not (listing.objects or listing.odd or listing.unseen or diff.gone):
        raise SourceError(f"{source.uri}: no documents there: check the place and the patterns")


def _known(store: Store, before: Version | None, published: dict[str, Entry]) -> dict[str, Entry]:
    """What the newest version of the table holds, and what is known to have no passages."""
    if before and before.table_version == store.version:
        return published
    rows, _ = newest(store.contents().whole)
    problems = {
        (uri, entry.origin.attempt): entry.problems for uri, entry in published.items()
    } | store.problems(since=before.table_version if before else 0)
    told = {
        uri: replace(entry, problems=problems.get((uri, entry.origin.attempt), ()))
        for uri, entry in rows.items()
    }
    empty = {uri: entry for uri, entry in published.items() if not entry.passages}
    return empty | told


def check_embedder(place: IndexHandle, before: Version | None, embedder: Embedder) -> None:
    """Raise `IndexMismatch` if what is there was made by another embedder."""
    if before and before.fingerprint != embedder.fingerprint:
        raise IndexMismatch(
            f"{place.location.uri}: made by embedder {before.embedder} ({before.fingerprint}), "
            f"not by {embedder.name} ({embedder.fingerprint}): use that one, or another place"
        )
