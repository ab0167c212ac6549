"""One published version of an index: two search arms, and the passages behind their ids.

The arms read ids and scores only. Texts are read once, for the few that are wanted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.extras import require
from resift.index.faults import store_errors
from resift.index.rows import READ, STATES, Passage, from_row

Scored = list[tuple[int, float]]
"""Row ids with a score, best first. Higher is better; equal scores are in order of row id."""


class Snapshot:
    """A version that never changes: row ids are good for as long as it is held."""

    def __init__(self, uri: str, version: int, table: Any) -> None:
        """Hold a table that is checked out at `version`."""
        self.uri = uri
        self.version = version
        self._table = table

    def dense(self, vector: NDArray[np.float32], k: int) -> Scored:
        """The `k` nearest passages with their cosines; `vector` has unit length, shape (dim,).

        Exact: every vector is compared. An approximate index pays from some 100,000 on.
        """
        query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
        found = self._ids(query, "_distance", k)
        return _best_first([(row_id, 1.0 - distance) for row_id, distance in found])

    def lexical(self, query: str, k: int) -> Scored:
        """The `k` best passages by BM25. Any string will do: nothing in it is an operator."""
        match = require("lancedb.query", "index").MatchQuery(query, "search_text")
        return _best_first(self._ids(self._table.search(match, query_type="fts"), "_score", k))

    def take(self, row_ids: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked for."""
        if not row_ids:
            return []
        with store_errors(self.uri):
            taken = self._table.take_row_ids(list(row_ids)).select(list(READ)).with_row_id()
            rows = {row["_rowid"]: row for row in taken.to_list()}
        return [from_row(rows[row_id]) for row_id in row_ids]

    def states(self, row_ids: Sequence[int]) -> dict[int, bytes]:
        """What a reranker kept of these rows' passages: token states, by row."""
        if not row_ids:
            return {}
        with store_errors(self.uri):
            taken = self._table.take_row_ids(list(row_ids)).select([STATES]).with_row_id()
            found = taken.to_arrow()
        states = zip(found["_rowid"].to_pylist(), found[STATES].to_pylist(), strict=True)
        return {row_id: own for row_id, own in states if own is not None}

    def __len__(self) -> int:
        """How many passages there are."""
        return int(self._table.count_rows())

    def _ids(self, query: Any, column: str, k: int) -> Scored:
        with store_errors(self.uri):
            found = query.select([column]).with_row_id(True).limit(k).to_arrow()
        return list(zip(found["_rowid"].to_pylist(), found[column].to_pylist(), strict=True))


def _best_first(found: Scored) -> Scored:
    return sorted(found, key=lambda entry: (-entry[1], entry[0]))
