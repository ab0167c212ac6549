"""The work of one part of a sync, in the process of a worker; `parts` has its result."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from resift.index.diff import Diff, Expected
from resift.index.embed import Models
from resift.index.manifest import Entry
from resift.index.parsing.options import ParseOptions
from resift.index.parsing.pool import ParserPool
from resift.index.parts import PartResult
from resift.index.run import OpenParsers, SyncRun, read_objects
from resift.index.source_options import SourceOptions
from resift.index.sources.listing import SourceObject
from resift.index.sources.source import Source
from resift.index.storage.location import Location
from resift.index.table.store import Fragment, Problems, Store, StoredPassage
from resift.index.writer import StoredVectors, Writer


@dataclass(frozen=True)
class PartJob:
    """What all parts of a sync have in common. It can be pickled.

    `table` is the id of the table. `indexed` and `earlier` are as in `Writer`; `expected` says
    which objects that are read again have not changed.
    """

    location: Location
    table: str
    source: Source
    source_options: SourceOptions
    expected: Expected
    indexed: Mapping[str, Entry]
    attempt: str
    earlier: Sequence[StoredVectors] = ()


class Workers(Protocol):
    """Other processes that do the parts of a sync, such as `resift.jobs.sync.RayWorkers`."""

    def connected(self) -> AbstractContextManager[object]:
        """A connection to the workers, for all calls of the other methods within it.

        A sync that has something to write enters it before it makes or changes anything.
        """
        ...

    def write(self, tables: Any, models: Any) -> Iterator[tuple[int, Any]]:
        """Process the objects of all tables, in parts of any size.

        `tables` are pairs of a `PartJob` and its `SourceObject`s. Yields the table's position and a
        `PartResult`, in order as far as that delays no other part. `models` are those of the
        calling process; workers open theirs by `Models.elsewhere`.
        """
        ...

    def publish(self, shards: Any, models: Any) -> Iterator[tuple[int, Any]]:
        """Do each `ShardPublication`, in any order; yield the shard's number and its `Version`."""
        ...


def connected_for(workers: Workers | None) -> AbstractContextManager[object]:
    """Their connection; nothing without workers."""
    return nullcontext() if workers is None else workers.connected()


@dataclass
class _UncommittedStore:
    """The table as a worker uses it: rows go to files that are not committed."""

    store: Store
    fragments: list[Fragment] = field(default_factory=list)
    problems: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @property
    def schema(self) -> Any:
        return self.store.schema

    def append(self, batches: Iterable[Any], problems: Problems) -> None:
        self.fragments += self.store.write(batches)
        self.problems |= problems

    def vectors(
        self, entries: Sequence[Entry], version: int | None = None
    ) -> Iterator[StoredPassage]:
        return self.store.vectors(entries, version)


class OpenPools:
    """Pools of parsers that stay open from part to part, in a ``with`` statement."""

    def __init__(self, processes: int) -> None:
        """Use so many processes in each pool."""
        self._processes = processes
        self._pools: dict[ParseOptions, ParserPool] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __call__(self, options: ParseOptions) -> AbstractContextManager[ParserPool]:
        """The pool for these options; leaving its ``with`` statement does not close it."""
        if options not in self._pools:
            pool = ParserPool(options, processes=self._processes)
            self._pools[options] = self._stack.enter_context(pool)
        return nullcontext(self._pools[options])


def write_part(
    job: PartJob,
    models: Models,
    open_parsers: OpenParsers,
    items: Sequence[SourceObject],
) -> PartResult:
    """Read, parse and embed these objects, and write their rows. Commits nothing."""
    if job.source.is_local:  # a bucket is the same one everywhere
        job.source.check()
    store = _UncommittedStore(Store.join(job.location, job.table))
    writer = Writer(store, models, dict(job.indexed), job.attempt, job.earlier)
    run = SyncRun(writer, job.expected, Diff(tuple(items), (), (), ()), None)
    for read, parsed in read_objects(job.source, items, job.source_options, open_parsers):
        run.add(read, parsed)
    writer.commit()
    return PartResult(
        items=tuple(items),
        fragments=tuple(store.fragments),
        problems=store.problems,
        committed=writer.committed,
        skipped=run.skipped,
        reread=run.reread,
        unread=tuple(run.unread),
        vanished=tuple(run.vanished),
        embedded=writer.embedded,
        reused=writer.reused,
        precomputed_bytes=writer.precomputed_bytes,
    )


def lost_part(items: Sequence[SourceObject], reason: str) -> PartResult:
    """The part of objects that no worker could process: they count as unreadable."""
    return PartResult(tuple(items), unread=tuple((item.uri, reason) for item in items))
