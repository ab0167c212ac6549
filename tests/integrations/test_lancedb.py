"""`ResiftReranker` puts the rows of real LanceDB queries into the order of `Reranker.rank`.

Hybrid, vector, full-text and multi-vector queries of a table on disk: every row once, its columns
as they were, the score a float32 or null. Without time, the order is LanceDB's default.
"""

import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

lancedb = pytest.importorskip("lancedb")
pa = pytest.importorskip("pyarrow")

from lancedb.index import FTS  # noqa: E402

from integrations.stand_ins import Reversing  # noqa: E402
from resift import Document, InputError, QueryError, Reranker  # noqa: E402
from resift.integrations.lancedb import ResiftReranker  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

QUERY = "reset my password"
TEXTS = [
    "We serve soup.",
    "Ask the support to reset the router.",
    "Password reset is under Settings.",
    "The office is closed.",
    "A password has twelve letters.",
]
SCORES = {"_distance", "_score"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A table with two columns of vectors, and a row without a text."""
    vectors = pa.list_(pa.float32(), 2)
    rows = [
        {"vector": [float(n), 1.0], "other": [1.0, float(-n)], "text": text, "n": n}
        for n, text in enumerate([*TEXTS, None])
    ]
    fields = {"vector": vectors, "other": vectors, "text": pa.string(), "n": pa.int64()}
    connection = lancedb.connect(tmp_path_factory.mktemp("lancedb"))
    table = connection.create_table(
        "texts", pa.Table.from_pylist(rows, schema=pa.schema(list(fields.items())))
    )
    table.create_index("text", config=FTS())
    return table


@pytest.fixture(scope="module")
def reranker(in_one_runtime: Reranker) -> ResiftReranker:
    return ResiftReranker(reranker=in_one_runtime)


def hybrid(table: Any, query: Any = QUERY) -> Any:
    search = table.search(query_type="hybrid", vector_column_name="vector")
    return search.vector([0.0, 1.0]).text(query)


def nearest(table: Any, column: str = "vector") -> Any:
    return table.search([0.0, 1.0], vector_column_name=column)


def numbers(result: Any) -> list[int]:
    column: list[int] = result.column("n").to_pylist()
    return column


def test_a_hybrid_query_is_in_the_rerankers_order(
    table: Any, reranker: ResiftReranker, in_one_runtime: Reranker
) -> None:
    result = hybrid(table).rerank(reranker).limit(10).to_arrow()
    expected = in_one_runtime.rank(QUERY, TEXTS)
    assert numbers(result) == [*(hit.index for hit in expected), 5]
    scores = result.column("_relevance_score")
    assert scores.type == pa.float32()
    assert scores.to_pylist()[:-1] == pytest.approx([hit.score for hit in expected], abs=1e-3)
    assert scores.to_pylist()[-1] is None
    assert result.column_names == [*table.schema.names, "_relevance_score"]
    stored = {row["n"]: row for row in table.to_arrow().to_pylist()}
    for row in result.to_pylist():
        del row["_relevance_score"]
        assert row == stored[row["n"]]


def test_vector_and_full_text_queries_are_in_the_rerankers_order(
    table: Any, reranker: ResiftReranker, in_one_runtime: Reranker
) -> None:
    by_vector = nearest(table).rerank(reranker, query_string=QUERY).limit(3).to_arrow()
    assert numbers(by_vector) == [hit.index for hit in in_one_runtime.rank(QUERY, TEXTS[:3])]
    by_words = table.search(QUERY, query_type="fts").rerank(reranker).limit(10).to_arrow()
    words = [1, 2, 4]
    ranked = in_one_runtime.rank(QUERY, [Document(str(n), TEXTS[n]) for n in words])
    assert numbers(by_words) == [int(hit.id) for hit in ranked]
    assert not SCORES & {*by_vector.column_names, *by_words.column_names}


def test_all_scores_are_kept_on_request(table: Any, in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(reranker=in_one_runtime, return_score="all")
    result = hybrid(table).rerank(reranker).limit(10).to_arrow()
    plain = {row["n"]: row for row in nearest(table).limit(10).to_arrow().to_pylist()}
    words = table.search(QUERY, query_type="fts").limit(10).to_arrow().to_pylist()
    scores = {row["n"]: row["_score"] for row in words}
    for row in result.to_pylist():
        assert row["_distance"] == plain[row["n"]]["_distance"]
        assert row["_score"] == scores.get(row["n"])
    for single in (
        nearest(table).rerank(reranker, query_string=QUERY),
        table.search(QUERY, query_type="fts").rerank(reranker),
    ):
        assert SCORES & set(single.limit(3).to_arrow().column_names)


def test_rows_of_a_hybrid_query_are_there_once_with_both_of_their_scores(
    table: Any, reranker: ResiftReranker
) -> None:
    by_vector = nearest(table).with_row_id(True).limit(6).to_arrow()
    by_words = table.search(QUERY, query_type="fts").with_row_id(True).limit(6).to_arrow()
    before = by_vector.to_pylist(), by_words.to_pylist()
    keeping = ResiftReranker(reranker=Reversing(), return_score="all")
    for vector_results, fts_results in ((by_vector, by_words), (by_vector, by_words.slice(0, 0))):
        result = keeping.rerank_hybrid(QUERY, vector_results, fts_results)
        assert sorted(numbers(result)) == [0, 1, 2, 3, 4, 5]
    assert (by_vector.to_pylist(), by_words.to_pylist()) == before
    result = keeping.rerank_hybrid(QUERY, by_vector, by_words)
    both = [row["n"] for row in result.to_pylist() if None not in (row["_score"], row["_distance"])]
    assert sorted(both) == sorted(numbers(by_words))


def test_without_time_the_order_is_lancedbs_default(table: Any, in_one_runtime: Reranker) -> None:
    reranker = ResiftReranker(reranker=in_one_runtime, budget_ms=0, return_status=True)
    query = "how to reset a password that nobody asked for yet"
    result = hybrid(table, query).rerank(reranker).limit(10).to_arrow()
    default = hybrid(table, query).limit(10).to_arrow()
    assert numbers(result)[:-1] == [n for n in numbers(default) if n != 5]
    assert result.column("_relevance_score").null_count == len(result)
    assert set(result.column("_relevance_status").to_pylist()[:-1]) == {"late"}
    receipt = json.loads(result.schema.metadata[b"resift.receipt"])
    assert receipt["partial"] and receipt["reason"] == "time was up"


def test_the_receipt_comes_with_the_table(table: Any, reranker: ResiftReranker) -> None:
    query = hybrid(table).rerank(reranker).limit(10)
    receipt = json.loads(query.to_arrow().schema.metadata[b"resift.receipt"])
    assert (receipt["depth"], receipt["scored"], receipt["skipped"]) == (6, 5, 1)
    assert receipt["fingerprint"] == reranker.rank(QUERY, query.to_arrow()).receipt.fingerprint


def test_multi_vector_searches_are_ranked_together(
    table: Any, reranker: ResiftReranker, in_one_runtime: Reranker
) -> None:
    searches = [nearest(table, name).with_row_id(True).limit(2) for name in ("vector", "other")]
    tables = [search.to_arrow() for search in searches]
    everything = reranker.rerank_multivector(searches, QUERY)
    assert len(everything) == 4 == len(reranker.rerank_multivector(tables, QUERY))
    once = reranker.rerank_multivector(tables, QUERY, deduplicate=True)
    rows = list(dict.fromkeys(n for result in tables for n in numbers(result)))
    ranked = in_one_runtime.rank(QUERY, [Document(str(n), TEXTS[n]) for n in rows])
    assert numbers(once) == [int(hit.id) for hit in ranked]
    assert len(reranker.rerank_multivector(tables[0], QUERY)) == 2
    with pytest.raises(InputError, match=r"with_row_id\(True\)"):
        reranker.rerank_multivector([nearest(table).limit(2).to_arrow()], QUERY, deduplicate=True)


def test_asynchronous_queries_give_the_same(table: Any, reranker: ResiftReranker) -> None:
    async def search() -> Any:
        connection = await lancedb.connect_async(Path(table.to_lance().uri).parent)
        query = (await connection.open_table("texts")).query()
        query = query.nearest_to([0.0, 1.0]).column("vector").nearest_to_text(QUERY)
        return await query.rerank(reranker).limit(10).to_arrow()

    assert numbers(asyncio.run(search())) == numbers(
        hybrid(table).rerank(reranker).limit(10).to_arrow()
    )


def test_options_of_the_reranker(table: Any, in_one_runtime: Reranker) -> None:
    ranker: Any = in_one_runtime
    first = ResiftReranker(reranker=ranker, top_n=2)
    assert numbers(hybrid(table).rerank(first).limit(10).to_arrow()) == [
        hit.index for hit in ranker.rank(QUERY, TEXTS, top_n=2)
    ]
    sure = hybrid(table).rerank(ResiftReranker(reranker=ranker, min_score=0.2)).limit(10)
    assert numbers(sure.to_arrow()) == [h.index for h in ranker.rank(QUERY, TEXTS, min_score=0.2)]
    titled = ResiftReranker(reranker=Reversing(), title="text", column="text")
    assert len(hybrid(table).rerank(titled).limit(10).to_arrow()) == 6


def test_any_ranker_and_copies(table: Any) -> None:
    reranker = pickle.loads(pickle.dumps(ResiftReranker()))
    result = hybrid(table).rerank(reranker).limit(10).to_arrow()
    assert numbers(result)[0] == 2
    backwards = ResiftReranker(reranker=Reversing())
    result = nearest(table).rerank(backwards, query_string=QUERY).limit(3).to_arrow()
    assert numbers(result) == [2, 1, 0]


def test_queries_that_are_objects(table: Any, reranker: ResiftReranker) -> None:
    from lancedb.query import BoostQuery, MatchQuery

    match = MatchQuery(QUERY, "text")
    result = table.search(match, query_type="fts").rerank(reranker).limit(10).to_arrow()
    assert numbers(result)[0] == 2
    boost = BoostQuery(match, MatchQuery("soup", "text"))
    with pytest.raises(InputError, match="expected text, or a MatchQuery"):
        table.search(boost, query_type="fts").rerank(reranker).limit(10).to_arrow()
    with pytest.raises(InputError, match="query_string"):
        reranker.rerank_multivector(nearest(table).limit(2).to_arrow())


def test_no_rows_and_odd_arguments(table: Any, reranker: ResiftReranker) -> None:
    for empty in (
        hybrid(table).where("n > 99").rerank(reranker),
        nearest(table).where("n > 99").rerank(reranker, query_string=QUERY),
        table.search("nowhere", query_type="fts").rerank(reranker),
    ):
        result = empty.limit(5).to_arrow()
        assert len(result) == 0 and "_relevance_score" in result.column_names
    with pytest.raises(InputError, match=r"column='body': the result has vector, other, text"):
        hybrid(table).rerank(ResiftReranker(reranker=Reversing(), column="body")).to_arrow()
    with pytest.raises(QueryError, match="empty"):
        nearest(table).rerank(reranker, query_string=" ").to_arrow()
    for options in ({"top_n": 0}, {"budget_ms": -1}, {"min_score": 2}, {"reranker": "a name"}):
        with pytest.raises(InputError, match=next(iter(options))):
            ResiftReranker(**options)
    with pytest.raises(ValueError, match="relevance"):
        ResiftReranker(return_score="some")


def test_lancedb_and_the_lance_of_resifts_index_live_in_one_process(
    table: Any, tmp_path: Path
) -> None:
    from index.fakes import HashingEmbedder
    from resift import Index

    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("# Password\n\nReset it under Settings.")
    index = Index(str(tmp_path / "index"), embedder=HashingEmbedder())
    index.sync(str(tmp_path / "documents"))
    assert index.search(QUERY, rerank=False)[0].id
    assert len(hybrid(table).limit(10).to_arrow()) == 6
    assert table.to_lance().count_rows() == 6
