"""One published version of an index: its two retrievers, and the passages of their row ids.

The retrievers read only ids and scores. Texts are read once, for the candidates.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import NoCopy, StoreError, VersionGone
from resift.extras import require
from resift.index.analysis.analyser import QueryTerms
from resift.index.storage.errors import is_missing, store_errors
from resift.index.table.base_snapshot import BaseSnapshot, BaseView
from resift.index.table.bm25 import QueryWeights
from resift.index.table.dataset import check_files
from resift.index.table.filters import Keys, keys_of, sql_literal
from resift.index.table.merging import Part
from resift.index.table.row_filters import RowFilter
from resift.index.table.rows import READ_COLUMNS, STATES, Passage, from_row
from resift.index.table.term_indexes import search_shard, search_terms
from resift.index.table.term_statistics import TermStatistics, read_statistics
from resift.index.table.vectors import NEAREST, nearest
from resift.index.versions.record import VectorIndex, Version

Scored = list[tuple[int, float]]
"""Row ids with scores, best first; equal scores are in order of row id."""

# Lance nests a filter once for each value.
_IDS_IN_A_FILTER = 100
# Of 8 shards with 1,000,000 passages, recall@100 is .980 with half the effort, .981 with all.
_LEAST_EFFORT = 0.5


class Snapshot(BaseSnapshot):
    """An open version of one table."""

    def __init__(
        self,
        uri: str,
        version: Version,
        open_table: Callable[[], Any],
        is_local: bool,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Use `open_table` to open a handle of the version's table; handles share their caches.

        A table on this machine's disk is opened once.
        """
        super().__init__(uri, version, is_local, notes)
        self._is_checked = False
        self._open_table = open_table
        # One handle for all views, unless it counts the requests of one.
        self._local_table: Any = None

    def view(self) -> "View":
        """Open a view for one search."""
        if self._local_table is not None:
            return View(self, self._local_table)
        with version_errors(self.uri, self.version):
            table = self._open_table()
            if not self._is_checked:
                check_files(table)
                self._is_checked = True
        if self.is_local:
            self._local_table = table
        return View(self, table)


