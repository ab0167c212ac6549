"""The table of passages, written through Lance.

Any number of processes may write at once. Everything here is a commit of its own, which Lance
makes with a conditional write, and none of it says what readers see: `publish` does.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.errors import StoreError
from resift.extras import require
from resift.index.embed import Embedder
from resift.index.manifest import Entry
from resift.index.nearest import index_vectors
from resift.index.notes import NONE, Notes, Wrote, from_properties, to_properties
from resift.index.rows import HAS_STATES, KEPT_BY, ORIGIN, Origin
from resift.index.storage import local
from resift.index.storage.errors import is_missing, store_errors
from resift.index.storage.location import TABLE, Location
from resift.index.table import check_table, create_table, open_table
from resift.index.versions import VectorIndex

TEXT_INDEX = "search_text_bm25"
_DELETE_AT_ONCE = 500
# Fragments of fewer rows are merged once there are several: a small change then costs little,
# and a search never opens many files.
_FRAGMENT_ROWS = 50_000
_SMALL_FRAGMENTS = 8
_CONFLICTS = ("ommit conflict", "Incompatible transaction", "Too many concurrent writers")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the newest version of the table holds, object by object.

    One object may be there several times, as different attempts have read it. `broken` are those
    of which some passages are missing; nothing that resift does leaves such.
    """

    whole: tuple[Entry, ...]
    broken: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage's vector, ``(dim,)``, with the text and the place that it belongs to."""

    search_text: str
    content: bytes
    made_by: str
    ordinal: int
    vector: NDArray[np.float32]


class Conflict(StoreError):
    """Another writer has committed something that this change does not go with: do it again."""


def _make_folder(location: Location) -> None:
    if location.bucket:
        return
    try:
        location.folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(f"{location.uri}: is a file; name a folder for the index") from error
    except OSError as error:
        raise StoreError(
            f"{location.uri}: no folder can be made there ({error.strerror}); name another one"
        ) from error


