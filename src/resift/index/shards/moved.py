"""Vectors of objects that were moved, which often belong to another shard under their new name."""

from collections.abc import Mapping
from dataclasses import dataclass

from resift.index.diff import SourceComparison
from resift.index.storage.location import Location
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.writer import IndexedObjects, PassageStore, Pending, Vectors


@dataclass(frozen=True, slots=True)
class GoneObjects:
    """Objects of one shard that are gone from the source: `table` is the id of the shard's table.

    It can be pickled.
    """

    location: Location
    table: str
    objects: IndexedObjects

    def vectors(self, store: PassageStore, pending: Pending) -> Vectors:
        """Read the vectors of objects with the bytes of a pending one, from their own shard."""
        by_content = self.objects.by_content
        if not any(entry.origin.content in by_content for entry, _ in pending):
            return {}
        return self.objects.vectors(Store.join(self.location, self.table), pending)


def gone_objects(
    versions: Versions, changed: Mapping[int, SourceComparison]
) -> dict[int, GoneObjects]:
    """The gone objects of each of the `changed` shards that has any, by the shard's number."""
    gone = {}
    for number, comparison in changed.items():
        entries = {e.origin.uri: e for e in comparison.changes.gone if e.passages}
        if entries and comparison.before:
            objects = IndexedObjects(entries, comparison.before.table_version)
            location = versions.shard(number).location
            gone[number] = GoneObjects(location, comparison.before.table, objects)
    return gone
