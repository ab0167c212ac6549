"""Writes the table of passages through Lance.

Several processes may write at once. Each method that writes makes a commit, which is one
conditional write. Readers see its rows only after `publish`.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import StoreError
from resift.extras import require
from resift.index.analysis.spec import ANY_ANALYSER, AnalyserChoice, AnalyserSpec, read_spec
from resift.index.embed import Embedder
from resift.index.manifest import Entry
from resift.index.storage.errors import is_missing, store_errors
from resift.index.storage.location import Location
from resift.index.table.dataset import open_or_create_table, open_table
from resift.index.table.filters import sql_literal
from resift.index.table.rows import HAS_STATES, ORIGIN_COLUMNS, PRECOMPUTED_BY, Origin
from resift.index.table.term_indexes import TERM_INDEXES, index_terms
from resift.index.table.vectors import index_vectors, to_matrix
from resift.index.versions.record import VectorIndex

ID_INDEX = "id_btree"
_DELETE_BATCH = 500
# Fragments with fewer rows are merged once there are several: small changes stay cheap, and a
# search never opens many files.
_FRAGMENT_ROWS = 50_000
_SMALL_FRAGMENTS = 8
# Tokens of Google and Azure are valid for some minutes more when they are handed out.
_RENEW_AFTER_S = 180.0
_CONFLICTS = ("ommit conflict", "Incompatible transaction", "Too many concurrent writers")

Problems = Mapping[tuple[str, str], tuple[str, ...]]
"""The problems of reading an object, by its URI and the attempt that read it."""
_NO_PROBLEMS: Problems = MappingProxyType({})
_PROBLEMS_KEY = "resift.problems"


Fragment = Any
"""Lance's description of files that hold rows, which can be pickled."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The objects in a version of the table; one object may have entries of several attempts.

    Passages of `broken` entries are missing, which resift itself never causes.
    """

    whole: tuple[Entry, ...]
    broken: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage's vector, ``(dim,)``, with the hash of its text and its ordinal in an object."""

    search_hash: bytes
    content: bytes
    made_by: str
    ordinal: int
    vector: NDArray[np.float32]


def _reopen(location: Location, version: int) -> Any:
    return open_table(location, patient=True, version=version)


class Conflict(StoreError):
    """Another writer has committed a conflicting change: try again."""


