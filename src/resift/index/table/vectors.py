"""How vectors are searched: exactly while they are few, else by a graph of known recall.

Lance's HNSW over int8 vectors: of its kinds the one that finds most for the time, and small enough
to be read whole, which from object storage is one request (LOG.md, 2026-11-23).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.index.embed import Embedder
from resift.index.versions.record import VectorIndex

Floats = NDArray[np.float32]

VECTOR_INDEX = "vector_hnsw"
NEAREST = 100
# Below, comparing every vector takes no longer than anything else in a search.
_EXACT_ROWS = 10_000
_KIND = "IVF_HNSW_SQ"
# Larger graphs take memory to make: a gigabyte more at 400,000 rows than in parts of 100,000.
_PARTITION_ROWS = 200_000
# How far the graph is searched: the least of these that finds enough.
_EFFORTS = (150, 300, 600, 1200)
_RECALL = 0.98
_SAMPLE = 64
# A sample's query is a passage's first words: real queries are short, and lie further from the
# passages than these from each other. A passage's own vector would flatter the index.
_WORDS = 10
# Rows that came since the graph was made are in small graphs of their own. From this share of
# them on, and where so many rows have gone, it is made anew.
_STALE = 0.2


def index_vectors(dataset: Any, before: VectorIndex | None, embedder: Embedder) -> VectorIndex:
    """Bring the vectors' index up to date, or make it; say what it is and what it finds."""
    rows = dataset.count_rows()
    there = any(index.name == VECTOR_INDEX for index in dataset.describe_indices())
    if rows < _EXACT_ROWS:
        if there:
            dataset.drop_index(VECTOR_INDEX)
        return VectorIndex()
    if there and before and before.kind == _KIND and not _is_stale(dataset, before, rows):
        dataset.optimize.optimize_indices(index_names=[VECTOR_INDEX])
        return before
    partitions = -(-rows // _PARTITION_ROWS)
    dataset.create_index(
        "vector",
        _KIND,
        name=VECTOR_INDEX,
        metric="dot",
        num_partitions=partitions,
        replace=True,
    )
    return _measured(dataset, embedder, VectorIndex(_KIND, rows, partitions))


def nearest(dataset: Any, vector: Floats, k: int, how: VectorIndex, **options: Any) -> Any:
    """Row ids and distances of the `k` nearest, as Arrow; distance is one less the cosine."""
    query: dict[str, Any] = {"column": "vector", "q": vector, "k": k, "metric": "dot"}
    if how.kind == "exact":
        query |= {"use_index": False}
    else:
        query |= {"nprobes": how.partitions, "ef": max(how.effort, k)}
    return dataset.scanner(
        columns=["_distance"], with_row_id=True, prefilter=True, nearest=query, **options
    ).to_table()


def _is_stale(dataset: Any, before: VectorIndex, rows: int) -> bool:
    stats = dataset.stats.index_stats(VECTOR_INDEX)
    # Of the large graph's own rows, those that are still there; each addition has a number here.
    own = max(stats["num_indexed_rows_per_delta"], default=0)
    return max(rows - own, before.rows - own) > _STALE * before.rows


def _measured(dataset: Any, embedder: Embedder, how: VectorIndex) -> VectorIndex:
    """The same with the least effort that finds enough of the exact nearest."""
    queries = _as_queries(embedder, _sample(dataset, how.rows))
    wanted = exact_nearest(dataset, queries)
    for effort in _EFFORTS:
        tried = replace(how, effort=effort, sample=len(queries))
        found = [nearest(dataset, query, NEAREST, tried)["_rowid"] for query in queries]
        shares = [
            len(set(own.to_pylist()) & set(ids.tolist())) / len(ids)
            for own, ids in zip(found, wanted, strict=True)
        ]
        tried = replace(tried, recall=round(float(np.mean(shares)), 4))
        if tried.recall >= _RECALL:
            break
    return tried


def _as_queries(embedder: Embedder, texts: Sequence[str]) -> Floats:
    """Vectors of texts as a search would have them, ``(n, dim)``.

    Where a model reads a query as it reads a passage, all at once; else one by one, for a vector
    behind the passages' prompt lies nearer to passages than any query's does.
    """
    vectors = embedder.embed(texts)
    if not len(texts) or np.allclose(embedder.embed_query(texts[0]), vectors[0], atol=1e-3):
        return vectors
    queries = np.stack([embedder.embed_query(text) for text in texts])
    asked = queries[queries.any(axis=1)]  # a query without a known word finds nothing anyhow
    return asked if len(asked) else vectors


def _sample(dataset: Any, rows: int) -> list[str]:
    places = np.random.default_rng(0).choice(rows, min(_SAMPLE, rows), replace=False)
    texts = dataset.take(sorted(places.tolist()), columns=["text"])["text"].to_pylist()
    return [" ".join(text.split()[:_WORDS]) for text in texts]


def exact_nearest(dataset: Any, queries: Floats) -> Sequence[NDArray[np.int64]]:
    """Row ids of the nearest of each query, by comparing all, a batch of vectors at a time."""
    ids = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for batch in dataset.scanner(columns=["vector"], with_row_id=True).to_batches():
        vectors = batch["vector"].flatten().to_numpy(zero_copy_only=False)
        own = queries @ vectors.reshape(batch.num_rows, -1).T
        row_ids = np.broadcast_to(batch["_rowid"].to_numpy().astype(np.int64), own.shape)
        ids, scores = np.hstack([ids, row_ids]), np.hstack([scores, own])
        best = np.argpartition(-scores, min(NEAREST, scores.shape[1]) - 1)[:, :NEAREST]
        ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
    return list(ids)
