"""Builds indexes on a Ray cluster: workers read, parse, embed and write rows.

Only the process that syncs commits and publishes, so a worker that dies leaves nothing behind but
files that no version names. lance-ray is not used: it commits all rows once, at the end, so a
driver that is killed loses everything, and a commit has no room for the problems of objects.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from resift.errors import InputError, SourceError
from resift.index.embed import Models, OpenModels
from resift.index.part_work import OpenPools, PartJob, lost_part, write_part
from resift.index.parts import PartResult
from resift.index.sources.listing import SourceObject
from resift.jobs.cluster import Cluster
from resift.jobs.parts import Parts, cut, refuse_client_server

Items = Sequence[SourceObject]

# A part takes a worker some seconds: progress is seen, and little is done again after a crash.
_PART_BYTES = 1 << 20
_PART_OBJECTS = 1_000
_PARTS_A_WORKER = 4
_MAX_PARSERS = 4


@dataclass(frozen=True)
class RayWorkers:
    """The workers of a Ray cluster, for `Index.sync`."""

    cluster: Cluster

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the cluster, or start it, for the time of the ``with`` statement.

        Raises `ClusterError` if it cannot be reached or has no room for a worker.
        """
        refuse_client_server(self.cluster)
        with self.cluster.connected():
            yield

    def write(self, job: PartJob, models: Models, items: Items) -> Iterator[PartResult]:
        """Process all items; yield the parts, mostly in order.

        Raises the errors of workers, such as `StoreError`, and `ClusterError`.
        """
        if models.elsewhere is None:
            raise InputError("these models cannot be opened in other processes")
        if not items:
            return
        cpus = self.cluster.worker_cpus
        open_worker = partial(_open_writer, models.elsewhere(cpus), job, cpus)
        jobs: Parts[Items, PartResult] = Parts(open_worker, _split, lost_part)
        for part in jobs.process(self.cluster, partial(_cut, items)):
            _check_vanished(job, part)
            yield part


@contextmanager
def _open_writer(
    open_models: OpenModels, job: PartJob, cpus: int
) -> Iterator[Callable[[Items], PartResult]]:
    with open_models() as models, OpenPools(min(cpus, _MAX_PARSERS)) as pools:
        yield partial(write_part, job, models, pools)


def _cut(items: Items, workers: int) -> list[Items]:
    """Cut the objects into parts of alike size, in order."""
    share = sum(item.size for item in items) // (_PARTS_A_WORKER * workers)
    limit = (max(1, min(_PART_BYTES, share)), _PART_OBJECTS)
    parts = cut([(item.size, 1) for item in items], limit)
    return [items[part.start : part.stop] for part in parts]


def _split(items: Items) -> Sequence[Items]:
    return [[item] for item in items]


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