class Store:
    """The table of an index, opened for writing; use `Store.open`."""

    def __init__(self, uri: str, dataset: Any, reopen: Callable[[int], Any] | None = None) -> None:
        """Write to `dataset`; `reopen` opens a version of it with keys that are valid now."""
        self.uri = uri
        self._dataset = dataset
        self._reopen = reopen
        self._opened = time.monotonic()

    @classmethod
    def open(
        cls, location: Location, embedder: Embedder, choice: AnalyserChoice = ANY_ANALYSER
    ) -> "Store":
        """Open the table of the index at `location` for writing, or create it."""
        with store_errors(location):
            dataset = open_or_create_table(location, embedder, choice)
        return cls._of(location, dataset)

    @classmethod
    def join(cls, location: Location, table: str) -> "Store":
        """Open the table with this id, for a worker of a sync; raise `StoreError` without it."""
        try:
            with store_errors(location):
                store = cls._of(location, open_table(location, patient=True))
        except StoreError as error:
            if isinstance(error.__cause__, ValueError):  # no table there
                raise StoreError(_not_shared(location)) from error
            raise
        if store.table != table:
            raise StoreError(_not_shared(location))
        return store

    @classmethod
    def _of(cls, location: Location, dataset: Any) -> "Store":
        reopen = partial(_reopen, location) if location.bucket else None
        return cls(location.uri, dataset, reopen)

    @property
    def version(self) -> int:
        """The version of the table that is open."""
        return int(self._dataset.version)

    def refresh(self) -> int:
        """Open the newest version of the table, and return its number."""
        with store_errors(self.uri):
            self._renew_keys()
            self._dataset.checkout_latest()
        return self.version

    def _renew_keys(self) -> None:
        """Open the table again from time to time, because Lance does not renew keys."""
        if self._reopen and time.monotonic() - self._opened > _RENEW_AFTER_S:
            self._dataset = self._reopen(self.version)
            self._opened = time.monotonic()

    @property
    def table(self) -> str:
        """The id that the table got when it was created."""
        return str(self.schema.metadata[b"table"].decode())

    @property
    def analyser(self) -> AnalyserSpec:
        """The analyser that makes the terms of the table."""
        return read_spec(self.schema.metadata[b"analyser"].decode())

    @property
    def schema(self) -> Any:
        """The table's Arrow schema."""
        return self._dataset.schema

    def contents(self) -> Contents:
        """List the objects in the open version. Reads small columns only."""
        counts: dict[tuple[Any, ...], int] = {}
        with store_errors(self.uri):
            columns = [*ORIGIN_COLUMNS, "passages", PRECOMPUTED_BY, HAS_STATES]
            for batch in self._dataset.scanner(columns=columns).to_batches():
                for key, count in _groups(batch, columns):
                    counts[key] = counts.get(key, 0) + count
        whole: list[Entry] = []
        broken: list[Entry] = []
        for (*origin, passages, precomputed_by, has_states), count in counts.items():
            entry = Entry(Origin(*origin), passages, precomputed_by if has_states else None)
            (whole if count == passages else broken).append(entry)
        return Contents(tuple(whole), tuple(broken))

    def append(self, batches: Iterable[Any], problems: Problems = _NO_PROBLEMS) -> None:
        """Add record batches in one commit. Errors of the iterable are raised as they are."""
        self.commit(self.write(batches), problems)

    def write(self, batches: Iterable[Any]) -> list[Fragment]:
        """Write record batches to files that no version of the table has until `commit`.

        Another process may commit them. Errors of the iterable are raised as they are.
        """
        arrow = require("pyarrow", "index")
        write_fragments = require("lance.fragment", "index").write_fragments
        raised: list[BaseException] = []
        reader = arrow.RecordBatchReader.from_batches(self.schema, _record_errors(batches, raised))
        try:
            with store_errors(self.uri):
                self._renew_keys()
                fragments: list[Fragment] = write_fragments(
                    reader, self._dataset, mode="append", max_rows_per_file=_FRAGMENT_ROWS
                )
        except StoreError:
            if raised:
                raise raised[0] from None
            raise
        return fragments

    def commit(self, fragments: Sequence[Fragment], problems: Problems = _NO_PROBLEMS) -> None:
        """Add the rows of files that `write` made, in one commit. Never commit a file twice.

        `problems` are stored with the commit, for a later run that resumes an interrupted one: rows
        do not contain them, and the manifest is not yet published.
        """
        lance = require("lance", "index")
        append = lance.LanceOperation.Append(list(fragments))
        properties = _to_properties(problems) or {}
        with store_errors(self.uri):
            self._renew_keys()
            change = require("lance.dataset", "index").Transaction(
                self.version, append, transaction_properties=properties
            )
            self._dataset = lance.LanceDataset.commit(
                self._dataset, change, storage_options=self._dataset.latest_storage_options()
            )

    def problems(self, since: int) -> dict[tuple[str, str], tuple[str, ...]]:
        """Read the problems stored with the commits after table version `since`, one read each."""
        problems: dict[tuple[str, str], tuple[str, ...]] = {}
        for version in range(since + 1, self.version + 1):
            try:
                with store_errors(self.uri):
                    properties = self._dataset.read_transaction(version).transaction_properties
            except StoreError as error:
                if isinstance(error.__cause__, OSError) and not is_missing(error.__cause__):
                    raise
                # The version was cleaned up, or it only merged files, which pylance 14.0.2 cannot
                # convert to Python.
                continue
            try:
                problems |= _from_properties(properties)
            except ValueError as error:
                raise StoreError(
                    f"{self.uri}: the problems stored with version {version} of its table are "
                    f"damaged ({error}): roll back, or build a new index"
                ) from error
        return problems

    def remove(self, entries: Sequence[Entry]) -> None:
        """Delete the passages of these entries."""
        with _commit_errors(self.uri):
            for at in range(0, len(entries), _DELETE_BATCH):
                self._dataset.delete(_predicate(entries[at : at + _DELETE_BATCH]))

    def vectors(
        self, entries: Sequence[Entry], version: int | None = None
    ) -> Iterator[StoredPassage]:
        """Read the vectors of these entries' passages, so that they need not be computed again.

        `version` is an earlier version of the table; None is the open one.
        """
        if not entries:
            return
        with store_errors(self.uri):
            table = self._dataset.checkout_version(version) if version else self._dataset
        columns = ["search_hash", "content", "made_by", "ordinal", "vector"]
        for at in range(0, len(entries), _DELETE_BATCH):
            predicate = _predicate(entries[at : at + _DELETE_BATCH])
            with store_errors(self.uri):
                for batch in table.scanner(columns=columns, filter=predicate).to_batches():
                    values = (batch[name].to_pylist() for name in columns[:-1])
                    yield from map(StoredPassage, *values, to_matrix(batch["vector"]))

    def index(self, before: VectorIndex | None, embedder: Embedder) -> VectorIndex:
        """Merge small files and index all rows; raise `Conflict` if another writer interferes.

        The full-text indexes are rebuilt each time: after an incremental update BM25 would still
        count the terms of deleted rows. The vector index has no statistics; it is updated until
        `index_vectors` rebuilds it.
        """
        with _commit_errors(self.uri):
            self._compact()
            index_terms(self._dataset)
            self._dataset.create_scalar_index("id", "BTREE", name=ID_INDEX, replace=True)
            vectors = index_vectors(self._dataset, before, embedder)
            if self._unindexed():  # another writer has added rows in the meantime
                self._dataset.optimize.optimize_indices(index_names=list(TERM_INDEXES.values()))
        if self._unindexed():
            raise Conflict(f"{self.uri}: rows were added while they were indexed")
        return vectors

    def files(self) -> tuple[tuple[str, int], ...]:
        """List the files of the open version, ``(path, bytes)``, by path."""
        with store_errors(self.uri):
            tracked = self._dataset.tracked_files(min_version=self.version).read_all().to_pylist()
            sizes = {
                file["path"]: file["size_bytes"]
                for file in self._dataset.all_files().read_all().to_pylist()
            }
        needed = {file["path"] for file in tracked if file["version"] == self.version}
        return tuple((path, sizes[path]) for path in sorted(needed) if path in sizes)

    def restore(self, version: int) -> None:
        """Make an old version of the table the newest one."""
        with _commit_errors(self.uri):
            old = self._dataset.checkout_version(version)
            old.restore()
        self.refresh()

    def clean(self, keep: Iterable[int], older_than_s: float) -> int:
        """Delete older versions that are not in `keep`, and their files; return the bytes freed."""
        limit = datetime.now(UTC) - timedelta(seconds=older_than_s)
        keep = {*keep, self.refresh()}
        with store_errors(self.uri):
            old = [  # Lance returns local time without a zone
                int(version["version"])
                for version in self._dataset.versions()
                if version["version"] not in keep and version["timestamp"].astimezone(UTC) < limit
            ]
            if not old:
                return 0
            stats = self._dataset.cleanup_old_versions(versions=old)
        return int(stats.bytes_removed)

    def __len__(self) -> int:
        with store_errors(self.uri):
            return int(self._dataset.count_rows())

    def _compact(self) -> None:
        fragments = self._dataset.get_fragments()
        small = sum(fragment.count_rows() < _FRAGMENT_ROWS // 2 for fragment in fragments)
        deleted = sum(fragment.num_deletions for fragment in fragments)
        if small >= _SMALL_FRAGMENTS or deleted * 10 > len(self):
            self._dataset.optimize.compact_files(
                target_rows_per_fragment=_FRAGMENT_ROWS, batch_size=1024
            )

    def _unindexed(self) -> int:
        stats = map(self._dataset.stats.index_stats, TERM_INDEXES.values())
        return max(int(index["num_unindexed_rows"]) for index in stats)


def _groups(batch: Any, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Yield the distinct rows of a record batch with their counts."""
    arrow = require("pyarrow", "index")
    table = arrow.Table.from_batches([batch])
    grouped = table.group_by(list(columns)).aggregate([([], "count_all")])
    values = [grouped[name].to_pylist() for name in columns]
    yield from zip(zip(*values, strict=True), grouped["count_all"].to_pylist(), strict=True)


def _record_errors(batches: Iterable[Any], raised: list[BaseException]) -> Iterator[Any]:
    """Yield the batches and record their errors, which Lance replaces with its own."""
    try:
        yield from batches
    except BaseException as error:
        raised.append(error)
        raise


def _not_shared(location: Location) -> str:
    return (
        f"{location.uri}: a worker does not see this index there: use a bucket, or a folder that "
        "all machines share"
    )


def _to_properties(problems: Problems) -> dict[str, str] | None:
    lines = [[*key, *texts] for key, texts in problems.items() if texts]
    return {_PROBLEMS_KEY: json.dumps(lines)} if lines else None


def _from_properties(properties: Mapping[str, str] | None) -> Problems:
    """Invert `_to_properties`; raise `ValueError` for malformed content."""
    try:
        lines = json.loads((properties or {}).get(_PROBLEMS_KEY, "[]"))
        if not all(isinstance(text, str) for line in lines for text in line):
            raise ValueError("expected texts")
        return {(uri, attempt): tuple(texts) for uri, attempt, *texts in lines}
    except TypeError as error:
        raise ValueError(str(error)) from error


def _predicate(entries: Sequence[Entry]) -> str:
    """SQL for the rows of these entries."""
    by_attempt: dict[str, list[str]] = {}
    for entry in entries:
        by_attempt.setdefault(entry.origin.attempt, []).append(sql_literal(entry.origin.uri))
    return " OR ".join(
        f"(attempt = {sql_literal(attempt)} AND uri IN ({', '.join(uris)}))"
        for attempt, uris in by_attempt.items()
    )


@contextmanager
def _commit_errors(uri: str) -> Iterator[None]:
    """Convert errors raised inside to `StoreError`: `Conflict` if another commit came first."""
    try:
        with store_errors(uri):
            yield
    except StoreError as error:
        message = str(error.__cause__)  # the class, often OSError, does not identify a conflict
        if any(sign in message for sign in _CONFLICTS):
            raise Conflict(f"{uri}: {message.partition(', /')[0]}") from error.__cause__
        raise
