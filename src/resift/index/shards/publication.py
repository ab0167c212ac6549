"""Publishes the written shards of an index, here or in workers."""

from collections.abc import Iterable
from dataclasses import dataclass

from resift.index.embed import Embedder, Models
from resift.index.part_work import Workers
from resift.index.publish import SyncDelta, publish
from resift.index.storage.location import Location
from resift.index.table.store import Store
from resift.index.versions.published import Versions
from resift.index.versions.record import Version


@dataclass(frozen=True, slots=True)
class ShardPublication:
    """What is to be published of a shard, with the id of its table. It can be pickled.

    `whole` is the location of the index, and `number` counts its shards from 0. The table has so
    many `passages`, those that are replaced included.
    """

    whole: Location
    number: int
    table: str
    passages: int
    delta: SyncDelta

    def publish(self, embedder: Embedder) -> Version:
        """Publish the shard's version, which no version of the whole names yet.

        May be done again after a process that did it was killed. Raises as `publish` does.
        """
        shard = Versions(self.whole, patient=True).shard(self.number)
        return publish(Store.join(shard.location, self.table), shard, embedder, self.delta)


def publish_shards(
    publications: Iterable[ShardPublication], models: Models, workers: Workers | None
) -> dict[int, Version]:
    """Publish all shards; the versions by the shards' numbers."""
    if workers is None:
        return {each.number: each.publish(models.embedder) for each in publications}
    return dict(workers.publish(list(publications), models))
