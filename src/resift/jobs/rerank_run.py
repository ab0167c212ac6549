"""Reranks the queries of a run on a Ray cluster. Workers write nothing."""

import pickle
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from resift.errors import ClusterError, MissingExtra, ModelError, RuntimeFailure
from resift.evaluation.rerank_run import (
    QueryResult,
    RerankJob,
    RerankRunOptions,
    RunQuery,
    rerank_queries,
)
from resift.jobs.cluster import Cluster
from resift.jobs.parts import FEW_LOST, Parts, cut, refuse_client_server
from resift.rerank.reranker import Reranker

Queries = Sequence[RunQuery]
Results = Sequence[QueryResult]

# A part takes a worker some seconds, so that little is done again after a crash, and the slowest
# worker does not hold up the others for long.
_PART_COST = 1 << 19
_PART_CHARACTERS = 1 << 24
_PART_QUERIES = 1_000
_PARTS_A_WORKER = 8

# Texts that are in the memory of the cluster at a time.
_WAVE_CHARACTERS = 1 << 29

_CHARACTERS_A_TOKEN = 5  # in English, with the blank; only a model's limit is estimated by it


class Size(NamedTuple):
    """The size of queries: `cost` is the characters that a model reads, an estimate of its time."""

    cost: float
    characters: float
    queries: float


def rerank_on_cluster(
    cluster: Cluster,
    job: RerankJob,
    query_ids: Sequence[str],
    reranker: Reranker,
    options: RerankRunOptions,
) -> Iterator[QueryResult]:
    """Yield the result of each query, in any order; those that are `lost` come last.

    Each worker opens the reranker once, with its settings. A query that no worker survives is
    `lost`, and so is one that the runtime fails at. Raises `ClusterError`, also if a worker cannot
    open the model or if all of many queries are lost, and the errors of `Reranker.rank`.
    """
    refuse_client_server(cluster)
    if not query_ids:
        return
    lost: list[QueryResult] = []
    sizes = [_size(job, query_id, reranker.max_tokens) for query_id in query_ids]
    parts: Parts[Queries, Results] = Parts(
        partial(_open_worker, pickle.dumps(reranker), options), _split, _lost, in_order=False
    )
    with cluster.connected():
        for wave in cut(sizes, Size(float("inf"), _WAVE_CHARACTERS, float("inf"))):
            names = [query_ids[index] for index in wave]
            wave_sizes = [sizes[index] for index in wave]
            for results in parts.process(cluster, partial(_parts, job, names, wave_sizes)):
                lost += (result for result in results if result.lost)
                yield from (result for result in results if not result.lost)
    if len(lost) == len(query_ids) > FEW_LOST:
        raise ClusterError(f"{cluster.address}: no query could be reranked: {lost[0].problem}")
    yield from lost


def part_limit(sizes: Sequence[Size], workers: int) -> Size:
    """The most that a part has: each worker gets several, unless there are few queries."""
    share = sum(size.cost for size in sizes) / (_PARTS_A_WORKER * workers)
    return Size(min(_PART_COST, share), _PART_CHARACTERS, _PART_QUERIES)


def _parts(
    job: RerankJob, query_ids: Sequence[str], sizes: Sequence[Size], workers: int
) -> list[Queries]:
    return [
        [job.query(query_ids[index]) for index in part]
        for part in cut(sizes, part_limit(sizes, workers))
    ]


def _size(job: RerankJob, query_id: str, max_tokens: int) -> Size:
    """The size of a query with its candidates. A model reads the beginnings of long documents."""
    query, most = len(job.queries[query_id]), _CHARACTERS_A_TOKEN * max_tokens
    documents = [job.documents[entry.doc_id] for entry in job.run[query_id][: job.depth]]
    lengths = [len(document.title) + len(document.text) for document in documents]
    cost = sum(min(query + length, most) for length in lengths)
    return Size(cost, query + sum(lengths), 1)


def _split(queries: Queries) -> Sequence[Queries]:
    return [[query] for query in queries]


def _lost(queries: Queries, reason: str) -> Results:
    return [QueryResult(query.query_id, problem=reason, lost=True) for query in queries]


@contextmanager
def _open_worker(
    pickled: bytes, options: RerankRunOptions
) -> Iterator[Callable[[Queries], Results]]:
    """Open the reranker in the process of a worker."""
    try:
        reranker: Reranker = pickle.loads(pickled)
    except (ModelError, MissingExtra) as error:
        raise ClusterError(
            f"a worker on {platform.node()} cannot open the model: {error}; the folder of a model "
            "must be at the same path on every machine of the cluster"
        ) from error
    with reranker:
        yield partial(_rerank_part, reranker, options)


def _rerank_part(reranker: Reranker, options: RerankRunOptions, queries: Queries) -> Results:
    results: list[QueryResult] = []
    for query in queries:
        try:
            results += rerank_queries([query], reranker, options)
        except RuntimeFailure as error:
            results.append(QueryResult(query.query_id, problem=str(error), lost=True))
    return results
