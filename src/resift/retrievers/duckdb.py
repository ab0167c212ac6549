"""DuckDB as a first stage: BM25 and nearest vectors over a table, a view or a file of Parquet.

BM25 is plain SQL: the extension fts has to be downloaded, and its index does not follow changes of
the table. Every question reads all texts.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resift.errors import InputError, shown
from resift.extras import require
from resift.index.analysis.spec import ENGLISH
from resift.retrievers.arguments import checked_choice_of, checked_field, optional_field, question
from resift.retrievers.connections import SharedConnection
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.rows import by_mode, checked_columns, checked_where, quoted
from resift.retrievers.spec import SpecOptions
from resift.retrievers.words import question_words
from resift.search.options import Mode
from resift.types import Candidate

duckdb: Any = require("duckdb", "duckdb")

_WORD = r"[\pL\pM\pN]+"
_DISTANCES = {
    "cosine": "array_cosine_distance",
    "l2": "array_distance",
    "inner": "array_negative_inner_product",
}

_BM25 = """
WITH texts AS (SELECT {id} AS number, regexp_extract_all({text}, '{word}') AS words FROM {source}),
statistics AS (SELECT count(*) AS texts, greatest(avg(len(words)), 1) AS mean FROM texts),
matches AS (SELECT number, any_value(length) AS length, word, count(*) AS frequency FROM
  (SELECT number, len(words) AS length, unnest(words) AS word FROM texts)
  WHERE word IN (SELECT unnest(?::VARCHAR[])) GROUP BY number, word),
weights AS (SELECT word, ln(1 + (any_value(texts) - count(*) + 0.5) / (count(*) + 0.5)) AS idf
  FROM matches, statistics GROUP BY word)
SELECT number, sum(idf * 2.2 * frequency / (frequency + 1.2 * (0.25 + 0.75 * length / mean)))
  AS score
