"""Rerank a TREC run over a collection into a new run."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError, QueryError
from resift.evaluation.collection import Collection
from resift.evaluation.first_stage import read_run_documents, run_candidates
from resift.evaluation.trec import Run, RunEntry, run_lines
from resift.rerank.options import checked_budget, checked_count
from resift.rerank.reranker import Reranker
from resift.types import Document, Hit, Ranking


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


def rerank_run(
    job: RerankJob,
    reranker: Reranker,
    options: RerankRunOptions,
    advance: Callable[[str, Ranking | QueryError], None],
) -> Iterator[str]:
    """Yield the lines of the reranked run; `advance` gets each query's id and result.

    Entries that were not reranked, because of the depth or the time budget, follow in their old
    order. A query that the model cannot read, or that the collection lacks, keeps its order.
    """
    for query_id, entries in job.run.items():
        result = _rerank(job, query_id, entries, reranker, options)
        advance(query_id, result)
        if isinstance(result, Ranking):
            ranked = _scored(result.hits, [entry.doc_id for entry in entries[job.depth :]])
        else:
            ranked = [(entry.doc_id, entry.score) for entry in entries]
        yield from run_lines(query_id, ranked[: options.top_n])


def _rerank(
    job: RerankJob,
    query_id: str,
    entries: Sequence[RunEntry],
    reranker: Reranker,
    options: RerankRunOptions,
) -> Ranking | QueryError:
    if query_id not in job.queries:
        return QueryError("is not in the collection")
    try:
        return reranker.rank(
            job.queries[query_id],
            run_candidates(entries[: job.depth], job.documents),
            options.top_n,
            budget_ms=options.budget_ms,
            exact=options.exact,
            fusion_weight=options.fusion_weight,
        )
    except QueryError as error:
        return error


def _scored(hits: Sequence[Hit], tail: Sequence[str]) -> list[tuple[str, float]]:
    """Fused logits; documents without a logit follow at steps of 1 below the lowest."""
    scores = {
        hit.id: hit.logit + hit.fusion + hit.feedback for hit in hits if hit.logit is not None
    }
    ranked = [(doc_id, score) for doc_id, score in scores.items() if math.isfinite(score)]
    lowest = min((score for _, score in ranked), default=0.0)
    scored_ids = {doc_id for doc_id, _ in ranked}
    rest = [*(hit.id for hit in hits if hit.id not in scored_ids), *tail]
    return ranked + [(doc_id, lowest - step) for step, doc_id in enumerate(rest, 1)]


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
