"""One published version of an index: two search arms, and the passages behind their ids.

The arms read ids and scores only. Texts are read once, for the few that are wanted.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.faults import store_errors
from resift.index.nearest import nearest
from resift.index.rows import READ, STATES, Passage, from_row
from resift.index.versions import Version

Scored = list[tuple[int, float]]
"""Row ids with a score, best first. Higher is better; equal scores are in order of row id."""

SCAN = {"prefilter": True, "with_row_id": True}


class Snapshot:
    """A version that never changes: row ids are good for as long as it is held.

    `is_local` says that its files lie on this machine's disk. Threads may share it.
    """

    def __init__(
        self, uri: str, version: Version, open_table: Callable[[], Any], is_local: bool
    ) -> None:
        """`open_table` gives a handle of the version's table; handles share what they cache."""
        self.uri = uri
        self.version = version
        self.is_local = is_local
        self._open_table = open_table

    def view(self) -> "View":
        """What one search reads through."""
        with store_errors(self.uri):
            return View(self.uri, self.version, self._open_table(), self.is_local)

    def __len__(self) -> int:
        """How many passages there are."""
        return self.version.passages


class View:
    """A version as one search sees it, which counts what that search reads."""

    def __init__(self, uri: str, version: Version, table: Any, is_local: bool) -> None:
        """Hold a table of its own, open at `version`."""
        self._uri = uri
        self._version = version
        self._table = table
        self._is_local = is_local
        self._requests = 0
        self._bytes = 0

    def dense(self, vector: NDArray[np.float32], k: int, where: str | None = None) -> Scored:
        """The `k` nearest passages with their cosines; `vector` has unit length, shape (dim,).

        `where` is SQL: only passages that it is true of are looked at, in both arms.
        """
        with store_errors(self._uri):
            found = nearest(self._table, vector, k, self._version.vectors, filter=where)
        return _best_first(found, 1.0 - found["_distance"].to_numpy())

    def lexical(self, query: str, k: int, where: str | None = None) -> Scored:
        """The `k` best passages by BM25. Any string will do: nothing in it is an operator."""
        match = require("lance.query", "index").MatchQuery(query, "search_text")
        with store_errors(self._uri):
            found = self._table.scanner(
                columns=["_score"], full_text_query=match, limit=k, filter=where, **SCAN
            ).to_table()
        return _best_first(found, found["_score"].to_numpy())

    def take(self, row_ids: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked for."""
        return [from_row(row) for row in self._rows(row_ids, READ).to_pylist()]

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, if it is there. Reads all ids."""
        quoted = passage_id.replace("'", "''")
        with store_errors(self._uri):
            found = self._table.scanner(columns=list(READ), filter=f"id = '{quoted}'").to_table()
        rows = found.to_pylist()
        return from_row(rows[0]) if rows else None

    def states(self, row_ids: Sequence[int]) -> dict[int, bytes]:
        """What a reranker kept of these rows' passages: token states, by row."""
        if not row_ids:
            return {}
        states = self._rows(row_ids, [STATES])[STATES].to_pylist()
        found = zip(row_ids, states, strict=True)
        return {row_id: own for row_id, own in found if own is not None}

    @property
    def requests(self) -> int:
        """Reads that went to the object store so far; 0 where the files are on this machine."""
        self._count()
        return self._requests

    @property
    def bytes(self) -> int:
        """Bytes that came from the object store so far."""
        self._count()
        return self._bytes

    def _rows(self, row_ids: Sequence[int], columns: Sequence[str]) -> Any:
        with store_errors(self._uri):
            return self._table._take_rows(list(row_ids), columns=list(columns))

    def _count(self) -> None:
        done = self._table.io_stats_incremental()
        if not self._is_local:
            self._requests += int(done.read_iops)
            self._bytes += int(done.read_bytes)


def _best_first(found: Any, scores: NDArray[np.float64]) -> Scored:
    scored = zip(found["_rowid"].to_pylist(), scores.tolist(), strict=True)
    return sorted(scored, key=lambda entry: (-entry[1], entry[0]))
