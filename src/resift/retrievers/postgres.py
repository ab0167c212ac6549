"""PostgreSQL as a first stage: full-text search, and nearest vectors by pgvector.

A question is searched for any of its words. ``websearch_to_tsquery`` and ``plainto_tsquery`` look
for rows with all words, and most questions have a word that their answer lacks.
"""

import selectors
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from resift.errors import InputError
from resift.extras import require
from resift.index.analysis.spec import ENGLISH
from resift.rerank.options import checked_flag
from resift.retrievers.arguments import (
    checked_choice_of,
    checked_field,
    optional_field,
    question,
)
from resift.retrievers.connections import GivenConnection, OpenedConnections
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.rows import by_mode, checked_columns, checked_where, quoted
from resift.retrievers.spec import SpecOptions
from resift.retrievers.words import MAX_WORDS
from resift.search.options import Mode
from resift.types import Candidate

psycopg: Any = require("psycopg", "postgres")

_DOCUMENT = "resift_document"
_OPERATORS = {"cosine": "<=>", "l2": "<->", "inner": "<#>"}

_SET_EF_SEARCH = (
    "SELECT set_config('hnsw.ef_search', greatest(coalesce(current_setting('hnsw.ef_search', true),"
    " '40')::int, least(%s, 1000))::text, true)"
)
"""An HNSW index returns no more rows than this setting: 40 by default, 1,000 at most."""

_SET_ITERATIVE_SCAN = (
    "SELECT set_config('hnsw.iterative_scan', 'strict_order', true) FROM pg_extension "
    "WHERE extname = 'vector' AND string_to_array(extversion, '.')::int[] >= '{0,8}'"
)
"""Without, an index looks for the nearest rows first, and the condition then removes some."""


class PostgresRetriever:
    """Rows of a table, found by full-text search, by pgvector, or both. Threads may share it.

    Rows with more of the question's words come first, of these those with the higher
    ``ts_rank_cd``; the score is the number of words plus the rank, which is below 1. With
    `websearch`, the question is one of ``websearch_to_tsquery``, with its quotes, ``or`` and minus,
    and a row has all of its words. The score of dense search is the negative of the distance; of
    both it is the reciprocal rank fusion of the two orders.

    With a connection string, each running call has a connection, opened for reading only and used
    again; `close` closes them. A connection that is given is used by one call at a time, in a
    transaction, or a savepoint of yours; a pool of psycopg_pool lends one to each. Both stay open.
    """

    def __init__(
        self,
        connection: Any,
        table: str,
        *,
        text: str = "text",
        id: str = "id",
        title: str | None = None,
        metadata: Sequence[str] = (),
        search: str | None = None,
        vector: str | None = None,
        embed: Embed | None = None,
        mode: Mode | None = None,
        language: str = ENGLISH,
        websearch: bool = False,
        distance: str = "cosine",
        where: str | None = None,
        parameters: Sequence[Any] = (),
    ) -> None:
        """Open nothing yet.

        `connection` is a connection string, a ``psycopg.Connection`` or a
        ``psycopg_pool.ConnectionPool``. `table` may be ``schema.table``. `search` is the tsvector
        column with an index; without one, ``to_tsvector`` reads title and text of every row for
        every question. `language` is its text search configuration. `vector` is the column of
        pgvector, `distance` (cosine, l2 or inner) that of its index, and `embed` encodes the query
        as the stored vectors were.

        `mode` is by default hybrid with `vector` and `embed`, else lexical. `where` is a condition
        in SQL, and `parameters` the values of its ``%s``.

        Raises `InputError` for invalid arguments.
        """
        self._table = checked_field("table", table)
        self._columns = checked_columns(id, text, title, metadata)
        self._search = optional_field("search", search)
        self._vector = optional_field("vector", vector)
        check_embed(embed)
        self._embed = embed
        missing = None if vector is not None and embed is not None else "vector= and embed="
        self._mode = checked_mode(mode, dense=missing, lexical=None)
        self._language = checked_field("language", language)
        self._websearch = checked_flag("websearch", websearch)
        self._distance = checked_choice_of("distance", distance, tuple(_OPERATORS))
        self._where, self._parameters = checked_where(where, parameters)
        self._connections = _connections(connection)

    def __repr__(self) -> str:
        return f"<PostgresRetriever {self.name}>"

    @property
    def name(self) -> str:
        """The mode and the table; nothing of the connection string."""
        return f"{self._mode} of {self._table} in PostgreSQL"

    def __call__(self, query: str, k: int) -> list[Candidate]:
        """The best `k` rows, best first. Raises ``psycopg.Error``, the errors of `embed`."""
        query = question(query)
        vector = None if self._mode == "lexical" else query_vector(self._embed, query)
        text = query.replace("\0", " ")
        with self._connections.use() as connection, connection.transaction():
            with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
                return by_mode(
                    self._mode,
                    k,
                    lambda count: self._lexical(cursor, text, count),
                    lambda count: self._dense(cursor, vector, count),
                )

    def close(self) -> None:
        """Close the connections that this object has opened; a later call opens them again."""
        self._connections.close()

    def _lexical(self, cursor: Any, query: str, k: int) -> list[Candidate]:
        """The best rows for the words of a question; none if it has none but stop words."""
        document, lexemes = self._document(), list[str]()
        score = f"ts_rank_cd({document}, %s::tsquery, 33)"  # 33: over 1 + log(length), below 1
        if self._websearch:
            sql = "SELECT websearch_to_tsquery(%s::regconfig, %s)::text"
            wanted = cursor.execute(sql, [self._language, query]).fetchone()[0]
        else:
            lexemes = _lexemes(cursor, self._language, query)
            wanted = " | ".join(lexemes)
            score = (
                f"(SELECT count(*) FROM unnest(%s::tsquery[]) w WHERE {document} @@ w) + {score}"
            )
        if not wanted:
            return []
        sql = (
            f"SELECT {self._names()}, {score} AS score FROM {self._source()} AS t "
            f"WHERE {document} @@ %s::tsquery{self._and()} "
            f"ORDER BY score DESC, t.{_quoted(self._columns.id)} LIMIT %s"
        )
        words = [] if self._websearch else [lexemes]
        language = [] if self._search is not None else [self._language]
        values = [*words, wanted, *language, wanted, *self._parameters, k]
        return self._columns.candidates(cursor.execute(sql, values).fetchall())

    def _dense(self, cursor: Any, vector: list[float] | None, k: int) -> list[Candidate]:
        """The nearest rows; none for the zero vector of a query that the embedder cannot read."""
        if vector is None or self._vector is None:
            return []
        cursor.execute(_SET_EF_SEARCH, [k])
        if self._where is not None:
            cursor.execute(_SET_ITERATIVE_SCAN)
        column = f"t.{_quoted(self._vector)}"
        distance = f"{column} {_OPERATORS[self._distance]} %s"
        sql = (
            f"SELECT {self._names()}, -({distance}) AS score FROM {_table(self._table)} AS t "
            f"WHERE {column} IS NOT NULL{self._and()} ORDER BY {distance} LIMIT %s"
        )
        text = f"[{','.join(map(repr, vector))}]"  # of no type, so that halfvec columns match too
        rows = cursor.execute(sql, [text, *self._parameters, text, k])
        return self._columns.candidates(rows.fetchall())

    def _names(self) -> str:
        return ", ".join(f"t.{_quoted(name)}" for name in self._columns.names)

    def _document(self) -> str:
        return f"t.{_quoted(_DOCUMENT if self._search is None else self._search)}"

    def _source(self) -> str:
        """The table; without a tsvector column, with one that is made of each row once."""
        if self._search is not None:
            return _table(self._table)
        title = self._columns.title
        names = [name for name in (title, self._columns.text) if name is not None]
        text = " || ' ' || ".join(f"coalesce({_quoted(name)}::text, '')" for name in names)
        document = f"to_tsvector(%s::regconfig, {text}) AS {_DOCUMENT}"
        return f"(SELECT *, {document} FROM {_table(self._table)} OFFSET 0)"

    def _and(self) -> str:
        return "" if self._where is None else f" AND ({self._where})"


