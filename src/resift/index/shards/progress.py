"""Adds up the progress of shards. Does no I/O."""

from collections.abc import Sequence

from resift.index.diff import SourceComparison
from resift.index.run import Progress, ProgressCallback


class AddedProgress:
    """The progress of all shards, which are written one after the other.

    Shards that have not begun count with what the published versions lack; an interrupted run may
    have written some of that.
    """

    def __init__(
        self, progress: ProgressCallback | None, comparisons: Sequence[SourceComparison]
    ) -> None:
        """Call `progress` with the sums over the shards of `comparisons`, in this order."""
        self._progress = progress
        to_read = [comparison.changes.to_read for comparison in comparisons]
        self._waiting = [(len(items), sum(item.size for item in items)) for items in to_read]
        self._ended: list[Progress] = []
        self._current: Progress | None = None

    def start_shard(self) -> ProgressCallback | None:
        """Return the callback of the next shard."""
        if self._progress is None:
            return None
        self._waiting.pop(0)
        if self._current:
            self._ended.append(self._current)
            self._current = None
        return self._show

    def _show(self, current: Progress) -> None:
        self._current = current
        begun = [*self._ended, current]
        total_bytes = sum(p.total_bytes for p in begun) + sum(size for _, size in self._waiting)
        work = sum(p.work * p.total_bytes for p in begun)
        if self._progress:
            self._progress(
                Progress(
                    done_objects=sum(p.done_objects for p in begun),
                    total_objects=sum(p.total_objects for p in begun)
                    + sum(objects for objects, _ in self._waiting),
                    passages=sum(p.passages for p in begun),
                    bytes=sum(p.bytes for p in begun),
                    total_bytes=total_bytes,
                    work=min(1.0, work / total_bytes) if total_bytes else 1.0,
                )
            )
