"""SQLite as a first stage: BM25 by FTS5, and nearest vectors by sqlite-vec.

Needs nothing but Python for lexical search; dense search needs the package sqlite-vec and a Python
whose `sqlite3` loads extensions.
"""

import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from resift.errors import InputError, shown
from resift.extras import require
from resift.index.analysis.spec import ENGLISH
from resift.retrievers.arguments import checked_field, optional_field, question
from resift.retrievers.connections import GivenConnection, OpenedConnections
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.rows import by_mode, checked_columns, checked_where, quoted
from resift.retrievers.spec import SpecOptions
from resift.retrievers.words import question_words
from resift.search.options import Mode
from resift.types import Candidate

MAX_NEIGHBOURS = 4096
"""The most rows that sqlite-vec returns for a vector."""


class SqliteRetriever:
    """Rows of a table, found by its FTS5 table, its vec0 table, or both. Threads may share it.

    A question is searched for any of its words, each quoted, so that no word or sign of it is
    syntax; the order is that of ``bm25()``. The score is the negative of ``bm25()``, or of the
    distance of sqlite-vec; of both retrievers it is the reciprocal rank fusion of the two orders.

    With a path, each running call has a connection, opened for reading only and used again;
    `close` closes them. A connection that is given is used by one call at a time: open it with
    ``check_same_thread=False`` if other threads than its own search. It stays open.
    """

    def __init__(
        self,
        database: "str | os.PathLike[str] | sqlite3.Connection",
        table: str,
        *,
        text: str = "text",
        id: str = "rowid",
        title: str | None = None,
        metadata: Sequence[str] = (),
        fts: str | None = None,
        vectors: str | None = None,
        vector: str = "embedding",
        rowid: str = "rowid",
        embed: Embed | None = None,
        mode: Mode | None = None,
        language: str = ENGLISH,
        where: str | None = None,
        parameters: Sequence[Any] = (),
    ) -> None:
        """Open nothing yet.

        `table` has the columns `id`, `text`, `title` and `metadata`. `fts` is its FTS5 table, with
        external content or with its own; if `table` is the FTS5 table, name it here as well. Rows
        of both are joined by ``rowid``; `rowid` is the column of `table` that has it
        (``content_rowid``). `vectors` is a vec0 table with the same rowids, `vector` its column,
        and `embed` encodes the query as the stored vectors were.

        `mode` is by default all that these allow. In an English `language` the stop words of a
        question are not searched for. `where` is a condition on `table` in SQL, and
        `parameters` the values of its question marks.

        Raises `InputError` for invalid arguments and for a file that does not exist.
        """
        self._table = checked_field("table", table)
        self._columns = checked_columns(id, text, title, metadata)
        self._fts = optional_field("fts", fts)
        self._vectors = optional_field("vectors", vectors)
        self._vector, self._rowid = checked_field("vector", vector), checked_field("rowid", rowid)
        check_embed(embed)
        self._embed = embed
        self._mode = checked_mode(
            mode,
            dense=None if vectors is not None and embed is not None else "vectors= and embed=",
            lexical=None if fts is not None else "fts=",
        )
        self._language = checked_field("language", language)
        self._where, self._parameters = checked_where(where, parameters)
        self._connections: (
            GivenConnection[sqlite3.Connection] | OpenedConnections[sqlite3.Connection]
        )
        if isinstance(database, str | os.PathLike):
            self._path: Path | None = _checked_path(database)
            self._connections = OpenedConnections(self._open, sqlite3.Connection.close)
        else:
            self._path = None
            self._connections = GivenConnection(_checked_connection(database))

    def __repr__(self) -> str:
        return f"<SqliteRetriever {self.name}>"

    @property
    def name(self) -> str:
        """The mode, the table and the file."""
        return f"{self._mode} of {self._table} in {self._path.name if self._path else 'SQLite'}"

    def __call__(self, query: str, k: int) -> list[Candidate]:
        """The best `k` rows, best first. Raises `sqlite3.Error`, the errors of `embed`."""
        query = question(query)
        vector = None if self._mode == "lexical" else query_vector(self._embed, query)
        with self._connections.use() as connection:
            return by_mode(
                self._mode,
                k,
                lambda count: self._lexical(connection, query, count),
                lambda count: self._dense(connection, vector, count),
            )

    def close(self) -> None:
        """Close the connections that this object has opened; a later call opens them again."""
        self._connections.close()

    def _lexical(self, connection: sqlite3.Connection, query: str, k: int) -> list[Candidate]:
        """The best rows by BM25; none for a question without words."""
        words = question_words(query, self._language)
        if not words:
            return []
        fts = quoted(self._fts or "")
        match = " OR ".join(map(quoted, words))  # a quoted word is never an operator of FTS5
        source = f"SELECT f.rowid AS number, -f.rank AS score FROM {fts} AS f"
        condition = f"f.{fts} MATCH ?"
        if self._where is not None:
            condition += f" AND f.rowid IN ({self._matching()})"
        best = f"{source} WHERE {condition} ORDER BY f.rank, f.rowid LIMIT ?"
        return self._rows(connection, best, (match, *self._parameters, k))

    def _dense(
        self, connection: sqlite3.Connection, vector: list[float] | None, k: int
    ) -> list[Candidate]:
        """The nearest rows; none for the zero vector of a query that the embedder cannot read."""
        if vector is None:
            return []
        if self._path is None:
            _check_vec(connection)
        condition = f"{quoted(self._vector)} MATCH ? AND k = ?"
        if self._where is not None:
            condition += f" AND rowid IN ({self._matching()})"
        source = f"SELECT rowid AS number, -distance AS score FROM {quoted(self._vectors or '')}"
        best = f"{source} WHERE {condition}"
        packed = struct.pack(f"{len(vector)}f", *vector)
        count = min(k, MAX_NEIGHBOURS)
        return self._rows(connection, best, (packed, count, *self._parameters))

    def _matching(self) -> str:
        return f"SELECT {quoted(self._rowid)} FROM {quoted(self._table)} WHERE ({self._where})"

    def _rows(
        self, connection: sqlite3.Connection, best: str, parameters: tuple[Any, ...]
    ) -> list[Candidate]:
        """The candidates of a query for rowids and scores; each text is read once."""
        names = ", ".join(f"t.{quoted(name)}" for name in self._columns.names)
        join = f"{quoted(self._table)} AS t ON t.{quoted(self._rowid)} = b.number"
        order = "ORDER BY b.score DESC, b.number"
        sql = f"SELECT {names}, b.score FROM ({best}) AS b JOIN {join} {order}"
        with self._told(), closing(connection.cursor()) as cursor:
            cursor.row_factory = None  # the caller's may return dicts
            return self._columns.candidates(cursor.execute(sql, parameters).fetchall())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what to do about a connection of another thread, and about names that are wrong."""
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if "thread" not in str(error):
                raise
            raise InputError(
                "database: the connection refuses other threads than its own: open it with "
                "check_same_thread=False, or give the path of the file"
            ) from error
        except sqlite3.OperationalError as error:
            name = str(error).partition("no such column: ")[2]
            if name == "f.rank":
                raise InputError(
                    f"fts={shown(self._fts)}: no FTS5 table; expected the name of one"
                ) from error
            if name.startswith("t."):
                raise InputError(
                    f"{shown(name[2:])}: no column of {self._table}; name its columns by id=, "
                    "text=, title= and metadata="
                ) from error
            raise

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            raise ValueError("a connection of the caller is never opened: this is a bug")
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        if self._mode != "lexical":
            try:
                _load_vec(connection)
            except BaseException:
                connection.close()
                raise
        return connection


def from_spec(target: str, options: SpecOptions) -> SqliteRetriever:
    """``sqlite:FILE?table=docs&fts=docs_fts&text=body``; without `fts` the table is FTS5's."""
    table = options.required("table", "docs")
    arguments = options.given(
        "text", "id", "title", "vectors", "vector", "rowid", "mode", "language", "where"
    )
    metadata, fts = options.names("metadata"), options.text("fts")
    embed = options.embedder()
    options.finish()
    if fts is None and not ("vectors" in arguments and arguments.get("mode") == "dense"):
        fts = table
    return SqliteRetriever(target, table, fts=fts, metadata=metadata, embed=embed, **arguments)