class _PoolConnections:
    """The connections of a pool of psycopg_pool, which stays open."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def use(self) -> AbstractContextManager[Any]:
        """A connection of the pool."""
        connection: AbstractContextManager[Any] = self._pool.connection()
        return connection

    def close(self) -> None:
        """Nothing: the caller closes the pool."""


def from_spec(target: str, options: SpecOptions) -> PostgresRetriever:
    """``postgresql://HOST/DB?table=docs&text=body``; other options are libpq's, as ``sslmode``."""
    table = options.required("table", "docs")
    arguments = options.given(
        "text", "id", "title", "search", "vector", "mode", "language", "distance", "where"
    )
    metadata, embed = options.names("metadata"), options.embedder()
    names = options.others()
    try:
        connection = psycopg.conninfo.make_conninfo(target, **names)
    except psycopg.Error:  # its message may have a part of the password
        raise InputError(
            f"{options.engine}: the URL or one of {', '.join(names) or 'its parts'} is not valid"
        ) from None
    return PostgresRetriever(connection, table, metadata=metadata, embed=embed, **arguments)


def _connections(
    connection: Any,
) -> OpenedConnections[Any] | GivenConnection[Any] | _PoolConnections:
    if isinstance(connection, str):
        return OpenedConnections(
            lambda: _opened(connection), lambda opened: opened.close(), _is_alive
        )
    if hasattr(connection, "getconn"):
        return _PoolConnections(connection)
    if isinstance(connection, psycopg.Connection):
        return GivenConnection(connection)
    raise InputError(
        f"connection: expected a connection string, a psycopg.Connection or a ConnectionPool, got "
        f"{type(connection).__name__}"
    )


def _opened(connection_string: str) -> Any:
    connection = psycopg.connect(connection_string, autocommit=True)
    connection.read_only = True
    return connection


def _is_alive(connection: Any) -> bool:
    """Whether a server has not ended an idle connection, which then has bytes to read."""
    if connection.closed:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return not selector.select(0)


def _lexemes(cursor: Any, language: str, query: str) -> list[str]:
    """The words of a question as the text search configuration has them, without stop words."""
    sql = "SELECT lexeme FROM unnest(to_tsvector(%s::regconfig, %s)) LIMIT %s"
    rows = cursor.execute(sql, [language, query, MAX_WORDS]).fetchall()
    return [_lexeme(row[0]) for row in rows]


def _lexeme(lexeme: str) -> str:
    """A lexeme in the text of a tsquery."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(name: str) -> str:
    """An identifier for psycopg, where a percent sign begins a placeholder."""
    return quoted(name).replace("%", "%%")


def _table(name: str) -> str:
    return ".".join(map(_quoted, name.split(".")))
