"""A first stage in a LanceDB table: full text, nearest vectors, or both."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from resift.background import Background
from resift.extras import require
from resift.retrievers.arguments import (
    checked_choice_of,
    checked_client,
    checked_field,
    optional_field,
    optional_names,
)
from resift.retrievers.client import ClientRetriever, Steps
from resift.retrievers.dense import Embed, check_embed, checked_mode, query_vector
from resift.retrievers.fuse import DEEPER, fuse
from resift.retrievers.rows import checked_where
from resift.retrievers.spec import SpecOptions
from resift.search.options import Mode
from resift.types import Candidate

ROW_ID = "_rowid"
"""LanceDB's number of a row, which a compaction may change."""

_SCORE = "_score"
_DISTANCE = "_distance"


class LanceDBRetriever(ClientRetriever):
    """Candidates from a LanceDB table, local, on object storage or in LanceDB Cloud.

    `table` is a ``Table`` or an ``AsyncTable`` of ``lancedb``, which stays the caller's: the
    version that it has checked out is searched, and its errors are raised as they are. With an
    asynchronous one only `aretrieve` works.

    `id`, `text`, `title` and `metadata` name columns. Without `metadata` all other columns but
    vectors are metadata, as the table has them at the first search. A table without ids can be
    searched with ``id="_rowid"``; a row whose id is null has its text as id.

    - ``lexical`` matches any word of the query in `search_fields`, by default the text, ranked by
      BM25. A column without a full-text index is read as a whole.
    - ``dense`` searches the column `vector` (None: the only one) with what `embed` makes of the
      query. The score is the negative distance, by `distance` or as the vector index has it. An
      embedding function of the table is ``embed=lambda query:
      function.compute_query_embeddings(query)[0]``.
    - ``hybrid``, the default if there is an `embed`, runs both at once and fuses the ranks
      (`fuse.fuse`), as LanceDB's own hybrid search does, but deeper and with ties by id.

    `where` is a condition in SQL, applied before the search.
    """

    engine: ClassVar[str] = "LanceDB"

    def __init__(
        self,
        table: Any,
        *,
        id: str = "id",
        text: str = "text",
        title: str | None = None,
        metadata: Sequence[str] | None = None,
        search_fields: Sequence[str] | None = None,
        vector: str | None = None,
        embed: Embed | None = None,
        mode: Mode | None = None,
        where: str | None = None,
        distance: str | None = None,
    ) -> None:
        """Raises `InputError` for invalid arguments, and for a mode whose arguments are missing."""
        check_embed(embed)
        missing = None if embed is not None else "embed, the model of the stored vectors"
        self.mode = checked_mode(mode, dense=missing, lexical=None)
        checked_client(table, "count_rows", "a table of lancedb")
        super().__init__(table, "count_rows", f"table {table.name}")
        self._id, self._text = checked_field("id", id), checked_field("text", text)
        self._title = optional_field("title", title)
        self._metadata = optional_names("metadata", metadata)
        self._search_fields = optional_names("search_fields", search_fields) or (text,)
        self._vector = optional_field("vector", vector)
        self._embed = embed
        self._where = checked_where(where, ())[0]
        self._distance = None if distance is None else _checked_distance(distance)

    def _steps(self, query: str, k: int) -> Steps:
        vector = query_vector(self._embed, query) if self.mode != "lexical" else None
        words = _words(query, self._search_fields) if self.mode != "dense" else None
        if vector is None and words is None:
            return []
        if self._metadata is None:
            schema = yield self._schema
            self._metadata = self._columns_of(schema)
        count = k * DEEPER if vector is not None and words is not None else k
        searches = [] if words is None else [self._limited(self._lexical(words), _SCORE, count)]
        if vector is not None:
            searches.append(self._limited(self._dense(vector), _DISTANCE, count))
        lists = yield lambda: self._run(searches)
        candidates = [self._candidates(rows) for rows in lists]
        return fuse(candidates, k) if len(candidates) > 1 else candidates[0]

    def _run(self, searches: list[Any]) -> Any:
        """The rows of each search, of an asynchronous table something to await."""
        if self._is_async:
            return asyncio.gather(*(search.to_list() for search in searches))
        jobs = [_SEARCHES.run(search.to_list) for search in searches[1:]]
        return [searches[0].to_list(), *(job.result() for job in jobs)]

    def _schema(self) -> Any:
        """The schema, of an asynchronous table something to await."""
        return self._client.schema() if self._is_async else self._client.schema

    def _columns_of(self, schema: Any) -> tuple[str, ...]:
        """The columns that are metadata by default."""
        others = {self._id, self._text, self._title}
        fields = [field for field in schema if field.name not in others]
        return tuple(field.name for field in fields if "fixed_size_list" not in str(field.type))

    def _lexical(self, words: Any) -> Any:
        if self._is_async:
            return self._client.query().nearest_to_text(words)
        return self._client.search(words, query_type="fts")

    def _dense(self, vector: list[float]) -> Any:
        if self._is_async:
            builder = self._client.query().nearest_to(vector)
            builder = builder.column(self._vector) if self._vector else builder
        else:
            builder = self._client.search(vector, self._vector, "vector")
        return builder if self._distance is None else builder.distance_type(self._distance)

    def _limited(self, builder: Any, score: str, count: int) -> Any:
        """A search for `count` rows that pass the condition, with the columns that are needed."""
        named = (self._id, self._text, self._title, *(self._metadata or ()), score)
        columns = [name for name in dict.fromkeys(named) if name and name != ROW_ID]
        builder = builder.select(columns).limit(count)
        if self._id == ROW_ID:
            builder = builder.with_row_id() if self._is_async else builder.with_row_id(True)
        return builder if self._where is None else builder.where(self._where)

    def _candidates(self, rows: list[dict[str, Any]]) -> list[Candidate]:
        return [self._candidate(row, rank) for rank, row in enumerate(rows, start=1)]

    def _candidate(self, row: Mapping[str, Any], rank: int) -> Candidate:
        title = row[self._title] if self._title else None
        text, name = row[self._text], row[self._id]
        return Candidate(
            id=str(text if name is None else name),
            text=text,
            title=title if isinstance(title, str) else "",
            metadata={name: row[name] for name in self._metadata or ()},
            rank=rank,
            score=float(row[_SCORE]) if _SCORE in row else -float(row[_DISTANCE]),
        )


