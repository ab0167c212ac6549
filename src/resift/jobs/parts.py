"""Processes the parts of a job on a Ray cluster, with Ray Data.

Ray Data schedules the parts, restarts workers that die and gives their parts to others. A part that
kills its workers again and again is split, so that only the item which does it is lost.
"""

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from resift.errors import ClusterError, InputError, ResiftError
from resift.extras import require
from resift.jobs.cluster import Cluster

P = TypeVar("P")
R = TypeVar("R")

OpenWorker = Callable[[], AbstractContextManager[Callable[[P], R]]]
"""Opens what processes parts, in the process of a worker; can be pickled. Called once a worker."""

# Workers that a part may take with it, in each of its two passes, before it is given up.
_RETRIES = 2

FEW_LOST = 10
"""Items that may be all that is left to do, and all be lost; of more, the cluster is the cause."""


@dataclass(frozen=True)
class Parts(Generic[P, R]):
    """The parts of a job. `split` divides a part into its items, one a part.

    `lost` makes the result of a part of one item that no worker survives, or that never comes back;
    it gets the reason. Without `in_order`, a result does not wait for those of earlier parts.
    """

    open_worker: OpenWorker[P, R]
    split: Callable[[P], Sequence[P]]
    lost: Callable[[P, str], R]
    in_order: bool = True

    def process(self, cluster: Cluster, cut: Callable[[int], Sequence[P]]) -> Iterator[R]:
        """Yield the result of each part; those that were split come last.

        `cut` makes the parts; it gets the number of workers. Raises the errors of workers, and
        `ClusterError` if no worker lives, which a few lost items do not show.
        """
        refuse_client_server(cluster)
        with cluster.connected() as ray:
            parts = cut(cluster.worker_count(ray))
            missing: list[P] = []
            yield from self._pass(ray, cluster, parts, missing)
            if not missing:
                return
            items = [item for part in missing for item in self.split(part)]
            poison: list[P] = []
            yield from self._pass(ray, cluster, items, poison)
            if len(missing) == len(parts) and len(poison) == len(items) > FEW_LOST:
                raise ClusterError(
                    f"{cluster.address}: no worker survives: see the logs of the cluster, most "
                    "often its memory is too small for the models"
                )
            for item in poison:
                yield self.lost(item, "no worker of the cluster survives it: memory or a crash")

    def _pass(
        self, ray: Any, cluster: Cluster, parts: Sequence[P], missing: list[P]
    ) -> Iterator[R]:
        """Process all parts once; append to `missing` those whose workers died each time.

        What a lost node takes with it is processed again, unless nothing was done before.
        """
        waiting = dict(enumerate(parts))
        while waiting:
            numbers = list(waiting)
            try:
                for at, body in _mapped(ray, cluster, list(waiting.values()), self):
                    if waiting.pop(numbers[at], None) is None:
                        continue  # its rows came twice: a node was lost after the first time
                    result = pickle.loads(body)
                    if isinstance(result, _Failed):
                        raise result.error
                    if result is None:
                        missing.append(parts[numbers[at]])
                    else:
                        yield result
                break
            except ray.exceptions.RayError as error:
                if len(waiting) == len(numbers):
                    detail = " ".join(str(error).split())
                    raise ClusterError(
                        f"{cluster.address}: the workers do not start: {detail:.300}"
                    ) from error
        missing += waiting.values()


def cut(sizes: Sequence[tuple[float, ...]], limit: tuple[float, ...]) -> list[range]:
    """Cut positions into ranges, in order; a range exceeds the limit only by a single item.

    Sizes and limit have the same quantities, such as bytes and objects.
    """
    ranges: list[range] = []
    begin, total = 0, (0.0,) * len(limit)
    for index, size in enumerate(sizes):
        total = tuple(map(sum, zip(total, size, strict=True)))
        if index > begin and any(value > most for value, most in zip(total, limit, strict=True)):
            ranges.append(range(begin, index))
            begin, total = index, size
    return [*ranges, range(begin, len(sizes))] if sizes else []


def refuse_client_server(cluster: Cluster) -> None:
    """Raise `InputError` for the address of Ray's client server, where Ray Data does not work."""
    if cluster.address.startswith("ray://"):
        raise InputError(
            f"{cluster.address}: Ray Data does not work through Ray's client server: run this on a "
            "machine of the cluster, with HOST:PORT of its head or auto"
        )


@dataclass(frozen=True)
class _Failed:
    """An error of a worker that ends the job."""

    error: Exception


class _Worker:
    """A process of the cluster: opens its models at the first part, and keeps them."""

    def __init__(self, open_worker: OpenWorker[Any, Any]) -> None:
        self._open_worker = open_worker
        self._stack = ExitStack()
        self._process: Callable[[Any], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = [self._result(body) for body in batch["part"]]
        return {"number": batch["number"], "result": results}

    def _result(self, body: bytes) -> bytes:
        try:
            part = pickle.loads(body)
            if self._process is None:
                self._process = self._stack.enter_context(self._open_worker())
            return pickle.dumps(self._process(part))
        except MemoryError:  # as if the system had killed it, but this process can go on
            return pickle.dumps(None)
        except Exception as error:  # Ray would only log it and lose the part
            return pickle.dumps(_Failed(_portable(error)))


def _portable(error: Exception) -> Exception:
    """The error, as far as another process can read it, with its traceback if it is a bug."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, ResiftError):
        error.add_note(f"in a worker: {trace}")
    return error


def _mapped(
    ray: Any, cluster: Cluster, parts: Sequence[Any], job: Parts[Any, Any]
) -> Iterator[tuple[int, bytes]]:
    """Yield (number, pickled result) of the parts whose workers survived."""
    dataset = _dataset(ray, cluster, parts, job)
    # Threads that fetch ahead may outlive the loop. If they release an object while Ray is shut
    # down, Ray ends this process without a word.
    tables = dataset.iter_batches(prefetch_batches=0, batch_size=None, batch_format="pyarrow")
    for table in tables:
        yield from zip(table["number"].to_pylist(), table["result"].to_pylist(), strict=True)


def _dataset(ray: Any, cluster: Cluster, parts: Sequence[Any], job: Parts[Any, Any]) -> Any:
    """Ray's dataset of the results, which are made as it is read."""
    data = require("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is lost is reported
    rows = [{"number": i, "part": pickle.dumps(part)} for i, part in enumerate(parts)]
    count = max(1, min(cluster.worker_count(ray), len(parts)))
    with warnings.catch_warnings(), data.DataContext.current(_context(data, job)):
        return data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(job.open_worker,),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count),
            max_task_retries=_RETRIES,
            **cluster.reserved(ray),
        )


def _context(data: Any, job: Parts[Any, Any]) -> Any:
    """Ray Data's settings for a job; those of the caller stay as they are."""
    # By default a part that kills its workers is tried again for ever. Ray 2.60 deprecates the
    # argument that prevents this, and has no other; its own defaults are deprecated too.
    warnings.simplefilter("ignore")
    context = data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    context.execution_options.preserve_order = job.in_order
    return context
