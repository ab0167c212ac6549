"""One published version of an index of shards, which is searched as if it were one table.

The shards are searched side by side, and their results merged by score. Cosines are comparable;
BM25 scores are made comparable by one set of statistics (`bm25`). A shard that fails or is late
fails or delays its retriever as a whole: a list without some of the documents would look like one
that has all.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resift.background import Background
from resift.errors import VersionGone
from resift.index.analysis.analyser import QueryTerms
from resift.index.shards.layout import shard_name
from resift.index.table.base_snapshot import BaseSnapshot, BaseView
from resift.index.table.bm25 import QueryWeights
from resift.index.table.filters import Keys, merged_keys
from resift.index.table.merging import Part, gather
from resift.index.table.row_filters import RowFilter
from resift.index.table.rows import Passage
from resift.index.table.snapshot import Scored, Snapshot, View
from resift.index.table.term_indexes import MORE_ROWS
from resift.index.table.term_statistics import SharedStatistics
from resift.index.versions.record import Version

T = TypeVar("T")

_THREADS = 32
# A row id of the whole is that of the shard, and above its 64 bits the shard's number.
_ROW_BITS = 64
_ROW = (1 << _ROW_BITS) - 1


class ShardedSnapshot(BaseSnapshot):
    """An open version of an index of shards; the same to its users as `Snapshot`."""

    def __init__(
        self,
        uri: str,
        version: Version,
        shards: Mapping[int, Snapshot],
        notes: tuple[str, ...] = (),
        copy: object = None,
    ) -> None:
        """Use the open versions of the shards that have any, by the shard's number.

        `copy` is the lock on the copy of the whole, held as long as this object.
        """
        is_local = all(shard.is_local for shard in shards.values())
        of_shards = chain.from_iterable(shard.notes for shard in shards.values())
        super().__init__(uri, version, is_local, tuple(dict.fromkeys((*notes, *of_shards))))
        self.shards = shards
        self._copy = copy
        self._background = Background(_THREADS, "resift-shards")
        self._statistics: SharedStatistics | None = None
        self._lock = threading.Lock()

    def view(self) -> "ShardedView":
        """Open a view for one search."""
        if self.is_local:  # their tables are open already, and threads take longer
            views = {shard: self.in_shard(self._view, shard) for shard in self.shards}
            return ShardedView(self, views)
        return ShardedView(self, self.each(self._view, self.shards))

    def _view(self, shard: int) -> View:
        return self.shards[shard].view()

    def in_shard(self, work: Callable[[int], T], shard: int) -> T:
        """Run `work` for a shard here; its errors name the version of the whole."""
        with whole_errors(self.uri, self.version, shard):
            return work(shard)

    def each(self, work: Callable[[int], T], shards: Iterable[int]) -> dict[int, T]:
        """Run `work` for these shards side by side; raise the error of the first that fails."""
        jobs = {
            shard: self._background.run(partial(self.in_shard, work, shard)) for shard in shards
        }
        try:
            return {shard: job.result() for shard, job in jobs.items()}
        finally:
            for job in jobs.values():
                job.cancel()

    def weights(self, terms: QueryTerms, views: Mapping[int, "View"]) -> QueryWeights:
        """The weights of a query's terms over all shards; `views` read the statistics once."""
        with self._lock:
            if self._statistics is None:
                read = self.each(lambda shard: views[shard].statistics(), views)
                self._statistics = SharedStatistics(list(read.values()))
        return self._statistics.weights(terms)


