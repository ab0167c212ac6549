"""Pools: the documents that are judged for a query.

Who judges the results of one system favours it: what only others find stays unjudged, and counts
as wrong. So the best documents of several systems are put together, and all of them are judged
(K. Sparck Jones, C. J. van Rijsbergen: Report on the need for and provision of an "ideal"
information retrieval test collection, 1975; TREC has done it since 1992, and E. M. Voorhees: The
philosophy of information retrieval evaluation, CLEF 2001, says what it is good for). The order in
which they are shown does not tell who found them.

Knows indexes and runs, but nothing of judgments.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from resift.errors import DatasetError, InputError
from resift.evaluation.collection import Collection
from resift.evaluation.first_stage import doc_id
from resift.evaluation.queries import is_storable
from resift.evaluation.trec import Run
from resift.types import Document, Hit

if TYPE_CHECKING:
    from resift.search.index import Index

DEPTH = 100  # passages that the reranker reads
PASSAGES = 4  # looked at for each document wanted: most have fewer among the best
GAP = "\n\n[…]\n\n"  # between two passages of a document


@dataclass(frozen=True, slots=True)
class Pool:
    """What to judge for a query, in an order that says nothing; and what is missing, if anything.

    The text of a document that came as passages is the best of each system, in its own order.
    """

    documents: tuple[Document, ...]
    problems: tuple[str, ...] = ()


Pools = Callable[[str], Pool]
"""A query's id → its pool; the same at each call."""


def pool(query_id: str, rankings: Iterable[Iterable[Document]], size: int) -> Pool:
    """The first `size` documents of each ranking.

    Passages of one document have its id, and ``start`` in their metadata; the first one stands for
    it (MaxP).
    """
    found: dict[str, dict[int, Document]] = {}
    for ranking in rankings:
        for best in islice(_first_of_each(ranking), size):
            found.setdefault(best.id, {}).setdefault(best.metadata.get("start", 0), best)
    odd = sorted(repr(doc_id) for doc_id in found if not is_storable(doc_id))
    names = sorted(
        (doc_id for doc_id in found if is_storable(doc_id)),
        key=lambda doc_id: hashlib.sha256(f"{query_id}\0{doc_id}".encode()).digest(),
    )
    return Pool(
        tuple(_joined(found[doc_id]) for doc_id in names),
        tuple(f"{doc_id} is left out: no judgment file can hold that id" for doc_id in odd),
    )


def pools_of_index(index: "Index", queries: Mapping[str, str], size: int) -> Pools:
    """Of the three first stages of an index, and of its reranker."""
    _check_size(size)

    def make(query_id: str) -> Pool:
        problems: list[str] = []
        rankings = list(_rankings(index, queries[query_id], size, problems))
        made = pool(query_id, rankings, size)
        return replace(made, problems=made.problems + tuple(problems))

    return make


def pools_of_runs(
    collection: Collection, queries: Mapping[str, str], runs: Mapping[Path, Run], size: int
) -> Pools:
    """Of TREC runs over a collection; a query that a run does not have gets nothing from it.

    Raises `DatasetError` where a run names queries or documents that are not there.
    """
    _check_size(size)
    firsts = {
        file: {own.doc_id for best in run.values() for own in best[:size]}
        for file, run in runs.items()
    }
    documents = collection.documents(set().union(*firsts.values()))
    for file, run in runs.items():
        _check_known(file, "queries", run.keys() - queries.keys())
        _check_known(file, "documents", firsts[file] - documents.keys())

    def make(query_id: str) -> Pool:
        best = [run.get(query_id, ())[:size] for run in runs.values()]
        return pool(query_id, [[documents[own.doc_id] for own in one] for one in best], size)

    return make


class Ahead:
    """Pools, the next of which is made while somebody reads this one. Closes with its ``with``."""

    def __init__(self, make: Pools, order: Sequence[str]) -> None:
        self._make = make
        self._following = dict(pairwise(order))
        self._made: dict[str, Future[Pool]] = {}
        self._worker = ThreadPoolExecutor(1, "resift-pool")

    def __call__(self, query_id: str) -> Pool:
        """The pool of a query; what goes wrong is tried again when asked for again."""
        made = self._begin(query_id)
        if query_id in self._following:
            self._begin(self._following[query_id])
        try:
            return made.result()
        except Exception:
            self._made.pop(query_id, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.shutdown(cancel_futures=True)

    def _begin(self, query_id: str) -> Future[Pool]:
        if query_id not in self._made:
            self._made[query_id] = self._worker.submit(self._make, query_id)
        return self._made[query_id]


def _first_of_each(ranking: Iterable[Document]) -> Iterator[Document]:
    seen: set[str] = set()
    for document in ranking:
        if document.id not in seen:
            seen.add(document.id)
            yield document


def _joined(passages: Mapping[int, Document]) -> Document:
    """One document of its passages by where they start."""
    texts = [passages[start].text for start in sorted(passages)]
    return replace(next(iter(passages.values())), text=GAP.join(texts))


def _rankings(
    index: "Index", query: str, size: int, problems: list[str]
) -> Iterator[list[Document]]:
    from resift.search.options import MODES

    depth = max(DEPTH, PASSAGES * size)
    for mode in MODES:
        yield [_document(hit) for hit in index.search(query, depth, depth, mode, rerank=False)]
    reranked = index.search(query, PASSAGES * size, depth)
    if reranked.receipt.partial:
        problems.append(f"not everything was reranked: {reranked.receipt.reason}")
    yield [_document(hit) for hit in reranked]


def _document(hit: Hit) -> Document:
    start = hit.citation.start if hit.citation else 0
    return Document(doc_id(hit), hit.text, hit.title, {"start": start})


def _check_size(size: int) -> None:
    if size < 1:
        raise InputError(f"pool={size}: expected 1 or more documents of each system")


def _check_known(run: Path, what: str, unknown: set[str]) -> None:
    if unknown:
        raise DatasetError(
            f"{run}: {len(unknown)} {what} are not in the collection, the first is "
            f"{min(unknown):.80}; is the run of this collection?"
        )
