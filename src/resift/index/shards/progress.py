"""Adds up the progress of shards. Does no I/O."""

from collections.abc import Sequence
from functools import partial

from resift.index.diff import SourceComparison
from resift.index.run import Progress, ProgressCallback


class AddedProgress:
    """The progress of all shards together.

    Shards that have not begun count with what the published versions lack; an interrupted run may
    have written some of that.
    """

    def __init__(
        self, progress: ProgressCallback | None, comparisons: Sequence[SourceComparison]
    ) -> None:
        """Call `progress` with the sums over the shards of `comparisons`, in this order."""
        self._progress = progress
        self._shards = [_not_begun(comparison) for comparison in comparisons]
        self._next = iter(range(len(comparisons)))

    def start_shard(self) -> ProgressCallback | None:
        """Return the callback of the next shard."""
        return self._progress and partial(self._show, next(self._next))

    def _show(self, number: int, current: Progress) -> None:
        self._shards[number] = current
        total_bytes = sum(shard.total_bytes for shard in self._shards)
        work = sum(shard.work * shard.total_bytes for shard in self._shards)
        if self._progress:
            self._progress(
                Progress(
                    done_objects=sum(shard.done_objects for shard in self._shards),
                    total_objects=sum(shard.total_objects for shard in self._shards),
                    passages=sum(shard.passages for shard in self._shards),
                    bytes=sum(shard.bytes for shard in self._shards),
                    total_bytes=total_bytes,
                    work=min(1.0, work / total_bytes) if total_bytes else 1.0,
                )
            )


def _not_begun(comparison: SourceComparison) -> Progress:
    items = comparison.changes.to_read
    size = sum(item.size for item in items)
    return Progress(0, len(items), passages=0, bytes=0, total_bytes=size, work=0.0)
