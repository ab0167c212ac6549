"""What a sync did, as numbers that add up."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from resift.index.diff import Diff, is_new, lies_below
from resift.index.manifest import Entry
from resift.index.run import SyncRun
from resift.index.sources.source import Listing
from resift.index.versions.record import Version


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Counts are of objects (files), unless they say otherwise.

    What the source holds is `listed` = `added` + `changed` + `unchanged` + `unread` + `unindexed` +
    those in `passed_over`. `added`, `changed` and `unchanged` are what the version holds, against
    the one that readers were given before, whoever has read it: this run, or one that was broken
    off. `unread` are in it as they were, and could not be read or looked at this time, so that
    nobody knows if that is still so. Of the `unindexed` nothing is in it, and `skipped` says why; a
    folder that could not be listed is one of them where nothing of it is in the index, and else it
    is what is. `passed_over` counts files that are no documents, by suffix (and ``index`` for an
    index that lies between them). Hidden files, and what the patterns leave out, do not count.

    `deleted` were in that version and are not in the source any more; `emptied` were in it, and
    nothing can be read of them any more (they are `unindexed` now).

    `skipped` has ``(uri, reason)`` for each file that is not in the index, or could not be read
    this time, or has rows that are not in it, a line each; what was skipped before and has not
    changed is named again. Of the passages written, `passages_embedded` were new and
    `passages_reused` had a vector already, from before a change, under another name or in an
    earlier version; `passages_resumed` of these were written by a run that was broken off.
    `precomputed_bytes` of token states were written beside them. `version` is the one that readers are
    given now; `other_sources` are what else it was made of. `options_changed` says that it
    remembers other options for this source than the version before.

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


@dataclass(frozen=True, slots=True)
class Finished:
    """What a report is made of; `run` is None where none was needed.

    `before` is the version that readers were given until now, `published` what it holds, and
    `diff` how the source differs from that.
    """

    source_uri: str
    listing: Listing
    before: Version | None
    published: Mapping[str, Entry]
    diff: Diff
    run: SyncRun | None
    version: Version


def make_report(started: float, finished: Finished) -> SyncReport:
    """The report of a sync that began at `started` (``time.perf_counter``)."""
    listing, diff, run = finished.listing, finished.diff, finished.run
    published = finished.published
    current = {entry.origin.uri: entry for entry in diff.unchanged}
    if run:
        current = run.current()
    unread = {uri for uri, _ in run.unread} if run else set()
    fates = Counter(
        _fate(current.get(item.uri), published, item.uri in unread) for item in listing.objects
    )
    # What could not be looked at is what the index has of it, or itself.
    unseen = Counter("unread" if entry.passages else "unindexed" for entry in diff.unseen)
    places = {uri.rstrip("/") for uri, _ in listing.unseen}
    empty = len(places - {lies_below(entry.origin.uri, places) for entry in diff.unseen})
    resumed = _resumed(current, published, run.writer.read if run else {})
    skipped = [(uri, reason) for uri, entry in current.items() for reason in entry.problems]
    partly = {uri for uri, entry in current.items() if entry.problems and entry.passages}
    skipped += [*(run.unread if run else ()), *listing.odd, *listing.unseen]
    gone = {entry.origin.uri for entry in diff.gone} | {*(run.vanished if run else ())}
    return SyncReport(
        added=fates["added"],
        changed=fates["changed"],
        deleted=sum(1 for uri in gone if uri in published and published[uri].passages),
        unchanged=fates["unchanged"],
        emptied=len(run.emptied(published)) if run else 0,
        unread=fates["unread"] + unseen["unread"],
        unindexed=fates["unindexed"] + len(listing.odd) + empty + unseen["unindexed"],
        listed=listing.count - len(listing.unseen) + empty + len(diff.unseen),
        passages_embedded=run.writer.embedded if run else 0,
        passages_reused=(run.writer.reused if run else 0) + resumed,
        passages_resumed=resumed,
        precomputed_bytes=run.writer.precomputed_bytes if run else 0,
        skipped=by_file(skipped),
        partly_read=tuple(sorted(partly)),
        seconds=time.perf_counter() - started,
        version=finished.version.number,
        passed_over=listing.passed_over,
        other_sources=tuple(sorted({*finished.version.source_options} - {finished.source_uri})),
        options_changed=_have_options_changed(finished),
    )


def by_file(skipped: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Ordered by URI; what is said of one file stays in the order in which it was said."""
    return tuple(sorted(skipped, key=lambda line: line[0]))


def _fate(entry: Entry | None, published: Mapping[str, Entry], is_unread: bool) -> str:
    if entry is None or not entry.passages:
        return "unindexed"
    if is_unread:
        return "unread"
    if entry.origin.uri not in published:
        return "added"
    return "changed" if is_new(entry, published) else "unchanged"


def _resumed(
    current: Mapping[str, Entry], published: Mapping[str, Entry], read: Mapping[str, Entry]
) -> int:
    """Passages that are new to readers, and were not written by this run."""
    return sum(
        entry.passages
        for uri, entry in current.items()
        if uri not in read and is_new(entry, published)
    )


def _have_options_changed(finished: Finished) -> bool:
    before, uri = finished.before, finished.source_uri
    if before is None or uri not in before.source_options:
        return False
    return bool(before.source_options[uri] != finished.version.source_options.get(uri))
