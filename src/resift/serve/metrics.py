"""The server's metrics for Prometheus; docs/observability.md lists them.

No label has a text of a caller: labels are names that the server or its operator has given. With
several worker processes the metrics live in files of a folder that all of them share, and every
worker answers for all.
"""

import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    values,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

import resift
from resift.errors import InputError
from resift.files import reason
from resift.rerank.watchers import BatchRun
from resift.search.index import Index
from resift.serve.admission import Admission
from resift.serve.problems import Kind
from resift.types import Receipt

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable in which prometheus_client looks for the folder of several processes."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TOKENS = (32, 64, 128, 256, 512, 768, 1024, 1536, 2048)

STAGES = ("open", "table", "filter", "lexical", "embed", "dense", "fuse", "load", "fetch",
          "tokenise", "wait", "score", "total")  # fmt: skip
"""The stages of receipts."""


class Metrics:
    """What the server has done, and its state. Threads may share it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # half of all series
        self._registry = CollectorRegistry()
        self._counted: dict[str, float] = {}
        self._dialects: set[str] = set()
        self._define_requests()
        self._define_rankings()
        self._define_batches()
        self._define_state()
        self._define_process()

    def _define_requests(self) -> None:
        counter = partial(Counter, registry=self._registry)
        self._requests = counter(
            "resift_requests", "Requests that were answered.", ("dialect", "path", "status")
        )
        self._problems = counter(
            "resift_problems", "Requests with a problem, by its kind.", ("dialect", "kind")
        )
        self._request_seconds = Histogram(
            "resift_request_duration_seconds", "From the headers of a request to its last byte.",
            ("dialect",), buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._refused = counter(
            "resift_refused_calls", "Calls that were refused because too much work was waiting."
        )
        self._dropped_lines = counter(
            "resift_dropped_log_lines", "Log lines that were dropped because stderr was too slow."
        )

    def _define_rankings(self) -> None:
        counter = partial(Counter, registry=self._registry)
        calls = ("operation", "model")
        self._rankings = counter("resift_rankings", "Rankings and searches.", calls)
        self._partial = counter(
            "resift_partial_rankings",
            "Rankings that left out work; their receipts have the reason.",
            calls,
        )
        self._stage_seconds = Histogram(
            "resift_stage_duration_seconds", "The stages of rankings and searches.",
            ("operation", "stage"), buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._documents = counter(
            "resift_documents", "Documents that were to be ranked.", ("status",)
        )
        self._pruned = counter("resift_pruned_documents", "Documents that an early exit stopped.")
        self._cached = counter("resift_cached_documents", "Documents whose score was cached.")
        self._precomputed = counter(
            "resift_precomputed_documents", "Documents whose token states were there already."
        )
        self._store_requests = counter(
            "resift_store_requests", "Requests of searches to the object store."
        )
        self._store_bytes = counter(
            "resift_store_read_bytes", "Bytes that searches read from the object store."
        )
        for status in ("ok", "cut", "unreadable", "late", "failed", "not_reranked"):
            self._documents.labels(status)

    def _define_batches(self) -> None:
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        stages = ("model", "model_stage")
        self._batch_tokens = histogram(
            "resift_batch_tokens", "Tokens of a batch, without padding.", stages, buckets=TOKENS
        )
        self._batch_seconds = histogram(
            "resift_batch_duration_seconds", "How long a batch ran.", stages, buckets=SECONDS
        )
        self._positions = counter(
            "resift_batch_positions", "Positions of batches: tokens and padding.", stages
        )
        self._rows = counter(
            "resift_batch_rows", "Documents, and windows of long ones, by stage of the model.",
            stages,
        )  # fmt: skip

    def _define_state(self) -> None:
        sums = partial(Gauge, registry=self._registry, multiprocess_mode="livesum")
        least = partial(Gauge, registry=self._registry, multiprocess_mode="livemin")
        self._queue_tokens = sums("resift_queue_tokens", "Estimated tokens of open calls.")
        self._queue_limit = sums("resift_queue_limit_tokens", "The most tokens that may wait.")
        self._open_calls = sums("resift_open_calls", "Calls that wait or run.")
        self._speed = sums("resift_tokens_per_second", "Measured speed, in estimated tokens.")
        self._index_open = least("resift_index_open", "1 if an index is open.", ("index",))
        self._index_version = least("resift_index_version", "The open version.", ("index",))
        self._index_created = least(
            "resift_index_created_timestamp_seconds", "When that version was made.", ("index",)
        )
        self._passages = least("resift_index_passages", "Passages of that version.", ("index",))
        self._model_info = least(
            "resift_model_info", "A model, by the name that callers use.",
            ("alias", "model", "fingerprint"),
        )  # fmt: skip
        build = least("resift_build_info", "The versions of resift and Python.",
                      ("version", "python"))  # fmt: skip
        build.labels(resift.__version__, platform.python_version()).set(1)

    def _define_process(self) -> None:
        gauge = partial(Gauge, registry=self._registry)
        self._cpu = Counter(
            "process_cpu_seconds", "User and system CPU time.", registry=self._registry
        )
        gauge("process_start_time_seconds", "When the server started.",
              multiprocess_mode="livemin").set(time.time())  # fmt: skip
        if sys.platform == "linux":
            self._memory = gauge(
                "process_resident_memory_bytes", "Memory in use.", multiprocess_mode="livesum"
            )
            self._files = gauge("process_open_fds", "Open files.", multiprocess_mode="livemax")
            self._max_files = gauge("process_max_fds", "The most files that may be open.",
                                    multiprocess_mode="livemin")  # fmt: skip

    def request(
        self, dialect: str, path: str, status: int, problem: str | None, seconds: float
    ) -> None:
        """Count a request that has ended. `path` is a template."""
        if dialect not in self._dialects:  # the first fault must not be the beginning of a series
            self._dialects.add(dialect)
            for kind in Kind:
                self._problems.labels(dialect, kind.value)
        self._requests.labels(dialect, path, status).inc()
        self._request_seconds.labels(dialect).observe(seconds)
        if problem is not None:
            self._problems.labels(dialect, problem).inc()

    def ranking(self, operation: str, receipt: Receipt) -> None:
        """Count a ranking, or a search, by its receipt."""
        self._rankings.labels(operation, receipt.model).inc()
        self._partial.labels(operation, receipt.model).inc(receipt.partial)
        for stage, took_ms in receipt.timings_ms.items():
            name = stage if stage in STAGES else "other"
            self._stage_seconds.labels(operation, name).observe(took_ms / 1000)
        for status, count in by_status(receipt).items():
            self._documents.labels(status).inc(count)
        self._pruned.inc(receipt.pruned)
        self._cached.inc(receipt.cached)
        self._precomputed.inc(receipt.precomputed)
        self._store_requests.inc(receipt.requests)
        self._store_bytes.inc(receipt.bytes)

    def batch(self, model: str, batch: BatchRun) -> None:
        """Count a batch of a model."""
        stage = (model, str(batch.stage))
        self._batch_tokens.labels(*stage).observe(batch.tokens)
        self._batch_seconds.labels(*stage).observe(batch.seconds)
        self._positions.labels(*stage).inc(batch.positions)
        self._rows.labels(*stage).inc(batch.rows)

    def set_models(self, models: Mapping[str, tuple[str, str]]) -> None:
        """Name the models: alias → name and fingerprint."""
        for alias, (name, fingerprint) in models.items():
            self._model_info.labels(alias, name, fingerprint).set(1)

    def set_queue(self, admission: Admission) -> None:
        """Measure the queue."""
        self._queue_tokens.set(admission.waiting_tokens)
        self._queue_limit.set(admission.max_tokens)
        self._open_calls.set(admission.open_calls)
        self._speed.set(1 / admission.seconds(1))
        self._refused.inc(self._new("refused", admission.refused))

    def set_indexes(self, indexes: Mapping[str, Index]) -> None:
        """Measure the open versions."""
        for name, index in indexes.items():
            version = index.opened
            self._index_open.labels(name).set(version is not None)
            if version is not None:
                created = datetime.fromisoformat(version.created).timestamp()
                self._index_version.labels(name).set(version.number)
                self._index_created.labels(name).set(created)
                self._passages.labels(name).set(version.passages)

    def set_process(self, dropped_lines: int) -> None:
        """Measure this process; its memory and files on Linux only."""
        self._cpu.inc(self._new("cpu", time.process_time()))
        self._dropped_lines.inc(self._new("dropped", dropped_lines))
        if sys.platform == "linux":
            with suppress(OSError):  # no file can be opened any more: the last values stay
                self._measure_linux()

    def _measure_linux(self) -> None:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[1])
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._memory.set(pages * resource.getpagesize())
        self._files.set(len(os.listdir("/proc/self/fd")))
        self._max_files.set(math.inf if limit == resource.RLIM_INFINITY else limit)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics, of all processes, in a format of the ``Accept`` header, and its name."""
        encode, content_type = choose_encoder(accept)
        registry = self._registry
        if values.ValueClass._multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return encode(registry), content_type

    def _new(self, name: str, total: float) -> float:
        """How much a total that is counted elsewhere has grown since the last time."""
        before = self._counted.get(name, 0.0)
        self._counted[name] = total
        return max(total - before, 0.0)


def by_status(receipt: Receipt) -> dict[str, int]:
    """The number of documents by what became of them; the rest was not to be reranked."""
    counts = {
        "ok": receipt.scored - receipt.cut,
        "cut": receipt.cut,
        "unreadable": receipt.skipped,
        "late": receipt.late,
        "failed": receipt.failed,
    }
    return counts | {"not_reranked": max(receipt.depth - sum(counts.values()), 0)}


@contextmanager
def shared_by_processes() -> Iterator[None]:
    """Let processes that start within the block share their metrics, in a folder of its own.

    Raises `InputError` if no folder for temporary files can be written.
    """
    try:
        temporary = TemporaryDirectory(prefix="resift-metrics-")
    except OSError as error:
        raise InputError(
            f"{error.filename or 'a folder for temporary files'}: cannot be written "
            f"({reason(error)}); several workers need one for their metrics: set TMPDIR"
        ) from error
    with temporary as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def forget_process(process: int) -> None:
    """Leave out the state of a process that has ended; what it has counted stays."""
    with suppress(FileNotFoundError):
        mark_process_dead(process, os.environ[FOLDER])  # type: ignore[no-untyped-call]
