"""SQLite as a first stage: FTS5 tables of each kind and vec0 tables, no word of a question is
syntax, connections are read-only and used by one call at a time, and errors tell what to do.
"""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from resift import TwoStage
from resift.errors import InputError
from resift.retrievers.names import open_retriever
from resift.retrievers.sqlite import SqliteRetriever
from search.stand_ins import Backwards

LOADS_EXTENSIONS = hasattr(sqlite3.Connection, "enable_load_extension")
ROWS = [
    (11, "d1", "Buckets", "A bucket has an owner.", "en", [1.0, 0.0]),
    (
        12,
        "d2",
        "Locks",
        "Object lock keeps an object from being deleted NEAR a date.",
        "en",
        [0, 1],
    ),
    (13, "d3", None, "Functions run code when an event comes in.", "de", [1, 1]),
    (14, "d4", "Queues", "A queue keeps messages until a worker has handled them.", "de", [1, 3]),
    (15, "d5", "Empty", None, "en", None),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a 'b' 50%?.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            'CREATE TABLE "my ""docs" (number INTEGER PRIMARY KEY, name, title, body, lang)'
        )
        connection.execute(
            'CREATE VIRTUAL TABLE "docs fts" USING '
            "fts5(title, body, content='my \"docs', content_rowid='number', tokenize='porter')"
        )
        connection.execute("CREATE VIRTUAL TABLE notes USING fts5(name UNINDEXED, body)")
        connection.executemany('INSERT INTO "my ""docs" VALUES (?,?,?,?,?)', [r[:5] for r in ROWS])
        connection.executemany("INSERT INTO notes VALUES (?, ?)", [(r[1], r[3]) for r in ROWS])
        connection.execute("""INSERT INTO "docs fts" ("docs fts") VALUES ('rebuild')""")
        connection.commit()
    return file


def retriever(database: Any, **more: Any) -> SqliteRetriever:
    arguments = {
        "table": 'my "docs', "fts": "docs fts", "id": "name", "text": "body", "title": "title",
        "metadata": ["lang"], "rowid": "number",
    }  # fmt: skip
    return SqliteRetriever(database, **{**arguments, **more})


@pytest.fixture
def retrieve(path: Path) -> Iterator[SqliteRetriever]:
    with closing(retriever(path)) as opened:
        yield opened


def ids(candidates: Any) -> list[str]:
    return [candidate.id for candidate in candidates]


def test_a_question_finds_rows_that_lack_most_of_its_words(retrieve: SqliteRetriever) -> None:
    candidates = retrieve("which feature locks an object against deletion by mistake?", 3)
    assert ids(candidates) == ["d2"]
    first = candidates[0]
    assert (first.title, first.metadata, first.rank) == ("Locks", {"lang": "en"}, 1)
    assert first.text == ROWS[1][3] and type(first.score) is float and first.score > 0


def test_the_order_is_that_of_bm25(path: Path, retrieve: SqliteRetriever) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            'SELECT rowid, -bm25("docs fts") FROM "docs fts" '
            'WHERE "docs fts" MATCH ? ORDER BY rank',
            ["keeps OR worker OR date"],
        ).fetchall()
    candidates = retrieve("keeps worker date", 5)
    names = {row[0]: row[1] for row in ROWS}
    assert [(c.id, c.score) for c in candidates] == [(names[row], score) for row, score in rows]
    assert len(rows) == 2 and ids(retrieve("keeps worker date", 1)) == [names[rows[0][0]]]


@pytest.mark.parametrize(
    "query",
    ["NEAR", "NEAR(object", "object AND", "OR NOT object", '"object', "object*", "^object ", "{",
     "body:object", "object - + ^", "'object'; DROP TABLE notes; --", "\0object", "o\0bject object",
     "???", "(", "object/lock", "\ud800 object"],
)  # fmt: skip
def test_nothing_in_a_question_is_syntax(retrieve: SqliteRetriever, query: str) -> None:
    expected = ["d2"] if "object" in query or "NEAR" in query else []
    assert ids(retrieve(query, 3)) == expected


def test_a_table_of_fts5_has_its_own_content(path: Path) -> None:
    with closing(SqliteRetriever(path, "notes", fts="notes", id="name", text="body")) as opened:
        assert ids(opened("object?", 3)) == ["d2"]
    with closing(SqliteRetriever(path, "notes", fts="notes", text="body")) as opened:
        assert ids(opened("object?", 3)) == ["2"]  # its rowid


def test_a_lexical_search_encodes_no_query(path: Path) -> None:
    never = retriever(path, vectors="vectors", embed=lambda query: [1 / 0], mode="lexical")
    with closing(never) as opened:
        assert ids(opened("object", 1)) == ["d2"]


def test_a_condition_has_its_parameters(path: Path) -> None:
    with closing(retriever(path, where="lang = ? OR 0", parameters=["de"])) as opened:
        assert ids(opened("object keeps", 5)) == ["d4"]


def test_it_writes_nothing(path: Path) -> None:
    with closing(retriever(path)) as opened, opened._connections.use() as connection:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM notes")


