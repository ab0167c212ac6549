"""Pools: the documents to judge for a query, collected from several systems.

Judging only the results of one system would favour it: documents that only other systems retrieve
would count as not relevant (K. Sparck Jones, C. J. van Rijsbergen: Report on the need for and
provision of an "ideal" information retrieval test collection, 1975; E. M. Voorhees: The philosophy
of information retrieval evaluation, CLEF 2001). The order of a pool does not depend on the systems'
ranks.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Self

from resift.errors import DatasetError, InputError, QueryError
from resift.evaluation.collection import Collection
from resift.evaluation.first_stage import doc_id
from resift.evaluation.queries import is_storable
from resift.evaluation.trec import Run
from resift.search.index import Index
from resift.search.options import MODES
from resift.types import Document, Hit

DEPTH = 100  # passages that are reranked
PASSAGES_PER_DOCUMENT = 4  # retrieved for each document of the pool, to get enough documents
ELLIPSIS = "\n\n[…]\n\n"  # between two passages of a document


@dataclass(frozen=True, slots=True)
class Pool:
    """The documents to judge for a query, and problems, such as documents that are left out.

    For an index, a document's text consists of the best passage of each system.
    """

    documents: tuple[Document, ...]
    problems: tuple[str, ...] = ()


MakePool = Callable[[str], Pool]
"""Query id → its pool, the same at each call."""


def pool(query_id: str, rankings: Iterable[Iterable[Document]], size: int) -> Pool:
    """Pool the first `size` documents of each ranking, ordered by a hash.

    Passages have the id of their document, and ``start`` in their metadata; a document ranks at its
    first passage (MaxP).
    """
    passages: dict[str, dict[int, Document]] = {}
    for ranking in rankings:
        for best in islice(_first_passages(ranking), size):
            passages.setdefault(best.id, {}).setdefault(best.metadata.get("start", 0), best)
    invalid = sorted(repr(doc_id) for doc_id in passages if not is_storable(doc_id))
    doc_ids = sorted(
        (doc_id for doc_id in passages if is_storable(doc_id)),
        key=lambda doc_id: hashlib.sha256(f"{query_id}\0{doc_id}".encode()).digest(),
    )
    return Pool(
        tuple(_joined(passages[doc_id]) for doc_id in doc_ids),
        tuple(
            f"{doc_id} is left out: a judgment file cannot contain this id" for doc_id in invalid
        ),
    )


def pools_of_index(index: Index, queries: Mapping[str, str], size: int) -> MakePool:
    """Pools of each mode of an index and of reranked search."""
    _check_size(size)

    def make(query_id: str) -> Pool:
        problems: list[str] = []
        rankings = list(_rankings(index, queries[query_id], size, problems))
        documents = pool(query_id, rankings, size)
        return replace(documents, problems=documents.problems + tuple(problems))

    return make


def pools_of_runs(
    collection: Collection, queries: Mapping[str, str], runs: Mapping[Path, Run], size: int
) -> MakePool:
    """Pools of TREC runs over a collection; a run may lack queries.

    Raises `DatasetError` if a run has queries or documents that the collection lacks.
    """
    _check_size(size)
    needed = {
        file: {entry.doc_id for entries in run.values() for entry in entries[:size]}
        for file, run in runs.items()
    }
    documents = collection.documents(set().union(*needed.values()))
    for file, run in runs.items():
        _check_known(file, "queries", run.keys() - queries.keys())
        _check_known(file, "documents", needed[file] - documents.keys())

    def make(query_id: str) -> Pool:
        rankings = [
            [documents[entry.doc_id] for entry in run.get(query_id, ())[:size]]
            for run in runs.values()
        ]
        return pool(query_id, rankings, size)

    return make


class PrefetchedPools:
    """Pools by query id; the next pool in order is made in the background. A context manager."""

    def __init__(self, make: MakePool, order: Sequence[str]) -> None:
        self._make = make
        self._next = dict(pairwise(order))
        self._pools: dict[str, Future[Pool]] = {}
        self._worker = ThreadPoolExecutor(1, "resift-pool")

    def __call__(self, query_id: str) -> Pool:
        """The pool of a query; a failed pool is made again at the next call."""
        future = self._submit(query_id)
        if query_id in self._next:
            self._submit(self._next[query_id])
        try:
            return future.result()
        except Exception:
            self._pools.pop(query_id, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _submit(self, query_id: str) -> Future[Pool]:
        if query_id not in self._pools:
            self._pools[query_id] = self._worker.submit(self._make, query_id)
        return self._pools[query_id]


def _first_passages(ranking: Iterable[Document]) -> Iterator[Document]:
    """Yield the first passage of each document."""
    seen: set[str] = set()
    for document in ranking:
        if document.id not in seen:
            seen.add(document.id)
            yield document


def _joined(passages: Mapping[int, Document]) -> Document:
    """Join a document's passages, by start."""
    texts = [passages[start].text for start in sorted(passages)]
    return replace(next(iter(passages.values())), text=ELLIPSIS.join(texts))


def _rankings(index: Index, query: str, size: int, problems: list[str]) -> Iterator[list[Document]]:
    depth = max(DEPTH, PASSAGES_PER_DOCUMENT * size)
    for mode in MODES:
        yield [_document(hit) for hit in index.search(query, depth, depth, mode, rerank=False)]
    try:
        reranked = index.search(query, PASSAGES_PER_DOCUMENT * size, depth)
    except QueryError as error:
        problems.append(f"not reranked: {error}")
        return
    if reranked.receipt.partial:
        problems.append(f"reranking is incomplete: {reranked.receipt.reason}")
    yield [_document(hit) for hit in reranked]


def _document(hit: Hit) -> Document:
    start = hit.citation.start if hit.citation else 0
    return Document(doc_id(hit), hit.text, hit.title, {"start": start})


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"pool={size}: expected 1 or more documents of each system")


def _check_known(run: Path, kind: str, unknown: set[str]) -> None:
    if unknown:
        raise DatasetError(
            f"{run}: {len(unknown)} {kind} are not in the collection, the first is "
            f"{min(unknown):.80}; is the run of this collection?"
        )
