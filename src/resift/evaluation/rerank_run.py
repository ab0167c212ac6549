"""A collection and a run in, a reranked run out."""

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError, QueryError
from resift.evaluation.collection import Collection
from resift.evaluation.trec import Run, RunEntry, run_lines
from resift.rerank.options import checked_budget, checked_count
from resift.rerank.reranker import Reranker
from resift.types import Candidate, Document, Hit, Ranking


@dataclass(frozen=True, slots=True)
class Job:
    """A run checked against its collection: every text that will be read is here.

    `notes` say what is missing, a sentence each.
    """

    queries: dict[str, str]
    documents: dict[str, Document]
    run: Run
    depth: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class How:
    """How each query of a run is ranked, in the words of `Reranker.rank`.

    `top_n` documents of a query are written, None for all: then none is let go on the way.
    `budget_ms` is for each query. Raises `InputError` for a count or a time that is none.
    """

    fusion_weight: float | None = None
    top_n: int | None = None
    exact: bool = False
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        checked_count("top_n", self.top_n)
        checked_budget(self.budget_ms)


def prepare(collection: Collection, run: Run, depth: int, name: str) -> Job:
    """Read what a run needs.

    Queries and documents that the collection lacks keep their places behind what can be read, and
    are noted. Raises `DatasetError` where these are most of them, and for ids that no run can hold.
    """
    if depth < 1:
        raise DatasetError(f"depth={depth}: expected a whole number from 1")
    _check_ids(run, name)
    queries = collection.queries()
    unknown = run.keys() - queries.keys()
    notes = [*_missing(unknown, len(run), "queries", name, collection.folder)]
    needed = {
        document.doc_id
        for query_id, documents in run.items()
        if query_id not in unknown
        for document in documents[:depth]
    }
    corpus = collection.read(needed)
    absent = needed - corpus.by_id.keys()
    notes += _missing(absent, len(needed), "documents", name, collection.folder)
    documents = corpus.by_id | {doc_id: Document(doc_id, "") for doc_id in absent}
    return Job(queries, documents, run, depth, (*notes, *corpus.notes))


def rerank_run(
    job: Job,
    reranker: Reranker,
    how: How,
    advance: Callable[[str, Ranking | QueryError], None],
) -> Iterator[str]:
    """Lines of the reranked run; what lies beyond the depth keeps its order behind the rest.

    So does what a query's budget left no time for.

    A query that the model cannot read, or that the collection lacks, keeps its whole order.
    `advance` is told what became of each.
    """
    for query_id, documents in job.run.items():
        ranked = [(document.doc_id, document.score) for document in documents]
        result = _rerank(job, query_id, documents, reranker, how)
        advance(query_id, result)
        if isinstance(result, Ranking):
            tail = [document.doc_id for document in documents[job.depth :]]
            ranked = _scored(result.hits, tail)
        yield from run_lines(query_id, ranked[: how.top_n])


def _rerank(
    job: Job,
    query_id: str,
    documents: Sequence[RunEntry],
    reranker: Reranker,
    how: How,
) -> Ranking | QueryError:
    if query_id not in job.queries:
        return QueryError("is not in the collection")
    window = [
        _candidate(rank, scored, job.documents[scored.doc_id])
        for rank, scored in enumerate(documents[: job.depth], 1)
    ]
    try:
        return reranker.rank(
            job.queries[query_id],
            window,
            how.top_n,
            budget_ms=how.budget_ms,
            exact=how.exact,
            fusion_weight=how.fusion_weight,
        )
    except QueryError as error:
        return error


def _scored(hits: Sequence[Hit], tail: Sequence[str]) -> list[tuple[str, float]]:
    """What the order is by, in logits; documents without one go one below the least each."""
    scores = {
        hit.id: hit.logit + hit.fusion + hit.feedback for hit in hits if hit.logit is not None
    }
    ranked = [(doc_id, score) for doc_id, score in scores.items() if math.isfinite(score)]
    lowest = min((score for _, score in ranked), default=0.0)
    known = {doc_id for doc_id, _ in ranked}
    rest = [hit.id for hit in hits if hit.id not in known] + list(tail)
    return ranked + [(doc_id, lowest - place) for place, doc_id in enumerate(rest, 1)]


def _candidate(rank: int, scored: RunEntry, document: Document) -> Candidate:
    return Candidate(
        document.id, document.text, document.title, document.metadata, rank, scored.score
    )


def _missing(unknown: Set[str], of: int, what: str, run: str, folder: Path) -> list[str]:
    """What to say of ids that a collection lacks; `DatasetError` where it lacks most."""
    if not unknown:
        return []
    said = (
        f"{run}: {len(unknown)} of {of} {what} are not in {folder}, the first is {min(unknown):.80}"
    )
    if 2 * len(unknown) > of:
        raise DatasetError(f"{said}; is the run of this collection?")
    return [f"{said}: they keep their places behind what can be read"]


def _check_ids(run: Run, name: str) -> None:
    """A run's fields stand between blanks."""
    ids = (doc.doc_id for documents in run.values() for doc in documents)
    for kind, names in (("query", iter(run)), ("document", ids)):
        for own in names:
            if len(own.encode().split()) != 1:
                raise DatasetError(
                    f"{name}: {kind} id {own!r} has blanks, which a TREC run cannot hold"
                )