def test_threads_share_a_path_and_close_closes_its_connections(path: Path) -> None:
    opened = retriever(path)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: ids(opened("object", 1)), range(40)))
    assert results == [["d2"]] * 40
    with opened._connections.use() as connection:
        pass
    opened.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert ids(opened("object", 1)) == ["d2"]
    opened.close()


def test_a_given_connection_stays_open_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        connection.row_factory = sqlite3.Row
        opened = retriever(connection)
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda _: ids(opened("object", 1)), range(40)))
        opened.close()
        assert results == [["d2"]] * 40
        assert isinstance(connection.execute("SELECT 1 AS a").fetchone(), sqlite3.Row)


def test_a_connection_of_another_thread_is_told_about(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        stages = TwoStage(retriever(connection), Backwards())
        assert ids(stages.search("object")) == ["d2"]
        with pytest.raises(InputError, match="check_same_thread=False"):
            stages.search("object", budget_ms=60_000)  # in another thread


def test_a_name_opens_it(path: Path) -> None:
    plain = path.rename(path.with_name("plain.db"))
    opened: Any = open_retriever(f"sqlite:{plain}?table=notes&id=name&text=body")
    assert ids(opened("object", 1)) == ["d2"] and opened.name == "lexical of notes in plain.db"
    opened.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mode": "dense"}, "vectors= and embed="), ({"fts": None}, "nothing to search with"),
     ({"database": "missing.db"}, "no such file"), ({"database": 3}, "path or a connection"),
     ({"table": "a\0b"}, "table"), ({"metadata": "lang"}, "metadata"), ({"embed": 3}, "embed"),
     ({"parameters": [1]}, "parameters"), ({"mode": "both"}, "mode")],
)  # fmt: skip
def test_invalid_arguments_are_told(path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        retriever(**{"database": path, **arguments})


@pytest.mark.skipif(LOADS_EXTENSIONS, reason="this Python loads extensions")
def test_a_python_without_extensions_is_told_about(path: Path) -> None:
    pytest.importorskip("sqlite_vec")
    opened = retriever(path, vectors="vectors", embed=lambda query: [1, 0])
    with pytest.raises(InputError, match="loads no extensions"):
        opened("object", 1)


def test_a_given_connection_without_sqlite_vec_is_told_about(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        opened = retriever(connection, vectors="vectors", embed=lambda query: [1, 0])
        with pytest.raises(InputError, match="sqlite_vec"):
            opened("object", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"fts": 'my "docs'}, "no FTS5 table"),
     ({"text": "boddy"}, "'boddy': no column of my .*; name its columns by id=")],
)  # fmt: skip
def test_wrong_names_in_the_database_are_told(
    path: Path, arguments: dict[str, Any], message: str
) -> None:
    with closing(retriever(path, **arguments)) as opened:
        with pytest.raises(InputError, match=message):
            opened("object", 1)


@pytest.fixture
def with_vectors(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vec0 table; where Python's sqlite3 loads no extensions, another build of it does."""
    package = pytest.importorskip("sqlite_vec")
    driver: Any = sqlite3
    if not LOADS_EXTENSIONS:
        driver = pytest.importorskip("pysqlite3.dbapi2")
        monkeypatch.setattr("resift.retrievers.sqlite.sqlite3", driver)
    with closing(driver.connect(str(path))) as connection:
        connection.enable_load_extension(True)
        package.load(connection)
        connection.execute(
            "CREATE VIRTUAL TABLE vectors USING vec0(embedding float[2] distance_metric=cosine)"
        )
        rows = [(row[0], package.serialize_float32(row[5])) for row in ROWS if row[5]]
        connection.executemany("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", rows)
        connection.commit()
    return path


def vectors(path: Path, embed: Callable[[str], list[float]], **more: Any) -> SqliteRetriever:
    return retriever(path, vectors="vectors", embed=embed, **more)


def test_dense_search_orders_by_distance(with_vectors: Path) -> None:
    with closing(vectors(with_vectors, lambda query: [1, 0], mode="dense")) as opened:
        candidates = opened("anything", 9)
    assert ids(candidates) == ["d1", "d3", "d4", "d2"]
    assert candidates[0].score == pytest.approx(0) and candidates[-1].score == pytest.approx(-1)


def test_a_condition_filters_before_the_nearest_are_chosen(with_vectors: Path) -> None:
    filters = {"where": "lang = ?", "parameters": ["de"], "mode": "dense"}
    with closing(vectors(with_vectors, lambda query: [1, 0], **filters)) as opened:
        assert ids(opened("anything", 1)) == ["d3"]


def test_both_are_fused_by_rank_and_a_zero_vector_is_near_nothing(with_vectors: Path) -> None:
    with closing(vectors(with_vectors, lambda query: [0, 1])) as opened:
        assert ids(opened("object lock", 2)) == ["d2", "d4"]
        assert opened.name.startswith("hybrid of")
        assert len(opened("object", 2_000)) == 4  # more than sqlite-vec returns at once
    with closing(vectors(with_vectors, lambda query: [0, 0])) as opened:
        assert ids(opened("object lock", 2)) == ["d2"]
