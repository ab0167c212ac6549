"""Builds indexes on a Ray cluster: workers read, parse, embed and write rows.

Only the process that syncs commits and publishes, so a worker that dies leaves nothing behind but
files that no version names. lance-ray is not used: it commits all rows once, at the end, so a
driver that is killed loses everything, and a commit has no room for the problems of objects.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from resift.errors import ClusterError, InputError, SourceError
from resift.extras import require
from resift.index.embed import Models, OpenModels
from resift.index.part_work import OpenPools, PartJob, lost_part, write_part
from resift.index.parts import PartResult
from resift.index.shards.layout import shard_location
from resift.index.shards.publication import ShardPublication
from resift.index.sources.listing import SourceObject
from resift.index.versions.record import Version
from resift.jobs.cluster import Cluster
from resift.jobs.parts import Parts, cut, refuse_client_server

Items = Sequence[SourceObject]
Tables = Sequence[tuple[PartJob, Items]]
TableItems = tuple[int, Items]
"""The position of a table, and some of its objects."""

Shards = Sequence[ShardPublication]

# A part takes a worker some seconds: progress is seen, and little is done again after a crash.
_PART_BYTES = 1 << 20
_PART_OBJECTS = 1_000
_PARTS_A_WORKER = 4
_MAX_PARSERS = 4

# What a worker reserves to index a shard, by `build_mb` in the unit costs of `resift plan`.
_BASE_BYTES, _PASSAGE_BYTES = 600_000_000, 5_700


@dataclass(frozen=True)
class RayWorkers:
    """The workers of a Ray cluster, for `Index.sync`.

    Raises `InputError` for the address of Ray's client server.
    """

    cluster: Cluster

    def __post_init__(self) -> None:
        refuse_client_server(self.cluster)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the cluster, or start it, for the time of the ``with`` statement.

        Raises `ClusterError` if it cannot be reached or has no room for a worker.
        """
        with self.cluster.connected():
            yield

    def write(self, tables: Tables, models: Models) -> Iterator[tuple[int, PartResult]]:
        """Process the items of all tables; yield the table's position and a part, mostly in order.

        Raises the errors of workers, such as `StoreError`, and `ClusterError`.
        """
        if not any(items for _, items in tables):
            return
        cpus = self.cluster.worker_cpus
        with self.cluster.connected() as ray:
            stored = [ray.put(job) for job, _ in tables]  # a worker holds one of them at a time
            open_worker = partial(_open_writer, self._elsewhere(models), stored, cpus)
            jobs: Parts[TableItems, tuple[int, PartResult]] = Parts(open_worker, _split, _lost_part)
            for number, part in jobs.process(self.cluster, partial(_cut, tables)):
                _check_vanished(tables[number][0], part)
                yield number, part

    def publish(self, shards: Shards, models: Models) -> Iterator[tuple[int, Version]]:
        """Publish each shard in a worker that reserves memory for it; yield number and version.

        Raises the errors of workers, such as `IndexBusy`, and `ClusterError`.
        """
        if not shards:
            return
        largest = max(shard.passages for shard in shards)
        cluster = replace(self.cluster, worker_bytes=_BASE_BYTES + _PASSAGE_BYTES * largest)
        open_worker = partial(_open_publisher, self._elsewhere(models))
        jobs: Parts[ShardPublication, tuple[int, Version]] = Parts(
            open_worker, lambda shard: [shard], _lost_shard, in_order=False
        )
        yield from jobs.process(cluster, lambda workers: shards)

    def _elsewhere(self, models: Models) -> OpenModels:
        if models.elsewhere is None:
            raise InputError("these models cannot be opened in other processes")
        return models.elsewhere(self.cluster.worker_cpus)


@contextmanager
def _open_writer(
    open_models: OpenModels, stored: Sequence[Any], cpus: int
) -> Iterator[Callable[[TableItems], tuple[int, PartResult]]]:
    """Open the models in the process of a worker; `stored` are the jobs of the tables."""
    ray = require("ray", "ray")
    job: Callable[[int], PartJob] = lru_cache(maxsize=1)(lambda number: ray.get(stored[number]))

    with open_models() as models, OpenPools(min(cpus, _MAX_PARSERS)) as pools:

        def write(part: TableItems) -> tuple[int, PartResult]:
            number, items = part
            return number, write_part(job(number), models, pools, items)

        yield write


@contextmanager
def _open_publisher(
    open_models: OpenModels,
) -> Iterator[Callable[[ShardPublication], tuple[int, Version]]]:
    with open_models() as models:
        yield lambda shard: (shard.number, shard.publish(models.embedder))


def _lost_shard(shard: ShardPublication, reason: str) -> tuple[int, Version]:
    """Raise `ClusterError`: the version of the whole would lack what the shard has."""
    raise ClusterError(
        f"{shard_location(shard.whole, shard.number).uri}: not published ({reason}): sync again, "
        "with more memory for the workers, or build a new index of more shards"
    )


def _cut(tables: Tables, workers: int) -> list[TableItems]:
    """Cut the objects of each table into parts of alike size, in order."""
    size = sum(item.size for _, items in tables for item in items)
    limit = (max(1, min(_PART_BYTES, size // (_PARTS_A_WORKER * workers))), _PART_OBJECTS)
    return [
        (number, items[part.start : part.stop])
        for number, (_, items) in enumerate(tables)
        for part in cut([(item.size, 1) for item in items], limit)
    ]


def _split(part: TableItems) -> Sequence[TableItems]:
    number, items = part
    return [(number, [item]) for item in items]


def _lost_part(part: TableItems, reason: str) -> tuple[int, PartResult]:
    number, items = part
    return number, lost_part(items, reason)


def _check_vanished(job: PartJob, part: PartResult) -> None:
    """Raise `SourceError` if an object that a worker did not see is there for this process.

    Such an object would leave the index, though only the worker's machine does not have it.
    """
    if not part.vanished:
        return
    keys = {item.uri: item.key for item in part.items}
    for uri in part.vanished:
        if job.source.find(keys[uri]) is not None:
            raise SourceError(
                f"{uri}: a worker does not see this document: use a bucket, or a folder that all "
                "machines share"
            )
