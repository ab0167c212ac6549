"""Rerankers that count what workers do, are slow, or end their process; and a job for them."""

import os
import secrets
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from resift import Candidate, Document, Ranking, Reranker
from resift.evaluation import finished_queries
from resift.evaluation.finished_queries import FinishedQueries, gather, job_identity
from resift.evaluation.job_folder import JobFolder
from resift.evaluation.rerank_run import RerankJob, RerankRunOptions
from resift.evaluation.trec import RunEntry
from resift.jobs.cluster import Cluster
from resift.jobs.rerank_run import rerank_on_cluster

POISON, GREEDY = "poison", "greedy"
"""Queries that kill their worker, and that need more memory than it has."""

WORDS = "object lock keeps versions of a bucket until the date that its owner gave".split()


@dataclass(frozen=True)
class RecordingReranker:
    """The model in a folder; each call takes `seconds` more and leaves a file in `calls`.

    The name of the file begins with the number of the process.
    """

    model: Path
    calls: Path
    seconds: float = 0.0
    max_tokens: int = 512

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    @cached_property
    def _reranker(self) -> Reranker:
        return Reranker(self.model)

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        top_n: int | None,
        *,
        budget_ms: float | None,
        exact: bool,
        fusion_weight: float | None,
    ) -> Ranking:
        (self.calls / f"{os.getpid()}-{secrets.token_hex(8)}").touch()
        time.sleep(self.seconds)
        if POISON in query:
            os.kill(os.getpid(), signal.SIGKILL)
        if GREEDY in query:
            raise MemoryError
        return self._reranker.rank(
            query,
            documents,
            top_n,
            budget_ms=budget_ms,
            exact=exact,
            fusion_weight=fusion_weight,
        )


def make_job(queries: int, *others: str) -> RerankJob:
    """A job of so many different queries, and `others`, over the same documents."""
    documents = {
        f"d{number}": Document(f"d{number}", " ".join(WORDS[number:] + WORDS[:number]))
        for number in range(len(WORDS))
    }
    texts = [f"{word} {number}" for number in range(queries) for word in [WORDS[number % 5]]]
    names = {f"q{number}": text for number, text in enumerate([*texts, *others])}
    entries = [RunEntry(doc_id, 20.0 - rank) for rank, doc_id in enumerate(documents)]
    return RerankJob(names, documents, dict.fromkeys(names, entries), 8)


def unfinished(folder: Path, job: RerankJob) -> FinishedQueries:
    """The finished queries of a job, in a folder."""
    return FinishedQueries(JobFolder(folder, lambda: job_identity(job, RerankRunOptions(), "0")))


def main(address: str, folder: str, model: str, calls: str, queries: str, seconds: str) -> None:
    """Do a job, and write each result at once: a process that a test kills."""
    finished_queries.WRITE_AFTER_S = 0
    job = make_job(int(queries))
    reranker = RecordingReranker(Path(model), Path(calls), float(seconds))
    with unfinished(Path(folder), job) as finished:
        names = [name for name in job.known if name not in finished]
        results = rerank_on_cluster(
            Cluster(address), job, names, cast(Reranker, reranker), RerankRunOptions()
        )
        gather(finished, results, lambda result: None)
