"""One published version of an index: two search arms, and the passages behind their ids.

The arms read ids and scores only. Texts are read once, for the few that are wanted.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import NoCopy, StoreError, VersionGone
from resift.extras import require
from resift.index.keys import compared_keys, compared_kinds, keys_of, refuse_mixed, refuse_unknown
from resift.index.nearest import nearest
from resift.index.predicate import Where
from resift.index.rows import READ, STATES, Passage, from_row
from resift.index.storage.errors import is_missing, store_errors
from resift.index.table import check_files
from resift.index.versions import Version
from resift.index.where import COLUMNS

Scored = list[tuple[int, float]]
"""Row ids with a score, best first. Higher is better; equal scores are in order of row id."""

# Filters whose rows are remembered; the same few are asked for again and again.
_FILTERS = 16
# A store that was down is not asked again by every search: asking costs seconds.
_LOOK_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class RowFilter:
    """The rows that a filter lets through: how many, and which, as Lance takes them."""

    count: int
    rows: bytes


class Snapshot:
    """A version that never changes: row ids are good for as long as it is held.

    `is_local` says that its files lie on this machine's disk, `notes` what a reader of its answers
    should know of where they come from. Threads may share it.
    """

    def __init__(
        self,
        uri: str,
        version: Version,
        open_table: Callable[[], Any],
        is_local: bool,
        notes: tuple[str, ...] = (),
    ) -> None:
        """`open_table` gives a handle of the version's table; handles share what they cache."""
        self.uri = uri
        self.version = version
        self.is_local = is_local
        self.notes = notes
        self._opened = time.monotonic()
        self._is_checked = False
        self._open_table = open_table
        self._filters: OrderedDict[str, RowFilter] = OrderedDict()
        self._lock = threading.Lock()

    def view(self) -> "View":
        """What one search reads through."""
        with reading_version(self.uri, self.version):
            table = self._open_table()
            if not self._is_checked:
                check_files(table)
                self._is_checked = True
            return View(self, table)

    @property
    def is_due(self) -> bool:
        """Whether it is time to see if what the notes say still holds."""
        return bool(self.notes) and time.monotonic() - self._opened > _LOOK_AGAIN_S

    def remembered(self, where: str, find: Callable[[], RowFilter]) -> RowFilter:
        """The rows of a filter, found once."""
        with self._lock:
            if where in self._filters:
                self._filters.move_to_end(where)
                return self._filters[where]
        found = find()
        with self._lock:
            self._filters[where] = found
            if len(self._filters) > _FILTERS:
                self._filters.popitem(last=False)
        return found

    def __len__(self) -> int:
        """How many passages there are."""
        return self.version.passages


class View:
    """A version as one search sees it, which counts what that search reads."""

    def __init__(self, snapshot: Snapshot, table: Any) -> None:
        """Hold a table of its own, open at the snapshot's version."""
        self._snapshot = snapshot
        self._uri = snapshot.uri
        self._table = table
        self._requests = 0
        self._bytes = 0

    def __len__(self) -> int:
        """How many passages there are."""
        return len(self._snapshot)

    def allowed(self, where: Where) -> RowFilter:
        """The rows that `where` is true of, for both arms.

        Raise `InputError` where it compares a key that no passage has, or one with a value of a
        kind that it never has.
        """

        def find() -> RowFilter:
            serialize = require("lance.dataset", "index").serialize_row_addrs
            rows = self._where(where.sql())["_rowid"].to_pylist()
            if len(self):
                self._check_keys(where)
            return RowFilter(len(rows), serialize(rows))

        return self._snapshot.remembered(where.sql(), find)

    def _where(self, sql: str, limit: int | None = None) -> Any:
        with reading_version(self._uri, self._snapshot.version):
            return self._table.scanner(
                columns=[], with_row_id=True, filter=sql, limit=limit
            ).to_table()

    def _is_any(self, sql: str) -> bool:
        return len(self._where(sql, limit=1)) > 0

    def _check_keys(self, where: Where) -> None:
        unknown = next((f for f in compared_keys(where) if not self._is_any(f.exists())), None)
        kinds = (field.holds(kind) for field, kind in compared_kinds(where))
        if unknown is None and all(map(self._is_any, kinds)):
            return
        with reading_version(self._uri, self._snapshot.version):
            batches = self._table.scanner(columns=["metadata"]).to_batches()
            keys = keys_of(text for batch in batches for text in batch["metadata"].to_pylist())
        if unknown is not None:
            refuse_unknown(unknown, keys, COLUMNS)
        refuse_mixed(where, keys)

    def dense(
        self, vector: NDArray[np.float32], k: int, allowed: RowFilter | None = None
    ) -> Scored:
        """The `k` nearest passages with their cosines; `vector` has unit length, shape (dim,)."""
        with reading_version(self._uri, self._snapshot.version):
            how = self._snapshot.version.vectors
            found = nearest(self._table, vector, k, how, **_only(allowed))
        return _best_first(found, 1.0 - found["_distance"].to_numpy())

    def lexical(self, query: str, k: int, allowed: RowFilter | None = None) -> Scored:
        """The `k` best passages by BM25. Any string will do: nothing in it is an operator."""
        match = require("lance.query", "index").MatchQuery(query, "search_text")
        with reading_version(self._uri, self._snapshot.version):
            found = self._table.scanner(
                columns=["_score"],
                full_text_query=match,
                limit=k,
                with_row_id=True,
                prefilter=True,
                **_only(allowed),
            ).to_table()
        return _best_first(found, found["_score"].to_numpy())

    def take(self, row_ids: Sequence[int]) -> list[Passage]:
        """The passages of these rows, in the order asked for."""
        return [from_row(row) for row in self._rows(row_ids, READ).to_pylist()]

    def find(self, passage_id: str) -> Passage | None:
        """The passage of this id, if it is there. Reads all ids."""
        quoted = passage_id.replace("'", "''")
        with reading_version(self._uri, self._snapshot.version):
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
        with reading_version(self._uri, self._snapshot.version):
            return self._table._take_rows(list(row_ids), columns=list(columns))

    def _count(self) -> None:
        done = self._table.io_stats_incremental()
        if not self._snapshot.is_local:
            self._requests += int(done.read_iops)
            self._bytes += int(done.read_bytes)


@contextmanager
def reading_version(uri: str, version: Version) -> Iterator[None]:
    """Turn what goes wrong inside into a `StoreError`: `VersionGone` where a file is missing."""
    try:
        with store_errors(uri):
            yield
    except StoreError as error:
        if isinstance(error, NoCopy) or not is_missing(error.__cause__):
            raise
        raise VersionGone(
            f"{uri}: version {version.number} is not whole any more; it was cleaned up, or files "
            "were deleted: open another one if resift versions lists any, restore them, or index "
            "into a new place",
            version.number,
        ) from error


def _only(allowed: RowFilter | None) -> dict[str, bytes]:
    return {"row_addr_allowlist": allowed.rows} if allowed else {}


def _best_first(found: Any, scores: NDArray[np.float64]) -> Scored:
    scored = zip(found["_rowid"].to_pylist(), scores.tolist(), strict=True)
    return sorted(scored, key=lambda entry: (-entry[1], entry[0]))