class Store:
    """The writer's side of an index's table."""

    def __init__(self, uri: str, dataset: Any) -> None:
        """Hold an open dataset; use `Store.open`."""
        self.uri = uri
        self._dataset = dataset

    @classmethod
    def open(cls, location: Location, embedder: Embedder) -> "Store":
        """Open the table below `location` for writing, or begin one there."""
        _make_folder(location)
        with store_errors(location.uri):
            if not location.bucket:
                local.check_tree(location.folder / TABLE)
            try:
                dataset = open_table(location, patient=True)
            except ValueError as error:
                if "was not found" not in str(error):
                    raise
                dataset = create_table(location, embedder)
        check_table(location, dataset, embedder)
        return cls(location.uri, dataset)

    @property
    def version(self) -> int:
        """The table's newest version, as it is known here."""
        return int(self._dataset.version)

    def refresh(self) -> int:
        """Look at what others have committed; give the newest version."""
        with store_errors(self.uri):
            self._dataset.checkout_latest()
        return self.version

    @property
    def table(self) -> str:
        """The name that the table was given when it was made."""
        return str(self.schema.metadata[b"table"].decode())

    @property
    def schema(self) -> Any:
        """The table's Arrow schema."""
        return self._dataset.schema

    def contents(self) -> Contents:
        """What the version that is open holds. Reads small columns only."""
        counts: dict[tuple[Any, ...], int] = {}
        with store_errors(self.uri):
            columns = [*ORIGIN, "passages", KEPT_BY, HAS_STATES]
            for batch in self._dataset.scanner(columns=columns).to_batches():
                groups = _groups(batch, columns)
                for key, count in groups:
                    counts[key] = counts.get(key, 0) + count
        whole: list[Entry] = []
        broken: list[Entry] = []
        for (*origin, passages, precomputed_by, has_states), count in counts.items():
            entry = Entry(Origin(*origin), passages, precomputed_by if has_states else None)
            (whole if count == passages else broken).append(entry)
        return Contents(tuple(whole), tuple(broken))

    def append(self, batches: Iterable[Any], notes: Notes = NONE) -> None:
        """Add record batches in one commit: all of them are there then, or none is.

        `notes` are kept with the commit: nothing in the rows says them.
        What the iterable itself raises comes out as it is.
        """
        arrow = require("pyarrow", "index")
        lance = require("lance", "index")
        raised: list[BaseException] = []
        reader = arrow.RecordBatchReader.from_batches(self.schema, _noting(batches, raised))
        try:
            with store_errors(self.uri):
                self._dataset = lance.write_dataset(
                    reader,
                    self._dataset,
                    mode="append",
                    max_rows_per_file=_FRAGMENT_ROWS,
                    transaction_properties=to_properties(notes),
                )
        except StoreError:
            if raised:
                raise raised[0] from None
            raise

    def notes(self, since: int) -> dict[Wrote, tuple[str, ...]]:
        """What was noted with the commits after version `since` of the table. A read for each."""
        notes: dict[Wrote, tuple[str, ...]] = {}
        for version in range(since + 1, self.version + 1):
            try:
                with store_errors(self.uri):
                    properties = self._dataset.read_transaction(version).transaction_properties
            except StoreError as error:
                if isinstance(error.__cause__, OSError) and not is_missing(error.__cause__):
                    raise
                # Cleaned up; or a merge of files, which pylance 14.0.2 cannot put into Python: that
                # has added no rows.
                continue
            try:
                notes |= from_properties(properties)
            except ValueError as error:
                raise StoreError(
                    f"{self.uri}: what is noted with version {version} of its table is damaged "
                    f"({error}): roll back, or index into a new place"
                ) from error
        return notes

    def remove(self, entries: Sequence[Entry]) -> None:
        """Delete the passages that these attempts have written of these objects, and no others."""
        with store_errors(self.uri), _conflicts(self.uri):
            for at in range(0, len(entries), _DELETE_AT_ONCE):
                self._dataset.delete(_predicate(entries[at : at + _DELETE_AT_ONCE]))

    def vectors(
        self, entries: Sequence[Entry], version: int | None = None
    ) -> Iterator[StoredPassage]:
        """What is there of these objects' passages that need not be computed again.

        `version` is an earlier one of the table; None is the one that is open.
        """
        if not entries:
            return
        with store_errors(self.uri):
            table = self._dataset.checkout_version(version) if version else self._dataset
        columns = ["search_text", "content", "made_by", "ordinal", "vector"]
        for at in range(0, len(entries), _DELETE_AT_ONCE):
            predicate = _predicate(entries[at : at + _DELETE_AT_ONCE])
            with store_errors(self.uri):
                scanner = table.scanner(columns=columns, filter=predicate)
                for batch in scanner.to_batches():
                    numbers = batch["vector"].flatten().to_numpy(zero_copy_only=False)
                    rows = numbers.reshape(batch.num_rows, -1)
                    plain = (batch[name].to_pylist() for name in columns[:-1])
                    yield from map(StoredPassage, *plain, rows)

    def index(self, before: VectorIndex | None, embedder: Embedder) -> VectorIndex:
        """Merge small files and index what is there; raise `Conflict` if another was at it.

        The full-text index is made anew. Adding to it would keep the statistics of deleted rows:
        BM25 would go on counting words that are no longer there. Vectors have none: theirs is
        added to until `nearest` finds that it should be made anew.
        """
        with store_errors(self.uri), _conflicts(self.uri):
            self._compact()
            self._dataset.create_scalar_index(
                "search_text", "INVERTED", name=TEXT_INDEX, replace=True, with_position=False
            )
            vectors = index_vectors(self._dataset, before, embedder)
            if self._unindexed():  # another writer has added some in the meantime
                self._dataset.optimize.optimize_indices(index_names=[TEXT_INDEX])
        if self._unindexed():
            raise Conflict(f"{self.uri}: rows were added while they were indexed")
        return vectors

    def files(self) -> tuple[tuple[str, int], ...]:
        """All files of the version that is open, with their sizes, by path."""
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
        with store_errors(self.uri), _conflicts(self.uri):
            old = self._dataset.checkout_version(version)
            old.restore()
        self.refresh()

    def clean(self, keep: Iterable[int], older_than_s: float) -> int:
        """Delete versions but those in `keep`, and their files if they are so old; bytes freed."""
        border = datetime.now(UTC) - timedelta(seconds=older_than_s)
        kept = {*keep, self.refresh()}
        with store_errors(self.uri):
            old = [  # Lance gives local time without a zone
                int(found["version"])
                for found in self._dataset.versions()
                if int(found["version"]) not in kept and found["timestamp"].astimezone(UTC) < border
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
        stats = self._dataset.stats.index_stats(TEXT_INDEX)
        return int(stats["num_unindexed_rows"])


def _groups(batch: Any, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Distinct rows of a record batch, with how often each is there."""
    arrow = require("pyarrow", "index")
    table = arrow.Table.from_batches([batch])
    grouped = table.group_by(list(columns)).aggregate([([], "count_all")])
    values = [grouped[name].to_pylist() for name in columns]
    yield from zip(zip(*values, strict=True), grouped["count_all"].to_pylist(), strict=True)


def _noting(batches: Iterable[Any], raised: list[BaseException]) -> Iterator[Any]:
    """The same batches; Lance would make one of its own errors of what they raise."""
    try:
        yield from batches
    except BaseException as error:
        raised.append(error)
        raise


def _predicate(entries: Sequence[Entry]) -> str:
    """SQL for the rows of these attempts at these objects."""
    by_attempt: dict[str, list[str]] = {}
    for entry in entries:
        by_attempt.setdefault(entry.origin.attempt, []).append(_quote(entry.origin.uri))
    return " OR ".join(
        f"(attempt = {_quote(attempt)} AND uri IN ({', '.join(uris)}))"
        for attempt, uris in by_attempt.items()
    )


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _conflicts(uri: str) -> Iterator[None]:
    """Turn Lance's conflicts of commits into `Conflict`."""
    try:
        yield
    except Exception as error:  # of several classes, as OSError: only the text tells
        message = str(error)
        if any(sign in message for sign in _CONFLICTS):
            raise Conflict(f"{uri}: {message.partition(', /')[0]}") from error
        raise
