"""The index: one table of passages on LanceDB. The only file that imports it.

A writer works on the newest version. Readers only ever open the version that carries the tag
`published`, which moves when all rows are in and the full-text index covers them: they see a
finished index or the one before it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import IndexMismatch, IndexNotFound, StoreError
from resift.extras import require
from resift.index.bucket import probe
from resift.index.faults import store_errors
from resift.index.location import Location, locate
from resift.index.rows import HAS_STATES, KEPT_BY, Passage, schema, to_arrow
from resift.index.snapshot import Snapshot
from resift.settings import StorageSettings

# Raised by one whenever columns, parsing or chunking change, for then old rows say other things.
FORMAT = "2"
_TABLE = "passages"
_TAG = "published"
_TEXT_INDEX = "search_text_bm25"
_DELETE_AT_ONCE = 500
_PATIENCE = {
    "connect_timeout": "5s",
    "timeout": "10s",
    "client_max_retries": "2",
    "client_retry_timeout": "10",
}
# `optimize` also removes old versions, and fails if the tagged one is among them. So it is told
# to keep all while the tag still points back, and runs again when the tag has moved.
_KEEP_ALL = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index holds of one object; `kept_by` is the model that kept its states, if any."""

    etag: str
    size: int
    is_whole: bool
    kept_by: str | None = None


class Store:
    """The writer's side of an index."""

    def __init__(self, location: Location, table: Any) -> None:
        """Hold an open table; use `Store.open`."""
        self._location = location
        self._table = table

    @classmethod
    def open(cls, uri: str, storage: StorageSettings, fingerprint: str, dim: int) -> "Store":
        """Open the index at `uri` for writing, or begin one there."""
        location = locate(uri)
        with store_errors(location.uri):
            database = _connect(location, storage)
            if _TABLE in database.list_tables().tables:
                table = database.open_table(_TABLE)
            else:
                facts = {"format": FORMAT, "embedder": fingerprint}
                table = database.create_table(_TABLE, schema=schema(dim, facts), exist_ok=True)
        _check(location, table, fingerprint)
        return cls(location, table)

    def objects(self, root: str) -> dict[str, Indexed]:
        """What the newest version holds of the source `root`, by object URI."""
        with store_errors(self._location.uri):
            columns = ["uri", "etag", "size", "passages", KEPT_BY, HAS_STATES]
            rows = self._table.search().select(columns).limit(None).to_arrow()
        groups = rows.group_by(columns).aggregate([([], "count_all")]).to_pylist()
        below = root.rstrip("/") + "/"
        mine = [g for g in groups if g["uri"] == root or g["uri"].startswith(below)]
        kept: dict[str, Indexed] = {}
        for group in mine:
            # Two states of one object can only be there if a run broke off: neither is whole.
            whole = group["passages"] == group["count_all"] and group["uri"] not in kept
            kept_by = group[KEPT_BY] if group[HAS_STATES] else None
            kept[group["uri"]] = Indexed(group["etag"], group["size"], whole, kept_by)
        return kept

    def remove(self, uris: Sequence[str]) -> None:
        """Delete all passages of these objects."""
        with store_errors(self._location.uri):
            for at in range(0, len(uris), _DELETE_AT_ONCE):
                quoted = (uri.replace("'", "''") for uri in uris[at : at + _DELETE_AT_ONCE])
                names = ", ".join(f"'{uri}'" for uri in quoted)
                self._table.delete(f"uri IN ({names})")

    def add(self, passages: Sequence[Passage], vectors: NDArray[np.float32]) -> None:
        """Append passages with their vectors, shape (n, dim), in one commit."""
        with store_errors(self._location.uri):
            self._table.add(to_arrow(passages, vectors, self._table.schema))

    def publish(self) -> int:
        """Let readers see the newest version; give its number. Does nothing if they do already."""
        with store_errors(self._location.uri):
            if _published(self._table) == self._table.version:
                return int(self._table.version)
            self._index()
            version = int(self._table.version)
            move = self._table.tags.update if _published(self._table) else self._table.tags.create
            move(_TAG, version)
            self._table.optimize()
        return version

    def _index(self) -> None:
        """Compact, and index all texts anew.

        Anew, because adding to the index keeps the statistics of deleted rows: BM25 would go on
        counting words that are no longer there, and an index would depend on its history.
        """
        fts = require("lancedb.index", "index").FTS
        if any(index.name == _TEXT_INDEX for index in self._table.list_indices()):
            self._table.drop_index(_TEXT_INDEX)
        self._table.optimize(cleanup_older_than=_KEEP_ALL)
        self._table.create_index("search_text", config=fts(), name=_TEXT_INDEX)
        stats = self._table.index_stats(_TEXT_INDEX)
        if stats is None or stats.num_unindexed_rows:
            raise StoreError(
                f"{self._location.uri}: rows were added by another writer: run the sync again"
            )


def open_snapshot(uri: str, storage: StorageSettings, fingerprint: str) -> Snapshot:
    """Open the published version for searching; raise `IndexNotFound` if there is none."""
    location = locate(uri)
    missing = IndexNotFound(
        f"{uri}: no index there: make one with  resift index SOURCE --index {uri}"
    )
    # LanceDB makes the folder that it is asked to look into.
    if location.bucket is None and not (Path(location.path) / f"{_TABLE}.lance").is_dir():
        raise missing
    with store_errors(location.uri):
        database = _connect(location, storage)
        if _TABLE not in database.list_tables().tables:
            raise missing
        table = database.open_table(_TABLE)
        version = _published(table)
        if version is None:
            raise missing
        _check(location, table, fingerprint)
        table.checkout(version)
    return Snapshot(location.uri, version, table)


def _connect(location: Location, storage: StorageSettings) -> Any:
    # Lance logs to stderr that a table will be created, as a warning.
    os.environ.setdefault("LANCE_LOG", "error")
    lancedb = require("lancedb", "index")
    if location.bucket is None:
        return lancedb.connect(location.uri)
    # LanceDB asks a server that does not answer again and again, for a minute.
    probe(location, storage)
    return lancedb.connect(location.uri, storage_options=storage.options() | _PATIENCE)


def _published(table: Any) -> int | None:
    tag = table.tags.list().get(_TAG)
    return int(tag["version"]) if tag else None


def _check(location: Location, table: Any, fingerprint: str) -> None:
    facts = table.schema.metadata or {}
    found = facts.get(b"format", b"none").decode()
    if found != FORMAT:
        raise IndexMismatch(
            f"{location.uri}: index format {found}, expected {FORMAT}: index into a new place"
        )
    embedder = facts.get(b"embedder", b"none").decode()
    if embedder != fingerprint:
        raise IndexMismatch(
            f"{location.uri}: made by embedder {embedder}, expected {fingerprint}: "
            "use that one, or index into a new place"
        )
