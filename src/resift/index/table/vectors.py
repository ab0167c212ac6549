"""Vector search: exact for few rows, else by a graph whose recall is measured.

Among Lance's indexes, HNSW over int8 vectors has the best recall for its time, and it is small
enough to be read with one request to object storage (LOG.md, 2026-11-23).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resift.index.embed import Embedder
from resift.index.table.rows import HASH_BYTES
from resift.index.versions.record import VectorIndex

Floats = NDArray[np.float32]

VECTOR_INDEX = "vector_hnsw"
NEAREST = 100
# With fewer rows, comparing all vectors is as fast as the rest of a search.
_EXACT_ROWS = 10_000
_KIND = "IVF_HNSW_SQ"
# Larger graphs need memory to build: 400,000 rows a gigabyte more than in parts of 100,000.
_PARTITION_ROWS = 200_000
# The values of ef to try; the first one that reaches `_RECALL` is used.
_EFFORTS = (150, 300, 600, 1200)
_RECALL = 0.98
_SAMPLE = 64
_SPREAD_SAMPLE = 128
_LEAST_ROWS = 16
# A sample query is a passage's first words: like real queries it is short, and further from the
# passages than they are from each other. A passage's vector would overestimate the recall.
_QUERY_WORDS = 10
# Rows added after the build are in small separate graphs. If they, or the deleted rows, exceed this
# share, the graph is rebuilt.
_STALE_SHARE = 0.2


def index_vectors(dataset: Any, before: VectorIndex | None, embedder: Embedder) -> VectorIndex:
    """Update the vector index, or build it; return its parameters and recall."""
    rows = dataset.count_rows()
    exists = any(index.name == VECTOR_INDEX for index in dataset.describe_indices())
    if rows < _EXACT_ROWS:
        if exists:
            dataset.drop_index(VECTOR_INDEX)
        return VectorIndex(spread=spread([dataset]))
    if exists and before and before.kind == _KIND and not _is_stale(dataset, before, rows):
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
    index = VectorIndex(_KIND, rows, partitions, spread=spread([dataset]))
    return _choose_effort(dataset, embedder, index)


def nearest(dataset: Any, vector: Floats, k: int, index: VectorIndex, **options: Any) -> Any:
    """Find the `k` nearest: an Arrow table of row ids and distances, which are 1 - cosine."""
    query: dict[str, Any] = {"column": "vector", "q": vector, "k": k, "metric": "dot"}
    if index.kind == "exact":
        query |= {"use_index": False}
    else:
        query |= {"nprobes": index.partitions, "ef": max(index.effort, k)}
    return dataset.scanner(
        columns=["_distance"], with_row_id=True, prefilter=True, nearest=query, **options
    ).to_table()


def exact_nearest(dataset: Any, queries: Floats) -> Sequence[NDArray[np.int64]]:
    """Find the row ids of each query's `NEAREST` by comparing all vectors, batch by batch."""
    ids = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for batch in dataset.scanner(columns=["vector"], with_row_id=True).to_batches():
        batch_scores = queries @ to_matrix(batch["vector"]).T
        batch_ids = np.broadcast_to(batch["_rowid"].to_numpy().astype(np.int64), batch_scores.shape)
        ids, scores = np.hstack([ids, batch_ids]), np.hstack([scores, batch_scores])
        best = np.argpartition(-scores, min(NEAREST, scores.shape[1]) - 1)[:, :NEAREST]
        ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
    return list(ids)


def to_matrix(column: Any) -> Floats:
    """Convert an Arrow column of vectors to an array, ``(rows, dim)``."""
    matrix: Floats = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix


def _is_stale(dataset: Any, before: VectorIndex, rows: int) -> bool:
    stats = dataset.stats.index_stats(VECTOR_INDEX)
    # One number for the large graph and one for each later addition: the rows that still exist.
    in_graph = max(stats["num_indexed_rows_per_delta"], default=0)
    return max(rows - in_graph, before.rows - in_graph) > _STALE_SHARE * before.rows


def _choose_effort(dataset: Any, embedder: Embedder, index: VectorIndex) -> VectorIndex:
    """Choose the lowest effort that finds enough of the exact nearest rows."""
    queries = _query_vectors(embedder, _sample_queries(dataset))
    exact = exact_nearest(dataset, queries)
    for effort in _EFFORTS:
        index = replace(index, effort=effort, sample=len(queries))
        approximate = [nearest(dataset, query, NEAREST, index)["_rowid"] for query in queries]
        recalls = [
            len(set(row_ids.to_pylist()) & set(exact_ids.tolist())) / len(exact_ids)
            for row_ids, exact_ids in zip(approximate, exact, strict=True)
        ]
        index = replace(index, recall=round(float(np.mean(recalls)), 4))
        if index.recall >= _RECALL:
            break
    return index


def _query_vectors(embedder: Embedder, texts: Sequence[str]) -> Floats:
    """Embed texts as queries, ``(n, dim)``.

    One batch if the model embeds queries and passages alike; otherwise query by query, because a
    vector made with the prompt for passages is nearer to passages than a query's vector.
    """
    vectors = embedder.embed(texts)
    if not len(texts) or np.allclose(embedder.embed_query(texts[0]), vectors[0], atol=1e-3):
        return vectors
    queries = np.stack([embedder.embed_query(text) for text in texts])
    non_zero = queries[queries.any(axis=1)]  # the model knows no word of the others
    return non_zero if len(non_zero) else vectors


def _sample_queries(dataset: Any) -> list[str]:
    texts = _sample(dataset, _SAMPLE, "text")[1].to_pylist()
    return [" ".join(text.split()[:_QUERY_WORDS]) for text in texts]


def spread(datasets: Iterable[Any]) -> float:
    """The standard deviation of cosines between passages of all these tables; 0 for too few.

    Texts that are equal count once.
    """
    samples = [_sample(dataset, _SPREAD_SAMPLE, "vector") for dataset in datasets]
    hashes = np.concatenate([hashes for hashes, _ in samples])
    _, first = np.unique(hashes, return_index=True)
    if len(first) < _LEAST_ROWS:
        return 0.0
    every = np.concatenate([to_matrix(column) for hashes, column in samples if len(hashes)])
    vectors = every[first[:_SPREAD_SAMPLE]]
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return round(float(cosines.std()), 4)


def _sample(dataset: Any, size: int, column: str) -> tuple[NDArray[np.bytes_], Any]:
    """The rows with the lowest hashes, a random sample of different texts: hashes and a column.

    It does not depend on the order of rows, which differs where several workers wrote them.
    """
    rows = dataset.scanner(columns=["search_hash"], with_row_id=True).to_table()
    hashes = _to_hashes(rows["search_hash"].combine_chunks())
    lowest, first = np.unique(hashes, return_index=True)
    row_ids = rows["_rowid"].to_numpy()[first[:size]]
    values = dataset._take_rows(row_ids.tolist(), columns=[column])[column]
    return lowest[:size], values.combine_chunks()


def _to_hashes(array: Any) -> NDArray[np.bytes_]:
    """Convert an Arrow array of hashes, without a Python object for each."""
    start = array.offset * HASH_BYTES
    values = memoryview(array.buffers()[1] or b"")[start : start + len(array) * HASH_BYTES]
    return np.frombuffer(values, f"S{HASH_BYTES}")
