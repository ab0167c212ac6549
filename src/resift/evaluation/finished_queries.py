"""The finished queries of a run that is being reranked: on disk, so that a killed job goes on.

A line of a file is the result of a query, as JSON.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import resift
from resift.errors import OutputError
from resift.evaluation.job_folder import Identity, JobFolder
from resift.evaluation.rerank_run import QueryResult, RerankJob, RerankRunOptions
from resift.types import Receipt

WRITE_AFTER_S = 5.0
"""Seconds of work that a killed job loses at most. A shorter job makes no folder."""

FOLLOWS = {"texts": ("depth", "run")}
"""In `job_identity`: only the texts of queries and candidates are read, so another depth or run has
others."""


def parts_folder(output: Path) -> Path:
    """The folder for the finished queries of an output file."""
    return output.with_name(f"{output.name}.parts")


def job_identity(job: RerankJob, options: RerankRunOptions, fingerprint: str) -> Identity:
    """What decides the results of a job; `fingerprint` is the model's."""
    run, texts = hashlib.sha256(), hashlib.sha256()
    for query_id, entries in job.run.items():
        scores = [(entry.doc_id, entry.score) for entry in entries]
        run.update(repr((query_id, scores)).encode())
        texts.update(repr((query_id, job.queries.get(query_id))).encode())
    for doc_id in sorted(job.documents):
        document = job.documents[doc_id]
        texts.update(repr((doc_id, document.title, document.text)).encode())
    return {
        "program": "resift rerank-run",
        "version": resift.__version__,
        "model": fingerprint,
        "depth": job.depth,
        **asdict(options),
        "run": run.hexdigest(),
        "texts": texts.hexdigest(),
    }


class FinishedQueries:
    """The results of finished queries, for a ``with`` statement.

    Without a `folder` they are in memory only. `resumed` is the number of queries that an earlier
    process finished. At the end, all results are on disk, unless `remove` was called. All methods
    raise `OutputError`.
    """

    def __init__(self, folder: JobFolder | None) -> None:
        self._folder = folder
        self._in_memory: dict[str, QueryResult] = {}
        self._unwritten: list[QueryResult] = []
        self._on_disk: dict[str, tuple[Path, int]] = {}  # the file, and where its line begins
        self._written_at = time.monotonic()
        self.resumed = 0

    def __enter__(self) -> Self:
        if self._folder is not None:
            for file in self._folder.open():
                for start, line in self._folder.lines(file):
                    with suppress(ValueError):  # a crash of the machine may have cut the last line
                        self._on_disk[_parsed(line).query_id] = (file, start)
        self.resumed = len(self._on_disk)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is None:
            return
        try:
            self._write(self._folder)
        except OutputError:
            if error is None:
                raise
        finally:
            self._folder.close()

    def __contains__(self, query_id: object) -> bool:
        return query_id in self._in_memory or query_id in self._on_disk

    @property
    def on_disk(self) -> int:
        """The number of queries whose results are on disk."""
        return len(self._on_disk)

    def add(self, result: QueryResult) -> None:
        """Add a result, and from time to time write what was added.

        A result that was lost stays in memory: the next process tries again.
        """
        self._in_memory[result.query_id] = result
        if self._folder is None or result.lost:
            return
        self._unwritten.append(result)
        if time.monotonic() - self._written_at >= WRITE_AFTER_S:
            self._write(self._folder)

    def take(self, query_id: str) -> QueryResult:
        """The result of a finished query, which is in memory no longer."""
        if query_id in self._in_memory:
            return self._in_memory.pop(query_id)
        file, start = self._on_disk[query_id]
        assert self._folder is not None  # the file is in it
        return _parsed(self._folder.line(file, start))

    def remove(self) -> None:
        """Delete what is on disk."""
        self._unwritten.clear()
        self._on_disk.clear()
        if self._folder is not None:
            self._folder.remove()

    def _write(self, folder: JobFolder) -> None:
        """Write what was added to a new file."""
        if not self._unwritten:
            return
        written = {}
        with folder.new_file() as (file, stream):
            for result in self._unwritten:
                written[result.query_id] = (file, stream.tell())
                stream.write(_line(result))
        self._on_disk |= written
        for query_id in written:
            self._in_memory.pop(query_id, None)
        self._unwritten.clear()
        self._written_at = time.monotonic()


def gather(
    finished: FinishedQueries,
    results: Iterable[QueryResult],
    advance: Callable[[QueryResult], None],
) -> None:
    """Add all results; `advance` gets each of them."""
    for result in results:
        finished.add(result)
        advance(result)


def in_order(
    job: RerankJob,
    finished: FinishedQueries,
    results: Iterator[QueryResult],
    advance: Callable[[QueryResult], None],
) -> Iterator[QueryResult]:
    """Yield the result of each query in the order of the run, each as soon as it can be.

    `results` are those of the queries that are not finished, in any order.
    """
    for query_id in job.run:
        if query_id not in job.queries:
            yield QueryResult(query_id, problem="is not in the collection")
            continue
        while query_id not in finished:
            gather(finished, [next(results)], advance)
        yield finished.take(query_id)


def _line(result: QueryResult) -> bytes:
    row = {
        "query_id": result.query_id,
        "scores": result.scores,
        "unscored": result.unscored,
        "receipt": None if result.receipt is None else asdict(result.receipt),
        "problem": result.problem,
    }
    return json.dumps(row).encode() + b"\n"


def _parsed(line: bytes) -> QueryResult:
    """The result of a line. Raises `ValueError` for a line that is not complete."""
    row = json.loads(line)
    try:
        receipt = row["receipt"]
        return QueryResult(
            row["query_id"],
            tuple((doc_id, score) for doc_id, score in row["scores"]),
            tuple(row["unscored"]),
            None if receipt is None else _receipt(receipt),
            row["problem"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a finished query: {error}") from error


def _receipt(fields: dict[str, Any]) -> Receipt:
    """A receipt from JSON, which has lists for tuples."""
    receipts = tuple(_receipt(part) for part in fields.get("receipts", ()))
    return Receipt(**(fields | {"notes": tuple(fields["notes"]), "receipts": receipts}))