def from_spec(target: str, options: SpecOptions) -> LanceDBRetriever:
    """``lancedb:FOLDER?table=docs&text=body&…``; the folder may be a URI such as ``s3://…``.

    Other options are `id`, `title`, `metadata` and `search_fields` (names with commas between
    them), `vector`, `embed` (a model's name), `mode`, `where` (SQL) and `distance`, and for
    ``db://…`` `api_key` and `region`. Raises `InputError`.
    """
    name = options.required("table", "docs")
    arguments: dict[str, Any] = options.given("id", "text", "title", "vector", "mode", "where")
    arguments |= options.given("distance")
    for several in ("metadata", "search_fields"):
        arguments[several] = options.names(several) or None
    connection = options.given("api_key", "region")
    arguments["embed"] = options.embedder()
    options.finish()
    database = require("lancedb", "lancedb").connect(target, **connection)
    return LanceDBRetriever(database.open_table(name), **arguments)


def _checked_distance(distance: object) -> str:
    name = distance.lower() if isinstance(distance, str) else distance
    return checked_choice_of("distance", name, ("l2", "cosine", "dot", "hamming"))


def _words(query: str, columns: Sequence[str]) -> Any:
    """A full-text query for any word, in which no sign is syntax."""
    queries = require("lancedb.query", "lancedb")
    if len(columns) == 1:
        return queries.MatchQuery(query, columns[0])
    return queries.MultiMatchQuery(query, list(columns))


_SEARCHES = Background(32, "resift-lancedb")
