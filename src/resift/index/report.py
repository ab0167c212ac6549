"""The report of a sync: counts that add up."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resift.index.diff import SourceComparison, ancestor, is_new
from resift.index.manifest import Entry
from resift.index.run import SyncRun
from resift.index.versions.record import Version


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The result of a sync. Counts are of objects (files), unless stated otherwise.

    The source has `listed` objects: `added` + `changed` + `unchanged` + `unread` + `unindexed` +
    the sum of `passed_over`. `added`, `changed` and `unchanged` compare the new version with the
    previous one. `unread` objects could not be read or listed this time and stay in the index as
    they were. `unindexed` objects have no passages, and `skipped` says why. A folder that could not
    be listed counts as its indexed files, or as one `unindexed` object if it has none.
    `passed_over` counts what is no document by kind: files of unsupported formats by suffix,
    ``lock file`` and ``minified`` files, folders of installed packages by name (``node_modules``),
    and under ``index`` the indexes within the source; `not_documents` has ``(uri, kind)`` of each.
    Hidden files and files that the patterns exclude do not count.

    `deleted` objects were in the previous version and are no longer in the source. `emptied`
    objects had text in the previous version and have none now; they count as `unindexed`.

    `skipped` has ``(uri, reason)`` for each file that is not indexed or could not be read this
    time, and for each row that is not indexed. Unchanged files are listed at every sync.
    `partly_read` are the URIs in `skipped` whose files are in the index.

    `passages_embedded` of the written passages were embedded; `passages_reused` already had a
    vector, from before a change, under another name or in an earlier version. An interrupted run
    has written `passages_resumed` of these. `precomputed_bytes` is the size of their token states.
    `version` is the one that readers get now, `other_sources` are its sources beside this one.
    `options_changed` says that this version stores other options for this source than the previous
    one.
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
    not_documents: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def make_report(
    started: float, comparison: SourceComparison, run: SyncRun[Any] | None, version: Version
) -> SyncReport:
    """Make the report of a sync that started at `started` (``time.perf_counter``).

    `run` is None if nothing had changed.
    """
    listing, diff, published = comparison.listing, comparison.changes, comparison.published
    current = {entry.origin.uri: entry for entry in diff.unchanged}
    if run:
        current = run.current_entries()
    unread = {uri for uri, _ in run.unread} if run else set()
    counts = Counter(
        _result(current.get(item.uri), published, item.uri in unread) for item in listing.objects
    )
    # A folder that could not be listed counts as its indexed files, or else as one object.
    unseen = Counter("unread" if entry.passages else "unindexed" for entry in diff.unseen)
    folders = {uri.rstrip("/") for uri, _ in listing.unseen}
    empty = len(folders - {ancestor(entry.origin.uri, folders) for entry in diff.unseen})
    resumed = _resumed(current, published, run.writer.committed if run else {})
    skipped = [(uri, reason) for uri, entry in current.items() for reason in entry.problems]
    partly = {uri for uri, entry in current.items() if entry.problems and entry.passages}
    skipped += [*(run.unread if run else ()), *listing.unsupported, *listing.unseen]
    gone = {entry.origin.uri for entry in diff.gone} | {*(run.vanished if run else ())}
    return SyncReport(
        added=counts["added"],
        changed=counts["changed"],
        deleted=sum(1 for uri in gone if uri in published and published[uri].passages),
        unchanged=counts["unchanged"],
        emptied=len(run.emptied_entries(published)) if run else 0,
        unread=counts["unread"] + unseen["unread"],
        unindexed=counts["unindexed"] + len(listing.unsupported) + empty + unseen["unindexed"],
        listed=listing.count - len(listing.unseen) + empty + len(diff.unseen),
        passages_embedded=run.writer.embedded if run else 0,
        passages_reused=(run.writer.reused if run else 0) + resumed,
        passages_resumed=resumed,
        precomputed_bytes=run.writer.precomputed_bytes if run else 0,
        skipped=sort_by_uri(skipped),
        partly_read=tuple(sorted(partly)),
        seconds=time.perf_counter() - started,
        version=version.number,
        passed_over=listing.passed_over,
        not_documents=listing.not_documents,
        other_sources=tuple(sorted({*version.source_options} - {comparison.source_uri})),
        options_changed=_have_options_changed(comparison, version),
    )


def sort_by_uri(skipped: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Sort ``(uri, reason)`` by URI; the reasons for one file keep their order."""
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
    """Count passages that are new to readers but were written by an earlier, interrupted run."""
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