class View(BaseView):
    """Reads a version of one table for one search, and counts its requests and bytes."""

    def __init__(self, snapshot: Snapshot, table: Any) -> None:
        super().__init__(snapshot)
        self._snapshot = snapshot
        self._table = table
        self._requests = 0
        self._bytes = 0
        self._statistics: Mapping[str, TermStatistics] = {}

    def rows_of(self, sql: str) -> RowFilter:
        """Find the rows that match SQL, whatever keys it compares."""
        serialize = require("lance.dataset", "index").serialize_row_addrs
        rows = self._scan([], filter=sql)["_rowid"].to_pylist()
        return RowFilter(len(rows), serialize(rows))

    def matches_any(self, sql: str) -> bool:
        """Whether a row matches SQL."""
        return len(self._scan([], filter=sql, limit=1)) > 0

    def keys(self) -> Keys:
        """Collect the keys of the metadata. It reads all of it."""
        with self._reading():
            batches = self._table.scanner(columns=["metadata"]).to_batches()
            return keys_of(text for batch in batches for text in batch["metadata"].to_pylist())

    def dense(
        self, vector: NDArray[np.float32], k: int, allowed: RowFilter | None = None
    ) -> Scored:
        """Find the `k` nearest passages, scored by cosine; `vector` has unit length, ``(dim,)``."""
        return self._dense(vector, k, self._version.vectors, allowed)

    def shard_dense(
        self, vector: NDArray[np.float32], count: int, allowed: RowFilter | None
    ) -> Scored:
        """Find the `count` nearest of a shard, with less effort if these are few.

        The effort of a graph was measured for the `NEAREST` of the shard.
        """
        vectors = self._version.vectors
        effort = math.ceil(vectors.effort * min(max(count / NEAREST, _LEAST_EFFORT), 1.0))
        return self._dense(vector, count, replace(vectors, effort=effort), allowed)

    def _dense(
        self, vector: NDArray[np.float32], k: int, index: VectorIndex, allowed: RowFilter | None
    ) -> Scored:
        with self._reading():
            matches = nearest(self._table, vector, k, index, **_filter_options(allowed))
        return _best_first(matches, 1.0 - matches["_distance"].to_numpy())

    def lexical(self, query: str, k: int, allowed: RowFilter | None = None) -> Scored:
        """Find the `k` best passages by BM25. Any string is a valid query; it has no operators."""
        terms = self._analyser.query(query)
        with self._reading():
            scores = search_terms(self._table, terms, k, allowed.rows if allowed else None)
        return sorted(scores.items(), key=_by_score)[:k]

    def shard_lexical(
        self, terms: QueryTerms, count: int, weights: QueryWeights, allowed: RowFilter | None
    ) -> Part:
        """Find the `count` best passages of a shard, scored with the weights of all shards."""
        with self._reading():
            rows = allowed.rows if allowed else None
            return search_shard(self._table, terms, count, weights, rows)

    def statistics(self) -> Mapping[str, TermStatistics]:
        """Read the statistics of the full-text indexes, by column."""
        with self._reading():
            self._statistics = read_statistics(self._table)
        return self._statistics

    def passages(self, row_ids: Sequence[int]) -> list[Passage]:
        """Read the passages of these rows, in the order of `row_ids`."""
        return [from_row(row) for row in self._rows(row_ids, READ_COLUMNS).to_pylist()]

    def find(self, passage_ids: Sequence[str]) -> list[Passage]:
        """Read the passages with these ids, in any order; ids that no passage has are left out.

        Two passages may have the same id: of ``a#1`` as a file, and of row 1 in the file ``a``.
        """
        passages: list[Passage] = []
        for at in range(0, len(passage_ids), _IDS_IN_A_FILTER):
            ids = ", ".join(map(sql_literal, passage_ids[at : at + _IDS_IN_A_FILTER]))
            rows = self._scan(list(READ_COLUMNS), filter=f"id IN ({ids})").to_pylist()
            passages += map(from_row, rows)
        return passages

    def states(self, row_ids: Sequence[int]) -> dict[int, bytes]:
        """Read the precomputed token states of these rows, by row id; rows without are left out."""
        if not row_ids:
            return {}
        column = self._rows(row_ids, [STATES])[STATES].to_pylist()
        by_row = zip(row_ids, column, strict=True)
        return {row_id: states for row_id, states in by_row if states is not None}

    @property
    def requests(self) -> int:
        """The number of reads from the object store so far; 0 if the files are local."""
        self._count()
        return self._requests + sum(read.requests for read in self._statistics_read())

    @property
    def bytes(self) -> int:
        """The number of bytes read from the object store so far; 0 if the files are local."""
        self._count()
        return self._bytes + sum(read.bytes for read in self._statistics_read())

    def _scan(self, columns: Sequence[str], **options: Any) -> Any:
        with self._reading():
            return self._table.scanner(columns=columns, with_row_id=True, **options).to_table()

    def _rows(self, row_ids: Sequence[int], columns: Sequence[str]) -> Any:
        with self._reading():
            return self._table._take_rows(list(row_ids), columns=list(columns))

    def _reading(self) -> AbstractContextManager[None]:
        return version_errors(self._snapshot.uri, self._version)

    def _statistics_read(self) -> Collection[TermStatistics]:
        """What this view has read beside the table, which does not count that."""
        return () if self._snapshot.is_local else self._statistics.values()

    def _count(self) -> None:
        stats = self._table.io_stats_incremental()
        if not self._snapshot.is_local:
            self._requests += int(stats.read_iops)
            self._bytes += int(stats.read_bytes)


@contextmanager
def version_errors(uri: str, version: Version) -> Iterator[None]:
    """Convert errors raised inside to `StoreError`: `VersionGone` if a file is missing."""
    try:
        with store_errors(uri):
            yield
    except StoreError as error:
        if isinstance(error, NoCopy) or not is_missing(error.__cause__):
            raise
        raise VersionGone(
            f"{uri}: version {version.number} is not whole any more; it was cleaned up, or files "
            "were deleted: open another one if resift versions lists any, restore them, or build a "
            "new index",
            version.number,
        ) from error


def _filter_options(allowed: RowFilter | None) -> dict[str, Any]:
    return {"row_addr_allowlist": allowed.rows} if allowed else {}


def _best_first(matches: Any, scores: NDArray[np.float64]) -> Scored:
    scored = zip(matches["_rowid"].to_pylist(), scores.tolist(), strict=True)
    return sorted(scored, key=_by_score)


def _by_score(entry: tuple[int, float]) -> tuple[float, int]:
    row_id, score = entry
    return -score, row_id