def _checked_path(database: str | os.PathLike[str]) -> Path:
    path = Path(database)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a database of SQLite")
    return path


def _checked_connection(database: object) -> sqlite3.Connection:
    """A connection of `sqlite3`, or of a package with the same methods."""
    if isinstance(database, type) or not hasattr(database, "cursor"):
        raise InputError(f"database={shown(database)}: expected a path or a connection of sqlite3")
    connection: Any = database
    return connection  # type: ignore[no-any-return]


def _check_vec(connection: sqlite3.Connection) -> None:
    try:
        with closing(connection.execute("SELECT vec_version()")):
            pass
    except sqlite3.OperationalError as error:
        raise InputError(
            "database: the connection has no sqlite-vec: call sqlite_vec.load(connection), or give "
            "the path of the file"
        ) from error


def _load_vec(connection: sqlite3.Connection) -> None:
    """Load sqlite-vec. Raises `MissingExtra`, and `InputError` if Python cannot load it."""
    package = require("sqlite_vec", "sqlite")
    if not hasattr(connection, "enable_load_extension"):
        raise InputError(
            "this Python's sqlite3 loads no extensions, which sqlite-vec is: use another build of "
            "Python, or give a connection that has it, such as one of pysqlite3"
        )
    connection.enable_load_extension(True)
    try:
        package.load(connection)
    finally:
        connection.enable_load_extension(False)
