"""What a sync did, as numbers that add up."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from resift.index.diff import Diff, lies_below
from resift.index.manifest import Entry
from resift.index.run import Run
from resift.index.source import Listing
from resift.index.versions import Version


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Counts are of objects (files), unless they say otherwise.

    What the source holds is `listed` = `added` + `changed` + `unchanged` + `unread` + `unindexed` +
    those in `passed_over`. `added` and `changed` were read now; `unchanged` are in the index as
    they are; `unread` are in it as they were, and could not be read or looked at this time, so that
    nobody knows if that is still so. These four are all of the source that the version holds. Of
    the `unindexed` nothing is in it, and `skipped` says why; a folder that could not be listed is
    one of them where nothing of it is in the index, and else it is what is. `passed_over` counts
    files that are no documents, by suffix (and ``index`` for an index that lies between them).
    Hidden files, and what the patterns leave out, do not count.

    `deleted` were in the index and are not in the source any more; `emptied` were in the index, and
    nothing can be read of them any more (they are `unindexed` now).

    `skipped` has ``(uri, reason)`` for each file that is not in the index, or could not be read
    this time, or has rows that are not in it, a line each; what was skipped before and has not
    changed is named again. Of the passages written, `passages_embedded` were new and
    `passages_reused` had a vector already, from before a change, under another name or in an
    earlier version. `kept_bytes` of token states were written beside them. `version` is the one
    that readers are given now; `other_sources` are what else it was made of.
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
    kept_bytes: int = 0
    passages_reused: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    other_sources: tuple[str, ...] = ()
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a report is made of; `run` is None where none was needed."""

    source_uri: str
    listing: Listing
    diff: Diff
    run: Run | None
    version: Version


def make_report(started: float, finished: Finished) -> SyncReport:
    """The report of a sync that began at `started` (``time.perf_counter``)."""
    listing, diff, run = finished.listing, finished.diff, finished.run
    entries = [*diff.unchanged]
    read: dict[str, Entry] = {}
    known: Mapping[str, Entry] = {}
    unread: list[str] = []
    vanished: list[str] = []
    if run:
        read, known, vanished = run.writer.read, run.writer.known, run.vanished
        entries += [*read.values(), *run.skipped.values()]
        unread = [uri for uri, _ in run.unread]
    indexed = {uri for uri, entry in known.items() if entry.passages}
    kept = (indexed & {*unread}) - {*vanished}
    skipped = [(entry.origin.uri, reason) for entry in entries for reason in entry.problems]
    skipped += [*(run.unread if run else ()), *listing.odd, *listing.unseen]
    without = sum(1 for entry in diff.unchanged if not entry.passages)
    unindexed = without + len(run.skipped if run else ()) + len(unread) - len(kept)
    # What could not be looked at is what the index has of it, or itself.
    places = {uri for uri, _ in listing.unseen}
    empty = len(places - {lies_below(entry.origin.uri, places) for entry in diff.unseen})
    return SyncReport(
        added=sum(item.uri in read for item in diff.added),
        changed=sum(item.uri in read for item in diff.changed),
        deleted=sum(1 for entry in diff.gone if entry.passages) + len(indexed & {*vanished}),
        unchanged=len(diff.unchanged) - without,
        unread=len(kept) + sum(1 for entry in diff.unseen if entry.passages),
        emptied=len(run.emptied) if run else 0,
        unindexed=unindexed + len(listing.odd) + empty + sum(not e.passages for e in diff.unseen),
        listed=listing.count - len(listing.unseen) + empty + len(diff.unseen),
        passages_embedded=run.writer.embedded if run else 0,
        passages_reused=run.writer.reused if run else 0,
        kept_bytes=run.writer.kept_bytes if run else 0,
        skipped=tuple(sorted(skipped)),
        seconds=time.perf_counter() - started,
        version=finished.version.number,
        passed_over=listing.passed_over,
        other_sources=tuple(sorted({*finished.version.readings} - {finished.source_uri})),
    )