FROM matches JOIN weights USING (word), statistics GROUP BY number
ORDER BY score DESC, number LIMIT ?
"""
"""With k1 = 1.2 and b = 0.75, as in `resift.index.table.bm25`. Ids must be distinct."""


class DuckDbRetriever:
    """Rows of a table, found by BM25, by their vectors, or both. Threads may share it.

    Without `fts`, words are runs of letters and digits, in lower case and not stemmed, and scores
    are of BM25 over the rows that `where` lets through, as they are now. The score of dense search
    is the negative of the distance; of both it is the reciprocal rank fusion of the two orders.

    With a path, the first call opens a connection for reading only; `close` closes it. Each call
    has a cursor of the connection, opened or given, so that calls run side by side; `close` lets
    them end. A connection that is given stays open. A forked child opens the path again.
    """

    def __init__(
        self,
        database: Any,
        table: str,
        *,
        text: str = "text",
        id: str = "id",
        title: str | None = None,
        metadata: Sequence[str] = (),
        fts: str | None = None,
        vector: str | None = None,
        embed: Embed | None = None,
        mode: Mode | None = None,
        language: str = ENGLISH,
        distance: str = "cosine",
        where: str | None = None,
        parameters: Sequence[Any] = (),
    ) -> None:
        """Open nothing yet.

        `database` is a path or a connection; `table` the name of a table or view, or the path of a
        ``.parquet`` file. `fts` is the schema that ``PRAGMA create_fts_index`` made, such as
        ``fts_main_docs``: then ``match_bm25`` searches, with its stems, for rows as they were then.
        `vector` is a column ``FLOAT[n]`` with n numbers in each row, `distance` is cosine, l2 or
        inner, and `embed` encodes the query as the stored vectors were; an HNSW index of the
        extension vss is used if there is one and no `where`.

        `mode` is by default hybrid with `vector` and `embed`, else lexical. In an English
        `language` the stop words of a question are not searched for. `where` is a condition in SQL,
        and `parameters` the values of its question marks.

        Raises `InputError` for invalid arguments and for a file that does not exist.
        """
        self._table = checked_field("table", table)
        self._columns = checked_columns(id, text, title, metadata)
        self._fts = optional_field("fts", fts)
        self._vector = optional_field("vector", vector)
        check_embed(embed)
        self._embed = embed
        missing = None if vector is not None and embed is not None else "vector= and embed="
        self._mode = checked_mode(mode, dense=missing, lexical=None)
        self._language = checked_field("language", language)
        self._distance = checked_choice_of("distance", distance, tuple(_DISTANCES))
        self._where, self._parameters = checked_where(where, parameters)
        self._connections = _connections(database)

    def __repr__(self) -> str:
        return f"<DuckDbRetriever {self.name}>"

    @property
    def name(self) -> str:
        """The mode and the table."""
        return f"{self._mode} of {self._table} in DuckDB"

    def __call__(self, query: str, k: int) -> list[Candidate]:
        """The best `k` rows, best first. Raises ``duckdb.Error``, the errors of `embed`."""
        query = question(query)
        vector = None if self._mode == "lexical" else query_vector(self._embed, query)
        with self._connections.use() as cursor:
            return by_mode(
                self._mode,
                k,
                lambda count: self._lexical(cursor, query, count),
                lambda count: self._dense(cursor, vector, count),
            )

    def close(self) -> None:
        """Close the connection that this object has opened; a later call opens it again."""
        self._connections.close()

    def _lexical(self, cursor: Any, query: str, k: int) -> list[Candidate]:
        """The best rows by BM25; none for a question without words."""
        words = question_words(query, self._language)
        if not words:
            return []
        if self._fts is not None:
            return self._by_fts(cursor, " ".join(words), k)
        sql = "SELECT list_distinct(regexp_extract_all(?, ?))"
        terms = cursor.execute(sql, [" ".join(words).lower(), _WORD]).fetchone()[0]
        best = _BM25.format(
            id=quoted(self._columns.id), text=self._text(), word=_WORD, source=self._source()
        )
        return self._rows(cursor, best, [*self._parameters, terms, k])

    def _by_fts(self, cursor: Any, words: str, k: int) -> list[Candidate]:
        """The best rows by the index of the extension fts, which stems the words."""
        try:
            cursor.execute("LOAD fts")
        except duckdb.IOException as error:
            raise InputError(
                "fts: DuckDB's extension fts is not installed: run INSTALL fts once with a network,"
                " or leave fts out for BM25 in SQL"
            ) from error
        match = f"{quoted(self._fts or '')}.match_bm25({quoted(self._columns.id)}, ?)"
        best = (
            f"SELECT {quoted(self._columns.id)} AS number, {match} AS score FROM {self._source()} "
            "WHERE score IS NOT NULL ORDER BY score DESC, number LIMIT ?"
        )
        return self._rows(cursor, best, [words, *self._parameters, k])

    def _dense(self, cursor: Any, vector: list[float] | None, k: int) -> list[Candidate]:
        """The nearest rows; none for the zero vector of a query that the embedder cannot read."""
        if vector is None or self._vector is None:
            return []
        column = quoted(self._vector)
        distance = f"{_DISTANCES[self._distance]}({column}, ?::FLOAT[{len(vector)}])"
        best = (
            f"SELECT {quoted(self._columns.id)} AS number, -{distance} AS score "
            f"FROM {self._source()} WHERE {column} IS NOT NULL ORDER BY {distance} LIMIT ?"
        )
        return self._rows(cursor, best, [vector, *self._parameters, vector, k])

    def _rows(self, cursor: Any, best: str, parameters: list[Any]) -> list[Candidate]:
        """The candidates of a query for ids and scores; other columns are read of these only."""
        names = ", ".join(f"t.{quoted(name)}" for name in self._columns.names)
        key = quoted(self._columns.id)
        sql = (
            f"SELECT {names}, b.score FROM ({best}) AS b JOIN {_table(self._table)} AS t "
            f"ON t.{key} = b.number ORDER BY b.score DESC, b.number"
        )
        return self._columns.candidates(cursor.execute(sql, parameters).fetchall())

    def _source(self) -> str:
        if self._where is None:
            return _table(self._table)
        return f"(SELECT * FROM {_table(self._table)} WHERE ({self._where}))"

    def _text(self) -> str:
        """The title and the text of a row, in lower case."""
        names = [name for name in (self._columns.title, self._columns.text) if name is not None]
        texts = " || ' ' || ".join(f"coalesce({quoted(name)}::VARCHAR, '')" for name in names)
        return f"lower({texts})"


def from_spec(target: str, options: SpecOptions) -> DuckDbRetriever:
    """``duckdb:FILE?table=docs&text=body``, or ``duckdb:FILE.parquet?text=body``."""
    is_parquet = target.endswith(".parquet")
    table = target if is_parquet else options.required("table", "docs")
    arguments = options.given(
        "text", "id", "title", "fts", "vector", "mode", "language", "distance", "where"
    )
    metadata, embed = options.names("metadata"), options.embedder()
    options.finish()
    database = ":memory:" if is_parquet else target
    return DuckDbRetriever(database, table, metadata=metadata, embed=embed, **arguments)


def _connections(database: Any) -> SharedConnection:
    if isinstance(database, str | os.PathLike):
        path = os.fspath(database)
        in_memory = path == ":memory:"  # reads files of Parquet
        if not in_memory and not Path(path).is_file():
            raise InputError(f"{path}: no such file; expected a database of DuckDB")
        return SharedConnection(
            lambda: duckdb.connect(path, read_only=not in_memory), lambda opened: opened.close()
        )
    if isinstance(database, type) or not hasattr(database, "cursor"):
        raise InputError(f"database={shown(database)}: expected a path or a connection of duckdb")
    return SharedConnection(lambda: database, lambda _: None)  # the caller closes it


def _table(name: str) -> str:
    """A table or view, perhaps with its schema, or a file of Parquet."""
    if name.endswith(".parquet"):
        return "read_parquet('" + name.replace("'", "''") + "')"
    return ".".join(map(quoted, name.split(".")))
