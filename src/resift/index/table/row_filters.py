"""The rows that match a filter, cached, and the check of the keys that it compares."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from resift.index.table.filters import (
    Keys,
    compared_kinds,
    exists_sql,
    kind_sql,
    refuse_kind,
    refuse_unknown,
)
from resift.index.table.where import Where

_CACHED_FILTERS = 16


@dataclass(frozen=True, slots=True)
class RowFilter:
    """The rows that match a filter: their number, and their addresses as Lance expects them.

    In an index of shards `shards` has the rows of each shard, and `rows` is empty.
    """

    count: int
    rows: bytes
    shards: "tuple[RowFilter, ...]" = ()


class FilterCache:
    """The rows of the last filters of a version, by SQL. Threads may share it."""

    def __init__(self) -> None:
        self._filters: OrderedDict[str, RowFilter] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, sql: str, find: Callable[[], RowFilter]) -> RowFilter:
        """Return the matching rows, from the cache or by `find`."""
        with self._lock:
            if sql in self._filters:
                self._filters.move_to_end(sql)
                return self._filters[sql]
        row_filter = find()
        with self._lock:
            self._filters[sql] = row_filter
            if len(self._filters) > _CACHED_FILTERS:
                self._filters.popitem(last=False)
        return row_filter


def check_keys(where: Where, matches_any: Callable[[str], bool], keys: Callable[[], Keys]) -> None:
    """Check the keys that a filter compares; raise `InputError` for one that no passage has.

    Also if it compares a key with a value of a kind that the key never has. `matches_any` says
    whether a passage matches SQL, `keys` lists all keys for the message.
    """
    compared = compared_kinds(where)
    for field in compared:
        if not matches_any(exists_sql(field)):
            refuse_unknown(field, keys())
    kinds = [(field, kind) for field, values in compared.items() for kind in values]
    if not all(matches_any(kind_sql(field, kind)) for field, kind in kinds):
        known = keys()
        for field, kind in kinds:
            refuse_kind(field, compared[field][kind], known)
