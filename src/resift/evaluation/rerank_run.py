"""Rerank a TREC run over a collection into a new run.

Each query is reranked by itself, in any order and in any process; the lines of the new run are made
of the results, in the order of the old one.
"""

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError, QueryError
from resift.evaluation.collection import Collection
from resift.evaluation.first_stage import read_run_documents, run_candidates
from resift.evaluation.trec import Run, run_lines
from resift.rerank.options import checked_budget, checked_count
from resift.rerank.reranker import Reranker
from resift.types import Candidate, Document, Hit, Receipt


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A query of a run, with its candidates within the depth, best first."""

    query_id: str
    text: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What became of a query of a run.

    `scores` are (doc_id, fused logit) of the hits, best first; `unscored` are the ids of hits
    without a finite logit, which follow. Without a `receipt` the query was not reranked, and
    `problem` says why. If it was `lost`, another attempt may have a result.
    """

    query_id: str
    scores: tuple[tuple[str, float], ...] = ()
    unscored: tuple[str, ...] = ()
    receipt: Receipt | None = None
    problem: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class RerankJob:
    """A run that was checked against its collection, with the texts of queries and documents.

    `notes` are sentences about missing queries and documents.
    """

    queries: dict[str, str]
    documents: dict[str, Document]
    run: Run
    depth: int
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> list[str]:
        """The ids of the queries that the collection has, in the order of the run."""
        return [query_id for query_id in self.run if query_id in self.queries]

    def query(self, query_id: str) -> RunQuery:
        """A query that the collection has."""
        candidates = run_candidates(self.run[query_id][: self.depth], self.documents)
        return RunQuery(query_id, self.queries[query_id], tuple(candidates))

    def ranked(self, result: QueryResult) -> list[tuple[str, float]]:
        """(doc_id, score) of all entries of a query, best first.

        Entries without a score, because of the depth or the time budget, follow in their old order
        at steps of 1 below the lowest score. A query that was not reranked keeps its order.
        """
        entries = self.run[result.query_id]
        if result.receipt is None:
            return [(entry.doc_id, entry.score) for entry in entries]
        rest = [*result.unscored, *(entry.doc_id for entry in entries[self.depth :])]
        lowest = min((score for _, score in result.scores), default=0.0)
        return [*result.scores, *((doc_id, lowest - step) for step, doc_id in enumerate(rest, 1))]


@dataclass(frozen=True, slots=True)
class RerankRunOptions:
    """Arguments of `Reranker.rank` for each query of a run.

    `top_n` documents per query are written; None writes all, which prevents pruning. Raises
    `InputError` for an invalid `top_n` or `budget_ms`.
    """

    fusion_weight: float | None = None
    top_n: int | None = None
    exact: bool = False
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        checked_count("top_n", self.top_n)
        checked_budget(self.budget_ms)


def prepare(collection: Collection, run: Run, depth: int, name: str) -> RerankJob:
    """Read the queries and documents of a run.

    Queries and documents that the collection lacks keep their order below the others; a note counts
    them. Raises `DatasetError` if most are missing, and for ids that a run cannot contain.
    """
    if depth < 1:
        raise DatasetError(f"depth={depth}: expected a whole number from 1")
    _check_ids(run, name)
    queries = collection.queries()
    unknown = run.keys() - queries.keys()
    notes = _missing(unknown, len(run), "queries", name, collection.folder)
    needed = {
        entry.doc_id
        for query_id, entries in run.items()
        if query_id not in unknown
        for entry in entries[:depth]
    }
    documents, missing, corpus_notes = read_run_documents(collection, needed)
    notes += _missing(missing, len(needed), "documents", name, collection.folder)
    return RerankJob(queries, documents, run, depth, (*notes, *corpus_notes))


def rerank_queries(
    queries: Iterable[RunQuery], reranker: Reranker, options: RerankRunOptions
) -> Iterator[QueryResult]:
    """Yield the result of each query, in order. Raises the errors of `Reranker.rank`.

    A query that the model cannot read has a result without a receipt.
    """
    for query in queries:
        try:
            ranking = reranker.rank(
                query.text,
                query.candidates,
                options.top_n,
                budget_ms=options.budget_ms,
                exact=options.exact,
                fusion_weight=options.fusion_weight,
            )
        except QueryError as error:
            yield QueryResult(query.query_id, problem=str(error))
        else:
            yield _result(query.query_id, ranking.hits, ranking.receipt)


def reranked_lines(
    job: RerankJob, results: Iterable[QueryResult], options: RerankRunOptions
) -> Iterator[str]:
    """Yield the lines of the reranked run; `results` are in the order of the run."""
    for result in results:
        yield from run_lines(result.query_id, job.ranked(result)[: options.top_n])


def _result(query_id: str, hits: Sequence[Hit], receipt: Receipt) -> QueryResult:
    fused = (
        (hit.id, hit.logit + hit.fusion + hit.feedback) for hit in hits if hit.logit is not None
    )
    scores = {doc_id: score for doc_id, score in fused if math.isfinite(score)}
    unscored = tuple(hit.id for hit in hits if hit.id not in scores)
    return QueryResult(query_id, tuple(scores.items()), unscored, receipt)


def _missing(ids: Set[str], total: int, kind: str, run: str, folder: Path) -> list[str]:
    """A note about ids that a collection lacks; raises `DatasetError` if it lacks most."""
    if not ids:
        return []
    note = f"{run}: {len(ids)} of {total} {kind} are not in {folder}, the first is {min(ids):.80}"
    if 2 * len(ids) > total:
        raise DatasetError(f"{note}; is the run of this collection?")
    return [f"{note}: they keep their order below the others"]


def _check_ids(run: Run, name: str) -> None:
    """Raise `DatasetError` for an id with blanks, which separate the fields of a run."""
    doc_ids = (entry.doc_id for entries in run.values() for entry in entries)
    for kind, ids in (("query", iter(run)), ("document", doc_ids)):
        for value in ids:
            if len(value.encode().split()) != 1:
                raise DatasetError(
                    f"{name}: {kind} id {value!r} has blanks, which a TREC run cannot contain"
                )
