"""DuckDB as a first stage, with the real package: BM25 in SQL has the scores of BM25, nothing in a
question or a name is syntax, tables, views and Parquet are read, and nothing is written.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resift.errors import InputError
from resift.index.table.bm25 import weights
from resift.retrievers.names import open_retriever

duckdb = pytest.importorskip("duckdb")

from resift.retrievers.duckdb import DuckDbRetriever  # noqa: E402 - needs duckdb

ROWS = [
    ("d1", "Buckets", "A bucket has an Owner.", "en", [1, 0]),
    ("d2", "Locks", "Object lock keeps an object from being deleted until a date.", "en", [0, 1]),
    ("d3", None, "Functions run code when an event comes in.", "de", [1, 1]),
    ("d4", "Queues", "A queue keeps messages until a worker has handled them.", "de", [1, 3]),
    ("d5", "Empty", None, "en", None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "docs.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            'CREATE TABLE docs (id VARCHAR, "the ""title" VARCHAR, body VARCHAR, lang VARCHAR, '
            "v FLOAT[2])"
        )
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?)", ROWS)
        connection.execute(f"COPY docs TO '{tmp_path / 'docs.parquet'}'")
    return file


@pytest.fixture
def connection(path: Path) -> Iterator[Any]:
    with duckdb.connect(str(path), read_only=True) as opened:
        yield opened


def retriever(database: Any, **more: Any) -> DuckDbRetriever:
    arguments = {"table": "docs", "text": "body", "metadata": ["lang"]}
    return DuckDbRetriever(database, **{**arguments, **more})


def ids(candidates: Any) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_the_scores_are_those_of_bm25(connection: Any) -> None:
    candidates = retriever(connection)("until a worker keeps an object", 5)
    texts = {row[0]: (row[2] or "").lower().replace(".", "").split() for row in ROWS}
    terms = ["until", "worker", "keeps", "object"]
    counts = {term: sum(term in text for text in texts.values()) for term in terms}
    weight = weights(counts, len(texts), sum(map(len, texts.values())))
    scores = {name: weight.score(text) for name, text in texts.items()}
    assert ids(candidates) == sorted((n for n in scores if scores[n]), key=lambda n: -scores[n])
    for candidate in candidates:
        assert candidate.score == pytest.approx(scores[candidate.id])
        assert type(candidate.score) is float
    assert candidates[0].metadata in ({"lang": "de"}, {"lang": "en"})
    assert [candidate.rank for candidate in candidates] == [1, 2]


def test_a_title_is_searched_too(connection: Any) -> None:
    first = retriever(connection, title='the "title')("queues", 1)[0]
    assert (first.id, first.title) == ("d4", "Queues")


@pytest.mark.parametrize(
    "query", ["'", "object'; DROP TABLE docs; --", '"object', "object \\pL [", "\0object", "? ! $1"]
)
def test_nothing_in_a_question_is_syntax(connection: Any, query: str) -> None:
    assert ids(retriever(connection)(query, 3)) == (["d2"] if "object" in query else [])


def test_a_lexical_search_encodes_no_query(connection: Any) -> None:
    never = retriever(connection, vector="v", embed=lambda query: [1 / 0], mode="lexical")
    assert never("object", 1) == retriever(connection)("object", 1) != []


def test_a_condition_has_its_parameters(connection: Any) -> None:
    retrieve = retriever(connection, where="lang = ?", parameters=["de"])
    assert ids(retrieve("object keeps", 5)) == ["d4"]
    dense = retriever(
        connection, where="lang = ?", parameters=["de"], vector="v", embed=lambda query: [1, 0]
    )
    assert ids(dense("nonsense", 5)) == ["d3", "d4"]


def test_dense_search_orders_by_distance_and_leaves_rows_without_a_vector_out(
    connection: Any,
) -> None:
    retrieve = retriever(connection, vector="v", embed=lambda query: [1, 0], mode="dense")
    candidates = retrieve("anything", 9)
    assert ids(candidates) == ["d1", "d3", "d4", "d2"]
    assert candidates[0].score == pytest.approx(0) and candidates[-1].score == pytest.approx(-1)


def test_both_are_fused_by_rank(connection: Any) -> None:
    retrieve = retriever(connection, vector="v", embed=lambda query: [0, 1])
    assert ids(retrieve("object lock", 2)) == ["d2", "d4"]
    assert retrieve.name == "hybrid of docs in DuckDB"


def test_a_path_is_opened_for_reading_and_again_after_close(path: Path) -> None:
    retrieve = retriever(path)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: ids(retrieve("object", 1)), range(20)))
    assert results == [["d2"]] * 20
    retrieve.close()
    with duckdb.connect(str(path)) as writer:  # nothing holds the file any more
        writer.execute("DELETE FROM docs WHERE id = 'd2'")
    assert retrieve("object", 1) == []
    retrieve.close()


def test_a_given_connection_is_shared_and_stays_open(connection: Any) -> None:
    retrieve = retriever(connection)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: ids(retrieve("object", 1)), range(20)))
    assert results == [["d2"]] * 20
    retrieve.close()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_names_open_tables_and_parquet(path: Path) -> None:
    for spec in (f"{path}?table=main.docs&text=body", f"{path.parent / 'docs.parquet'}?text=body"):
        retrieve: Any = open_retriever(f"duckdb:{spec}")
        assert ids(retrieve("object", 3)) == ["d2"]
        retrieve.close()


def test_a_missing_extension_is_told(connection: Any) -> None:
    try:
        connection.execute("LOAD fts")
    except duckdb.Error:
        with pytest.raises(InputError, match="INSTALL fts"):
            retriever(connection, fts="fts_main_docs")("object", 1)
    else:
        pytest.skip("the extension is installed here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mode": "dense"}, "vector= and embed="), ({"distance": "far"}, "distance"),
     ({"table": ""}, "table"), ({"database": "missing.db"}, "no such file"),
     ({"database": 7}, "path or a connection")],
)  # fmt: skip
def test_invalid_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        retriever(**{"database": ":memory:", **arguments})
