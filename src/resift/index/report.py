"""What a sync did, as numbers that add up."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from resift.index.diff import SourceComparison, ancestor, is_new
from resift.index.manifest import Entry
from resift.index.run import SyncRun
from resift.index.versions.record import Version


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Counts are of objects (files), unless they say otherwise.

    What the source holds is `listed` = `added` + `changed` + `unchanged` + `unread` + `unindexed` +
    those in `passed_over`. `added`, `changed` and `unchanged` compare the new version with the one
    that readers had before, including objects that an interrupted run has read. `unread` objects
    could not be read or listed this time, and stay in the index as they were. Of `unindexed` ones
    nothing is in the index, and `skipped` says why; a folder that could not be listed is one of
    them where nothing of it is in the index, and otherwise counts as its indexed files.
    `passed_over` counts files that are no documents, by suffix (and ``index`` for an index that
    lies between them). Hidden files, and what the patterns exclude, do not count.

    `deleted` were in the version before and are not in the source any more; `emptied` were in it
    and give no text any more (they are `unindexed` now).

    `skipped` has ``(uri, reason)`` for each file that is not in the index, could not be read this
    time, or has rows that are not in the index, a line each; an unchanged file is named at every
    sync. Of the passages written, `passages_embedded` were new and `passages_reused` had a vector
    already, from before a change, under another name or in an earlier version;
    `passages_resumed` of these were written by an interrupted run. `precomputed_bytes` of token
    states were written with them. `version` is the one that readers get now; `other_sources` are
    what else it was made of. `options_changed` says that it remembers other options for this
    source than the version before.

    `partly_read` are the URIs that `skipped` names though the file is in the index.
    """

    added: int
    changed: int
    deleted: int
    unchanged: int
    emptied: int
    unindexed: int
    listed: int
    passages_embedded: int
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    version: int
    precomputed_bytes: int = 0
    passages_reused: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict, hash=False)
    other_sources: tuple[str, ...] = ()
    passages_resumed: int = 0
    options_changed: bool = False
    partly_read: tuple[str, ...] = ()
    unread: int = 0


def make_report(
    started: float, comparison: SourceComparison, run: SyncRun | None, version: Version
) -> SyncReport:
    """The report of a sync that started at `started` (``time.perf_counter``).

    `run` is None where nothing had to be read.
    """
    listing, diff, published = comparison.listing, comparison.changes, comparison.published
    current = {entry.origin.uri: entry for entry in diff.unchanged}
    if run:
        current = run.current()
    unread = {uri for uri, _ in run.unread} if run else set()
    counts = Counter(
        _result(current.get(item.uri), published, item.uri in unread) for item in listing.objects
    )
    # What could not be listed counts as what the index has of it, or as itself.
    unseen = Counter("unread" if entry.passages else "unindexed" for entry in diff.unseen)
    folders = {uri.rstrip("/") for uri, _ in listing.unseen}
    empty = len(folders - {ancestor(entry.origin.uri, folders) for entry in diff.unseen})
    resumed = _resumed(current, published, run.writer.committed if run else {})
    skipped = [(uri, reason) for uri, entry in current.items() for reason in entry.problems]
    partly = {uri for uri, entry in current.items() if entry.problems and entry.passages}
    skipped += [*(run.unread if run else ()), *listing.odd, *listing.unseen]
    gone = {entry.origin.uri for entry in diff.gone} | {*(run.vanished if run else ())}
    return SyncReport(
        added=counts["added"],
        changed=counts["changed"],
        deleted=sum(1 for uri in gone if uri in published and published[uri].passages),
        unchanged=counts["unchanged"],
        emptied=len(run.emptied(published)) if run else 0,
        unread=counts["unread"] + unseen["unread"],
        unindexed=counts["unindexed"] + len(listing.odd) + empty + unseen["unindexed"],
        listed=listing.count - len(listing.unseen) + empty + len(diff.unseen),
        passages_embedded=run.writer.embedded if run else 0,
        passages_reused=(run.writer.reused if run else 0) + resumed,
        passages_resumed=resumed,
        precomputed_bytes=run.writer.precomputed_bytes if run else 0,
        skipped=by_file(skipped),
        partly_read=tuple(sorted(partly)),
        seconds=time.perf_counter() - started,
        version=version.number,
        passed_over=listing.passed_over,
        other_sources=tuple(sorted({*version.source_options} - {comparison.source_uri})),
        options_changed=_have_options_changed(comparison, version),
    )


def by_file(skipped: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Ordered by URI; the reasons for one file stay in their order."""
    return tuple(sorted(skipped, key=lambda line: line[0]))


def _result(entry: Entry | None, published: Mapping[str, Entry], is_unread: bool) -> str:
    if entry is None or not entry.passages:
        return "unindexed"
    if is_unread:
        return "unread"
    if entry.origin.uri not in published:
        return "added"
    return "changed" if is_new(entry, published) else "unchanged"


def _resumed(
    current: Mapping[str, Entry], published: Mapping[str, Entry], committed: Mapping[str, Entry]
) -> int:
    """Passages that are new to readers and were not written by this run."""
    return sum(
        entry.passages
        for uri, entry in current.items()
        if uri not in committed and is_new(entry, published)
    )


def _have_options_changed(comparison: SourceComparison, version: Version) -> bool:
    before, uri = comparison.before, comparison.source_uri
    if before is None or uri not in before.source_options:
        return False
    return bool(before.source_options[uri] != version.source_options.get(uri))
