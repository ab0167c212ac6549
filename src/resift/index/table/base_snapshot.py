"""What an open version of one table and one of shards have in common. Does not know Lance."""

import time
from abc import ABC, abstractmethod
from dataclasses import astuple

from resift.index.analysis.analyser import open_analyser
from resift.index.table.filters import Keys, to_sql
from resift.index.table.row_filters import FilterCache, RowFilter, check_keys
from resift.index.table.where import Where
from resift.index.versions.record import Version

# Searches do not try again at once to reach a store that was down: each try takes seconds.
RELOAD_AFTER_S = 60.0


class BaseSnapshot:
    """An open version. It never changes, so row ids stay valid. Threads may share it.

    `is_local` says that its files are on this machine's disk. `notes` tell how it differs from the
    requested version, for example a copy that is read because the store is down.
    """

    def __init__(self, uri: str, version: Version, is_local: bool, notes: tuple[str, ...]) -> None:
        self.uri = uri
        self.version = version
        self.is_local = is_local
        self.notes = notes
        self.analyser = open_analyser(version.analyser)
        self.filters = FilterCache()
        self._opened = time.monotonic()

    @property
    def should_reload(self) -> bool:
        """Whether it has notes, such as a store that was down, that may no longer apply."""
        return bool(self.notes) and time.monotonic() - self._opened > RELOAD_AFTER_S

    def __len__(self) -> int:
        """The number of passages."""
        return self.version.passages


class BaseView(ABC):
    """Reads an open version for one search."""

    def __init__(self, snapshot: BaseSnapshot) -> None:
        self._version = snapshot.version
        self._analyser = snapshot.analyser
        self._filters = snapshot.filters

    def __len__(self) -> int:
        """The number of passages."""
        return self._version.passages

    @property
    def spread(self) -> float:
        """The standard deviation of cosines between passages; 0 for too few of them."""
        return self._version.vectors.spread

    def has_terms(self, query: str) -> bool:
        """Whether a lexical search can find anything: invisible characters have no terms."""
        return any(astuple(self._analyser.query(query)))

    def matching_rows(self, where: Where) -> RowFilter:
        """Find the rows that match `where`, for both retrievers.

        Raise `InputError` if `where` compares a key that no passage has, or compares it with a
        value of a kind that the key never has.
        """
        sql = to_sql(where)

        def find() -> RowFilter:
            row_filter = self.rows_of(sql)
            if len(self):
                check_keys(where, self.matches_any, self.keys)
            return row_filter

        return self._filters.get(sql, find)

    @abstractmethod
    def rows_of(self, sql: str) -> RowFilter:
        """Find the rows that match SQL, whatever keys it compares."""

    @abstractmethod
    def matches_any(self, sql: str) -> bool:
        """Whether a row matches SQL."""

    @abstractmethod
    def keys(self) -> Keys:
        """Collect the keys of the metadata. It reads all of it."""
