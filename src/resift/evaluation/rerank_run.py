"""A collection and a run in, a reranked run out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError, QueryError
from resift.evaluation.collection import Collection
from resift.evaluation.trec import Run, ScoredDocument, run_lines
from resift.rerank.reranker import Reranker
from resift.types import Candidate, Document, Hit, Ranking


@dataclass(frozen=True, slots=True)
class Job:
    """A run checked against its collection: every text that will be read is here."""

    queries: dict[str, str]
    documents: dict[str, Document]
    run: Run
    depth: int


def prepare(collection: Collection, run: Run, depth: int, name: str) -> Job:
    """Read what a run needs; raises `DatasetError` for queries or documents that are not there."""
    if depth < 1:
        raise DatasetError(f"depth={depth}: expected a whole number from 1")
    queries = collection.queries()
    _all_known(run.keys() - queries.keys(), len(run), "queries", name, collection.folder)
    needed = {document.doc_id for documents in run.values() for document in documents[:depth]}
    documents = collection.documents(needed)
    _all_known(needed - documents.keys(), len(needed), "documents", name, collection.folder)
    return Job({query_id: queries[query_id] for query_id in run}, documents, run, depth)


def rerank_run(
    job: Job,
    reranker: Reranker,
    fusion_weight: float | None,
    advance: Callable[[str, Ranking | QueryError], None],
) -> Iterator[str]:
    """Lines of the reranked run; what lies beyond the depth keeps its order behind the rest.

    A query that the model cannot read keeps its whole order. `advance` is told what became of each.
    """
    for query_id, documents in job.run.items():
        window = [
            _candidate(rank, scored, job.documents[scored.doc_id])
            for rank, scored in enumerate(documents[: job.depth], 1)
        ]
        query = job.queries[query_id]
        try:
            ranking = reranker.rank(query, window, top_n=None, fusion_weight=fusion_weight)
        except QueryError as error:
            advance(query_id, error)
            kept = [(document.doc_id, document.score) for document in documents]
            yield from run_lines(query_id, kept, "resift")
            continue
        advance(query_id, ranking)
        tail = [document.doc_id for document in documents[job.depth :]]
        yield from run_lines(query_id, _scored(ranking.hits, tail), "resift")


def _scored(hits: Sequence[Hit], tail: Sequence[str]) -> list[tuple[str, float]]:
    """What the order is by, in logits; documents without one go one below the least each."""
    ranked = [
        (hit.id, hit.logit + hit.prior + hit.feedback) for hit in hits if hit.logit is not None
    ]
    lowest = min((score for _, score in ranked), default=0.0)
    rest = [hit.id for hit in hits if hit.logit is None] + list(tail)
    return ranked + [(doc_id, lowest - place) for place, doc_id in enumerate(rest, 1)]


def _candidate(rank: int, scored: ScoredDocument, document: Document) -> Candidate:
    return Candidate(
        document.id, document.text, document.title, document.metadata, rank, scored.score
    )


def _all_known(unknown: set[str], of: int, what: str, run: str, folder: Path) -> None:
    if unknown:
        raise DatasetError(
            f"{run}: {len(unknown)} of {of} {what} are not in {folder}, the first is "
            f"{min(unknown)}; is the run of this collection?"
        )
