"""When vectors are searched by a graph, and that the reported recall is its recall."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from index.fakes import HashingEmbedder
from resift.index.table import vectors as near
from resift.index.table.rows import HASH_BYTES, search_hash
from resift.index.table.vectors import (
    NEAREST,
    VECTOR_INDEX,
    index_vectors,
    nearest,
    spread,
    to_matrix,
)
from resift.index.versions.record import VectorIndex

DIM = 16
EXACT = VectorIndex()


class Recording(HashingEmbedder):
    """Records the texts that it embeds."""

    def __init__(self) -> None:
        super().__init__(dim=DIM)
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        return super().embed(texts)


@pytest.fixture(autouse=True)
def _lower_exact_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_EXACT_ROWS", 400)


def rows(count: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [" ".join(f"w{word}" for word in random.integers(0, 99, 20)) for _ in range(count)]
    flat = pa.array(vectors.reshape(-1))
    hashes = pa.array([search_hash(text) for text in texts], pa.binary(HASH_BYTES))
    columns = {"text": texts, "vector": pa.FixedSizeListArray.from_arrays(flat, DIM)}
    return pa.table(columns | {"search_hash": hashes})


def dataset(path: Path, count: int) -> Any:
    return lance.write_dataset(rows(count), str(path / "t.lance"))


def exact_ids(data: Any, query: NDArray[np.float32], k: int) -> list[int]:
    """The exact nearest, by one matrix product."""
    table = data.to_table(columns=["vector"], with_row_id=True)
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    order = np.argsort(-(vectors @ query), kind="stable")[:k]
    return [int(row_id) for row_id in np.array(table["_rowid"])[order]]


def nearest_ids(data: Any, query: NDArray[np.float32], k: int, index: VectorIndex) -> list[int]:
    return [int(row_id) for row_id in nearest(data, query, k, index)["_rowid"].to_pylist()]


def index_names(data: Any) -> list[str]:
    return [index.name for index in data.describe_indices()]


def test_the_spread_is_the_deviation_of_cosines_between_passages(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 60), Recording()
    vectors = to_matrix(data.to_table(columns=["vector"])["vector"].combine_chunks())
    cosines = [vectors[i] @ vectors[j] for i in range(60) for j in range(i)]
    assert index_vectors(data, None, embedder).spread == pytest.approx(np.std(cosines), abs=1e-4)


def test_the_order_of_rows_changes_neither_the_spread_nor_the_sample(tmp_path: Path) -> None:
    table = rows(450)
    (tmp_path / "turned").mkdir()
    straight, turned = Recording(), Recording()
    before = index_vectors(lance.write_dataset(table, str(tmp_path / "t.lance")), None, straight)
    order = np.random.default_rng(1).permutation(450)
    data = lance.write_dataset(table.take(order), str(tmp_path / "turned" / "t.lance"))
    assert index_vectors(data, None, turned).spread == before.spread != 0
    assert straight.texts == turned.texts != []


def test_passages_of_one_text_count_once_for_the_spread(tmp_path: Path) -> None:
    table = pa.concat_tables([rows(10)] * 4)
    data = lance.write_dataset(table, str(tmp_path / "t.lance"))
    assert index_vectors(data, None, Recording()).spread == 0


def test_the_spread_of_several_tables_is_that_of_one_and_opens_one_after_the_other(
    tmp_path: Path,
) -> None:
    every = rows(300)
    whole = lance.write_dataset(every, str(tmp_path / "whole"))
    for at, part in enumerate([every.slice(0, 10), every.slice(0, 0), every.slice(10)]):
        lance.write_dataset(part, str(tmp_path / f"{at}"))
    opened: weakref.WeakSet[Any] = weakref.WeakSet()

    def tables() -> Iterator[Any]:
        for at in range(3):
            table = lance.dataset(str(tmp_path / f"{at}"))
            opened.add(table)
            assert len(opened) <= 2
            yield table

    assert spread(tables()) == spread([whole]) != 0
    assert spread([lance.dataset(str(tmp_path / "1"))] * 2) == 0


def test_hashes_are_read_from_a_part_of_a_column() -> None:
    hashes = [search_hash(f"{number}") for number in range(9)]
    column = pa.array(hashes, pa.binary(HASH_BYTES))
    for part in (column, column[2:6], column[:0], column[9:]):
        assert [bytes(row) for row in near._to_hashes(part)] == part.to_pylist()


def test_few_passages_have_no_spread(tmp_path: Path) -> None:
    assert index_vectors(dataset(tmp_path, 15), None, Recording()).spread == 0


def test_few_vectors_are_searched_exactly(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 399), Recording()
    assert replace(index_vectors(data, None, embedder), spread=0) == EXACT
    assert (embedder.texts, index_names(data)) == ([], [])
    query = embedder.embed(["w1 w2"])[0]
    assert nearest_ids(data, query, 20, EXACT) == exact_ids(data, query, 20)


def test_many_vectors_are_searched_by_a_graph_of_the_reported_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "_EFFORTS", (1,))  # ef is NEAREST then: the least there is
    data, embedder = dataset(tmp_path, 3_000), Recording()
    index = index_vectors(data, None, embedder)
    assert (index.kind, index.rows, index.partitions, index.sample) == ("IVF_HNSW_SQ", 3_000, 1, 64)
    assert index_names(data) == [VECTOR_INDEX]
    queries = embedder.texts[:64]
    assert (
        embedder.texts[64:] == queries[:1]
    )  # as a query, to see whether it is embedded in the same way
    assert all(len(text.split()) == 10 for text in queries)
    shares = [
        len({*exact_ids(data, query, NEAREST)} & {*nearest_ids(data, query, NEAREST, index)})
        / NEAREST
        for query in embedder.embed(queries)
    ]
    assert index.recall == pytest.approx(np.mean(shares), abs=1e-4)
    assert 0.5 < index.recall < 1.0


def test_the_least_effort_that_reaches_the_recall_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, embedder = dataset(tmp_path, 1_000), Recording()
    for enough, effort in ((0.0, 150), (1.1, 1200)):
        monkeypatch.setattr(near, "_RECALL", enough)
        assert index_vectors(data, None, embedder).effort == effort


def test_a_filter_applies_in_the_graph_as_well(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 1_000), Recording()
    index = index_vectors(data, None, embedder)
    wanted = data.to_table(columns=[], filter="text LIKE 'w1 %'", with_row_id=True)
    query = embedder.embed(["w1"])[0]
    ids = nearest(data, query, 50, index, filter="text LIKE 'w1 %'")["_rowid"].to_pylist()
    assert ids and set(ids) == set(wanted["_rowid"].to_pylist())


def test_a_graph_is_added_to_while_little_is_new_and_then_built_again(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 1_000), Recording()
    first = index_vectors(data, None, embedder)
    for seed in (1, 2):  # 100 and 100: a fifth, and no more
        data = lance.write_dataset(rows(100, seed), data, mode="append")
        assert index_vectors(data, first, embedder) == first
        assert data.stats.index_stats(VECTOR_INDEX)["num_unindexed_rows"] == 0
    newest = data.to_table(with_row_id=True).to_pylist()[-1]
    vector = np.array(newest["vector"], np.float32)
    assert nearest_ids(data, vector, 1, first) == [newest["_rowid"]]
    data = lance.write_dataset(rows(1, 3), data, mode="append")
    assert index_vectors(data, first, embedder).rows == 1_201


def test_a_graph_is_built_again_after_many_deletions_and_dropped_in_the_end(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 1_000), Recording()
    first = index_vectors(data, None, embedder)
    ids = data.to_table(columns=["text"])["text"].to_pylist()
    names = [f"'{text}'" for text in ids]
    data.delete(f"text IN ({', '.join(names[:300])})")
    second = index_vectors(data, first, embedder)
    assert (second.kind, second.rows) == ("IVF_HNSW_SQ", 700)
    data.delete(f"text IN ({', '.join(names[:650])})")
    assert replace(index_vectors(data, second, embedder), spread=0) == EXACT
    assert index_names(data) == []


def test_a_graph_that_the_version_does_not_name_is_built_again(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 500), Recording()
    index = index_vectors(data, None, embedder)
    assert len(embedder.texts) == 65
    assert index_vectors(data, EXACT, embedder).rows == index.rows == 500
    assert len(embedder.texts) == 130


def test_a_graph_whose_rows_were_replaced_little_by_little_is_built_again(tmp_path: Path) -> None:
    data, embedder = dataset(tmp_path, 1_000), Recording()
    index = index_vectors(data, None, embedder)
    embedder.texts.clear()
    for turn in range(8):
        texts = data.to_table(columns=["text"])["text"].to_pylist()[:150]
        data.delete("text IN ({})".format(", ".join(f"'{text}'" for text in texts)))
        data = lance.write_dataset(rows(150, 10 + turn), data, mode="append")
        index = index_vectors(data, index, embedder)
    assert embedder.texts


class Prompted(Recording):
    """Embeds a query with a prompt that passages do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[str] = []

    def embed_query(self, query: str) -> NDArray[np.float32]:
        self.queries.append(query)
        vector: NDArray[np.float32] = super().embed([f"search_query: {query}"])[0]
        return vector


def test_recall_is_measured_with_prompted_queries_if_queries_have_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "_EFFORTS", (1,))
    data, embedder = dataset(tmp_path, 1_000), Prompted()
    index = index_vectors(data, None, embedder)
    queries = embedder.queries[1:]
    assert len(queries) == index.sample == 64
    shares = [
        len({*exact_ids(data, query, NEAREST)} & {*nearest_ids(data, query, NEAREST, index)})
        / NEAREST
        for query in (embedder.embed_query(text) for text in queries)
    ]
    assert index.recall == pytest.approx(np.mean(shares), abs=1e-4)