class ShardedView(BaseView):
    """Reads all shards for one search; the same to its users as `View`."""

    def __init__(self, snapshot: ShardedSnapshot, views: Mapping[int, View]) -> None:
        super().__init__(snapshot)
        self._snapshot = snapshot
        self._views = views

    def rows_of(self, sql: str) -> RowFilter:
        """Find the rows that match SQL, whatever keys it compares."""
        matching = self._each(lambda view: view.rows_of(sql))
        empty = RowFilter(0, b"")
        shards = tuple(matching.get(at, empty) for at in range(len(self._version.shards)))
        return RowFilter(sum(shard.count for shard in shards), b"", shards)

    def matches_any(self, sql: str) -> bool:
        """Whether a row of any shard matches SQL."""
        in_shard = self._snapshot.in_shard
        return any(in_shard(lambda at: self._views[at].matches_any(sql), at) for at in self._views)

    def keys(self) -> Keys:
        """Collect the keys of the metadata. It reads all of it."""
        return merged_keys(self._each(lambda view: view.keys()).values())

    def dense(
        self, vector: NDArray[np.float32], k: int, allowed: RowFilter | None = None
    ) -> Scored:
        """Find the `k` nearest passages, scored by cosine; `vector` has unit length, ``(dim,)``."""

        def part(shard: int, count: int, rows: RowFilter | None) -> Part:
            scored = self._views[shard].shard_dense(vector, count, rows)
            return Part(dict(scored), frozenset({scored[-1][0]} if len(scored) == count else ()))

        return self._gather(part, k, allowed)

    def lexical(self, query: str, k: int, allowed: RowFilter | None = None) -> Scored:
        """Find the `k` best passages by BM25. Any string is a valid query; it has no operators."""
        terms = self._analyser.query(query)
        if not any(astuple(terms)):
            return []
        shared = self._snapshot.weights(terms, self._views)

        def part(shard: int, count: int, rows: RowFilter | None) -> Part:
            return self._views[shard].shard_lexical(terms, count, shared, rows)

        return self._gather(part, k, allowed, MORE_ROWS)

    def passages(self, row_ids: Sequence[int]) -> list[Passage]:
        """Read the passages of these rows, in the order of `row_ids`."""
        by_shard = _by_shard(row_ids)
        read = self._snapshot.each(
            lambda shard: self._views[shard].passages(by_shard[shard]), by_shard
        )
        in_order = {shard: iter(passages) for shard, passages in read.items()}
        return [next(in_order[row_id >> _ROW_BITS]) for row_id in row_ids]

    def find(self, passage_ids: Sequence[str]) -> list[Passage]:
        """Read the passages with these ids, in any order; ids that no passage has are left out."""
        read = self._each(lambda view: view.find(passage_ids))
        return list(chain.from_iterable(read.values()))

    def states(self, row_ids: Sequence[int]) -> dict[int, bytes]:
        """Read the precomputed token states of these rows, by row id; rows without are left out."""
        by_shard = _by_shard(row_ids)
        read = self._snapshot.each(
            lambda shard: self._views[shard].states(by_shard[shard]), by_shard
        )
        return {
            _row_id(shard, row): states
            for shard, rows in read.items()
            for row, states in rows.items()
        }

    @property
    def requests(self) -> int:
        """The number of reads from the object store so far; 0 if the files are local."""
        return sum(view.requests for view in self._views.values())

    @property
    def bytes(self) -> int:
        """The number of bytes read from the object store so far; 0 if the files are local."""
        return sum(view.bytes for view in self._views.values())

    def _each(self, work: Callable[[View], T]) -> dict[int, T]:
        return self._snapshot.each(lambda shard: work(self._views[shard]), self._views)

    def _sizes(self, allowed: RowFilter | None = None) -> list[int]:
        """The number of each shard's rows, or of those that match a filter."""
        if allowed is not None:
            return [shard.count for shard in allowed.shards]
        numbers = range(len(self._version.shards))
        return [len(self._views[at]) if at in self._views else 0 for at in numbers]

    def _gather(
        self,
        part: Callable[[int, int, RowFilter | None], Part],
        count: int,
        allowed: RowFilter | None,
        more: int = 0,
    ) -> Scored:
        """The best `count` rows of all shards; `part` searches one for a number of rows."""

        def search(counts: Mapping[int, int]) -> dict[int, Part]:
            return self._snapshot.each(lambda shard: of_whole(shard, counts[shard]), counts)

        def of_whole(shard: int, number: int) -> Part:
            rows = None if allowed is None else allowed.shards[shard]
            local = part(shard, number, rows)
            scored = {_row_id(shard, row): score for row, score in local.rows.items()}
            return Part(scored, frozenset(_row_id(shard, row) for row in local.edges))

        return gather(search, self._sizes(allowed), count, more)


OpenVersion = Snapshot | ShardedSnapshot
"""An open version of an index, of one table or of shards."""

OpenView = View | ShardedView
"""A view of an `OpenVersion`."""


@contextmanager
def whole_errors(uri: str, version: Version, shard: int) -> Iterator[None]:
    """Name the version of the whole if files of a shard's version are not there any more."""
    try:
        yield
    except VersionGone as error:
        number, name = version.number, shard_name(shard)
        message = (
            f"{uri}: version {number} is not whole any more: files of {name} were cleaned up or "
            "deleted: open another one if resift versions lists any, restore them, or build a new "
            "index"
        )
        raise VersionGone(message, number) from error


def _row_id(shard: int, row: int) -> int:
    return shard << _ROW_BITS | row


def _by_shard(row_ids: Iterable[int]) -> dict[int, list[int]]:
    """The rows of each shard, in the order of `row_ids`."""
    rows: dict[int, list[int]] = {}
    for row_id in row_ids:
        rows.setdefault(row_id >> _ROW_BITS, []).append(row_id & _ROW)
    return rows
